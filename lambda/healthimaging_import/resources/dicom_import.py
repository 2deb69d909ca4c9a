"""An import, as a custom resource."""

from __future__ import annotations

from typing import cast
from urllib.parse import quote, unquote

from healthimaging_import import log
from healthimaging_import.cfn.request import Request
from healthimaging_import.cfn.response import Response
from healthimaging_import.contract import Completion, ImportProperties, Notify, Verdict
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.lifecycle import Mode, Owner, State
from healthimaging_import.importing.publish import publish
from healthimaging_import.importing.records import Records
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.importing.runner import EndedError, ReplacedError, close, run, watch
from healthimaging_import.importing.runs import is_current, resolve_run
from healthimaging_import.importing.verdict import ImportResult
from healthimaging_import.resources.import_attributes import attributes
from healthimaging_import.resources.import_properties import import_request, tolerance
from healthimaging_import.resources.step import StepContext, StepResult

_RUN = "-run-"
_LONGEST_RUN = 500
_LATE_SECONDS = 30
"""How much later than its timeout a request may take its last step; one that is later comes from a lost step."""
_SHORTEST_DETACHED_PAUSE = 60.0
"""A day of shorter ones is more than the history of an execution holds."""


def step(context: StepContext) -> StepResult:
    """Do the next step of an import; a rollback waits for the job of what it undoes first."""
    if (
        context.mode is Mode.CLEANUP
        and _known_run(context) is None
        and "RunId" not in context.request.resource_properties
    ):
        return _response(context, ImportResult())  # nobody can tell which job was of the old id
    pause = _wait_for_undone(context) if _is_undoing(context) else _wait_for_started(context)
    if pause is not None:
        return pause
    try:
        result = run(_import_context(context))
    except ReplacedError as error:
        return _response(context, ImportResult(), "" if not context.mode.may_start else str(error))
    except EndedError as error:
        if context.mode is not Mode.DETACHED:
            raise
        return Response(success=False, reason=str(error))
    is_running = result.is_running
    if is_running:
        context.carried["job_id"] = result.job_id
    if is_running and not (context.mode in (Mode.DEPLOY, Mode.ROLLBACK) and _is_submit(context)):
        return _pause(context)
    return _response(context, result, detached=is_running)


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
    if record is None and is_owned and context.mode in (Mode.DELETE, Mode.DETACHED):
        _publish_unknown(context)
    job_id = record.job["jobId"] if record and may_run and record.state is State.RUNNING else ""
    if record is None and may_run and context.mode.may_start:
        job_id = str(context.carried.get("job_id", ""))
    is_good = not context.mode.may_start or bool(job_id and (_is_submit(context) or (is_over and _is_detach(context))))
    if is_good:
        running = ImportResult(job_id, "IN_PROGRESS") if job_id else ImportResult()
        result = _remembered(context) if is_undoing else running
        return _response(context, result, detached=may_run and context.request.request_type != "Delete")
    if job_id and is_over:
        store = context.request.resource_properties.get("DatastoreId")
        seconds = int(context.elapsed)
        reason = (
            f"import job {job_id} of data store {store} had not ended after {seconds} seconds and may still be running"
        )
        if context.request.request_type == "Update":
            reason += ": a deploy waits for it while it runs, and imports again only if it has failed"
    return _response(context, ImportResult(), reason, detached=may_run)


def _remembered(context: StepContext) -> ImportResult:
    """Return what a rollback restores, where it is known."""
    try:
        return run(_import_context(context))
    except (RetryableError, TerminalError):
        return ImportResult()


def _response(context: StepContext, result: ImportResult, failure: str = "", *, detached: bool = False) -> Response:
    """Respond, with the physical id of what was asked for where that is there now, or has to be deleted."""
    request = context.request
    is_new = not failure or request.request_type == "Create"
    return Response(
        success=not failure,
        reason=failure,
        data={} if failure else attributes(context, result),
        physical_resource_id=_physical_id(context) if is_new and request.request_type != "Delete" else "",
        detached=detached,
    )


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


def _wait_for_started(context: StepContext) -> float | None:
    """Wait, before the import is deleted, for the job of an update that was rolled back: its rights go as well."""
    if context.mode is not Mode.DELETE or context.carried.get("started_ended"):
        return None
    imports = _import_context(context)
    started = imports.records.last_runs(imports.request.series).started
    found = imports.records.load(started.intent) if started and started.intent != imports.request.intent else None
    if found and not found.record.state.is_end and watch(imports, found).is_running:
        return _pause(context)
    context.carried["started_ended"] = True
    context.carried.pop("ended_since", None)
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
        given = _known_run(context) if given is None and not undone else given
        carried[key] = str(given) if given is not None else resolve_run(records, wanted)
    wanted = wanted.for_run(carried[key])
    if "is_current" not in carried and context.mode.may_start:
        before, is_plain = _deployed_before(request, wanted.run_id), properties.get("RunId") is None
        carried["is_current"] = is_current(records, wanted, before, is_plain=is_plain)
    mode = Mode.SUBMIT if context.mode is Mode.DEPLOY and _is_submit(context) else context.mode
    return ImportContext(
        request=wanted,
        aws=context.aws,
        records=records,
        mode=mode,
        me=Owner(request.request_id, context.began_at),
        clock=context.clock,
        tolerance=tolerance(properties),
        is_current=bool(carried.get("is_current")),
        is_still_wanted=lambda: _is_still_wanted(context),
        judge_until=context.deadline if mode is Mode.DEPLOY and _is_detach(context) else float("inf"),
        time_left=lambda: min(context.time_left(), context.remaining),
        carried={} if undone else carried,
        topic_arn=str(properties.get("NotificationTopicArn") or ""),
        notify=Notify(str(properties.get("Notify") or Notify.FAILURES)),
    )


def _deployed_before(request: Request, run_id: str) -> ImportRequest | None:
    """Return what the deploy before asked for; where neither names a run, both mean the same."""
    old = cast("ImportProperties", request.old_resource_properties)
    if not old:
        return None
    before, now = old.get("RunId"), request.resource_properties.get("RunId")
    return import_request(request.scope, old).for_run(run_id if before is None and now is None else str(before or ""))


def _physical_id(context: StepContext) -> str:
    """Return the physical id of what was asked for: its rights and its run, which the deletion of it has to know."""
    run_id = context.carried.get("run_id")
    if run_id is None:
        return context.request.physical_resource_id
    return f"{context.request.new_physical_resource_id}{_RUN}{quote(run_id, safe='')[:_LONGEST_RUN]}"


def _known_run(context: StepContext) -> str | None:
    """Return the run that a deletion or a rollback means where its properties name none: that of the physical id.

    The id of a rollback is that of what it undoes where that had been done; then its rights are others.
    """
    base, mark, quoted = context.request.physical_resource_id.partition(_RUN)
    is_restored = base == context.request.new_physical_resource_id or context.mode is not Mode.ROLLBACK
    is_known = bool(mark) and len(quoted) < _LONGEST_RUN and is_restored and not context.mode.may_start
    run_id = unquote(quoted) if is_known else None
    is_undone = run_id is not None and run_id == context.request.old_resource_properties.get("RunId")
    return None if is_undone else run_id


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
