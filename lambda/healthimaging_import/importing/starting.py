"""An attempt, from its claim to its job."""

from __future__ import annotations

from datetime import datetime

from healthimaging_import import log
from healthimaging_import.aws.clients import CALL_SECONDS
from healthimaging_import.contract import OnEmpty
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.jobs import find_job, refuse_unmarked, start_job
from healthimaging_import.importing.lifecycle import State
from healthimaging_import.importing.record import Record
from healthimaging_import.importing.records import Run, VersionedRecord
from healthimaging_import.importing.source import survey
from healthimaging_import.importing.unpack import unpack
from healthimaging_import.importing.verdict import NOTHING_TO_IMPORT, ImportResult

LEASE_SECONDS = 60
"""A start takes 25 seconds at most; the rest is for HealthImaging to list the job, and for clocks that differ."""
_REPLAY_SECONDS = 60
"""A job that was submitted so long before its attempt was claimed is an earlier one, which its token brought back."""


def claim(context: ImportContext, found: VersionedRecord | None) -> VersionedRecord:
    """Begin an attempt."""
    attempt = found.record.attempt + 1 if found else 1
    record = Record(
        intent=context.request.intent,
        attempt=attempt,
        state=State.CLAIMED,
        owner=context.me,
        parameters=context.request.start_parameters(attempt),
        claimed_at=context.clock(),
    )
    found = context.records.save(record, found)
    context.carried["owned"] = True
    log.line("claimed", intent=record.intent, attempt=attempt)
    return found


def start(context: ImportContext, found: VersionedRecord) -> VersionedRecord | ImportResult:
    """Start the job; what the others can see of it is written before anybody is asked whether it is wanted."""
    if not context.carried.get("prepared"):
        try:
            is_empty = _prepare(context)
        except TerminalError as error:
            return refuse(context, found, str(error))
        if is_empty:
            return refuse(context, found, _empty_reason(context))
        context.records.note_started(Run(context.request.series, context.request.run_id, context.request.intent))
        context.carried["prepared"] = True
    parameters = context.request.start_parameters(found.record.attempt)
    found = context.records.change(found, parameters=parameters, lease_until=context.clock() + LEASE_SECONDS)
    is_sent = False
    try:
        if not context.is_still_wanted():
            return refuse(
                context, found, "this request was replaced before it started a job: the stack is rolled back or deleted"
            )
        context.aws.client("medical-imaging", once=True)  # which may take a while, and must not after the next line
        if context.clock() > found.record.lease_until - CALL_SECONDS:
            raise RetryableError("the lease was over before the job could be started")  # noqa: TRY301 - as the calls do
        is_sent = True
        job = start_job(context.aws, parameters)
    except TerminalError as error:
        if is_sent and not error.is_refusal:
            raise
        return refuse(context, found, f"no job was started: {error}" if is_sent else str(error))
    except RetryableError as error:
        if not is_sent or error.is_refusal:
            context.records.change(found, lease_until=0.0)
        raise
    return _started(context, found, job)


def _started(context: ImportContext, found: VersionedRecord, job: dict[str, str]) -> VersionedRecord | ImportResult:
    record = found.record
    if datetime.fromisoformat(job["submittedAt"]).timestamp() < record.claimed_at - _REPLAY_SECONDS:
        # Its record was lost, and the token brought the earlier job back.
        return context.records.change(found, attempt=record.attempt + 1, claimed_at=context.clock(), lease_until=0.0)
    context.records.change(found, state=State.RUNNING, job=job, lease_until=0.0)
    log.line("started", job_id=job["jobId"], datastore_id=context.request.datastore_id, attempt=record.attempt)
    return ImportResult(job["jobId"], "SUBMITTED", job["submittedAt"])


def _prepare(context: ImportContext) -> bool:
    """Make the source ready and look at it; returns whether it is empty."""
    # What was given is left out: a prefix may be of a kind that does not belong into a reason.
    problems = [problem.split(", got ")[0] for problem in context.request.violations()]
    if problems:
        raise TerminalError("no job was started: " + "; ".join(problems))
    if context.request.asset and not context.carried.get("unpacked_all"):
        position = unpack(context.aws, context.request, context.carried.get("unpacked", 0), context.time_left)
        log.line("unpacked", position=position)
        if position is not None:
            context.carried["unpacked"] = position
            raise RetryableError(
                "no job was started: the local files were not unpacked in time; use a bucket for so many", after=1
            )
        context.carried["unpacked_all"] = True
    found = survey(context.aws, context.request)
    log.line("surveyed", files=found.files, bytes=found.total_bytes, complete=found.complete)
    found.check_quotas(context.request.quotas)
    return found.files == 0


def _empty_reason(context: ImportContext) -> str:
    if context.request.on_empty is OnEmpty.SKIP:
        return NOTHING_TO_IMPORT
    return (
        f"nothing to import: no file is under the input prefix of bucket {context.request.input_bucket}; upload DICOM "
        f"P10 files (aws s3 cp --recursive FOLDER s3://{context.request.input_bucket}/INPUT_PREFIX) and deploy again, "
        "or set on_empty to skip"
    )


def find(context: ImportContext, found: VersionedRecord) -> VersionedRecord:
    """Look for the job of a start whose answer was lost."""
    record = found.record
    name, job = str(record.parameters.get("jobName") or ""), None
    if name.endswith(context.request.mark(record.attempt)):
        try:
            job = find_job(context.aws, context.request.datastore_id, name, record.claimed_at)
        except TerminalError as error:
            msg = f"whether import job {name} was started could not be determined: {error}"
            raise TerminalError(msg) from None
    else:
        refuse_unmarked(context.aws, context.request.datastore_id, record.claimed_at)
    state = State.RUNNING if job else State.CLAIMED
    return context.records.change(found, state=state, job=job or {}, lease_until=0.0)


def refuse(context: ImportContext, found: VersionedRecord, reason: str = "no job was started") -> VersionedRecord:
    """End an attempt whose start was never sent, or was refused."""
    log.line("refused", reason=reason)
    return context.records.change(found, state=State.REFUSED, reason=reason, lease_until=0.0)
