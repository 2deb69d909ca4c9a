"""Data stores that CloudFormation cannot express, and the emptying of stores on request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from healthimaging_import import log
from healthimaging_import.faults import explained
from healthimaging_import.problems import Refused, TryLater

OPT_IN_TAG = "healthimaging-cdk:auto-delete-image-sets"
SECONDS_PER_DELETION = 5
"""DeleteImageSet takes one call in four seconds; a little less leaves room for others."""
_SECONDS_PER_STEP = 10
"""With the search before each deletion and the calls around it; what is begun has to be finished in time."""

_CREATE_ONLY = ("datastoreName", "kmsKeyArn", "lambdaAuthorizerArn", "losslessStorageFormat")


def create(
    healthimaging: Any,  # noqa: ANN401 - boto3 clients are made at run time
    settings: Mapping[str, str],
    tags: Mapping[str, str],
    asked_by: str,
    *,
    settling: bool,
) -> str:
    """Create a data store and answer its id; asked again by the same asker it answers the same store."""
    token = hashlib.sha256(f"datastore:{asked_by}".encode()).hexdigest()
    with explained("medical-imaging", "CreateDatastore", settling=settling):
        datastore_id = str(healthimaging.create_datastore(clientToken=token, tags=tags, **settings)["datastoreId"])
    log.line("store created", datastore_id=datastore_id)
    return datastore_id


def describe(healthimaging: Any, datastore_id: str, *, settling: bool = False) -> dict[str, Any]:  # noqa: ANN401
    """The properties of an active data store.

    Raises:
        TryLater: it is being made.
        Refused: it could not be made, or is gone.
    """
    with explained("medical-imaging", "GetDatastore", settling=settling):
        properties: dict[str, Any] = healthimaging.get_datastore(datastoreId=datastore_id)["datastoreProperties"]
        status = str(properties["datastoreStatus"])
    if status == "CREATING":
        raise TryLater(f"data store {datastore_id} is still being created")
    if status != "ACTIVE":
        raise Refused(f"data store {datastore_id} is {status}")
    return properties


def refuse_change(live: Mapping[str, Any], wanted: Mapping[str, str], before: Mapping[str, str]) -> None:
    """Refuse to change what a data store is made with.

    CloudFormation would make a new, empty store and leave this one; that is a move, which somebody has to want.

    Raises:
        Refused: a property was changed and the live store has another value.
    """
    changed = [
        name
        for name in _CREATE_ONLY
        if wanted.get(name) != before.get(name) and (wanted.get(name) or None) != (live.get(name) or None)
    ]
    if changed:
        raise Refused(
            f"{', '.join(changed)} of a data store cannot be changed: put the old value back, or make a second "
            "Datastore under another id and move the image sets (docs/moving-a-data-store.md)"
        )


def delete(healthimaging: Any, datastore_id: str) -> None:  # noqa: ANN401
    """Delete a data store; one that is gone or going already is fine.

    Raises:
        Refused: it holds image sets.
    """
    with explained("medical-imaging", "DeleteDatastore"):
        try:
            healthimaging.delete_datastore(datastoreId=datastore_id)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConflictException":
                raise Refused(
                    f"data store {datastore_id} holds image sets or runs a job, so it cannot be deleted: delete them "
                    "first, or retain the store (removal_policy)"
                ) from None
            if code != "ResourceNotFoundException":
                raise
    log.line("store deletion asked for", datastore_id=datastore_id)


def is_gone(healthimaging: Any, datastore_id: str) -> bool:  # noqa: ANN401
    """Whether a deleted store has gone: its key must outlive it."""
    try:
        with explained("medical-imaging", "GetDatastore"):
            properties = healthimaging.get_datastore(datastoreId=datastore_id)["datastoreProperties"]
            return str(properties["datastoreStatus"]) not in ("DELETING", "ACTIVE")
    except Refused as refusal:
        if refusal.code == "ResourceNotFoundException":
            return True
        raise


# -- emptying a store ------------------------------------------------------------------------------------------------


def opt_in(healthimaging: Any, datastore_arn: str, *, settling: bool) -> None:  # noqa: ANN401
    """Mark the live store as one that may be emptied."""
    with explained("medical-imaging", "TagResource", settling=settling):
        healthimaging.tag_resource(resourceArn=datastore_arn, tags={OPT_IN_TAG: "true"})


def opt_out(healthimaging: Any, datastore_arn: str) -> None:  # noqa: ANN401
    """Take the mark away; a store that is gone has none."""
    try:
        with explained("medical-imaging", "UntagResource"):
            healthimaging.untag_resource(resourceArn=datastore_arn, tagKeys=[OPT_IN_TAG])
    except Refused:
        log.line("mark left", reason="the data store is gone or may not be untagged any more")


def may_be_emptied(healthimaging: Any, datastore_arn: str) -> bool:  # noqa: ANN401
    """Whether the live store carries the mark; a store that is gone does not."""
    try:
        with explained("medical-imaging", "ListTagsForResource"):
            tags = healthimaging.list_tags_for_resource(resourceArn=datastore_arn)["tags"]
            return str(tags.get(OPT_IN_TAG)) == "true"
    except Refused:
        log.line("not emptied", reason="the data store is gone, or its tags cannot be read")
        return False


def refuse_too_many(healthimaging: Any, datastore_id: str, seconds: float) -> None:  # noqa: ANN401
    """Refuse to begin what cannot be finished in time.

    Raises:
        Refused: more image sets than can be deleted; none was touched.
    """
    most = int(seconds // _SECONDS_PER_STEP)
    found = 0
    with explained("medical-imaging", "SearchImageSets"):
        for page in healthimaging.get_paginator("search_image_sets").paginate(datastoreId=datastore_id):
            found += len(page["imageSetsMetadataSummaries"])
            if found > most:
                break
    log.line("counted", image_sets=found, most=most)
    if found > most:
        raise Refused(
            f"data store {datastore_id} holds {found} image sets or more; {most} of them can be deleted "
            "while CloudFormation waits, so none was: delete them beforehand (docs/moving-a-data-store.md has the "
            "loop), or retain the store, then delete the stack again"
        )


def delete_next(healthimaging: Any, datastore_id: str, going: list[str]) -> bool:  # noqa: ANN401
    """Delete one image set that is not going yet.

    Args:
        healthimaging: a client.
        datastore_id: the store.
        going: ids whose deletion was asked for; added to.

    Returns:
        Whether the store is empty.
    """
    with explained("medical-imaging", "SearchImageSets"):
        pages = healthimaging.get_paginator("search_image_sets").paginate(datastoreId=datastore_id)
        left = [str(item["imageSetId"]) for page in pages for item in page["imageSetsMetadataSummaries"]]
    waiting = next((image_set_id for image_set_id in left if image_set_id not in going), None)
    if waiting is not None:
        with explained("medical-imaging", "DeleteImageSet"):
            try:
                healthimaging.delete_image_set(datastoreId=datastore_id, imageSetId=waiting)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ResourceNotFoundException":
                    raise
        going.append(waiting)
        log.line("image set deleted", image_set_id=waiting, left=len(left) - 1)
    return not left
