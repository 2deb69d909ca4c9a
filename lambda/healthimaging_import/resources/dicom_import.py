"""An import, as a custom resource."""

from __future__ import annotations

from dataclasses import replace
from typing import cast
from urllib.parse import quote, unquote

from healthimaging_import import log
from healthimaging_import.cfn import Request, Response
from healthimaging_import.contract import Completion, ImportProperties, Verdict
from healthimaging_import.errors import StepError
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.last_runs import LastRuns
from healthimaging_import.importing.lifecycle import EndedError, ReplacedError, close, run, watch
from healthimaging_import.importing.mode import LAST, Mode
from healthimaging_import.importing.publish import publish
from healthimaging_import.importing.record import Owner, Record, Records
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.importing.verdict import RUNNING, ImportResult, name_of_job
from healthimaging_import.resources.import_attributes import import_attributes
from healthimaging_import.resources.step import StepContext, StepResult, unfinished_response

_RUN = "-run-"
_LONGEST_RUN = 500
_FIRST_PAUSE, _SHORTEST_PAUSE = 2.0, 5.0
_LATE_SECONDS = 30
"""So late a first call may come after that of the next request: then the date in the URL counts, in whole seconds."""
_SHORTEST_DETACHED_PAUSE = 60.0
"""A day of shorter ones is more than the history of an execution holds."""


def step(context: StepContext) -> StepResult:
    """Do the next step of an import; the job of what the request undoes has to end first."""
    mode, carried = context.mode, context.carried
    if mode is Mode.CLEANUP and _known_run(context) is None and "RunId" not in context.request.resource_properties:
        return _response(context, ImportResult())  # which job was of the old id is not known
    if not carried.get("is_alone"):
        if _is_undone_job_running(context):
            return _pause(context)
        carried["is_alone"] = True
        carried.pop("ended_since", None)
    try:
        result = run(_import_context(context))
    except ReplacedError:
        if mode is Mode.DEPLOY:
            raise
        return _response(context, ImportResult())
    except EndedError as error:
        if mode is not Mode.DETACHED:
            raise
        return Response(success=False, reason=str(error))
    if result.job_status not in RUNNING:
        return _response(context, result)
    carried["job_id"] = result.job_id
    is_left = mode in (Mode.DEPLOY, Mode.ROLLBACK) and _completion(context) is Completion.SUBMIT
    return _response(context, result, detached=True) if is_left else _pause(context)


def _is_undoing(context: StepContext) -> bool:
    """Whether a rollback waits for the job of what it undoes, also after its response."""
    is_rollback = context.mode is Mode.ROLLBACK or "undone_run_id" in context.carried
    return is_rollback and not context.carried.get("is_alone")


def _is_undone_job_running(context: StepContext) -> bool:
    """Whether a job runs whose rights go after this request: that of the update that is rolled back, or was."""
    if _is_undoing(context):
        try:
            return run(_import_context(context, undone=True)).job_status in RUNNING
        except (ReplacedError, EndedError) as error:
            log.line("undone", reason=str(error))
    elif context.mode is Mode.DELETE:
        imports = _import_context(context)
        started = imports.last_runs.started
        record = imports.records.load(started.intent) if started and started.intent != imports.request.intent else None
        return record is not None and not record.has_ended and watch(imports, record).job_status in RUNNING
    return False


def give_up(context: StepContext, reason: str, *, is_lost: bool = False) -> Response:
    """End a request that cannot be brought to its end; what may be running is polled on, or has no verdict.

    Where a step was lost (``is_lost``) it may have done more than is known.
    """
    request, record = context.request, _close_record(context, reason, is_lost=is_lost)
    may_run = record is None or (record.owner.request_id == request.request_id and not record.has_ended)
    if context.mode is Mode.ROLLBACK:
        response = unfinished_response(request, context.mode, reason)
        try:  # whose job may run as well: the step that was lost may have become its owner
            restored = run(_import_context(context))
            response, may_run = _response(context, restored), may_run or restored.job_status in RUNNING
        except StepError:
            may_run = True
        return replace(response, detached=may_run)
    if context.mode is not Mode.DEPLOY:
        return _response(context, ImportResult())
    job = record.job if record else {"jobId": str(context.carried.get("job_id", ""))}
    job_id, completion = job.get("jobId") if may_run else None, _completion(context)
    is_over = context.clock() >= context.deadline
    if job_id and (completion is Completion.SUBMIT or (is_over and completion is Completion.DETACH)):
        return _response(context, ImportResult(job_id, "IN_PROGRESS"), detached=True)
    name = name_of_job(str(job_id), request.resource_properties.get("DatastoreId"))
    if job_id and is_over:
        seconds = int(context.clock() - context.began_at)
        reason = f"{name} had not ended after {seconds} seconds and may still be running"
        if request.request_type == "Update":
            reason += ": a deploy waits for it while it runs, and imports again only if it has failed"
    elif job_id:
        reason = f"{name} may still be running: {reason}"
    return _response(context, ImportResult(), reason, detached=may_run)


def _close_record(context: StepContext, reason: str, *, is_lost: bool) -> Record | None:
    """Close the record of what the request was doing; where none says how that ended, the verdict is UNKNOWN."""
    is_undoing, record = _is_undoing(context), None
    try:
        record = close(_import_context(context, undone=is_undoing), reason, is_lost=is_lost)
    except StepError as error:
        log.line("not closed", reason=str(error))
    own = context.carried.get("undone", {}) if is_undoing else context.carried
    if record is None and context.mode in LAST and (is_lost or "owned" in own):
        unknown = ImportResult(job_status=Verdict.UNKNOWN)
        publish(context.aws, _import_context(context).request, Verdict.UNKNOWN, unknown)
    return record


def _response(context: StepContext, result: ImportResult, failure: str = "", *, detached: bool = False) -> Response:
    """Respond, with the physical id of what the request describes where that is there now, or has to be deleted."""
    request = context.request
    is_new = not failure or request.request_type == "Create"
    return Response(
        success=not failure,
        reason=failure,
        data={} if failure else import_attributes(request, context.mode, result),
        physical_resource_id=_physical_id(context) if is_new and request.request_type != "Delete" else "",
        detached=detached,
    )


def note_responded(context: StepContext) -> None:
    """Note that the request has its response, so that it gets no second one if its execution is stopped."""
    imports, request_id = _import_context(context), context.request.request_id
    record = imports.records.load(imports.request.intent)
    if record and record.owner.request_id == request_id:
        imports.records.save(record, responded_to=request_id)


def has_responded(context: StepContext) -> bool:
    """Whether the request has its response, or CloudFormation waits for none, as far as its record says."""
    imports = _import_context(context)
    record = imports.records.load(imports.request.intent)
    if record is None:
        return False
    return record.owner.sent_at > imports.me.sent_at or record.responded_to == context.request.request_id


def _resolve(context: StepContext, *, undone: bool) -> tuple[ImportRequest, LastRuns]:
    """Find out which run of the import is meant, and whether the data store has it already; both are found out once."""
    request, carried, properties = context.request, context.carried, context.request.resource_properties
    if undone:
        properties = request.old_resource_properties or properties
    key, given = "undone_run_id" if undone else "run_id", properties.get("RunId")
    wanted = ImportRequest.read(request.scope, cast("ImportProperties", properties), str(given or ""))
    last_runs = LastRuns(Records(context.aws, wanted))
    if key not in carried:
        run_id = given if given is not None or undone else _known_run(context)
        if run_id is None:
            run_id = last_runs.resolve(wanted, _deployed_before(request, _run_in_id(request) or ""))
        carried[key] = str(run_id)
    if carried[key] != wanted.run_id:
        wanted = wanted.for_run(carried[key])
    if "is_current" not in carried and context.mode is Mode.DEPLOY:
        before = _deployed_before(request, wanted.run_id)
        carried["is_current"] = last_runs.is_current(wanted, before, is_plain=given is None)
    return wanted, last_runs


def _import_context(context: StepContext, *, undone: bool = False) -> ImportContext:
    """Bring together what the import logic needs, for what the request describes or for what it has undone."""
    request, carried = context.request, context.carried
    wanted, last_runs = _resolve(context, undone=undone)
    completion = _completion(context) if context.mode is Mode.DEPLOY else None
    is_late = context.began_at - request.sent_at > _LATE_SECONDS
    return ImportContext(
        request=wanted,
        aws=context.aws,
        records=last_runs.records,
        last_runs=last_runs,
        mode=Mode.SUBMIT if completion is Completion.SUBMIT else context.mode,
        me=Owner(request.request_id, request.sent_at if is_late else context.began_at),
        clock=context.clock,
        is_current=bool(carried.get("is_current")),
        has_new_rights=request.has_new_rights,
        check_still_wanted=context.check_still_wanted,
        judge_until=context.deadline if completion is Completion.DETACH else float("inf"),
        time_left=lambda: min(context.time_left(), context.deadline - context.clock()),
        carried=carried.setdefault("undone", {}) if undone else carried,
    )


def _deployed_before(request: Request, run_id: str) -> ImportRequest | None:
    """Return what the deploy before meant; where neither names a run, both mean the same."""
    old = cast("ImportProperties", request.old_resource_properties)
    if not old:
        return None
    before, now = old.get("RunId"), request.resource_properties.get("RunId")
    return ImportRequest.read(request.scope, old, run_id if before is None and now is None else str(before or ""))


def _physical_id(context: StepContext) -> str:
    """Return the physical id of what the request describes: its rights and its run, which its deletion has to know."""
    run_id = context.carried.get("run_id")
    if run_id is None:
        return context.request.physical_resource_id
    return f"{context.request.new_physical_resource_id}{_RUN}{quote(run_id, safe='')[:_LONGEST_RUN]}"


def _known_run(context: StepContext) -> str | None:
    """Return the run that a deletion or a rollback means where its properties name none: that of the physical id.

    The id of a rollback is that of what it undoes where that had been done; then its rights are others.
    """
    base = context.request.physical_resource_id.partition(_RUN)[0]
    is_restored = base == context.request.new_physical_resource_id or context.mode is not Mode.ROLLBACK
    run_id = _run_in_id(context.request) if is_restored and context.mode is not Mode.DEPLOY else None
    is_undone = run_id is not None and run_id == context.request.old_resource_properties.get("RunId")
    return None if is_undone else run_id


def _run_in_id(request: Request) -> str | None:
    _, mark, quoted = request.physical_resource_id.partition(_RUN)
    return unquote(quoted) if mark and len(quoted) < _LONGEST_RUN else None


def _completion(context: StepContext) -> Completion:
    return Completion(str(context.request.resource_properties.get("Completion") or Completion.WAIT))


def _pause(context: StepContext) -> float:
    """A tenth of the time gone by: a two-minute job is noticed within seconds, an hour costs some eighty calls.

    HealthImaging takes 80 to 120 seconds for a small job. The first look, after two, is for a local cloud.
    """
    elapsed = context.clock() - context.began_at
    shortest = _SHORTEST_PAUSE if elapsed >= _FIRST_PAUSE else _FIRST_PAUSE
    shortest = _SHORTEST_DETACHED_PAUSE if context.mode is Mode.DETACHED else shortest
    return min(max(shortest, elapsed / 10), 60.0)
