"""Tags of a data store, changed in place: in CloudFormation they are create-only and would replace the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from healthimaging_import import log
from healthimaging_import.faults import explained
from healthimaging_import.problems import Refused


def change_tags(
    healthimaging: Any,  # noqa: ANN401 - boto3 clients are made at run time
    datastore_arn: str,
    *,
    old: Mapping[str, str],
    new: Mapping[str, str],
    settling: bool = False,
) -> None:
    """Set the tags in ``new`` and remove those of ``old`` that are not in it; other tags stay as they are."""
    gone = sorted(set(old) - set(new))
    if gone:
        with explained("medical-imaging", "UntagResource", settling=settling):
            healthimaging.untag_resource(resourceArn=datastore_arn, tagKeys=gone)
    if new:
        with explained("medical-imaging", "TagResource", settling=settling):
            healthimaging.tag_resource(resourceArn=datastore_arn, tags=dict(new))
    log.line("tagged", set=len(new), removed=len(gone))


def remove_tags(healthimaging: Any, datastore_arn: str, tags: Mapping[str, str]) -> None:  # noqa: ANN401
    """Remove tags from a store that may be gone already."""
    try:
        change_tags(healthimaging, datastore_arn, old=tags, new={})
    except Refused:
        log.line("tags left", reason="the data store is gone or may not be untagged any more")
