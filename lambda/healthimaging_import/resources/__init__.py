"""The custom resources: what each does for a request."""

from __future__ import annotations

from importlib import import_module

from healthimaging_import import log
from healthimaging_import.cfn.response import Response
from healthimaging_import.contract import ResourceType
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.lifecycle import Mode
from healthimaging_import.resources.step import StepContext, StepResult

_MODULES: dict[str, str] = {
    ResourceType.DATASTORE: "datastore",
    ResourceType.IMAGE_SET_DELETION: "image_set_deletion",
    ResourceType.IMPORT: "dicom_import",
    ResourceType.TAGS: "tags",
}
"""Imported when they are needed: responding must not need boto3."""
_REFUSED_PATIENCE_SECONDS = 120.0


def run_step(context: StepContext) -> StepResult:
    """Do the next step of a request.

    Raises:
        RetryableError: something has to pass first.
        TerminalError: the request failed.
    """
    kind = context.request.resource_type
    if kind not in _MODULES:
        raise TerminalError(f"this version of the function does not know {kind}: deploy with a newer library")
    try:
        result: StepResult = import_module(f"{__name__}.{_MODULES[kind]}").step(context)
    except TerminalError as error:
        if not must_succeed(context):
            raise
        if kind == ResourceType.IMPORT and error.code not in ("", "ResourceNotFoundException"):
            # A job may be running whose verdict nobody would hear of.
            raise RetryableError(str(error), patience=_REFUSED_PATIENCE_SECONDS) from None
        # A refusal here would leave a stack that only a person can move.
        log.line("not refused", mode=context.mode, reason=str(error))
        return give_up(context, str(error))
    return result


def give_up(context: StepContext, reason: str, *, is_lost: bool = False) -> Response:
    """Return the response to a request that cannot be brought to its end."""
    if context.request.resource_type == ResourceType.IMPORT:
        from healthimaging_import.resources import dicom_import  # noqa: PLC0415 - as above

        return dicom_import.give_up(context, reason, is_lost=is_lost)
    if must_succeed(context):
        return Response(success=True)
    return Response(success=False, reason=reason, physical_resource_id=str(context.carried.get("datastore_id") or ""))


def must_succeed(context: StepContext) -> bool:
    """Whether the request must not fail: a rollback, or a deletion of what leaves nothing behind."""
    return context.mode is Mode.ROLLBACK or context.request.leaves_nothing


__all__ = ["StepContext", "give_up", "must_succeed", "run_step"]
