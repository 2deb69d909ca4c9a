"""The tags of a data store, as a custom resource: in the template they would replace the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.cfn.response import Response
from healthimaging_import.contract import TAGS_OWNER_TAG
from healthimaging_import.errors import TerminalError
from healthimaging_import.importing.mode import Mode
from healthimaging_import.resources.step import Deploy, StepContext, StepResult

_EARLIER = "earlier"
"""Stands for an owner that has left no mark."""
_LONGEST_MARK = 256
_DIGITS = 4
"""Hexadecimal digits that stand for a key in a mark: those of fifty tags, which a store can have, fit into a value."""


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


@dataclass(frozen=True)
class TagOwner:
    """A custom resource that has set tags of a data store, where its construct may have moved.

    A store that is moved in the tree keeps its logical id, but the custom resources beside it have new ones.
    CloudFormation creates those first and deletes the old ones in its clean-up, or, in a rollback, the new ones. So
    whoever finds its tags on the store already leaves a mark with the keys that it has set, and whoever finds the mark
    of another removes only what that one has not set.
    """

    aws: Aws
    datastore_arn: str
    mark: str
    """The key of the tag that names the owner."""
    scope: str
    """The stack and the logical id of the resource."""

    def claim(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the mark to set with tags of those keys: none on a store that has none of them."""
        tags = self.tags()
        owner = _owner(tags.get(self.mark, ""))
        if owner == self._own:
            return {}  # as before
        if owner or not tags.keys().isdisjoint(keys):
            mark = f"{self._own}/{owner or _EARLIER}"
            with_keys = f"{mark}/{''.join(sorted(_digest(key) for key in keys))}"
            return {self.mark: with_keys if len(with_keys) <= _LONGEST_MARK else mark}
        return {}

    def release(self, keys: Iterable[str], *, is_undone: bool) -> list[str]:
        """Return which of those keys to remove: none that another has set since, or that are given back to another.

        A rollback (``is_undone``) deletes a resource that its deploy has created.
        """
        mark = self.tags().get(self.mark, "")
        owner, previous, set_since, *_ = [*mark.split("/"), "", ""]
        if owner and owner != self._own:
            log.line("tags left", reason="another resource of this data store has set them since")
            digests = {set_since[at : at + _DIGITS] for at in range(0, len(set_since), _DIGITS)}
            # The mark of an earlier version of this function has no keys.
            return [key for key in keys if digests and not is_undone and _digest(key) not in digests]
        if not is_undone or not previous:
            return [*keys, *([self.mark] if mark else [])]
        # What the one before has set is not set again.
        if previous == _EARLIER:
            self.aws.call("medical-imaging", "UntagResource", bool, resourceArn=self.datastore_arn, tagKeys=[self.mark])
        else:
            self.aws.call(
                "medical-imaging", "TagResource", bool, resourceArn=self.datastore_arn, tags={self.mark: previous}
            )
        log.line("tags left", reason="they were there before the deploy that is rolled back")
        return []

    def tags(self) -> dict[str, str]:
        """Return the tags that the store has."""
        return self.aws.call(
            "medical-imaging",
            "ListTagsForResource",
            lambda answer: {str(key): str(value) for key, value in answer["tags"].items()},
            resourceArn=self.datastore_arn,
        )

    @property
    def _own(self) -> str:
        return hashlib.sha256(self.scope.encode()).hexdigest()[:16]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]


def _owner(mark: str) -> str:
    return mark.partition("/")[0]
