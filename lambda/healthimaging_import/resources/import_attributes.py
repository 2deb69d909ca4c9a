"""The attributes of an import: what a deploy prints, and what a template can read."""

from __future__ import annotations

from healthimaging_import.cfn import Request
from healthimaging_import.contract import ImportAttribute
from healthimaging_import.importing.mode import Mode
from healthimaging_import.importing.starting import upload_command
from healthimaging_import.importing.verdict import NOT_STARTED, NOTHING_TO_IMPORT, RUNNING, ImportResult
from healthimaging_import.resources.step import UNKNOWN


def import_attributes(request: Request, mode: Mode, result: ImportResult) -> dict[str, str]:
    """Return every attribute, always: CloudFormation fails a stack that reads one that is missing."""
    counts, is_running, name = result.counts, result.job_status in RUNNING, ImportAttribute
    numbers = {
        name.NUMBER_OF_SCANNED_FILES: counts.scanned,
        name.NUMBER_OF_IMPORTED_FILES: counts.imported,
        name.NUMBER_OF_FILES_WITH_CUSTOMER_ERROR: counts.customer_errors,
        name.NUMBER_OF_FILES_WITH_SERVER_ERROR: counts.server_errors,
        name.NUMBER_OF_GENERATED_IMAGE_SETS: counts.image_sets,
        name.NUMBER_OF_PRIMARY_IMAGE_SETS: counts.primary_image_sets,
        name.NUMBER_OF_NON_PRIMARY_IMAGE_SETS: counts.non_primary_image_sets,
    }
    summary, next_step = _summary(request, mode, result)
    values = {
        name.DATASTORE_ID: str(request.resource_properties.get("DatastoreId")),
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


def _summary(request: Request, mode: Mode, result: ImportResult) -> tuple[str, str]:
    """Say what became of the import in one line, and what to do next."""
    properties, next_step = request.resource_properties, "none"
    again = properties.get("ImportAgain", "deploy")
    if result.job_status in RUNNING:
        summary = f"{result.job_status}: the job is still running; its verdict reaches metrics and events"
        next_step = "its verdict reaches metrics and events; a deploy waits for it while it runs"
    elif result.job_status == NOTHING_TO_IMPORT:
        bucket = str(properties.get("InputBucket"))
        summary = f"nothing to import: no file is under the input prefix of bucket {bucket}"
        next_step = f"{upload_command(bucket, str(properties.get('InputPrefix')))}, then: {again}"
    elif result.job_status == NOT_STARTED and mode is Mode.DEPLOY:
        summary = "nothing was imported again: nothing of meaning has changed, and the earlier record is gone"
        next_step = f"to import again: {again}"
    elif result.job_status == NOT_STARTED:
        summary = "no job was started: the stack was rolled back"
    else:
        summary = f"{result.job_status}: {result.counts.sentence()}"
        if result.counts.rejected:
            folder = result.failures_uri.rstrip("/") or "FAILURE of the job's output folder"
            next_step = f"read why files were rejected in {folder}/failure.ndjson"
    before = request.old_resource_properties.get("DatastoreId")
    if before not in (None, properties.get("DatastoreId")):
        summary += f"; this is another data store than before: the image sets of {before} stay there"
    return summary, next_step
