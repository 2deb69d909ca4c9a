"""From the end of a job to its verdict: looking, judging, telling, and comparing what a record says of it."""

from __future__ import annotations

import re
from dataclasses import replace

from healthimaging_import import log
from healthimaging_import.contract import Verdict
from healthimaging_import.errors import ConflictError, RetryableError, StepError, TerminalError
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.job_output import (
    count_causes,
    count_warnings,
    manifest_or_reason,
    read_manifest,
    read_manifest_body,
)
from healthimaging_import.importing.jobs import UNKNOWN_JOB_PATIENCE_SECONDS, Job, get_known_job
from healthimaging_import.importing.publish import publish
from healthimaging_import.importing.record import Record, Retry, State
from healthimaging_import.importing.verdict import (
    MANIFEST_PATIENCE_SECONDS,
    NEW_RUN,
    Counts,
    ImportResult,
    describe_causes,
    judge,
    name_of_job,
)

_ARCHIVED_SECONDS = 89 * 24 * 3600
"""HealthImaging lists jobs for 90 days."""
_KEPT_SECONDS = 24 * 3600
"""No lifecycle rule removes a manifest sooner."""
_NEW_RIGHTS_SECONDS = 300
"""A job that failed so long after the request began, and left no manifest, may have been refused new rights."""


class UnknownJobError(TerminalError):
    """A record names a job that is not of its import."""


def poll(context: ImportContext, record: Record) -> Record | ImportResult:
    """Look at the job; when it has ended, judge it."""
    job_id, now = record.job["jobId"], context.clock()
    job = get_known_job(context.aws, context.request.datastore_id, job_id)
    if job is None:
        if now - record.submitted_at < UNKNOWN_JOB_PATIENCE_SECONDS:
            raise RetryableError(f"import job {job_id} is not known yet")
        reason = f"{_name(context, record)} is not known any more; {NEW_RUN}"
        return write_verdict(context, record, Verdict.UNKNOWN, reason, result_of(record, "UNKNOWN"))
    _check_job(context, record, job)
    ended_at = job.ended_at.timestamp() if job.ended_at else record.ended_at or now
    if not job.has_ended or ended_at > context.judge_until:
        return result_of(record, "IN_PROGRESS" if job.has_ended else job.status)
    is_late = now - ended_at >= MANIFEST_PATIENCE_SECONDS[job.status]
    body = read_manifest_body(context.aws, job.folder)
    if body is None and not is_late:
        if not job.ended_at and not record.ended_at:
            context.records.save(record, ended_at=now)
        raise RetryableError(f"import job {job_id} is {job.status} and has not written its manifest")
    if body is None and job.status == "FAILED" and record.retry is Retry.NONE and context.has_new_rights:
        is_early = ended_at < context.me.sent_at + _NEW_RIGHTS_SECONDS
        record = replace(record, retry=Retry.DUE if is_early else Retry.NONE)
    verdict, reason, result = _judge(context, record, job, body, is_late=is_late)
    if body is not None and result.manifest_uri:
        context.records.keep_manifest(record, body)
    return write_verdict(context, record, verdict, reason, result)


def _check_job(context: ImportContext, record: Record, job: Job) -> None:
    """Make sure that the job is of this import: what the record names is input."""
    if not context.request.started(record.attempt, record.parameters.get("jobName"), job.name, job.input_uri):
        raise UnknownJobError(
            f"the record of this import names job {record.job['jobId']}, which this import did not start: "
            f"something else has written the record; {NEW_RUN}"
        )


def _judge(
    context: ImportContext, record: Record, job: Job, body: bytes | None, *, is_late: bool
) -> tuple[Verdict, str, ImportResult]:
    """Judge a job that has ended by the manifest that it left, if it did."""
    tolerance, (manifest, unread) = context.request.tolerance, manifest_or_reason(body)
    result = replace(result_of(record, job.status), seconds=job.seconds)
    if manifest is not None:
        warnings = count_warnings(context.aws, manifest, tolerated=tolerance.warnings, is_late=is_late)
        manifest = replace(manifest, counts=replace(manifest.counts, warnings=warnings))
        uri = context.records.manifest_uri(record)
        result = replace(result, counts=manifest.counts, manifest_uri=uri, failures_uri=manifest.failures_uri)
    counts = manifest.counts if manifest else None
    verdict, reason = judge(job.status, counts, tolerance, message=job.message, unread=unread)
    if not reason:
        return verdict, "", result
    reason = f"{_name(context, record)} {reason}"
    if manifest:
        causes = describe_causes(count_causes(context.aws, manifest), manifest.failures_uri)
        reason += f": {result.counts.sentence()}{causes}; manifest: {result.manifest_uri}"
    elif unread:
        reason += f"; {NEW_RUN}"
    else:
        where = f"--datastore-id {context.request.datastore_id} --job-id {result.job_id}"
        reason += f"; read the rest with: aws medical-imaging get-dicom-import-job {where}"
        if verdict is Verdict.UNKNOWN:
            reason += f"; what it imported could not be determined; {NEW_RUN}"
        elif context.request.cross_account_advice:
            reason += f"; if it was denied access: {context.request.cross_account_advice}"
    return verdict, reason, result


def _name(context: ImportContext, record: Record) -> str:
    return name_of_job(record.job.get("jobId", "unknown"), context.request.datastore_id)


def write_verdict(
    context: ImportContext, record: Record, verdict: Verdict, reason: str, result: ImportResult
) -> Record:
    """Write the verdict, before it is published: it is the only one of this job, for every later request."""
    log.line("judged", job_id=result.job_id, job_status=result.job_status, verdict=verdict)
    context.has_ended = True
    return context.records.save(
        record, state=State.JUDGED, verdict=verdict, result=result, reason=reason, lease_until=0.0, published=False
    )


def result_of(record: Record, job_status: str = "IN_PROGRESS") -> ImportResult:
    """Return what a record says of its job before there is a verdict."""
    return ImportResult(record.job.get("jobId", ""), job_status, record.job.get("submittedAt", ""))


def publish_verdict(context: ImportContext, record: Record) -> Record:
    """Send the verdict out."""
    request, verdict = context.request, record.verdict or Verdict.UNKNOWN
    told = record if context.has_ended else confirm(context, record)
    if verdict is Verdict.SUCCEEDED:
        try:
            context.last_runs.note_imported(request, record.submitted_at)
        except TerminalError as error:
            log.line("not noted", reason=str(error))
    publish(context.aws, request, verdict, told.result)
    try:
        return context.records.save(record, published=True)
    except ConflictError:
        raise
    except StepError as error:
        # Sent again with each try it would reach people each minute; the next request sends it once more.
        log.line("not noted", reason=str(error))
        return replace(record, published=True)


def confirm(context: ImportContext, record: Record) -> Record:
    """Compare a verdict that this step has not written with what HealthImaging and the job itself say.

    Returns:
        The record, with texts that are worked out anew.

    Raises:
        TerminalError: there is no such job, or it has other numbers.
    """
    result, is_unknown, body = record.result, record.verdict is Verdict.UNKNOWN, None
    job_id = record.job.get("jobId")
    job = get_known_job(context.aws, context.request.datastore_id, job_id) if job_id else None
    if job is not None:
        _check_job(context, record, job)
        is_judged_by_manifest = record.verdict is not Verdict.FAILED or bool(result.manifest_uri)  # it may come later
        body = read_manifest_body(context.aws, job.folder) if job.has_ended and is_judged_by_manifest else None
    if not is_unknown:
        _check_verdict(context, record, job, body)
    is_own = re.fullmatch(rf"{re.escape(context.request.output_uri)}[\w/-]*", result.failures_uri)
    result = replace(
        result,
        job_id=job_id or "",
        submitted_at=record.job.get("submittedAt", ""),
        counts=Counts() if is_unknown else result.counts,
        failures_uri=result.failures_uri if is_own else "",
        manifest_uri=context.records.manifest_uri(record) if result.manifest_uri else "",
    )
    return replace(record, reason=_reason_anew(context, record, job, body), result=result)


def _check_verdict(context: ImportContext, record: Record, job: Job | None, body: bytes | None) -> None:
    """Make sure that a verdict is that of its job: of a job that is archived nothing can be compared."""
    result, job_id, is_success = record.result, record.job["jobId"], record.verdict is Verdict.SUCCEEDED
    if is_success and result.counts.imported == 0:
        raise TerminalError(f"the record of this import calls a job that imported nothing a success; {NEW_RUN}")
    if job is None:
        if context.clock() - record.submitted_at <= _ARCHIVED_SECONDS:
            msg = f"the record of this import names job {job_id}, which HealthImaging does not know; {NEW_RUN}"
            raise TerminalError(msg)
        return
    said = f"the record of this import says that job {job_id} is {result.job_status}"
    if job.status != result.job_status:
        raise TerminalError(f"{said}, it is {job.status}; {NEW_RUN}")
    if is_success and body is None and context.clock() - record.submitted_at < _KEPT_SECONDS:
        msg = f"the record of this import calls job {job_id} a success, and the job's manifest is not there"
        msg = f"{msg}: put it back, or deploy again when the job is a day old; {NEW_RUN}"
        raise RetryableError(msg, patience=MANIFEST_PATIENCE_SECONDS["COMPLETED"])
    if body is not None and read_manifest(body).counts != replace(result.counts, warnings={}):
        raise TerminalError(f"{said} with other numbers than its manifest has; {NEW_RUN}")


def _reason_anew(context: ImportContext, record: Record, job: Job | None, body: bytes | None) -> str:
    """Say why a verdict is not SUCCEEDED: in the same words as before, if the same request responds."""
    if record.verdict is Verdict.SUCCEEDED:
        return ""
    is_unknown, name = record.verdict is Verdict.UNKNOWN, _name(context, record)
    if job is not None and job.has_ended:
        verdict, reason, _ = _judge(context, record, job, body, is_late=True)
        if verdict is record.verdict:
            return reason
    if is_unknown and job is None and record.job:
        return f"{name} is not known any more; {NEW_RUN}"
    return f"{name}: what became of the job could not be determined; {NEW_RUN}" if is_unknown else f"{name} has failed"
