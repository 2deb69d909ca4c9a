"""The deletion of a data store's image sets with their stack, as a custom resource."""

from __future__ import annotations

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.cfn import Response
from healthimaging_import.contract import OPT_IN_OWNER_TAG, OPT_IN_TAG
from healthimaging_import.errors import NotFoundError, RetryableError, TerminalError
from healthimaging_import.resources.step import StepContext, StepResult
from healthimaging_import.resources.tags import TagOwner

_SECONDS_PER_DELETION = 5.0
"""DeleteImageSet takes one call in four seconds; a little less leaves room for others."""
_SECONDS_PER_STEP = 10
"""With the guards and the search before each deletion; what is begun has to be finished in time."""
_CHECKS_PER_STEP = 20
_MOST_NAMED = 5


def step(context: StepContext) -> StepResult:
    """Delete the next image set, if the stack is deleted and the live store is still marked for it.

    Every guard is checked again in every step: what a step carries is input.
    """
    request, aws, properties = context.request, context.aws, context.request.resource_properties
    arn, datastore_id = str(properties["DatastoreArn"]), str(properties["DatastoreId"])
    owner = TagOwner(aws, arn, OPT_IN_OWNER_TAG, request.scope)
    deploy = context.describe_deploy()
    if request.request_type != "Delete":
        deploy.check_in_progress()
        owner.tag({OPT_IN_TAG: "true"}, is_new=request.request_type == "Create")
        return Response(success=True)
    if deploy.is_update:
        # The option was taken back, or the store was moved or replaced: that is no order to delete images.
        try:
            owner.untag([OPT_IN_TAG], is_undone=deploy.is_undone)
        except TerminalError:
            log.line("mark left", reason="the data store is gone or may not be untagged any more")
        return Response(success=True)
    if deploy.status not in ("DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"):
        log.line("not emptied", reason=f"the stack is {deploy.status}")
        return Response(success=True)
    if not _is_marked(owner):
        return Response(success=True)
    is_first = "requested" not in context.carried
    requested, gone = (context.carried.setdefault(name, []) for name in ("requested", "gone"))
    # A search may list for a while what is gone.
    waiting = [it for it in _list(aws, datastore_id) if it not in requested and it not in gone]
    if is_first:
        _check_count(datastore_id, len(waiting), context.deadline - context.clock())
    if waiting:
        _delete_next(context, datastore_id, waiting)
        return _SECONDS_PER_DELETION
    _confirm_gone(context, datastore_id)
    return 1.0 if requested else Response(success=True)


def _is_marked(owner: TagOwner) -> bool:
    """Whether the live store is marked; a store that is gone is not."""
    try:
        return owner.read().get(OPT_IN_TAG) == "true"
    except TerminalError:
        log.line("not emptied", reason="the data store is gone, or its tags cannot be read")
        return False


def _list(aws: Aws, datastore_id: str) -> list[str]:
    """Return the ids of a store's image sets; a store that is gone has none."""
    pages = aws.pages(
        "medical-imaging", "SearchImageSets",
        lambda page: [str(item["imageSetId"]) for item in page["imageSetsMetadataSummaries"]],
        datastoreId=datastore_id,
    )  # fmt: skip
    try:
        return [image_set_id for page in pages for image_set_id in page]
    except NotFoundError:
        return []


def _check_count(datastore_id: str, count: int, seconds: float) -> None:
    """Refuse to begin what cannot be finished in time: none was touched."""
    most = int(seconds // _SECONDS_PER_STEP)
    log.line("counted", image_sets=count, most=most)
    if count > most:
        raise TerminalError(
            f"data store {datastore_id} holds {count} image sets; {most} of them can be deleted while CloudFormation "
            "waits, so none was: delete them beforehand (docs/moving-a-data-store.md has the loop), or retain the "
            "store, then delete the stack again"
        )


def _delete_next(context: StepContext, datastore_id: str, waiting: list[str]) -> None:
    """Request the deletion of one image set; one that is locked waits until all others are requested."""
    carried = context.carried
    carried["locked"] = locked = [it for it in carried.get("locked", ()) if it in waiting]
    others = [it for it in waiting if it not in locked]
    image_set_id = (others or locked)[0]
    try:
        context.aws.call("medical-imaging", "DeleteImageSet", bool, datastoreId=datastore_id, imageSetId=image_set_id)
    except NotFoundError:
        carried["gone"].append(image_set_id)  # it was deleted meanwhile, or the whole store
        return
    except RetryableError as error:
        if error.code != "ConflictException":
            raise
        if others:
            locked.append(image_set_id)
            return
        locked.append(locked.pop(0))  # the next one has its turn
        named = ", ".join(locked[:_MOST_NAMED])
        msg = f"{len(locked)} image sets of data store {datastore_id} are locked by other requests: {named}"
        raise RetryableError(f"{msg}; wait for those to end, then delete the stack again") from None
    carried["requested"].append(image_set_id)
    log.line("image set deletion requested", image_set_id=image_set_id, left=len(waiting) - 1)


def _confirm_gone(context: StepContext, datastore_id: str) -> None:
    """Make sure of each image set: one that is no longer listed may still be there."""
    for image_set_id in context.carried["requested"][:_CHECKS_PER_STEP]:
        try:
            state = context.aws.call(
                "medical-imaging", "GetImageSet", lambda answer: str(answer["imageSetState"]),
                datastoreId=datastore_id, imageSetId=image_set_id,
            )  # fmt: skip
        except NotFoundError:
            state = "DELETED"
        if state == "DELETED":
            context.carried["requested"].remove(image_set_id)
            context.carried["gone"].append(image_set_id)
