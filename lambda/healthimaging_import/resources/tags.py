"""The tags of a data store, as a custom resource: in the template they would replace the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.cfn.response import Response
from healthimaging_import.contract import TAGS_OWNER_TAG
from healthimaging_import.errors import TerminalError
from healthimaging_import.importing.lifecycle import Mode
from healthimaging_import.resources.step import Deploy, StepContext, StepResult
from healthimaging_import.resources.tag_owner import TagOwner


def step(context: StepContext) -> StepResult:
    """Set or remove the tags."""
    request, aws = context.request, context.aws
    new, old = request.resource_properties, request.old_resource_properties
    arn, tags = str(new["DatastoreArn"]), tag_map(new)
    owner = TagOwner(aws, arn, TAGS_OWNER_TAG, request.scope)
    if context.mode is Mode.DELETE:
        deploy = _deploy(context)
        # When the whole stack goes, a store that is retained keeps its tags.
        if deploy.is_update:
            _change_tags(aws, arn, old=owner.release(tags, is_undone=deploy.is_undone), new={})
        return Response(success=True)
    before = tag_map(old) if old.get("DatastoreArn") == arn else {}
    mark = owner.claim(tags) if request.request_type == "Create" and tags else {}
    _change_tags(aws, arn, old=before, new={**tags, **mark})
    return Response(success=True)


def tag_map(properties: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags among a resource's properties."""
    return {str(key): str(value) for key, value in (properties.get("Tags") or {}).items()}


def _deploy(context: StepContext) -> Deploy:
    """Return what CloudFormation does; where it cannot be found out nothing is known to be taken out of the stack."""
    try:
        return context.describe_deploy()
    except TerminalError:
        return Deploy("", "")


def _change_tags(aws: Aws, datastore_arn: str, *, old: Iterable[str], new: Mapping[str, str]) -> None:
    """Set the tags in ``new`` and remove those of ``old`` that are not in it; other tags stay as they are."""
    removed = sorted(set(old) - set(new))
    if removed:
        aws.call("medical-imaging", "UntagResource", bool, resourceArn=datastore_arn, tagKeys=removed)
    if new:
        aws.call("medical-imaging", "TagResource", bool, resourceArn=datastore_arn, tags=dict(new))
    log.line("tagged", set=len(new), removed=len(removed))
