"""The attributes of an import's custom resource."""

from __future__ import annotations

from healthimaging_import.contract import ImportAttribute
from healthimaging_import.importing.lifecycle import Mode
from healthimaging_import.importing.source import upload_command
from healthimaging_import.importing.verdict import NOT_STARTED, NOTHING_TO_IMPORT, ImportResult
from healthimaging_import.resources.step import UNKNOWN, StepContext


def attributes(context: StepContext, result: ImportResult) -> dict[str, str]:
    """Return every attribute, always: CloudFormation fails a stack that reads one that is missing."""
    properties, counts, is_running = context.request.resource_properties, result.counts, result.is_running
    name = ImportAttribute
    numbers = {
        name.NUMBER_OF_SCANNED_FILES: counts.scanned,
        name.NUMBER_OF_IMPORTED_FILES: counts.imported,
        name.NUMBER_OF_FILES_WITH_CUSTOMER_ERROR: counts.customer_errors,
        name.NUMBER_OF_FILES_WITH_SERVER_ERROR: counts.server_errors,
        name.NUMBER_OF_GENERATED_IMAGE_SETS: counts.image_sets,
        name.NUMBER_OF_PRIMARY_IMAGE_SETS: counts.primary_image_sets,
        name.NUMBER_OF_NON_PRIMARY_IMAGE_SETS: counts.non_primary_image_sets,
    }
    summary, next_step = _summary(context, result)
    values = {
        name.DATASTORE_ID: str(properties.get("DatastoreId")),
        name.JOB_ID: result.job_id or "none",
        name.JOB_STATUS: result.job_status,
        name.SUBMITTED_AT: result.submitted_at or "none",
        **{key: UNKNOWN if is_running else str(number) for key, number in numbers.items()},
        name.WARNINGS: UNKNOWN if is_running else counts.warning_list() or "none",
        name.MANIFEST_URI: result.manifest_uri or "none",
        name.SUMMARY: summary,
        name.NEXT_STEP: next_step,
    }
    return {key.value: value for key, value in values.items()}


def _summary(context: StepContext, result: ImportResult) -> tuple[str, str]:
    """Say what became of the import in one line, and what to do next."""
    properties = context.request.resource_properties
    before, now = context.request.old_resource_properties.get("DatastoreId"), properties.get("DatastoreId")
    again = properties.get("ImportAgain", "deploy")
    moved = f"; this is another data store than before: the image sets of {before} stay there"
    moved = moved if before not in (None, now) else ""
    if result.is_running:
        running = f"{result.job_status}: the job is still running; its verdict reaches metrics and events"
        return running + moved, "its verdict reaches metrics and events; a deploy waits for it while it runs"
    if result.job_status == NOTHING_TO_IMPORT:
        bucket = properties.get("InputBucket")
        next_step = f"{upload_command(str(bucket), str(properties.get('InputPrefix')))}, then: {again}"
        return f"nothing to import: no file is under the input prefix of bucket {bucket}{moved}", next_step
    if result.job_status == NOT_STARTED and context.mode is Mode.DEPLOY:
        return (
            f"nothing was imported again: nothing of meaning has changed, and the earlier record is gone{moved}",
            f"to import again: {again}",
        )
    if result.job_status == NOT_STARTED:
        return f"no job was started: the stack was rolled back{moved}", "none"
    next_step = "none"
    if result.counts.rejected:
        folder = result.failures_uri.rstrip("/") or "FAILURE of the job's output folder"
        next_step = f"read why files were rejected in {folder}/failure.ndjson"
    return f"{result.job_status}: {result.counts.sentence()}{moved}", next_step
