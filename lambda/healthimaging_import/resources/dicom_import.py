"""An import, as a custom resource."""

from __future__ import annotations

from typing import cast

from healthimaging_import import log
from healthimaging_import.cfn.request import Request
from healthimaging_import.cfn.response import Response
from healthimaging_import.contract import Completion, ImportAttribute, ImportProperties, Notify, OnEmpty, Verdict
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.lifecycle import Mode, Owner, State
from healthimaging_import.importing.publish import publish
from healthimaging_import.importing.records import Records
from healthimaging_import.importing.request import Asset, ImportRequest
from healthimaging_import.importing.runner import EndedError, ReplacedError, close, run
from healthimaging_import.importing.runs import is_current, resolve_run
from healthimaging_import.importing.verdict import NOT_STARTED, NOTHING_TO_IMPORT, ImportResult, Tolerance
from healthimaging_import.resources.step import UNKNOWN, StepContext, StepResult
from healthimaging_import.service_model import Quotas

_LATE_SECONDS = 30
"""How much later than its timeout a request may take its last step; one that is later comes from a lost step."""
_SHORTEST_DETACHED_PAUSE = 60.0
"""A day of shorter ones is more than the history of an execution holds."""


def step(context: StepContext) -> StepResult:
    """Do the next step of an import; a rollback waits for the job of what it undoes first."""
    if _is_undoing(context):
        pause = _wait_for_undone(context)
        if pause is not None:
            return pause
    try:
        result = run(_import_context(context))
    except ReplacedError as error:
        data = _attributes(context, ImportResult())
        return Response(success=not context.mode.may_start, reason=str(error), data=data)
    except EndedError as error:
        if context.mode is not Mode.DETACHED:
            raise
        return Response(success=False, reason=str(error))
    is_running = result.is_running
    if is_running and not (context.mode in (Mode.DEPLOY, Mode.ROLLBACK) and _is_submit(context)):
        return _pause(context)
    return Response(success=True, data=_attributes(context, result), detached=is_running)


def give_up(context: StepContext, reason: str, *, is_lost: bool = False) -> Response:
    """End a request that cannot be brought to its end; what may be running is polled on, or has no verdict.

    Where a step was lost (``is_lost``) it may have done more than is known.
    """
    record, is_over, is_undoing = None, context.remaining <= 0, _is_undoing(context)
    may_run = is_owned = is_lost or bool(context.carried.get("owned"))
    try:
        record = close(_import_context(context, undone=is_undoing), reason)
        is_mine = record is not None and record.owner.request_id == context.request.request_id
        if record is not None:
            may_run = is_mine and not record.state.is_end
    except (RetryableError, TerminalError) as error:
        log.line("not closed", reason=str(error))
        may_run = True  # as far as anybody knows
    if record is None and is_owned and context.mode is Mode.DETACHED:
        _publish_unknown(context)
    job_id = record.job["jobId"] if record and may_run and record.state is State.RUNNING else ""
    is_good = not context.mode.may_start or bool(job_id and (_is_submit(context) or (is_over and _is_detach(context))))
    if is_good:
        result = ImportResult(job_id, "IN_PROGRESS") if job_id and not is_undoing else ImportResult()
        may_run = may_run and context.mode is not Mode.DELETE
        return Response(success=True, data=_attributes(context, result), detached=may_run)
    if job_id and is_over:
        reason = (
            f"import job {job_id} had not ended after {int(context.elapsed)} seconds. It may still be running: deploy "
            "again to read its verdict, no second job is started"
        )
    return Response(success=False, reason=reason, detached=may_run)


def _publish_unknown(context: StepContext) -> None:
    """Say that a job may have run whose record nobody can read or write any more."""
    imports = _import_context(context)
    publish(
        context.aws,
        import_name=imports.request.import_name,
        datastore_id=imports.request.datastore_id,
        verdict=Verdict.UNKNOWN,
        result=ImportResult(job_status=Verdict.UNKNOWN),
        topic_arn=imports.topic_arn,
        notify=imports.notify,
    )


def note_responded(context: StepContext) -> None:
    """Note that the request has its response, so that it gets no second one if its execution is stopped."""
    imports = _import_context(context)
    found = imports.records.load(imports.request.intent)
    if found and found.record.owner.request_id == context.request.request_id:
        imports.records.change(found, responded_to=context.request.request_id)


def has_responded(context: StepContext) -> bool:
    """Whether the request has its response, or nobody waits for one, as far as its record says."""
    imports = _import_context(context)
    found = imports.records.load(imports.request.intent)
    if found is None:
        return False
    is_replaced = found.record.owner.began_at > context.began_at
    return is_replaced or found.record.responded_to == context.request.request_id


def _is_undoing(context: StepContext) -> bool:
    """Whether a rollback waits for the job of what it undoes, also after its response."""
    return (context.mode is Mode.ROLLBACK or "undone_run_id" in context.carried) and not context.carried.get("undone")


def _wait_for_undone(context: StepContext) -> float | None:
    """Wait for the job of the update that is rolled back: its rights go after this request."""
    try:
        if run(_import_context(context, undone=True)).is_running:
            return _pause(context)
    except TerminalError as error:
        if context.mode is Mode.DETACHED and not isinstance(error, ReplacedError | EndedError):
            raise
        log.line("undone", reason=str(error))
    context.carried["undone"] = True
    return None


def _import_context(context: StepContext, *, undone: bool = False) -> ImportContext:
    """Bring together what the import logic needs; the run is resolved once."""
    request, carried = context.request, context.carried
    old = request.old_resource_properties
    properties = cast("ImportProperties", old if undone and old else request.resource_properties)
    wanted = import_request(request.scope, properties)
    records = Records(context.aws, wanted)
    key = "undone_run_id" if undone else "run_id"
    if key not in carried:
        given = properties.get("RunId")
        carried[key] = str(given) if given is not None else resolve_run(records, wanted)
    wanted = wanted.for_run(carried[key])
    if "is_current" not in carried and context.mode.may_start:
        carried["is_current"] = is_current(records, wanted, _deployed_before(request, wanted.run_id))
    mode = Mode.SUBMIT if context.mode is Mode.DEPLOY and _is_submit(context) else context.mode
    return ImportContext(
        request=wanted,
        aws=context.aws,
        records=records,
        mode=mode,
        me=Owner(request.request_id, context.began_at),
        clock=context.clock,
        tolerance=_tolerance(properties),
        is_current=bool(carried.get("is_current")),
        is_still_wanted=lambda: _is_still_wanted(context),
        judge_until=context.deadline if mode is Mode.DEPLOY and _is_detach(context) else float("inf"),
        time_left=lambda: min(context.time_left(), context.remaining),
        carried={} if undone else carried,
        topic_arn=str(properties.get("NotificationTopicArn") or ""),
        notify=Notify(str(properties.get("Notify") or Notify.FAILURES)),
    )


def _deployed_before(request: Request, run_id: str) -> ImportRequest | None:
    """Return what the deploy before asked for; where neither said so, it meant the same run."""
    old = cast("ImportProperties", request.old_resource_properties)
    if not old:
        return None
    before, now = old.get("RunId"), request.resource_properties.get("RunId")
    meant = run_id if before is None and now is None else str(before or "")
    return import_request(request.scope, old).for_run(meant)


def _is_still_wanted(context: StepContext) -> bool:
    """Whether CloudFormation still does what this request is part of.

    Raises:
        RetryableError: it does nothing with the stack, as far as it says.
        TerminalError: it does something else, or waits for this request no more.
    """
    if context.remaining < -_LATE_SECONDS:
        raise TerminalError(
            "no job was started in the time that the request has: deploy again, with a longer timeout or, where local "
            "files took too long to be unpacked, from a bucket"
        )
    deploy = context.describe_deploy()
    if deploy.is_over:
        raise RetryableError(f"the stack is {deploy.status}, so nobody waits for this request")
    if deploy.mark != context.deploy_mark:
        raise TerminalError("this request was replaced before it started a job: another deploy of the stack has begun")
    return not deploy.is_undone


def _completion(context: StepContext) -> Completion:
    return Completion(str(context.request.resource_properties.get("Completion") or Completion.WAIT))


def _is_submit(context: StepContext) -> bool:
    return _completion(context) is Completion.SUBMIT


def _is_detach(context: StepContext) -> bool:
    return _completion(context) is Completion.DETACH


def _pause(context: StepContext) -> float:
    """A tenth of the time gone by: a two-minute job is noticed within seconds, an hour costs some eighty calls."""
    shortest = _SHORTEST_DETACHED_PAUSE if context.mode is Mode.DETACHED else 2.0
    return min(max(shortest, context.elapsed / 10), 60.0)


def import_request(scope: str, properties: ImportProperties) -> ImportRequest:
    """Read the typed request in an import's properties. CloudFormation sends every number as a string."""
    asset = None
    if properties.get("AssetBucket"):
        asset = Asset(str(properties["AssetBucket"]), str(properties["AssetKey"]))
    return ImportRequest(
        scope=scope,
        datastore_id=str(properties["DatastoreId"]),
        data_access_role_arn=str(properties["DataAccessRoleArn"]),
        input_bucket=str(properties["InputBucket"]),
        input_prefix=str(properties.get("InputPrefix") or ""),
        output_bucket=str(properties["OutputBucket"]),
        output_prefix=str(properties.get("OutputPrefix") or ""),
        job_name=properties.get("JobName"),
        input_owner_account_id=properties.get("InputOwnerAccountId"),
        metadata_mappings=tuple(properties.get("MetadataMappings") or ()),
        asset=asset,
        on_empty=OnEmpty(str(properties.get("OnEmpty") or OnEmpty.SKIP)),
        quotas=Quotas(
            files=int(properties.get("MaxFiles") or Quotas.files),
            total_bytes=int(properties.get("MaxBytes") or Quotas.total_bytes),
            file_bytes=int(properties.get("MaxFileBytes") or Quotas.file_bytes),
        ),
    )


def _tolerance(properties: ImportProperties) -> Tolerance:
    files, percent = properties.get("MaxRejectedFiles"), properties.get("MaxRejectedPercent")
    return Tolerance(
        rejected_files=None if files is None else int(files),
        rejected_percent=None if percent is None else float(percent),
        non_primary_image_sets=str(properties.get("FailOnNonPrimary") or "false") != "true",
        warnings=str(properties.get("FailOnWarnings") or "false") != "true",
    )


def _attributes(context: StepContext, result: ImportResult) -> dict[str, str]:
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
        return running + moved, "deploy again with any change to see the verdict here"
    if result.job_status == NOTHING_TO_IMPORT:
        bucket = properties.get("InputBucket")
        next_step = f"aws s3 cp --recursive FOLDER s3://{bucket}/INPUT_PREFIX, then: {again}"
        return f"nothing to import: no file is under the input prefix of bucket {bucket}{moved}", next_step
    if result.job_status == NOT_STARTED and context.mode.may_start:
        return (
            f"nothing was imported again: nothing of meaning has changed, and the earlier record is gone{moved}",
            f"to import again: {again}",
        )
    if result.job_status == NOT_STARTED:
        return f"no job was started: the stack was rolled back{moved}", "none"
    next_step = "none"
    if result.counts.rejected:
        next_step = f"read why files were rejected in {result.failures_uri.rstrip('/')}/failure.ndjson"
    return f"{result.job_status}: {result.counts.sentence()}{moved}", next_step
