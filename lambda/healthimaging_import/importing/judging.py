"""A job, from its first look to its verdict, and the verdict's way out."""

from __future__ import annotations

from dataclasses import replace

from healthimaging_import import log
from healthimaging_import.contract import Verdict
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.job_output import count_causes, count_warnings, read_manifest_body
from healthimaging_import.importing.jobs import Job, get_job
from healthimaging_import.importing.judge import MANIFEST_PATIENCE_SECONDS, describe_causes, judge
from healthimaging_import.importing.manifest import read_manifest
from healthimaging_import.importing.publish import publish
from healthimaging_import.importing.record import Record, Retry, State
from healthimaging_import.importing.records import Run
from healthimaging_import.importing.verdict import NEW_RUN, ImportResult

_ARCHIVED_SECONDS = 89 * 24 * 3600
"""HealthImaging lists jobs for 90 days."""
_NEW_RIGHTS_SECONDS = 300
"""A job that failed so long after the request began, and left no manifest, may have been refused new rights."""
_UNKNOWN_JOB_PATIENCE_SECONDS = 300
"""How long HealthImaging may say that it does not know a job it has just answered with."""


class UnknownJobError(TerminalError):
    """A record names a job that is not of its import."""


def poll(context: ImportContext, record: Record) -> Record | ImportResult:
    """Look at the job; when it has ended, judge it."""
    job_id, now = record.job["jobId"], context.clock()
    try:
        job = get_job(context.aws, context.request.datastore_id, job_id)
    except TerminalError as error:
        if error.code != "ResourceNotFoundException":
            raise
        if now - record.submitted_at < _UNKNOWN_JOB_PATIENCE_SECONDS:
            raise RetryableError(f"import job {job_id} is not known yet") from None
        reason = f"import job {job_id} is not known any more; {NEW_RUN}"
        return write_verdict(context, record, Verdict.UNKNOWN, reason, result_of(record, "UNKNOWN"))
    _check_job(context, record, job)
    log.line("polled", job_id=job_id, job_status=job.status)
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
        is_early = ended_at < context.me.began_at + _NEW_RIGHTS_SECONDS
        record = replace(record, retry=Retry.DUE if is_early else Retry.NONE)
    return _judge(context, record, job, body, is_late=is_late)


def _check_job(context: ImportContext, record: Record, job: Job) -> None:
    """Make sure that the job is of this import: what the record names is input."""
    if not context.request.started(record.attempt, record.parameters.get("jobName"), job.name, job.input_uri):
        raise UnknownJobError(
            f"the record of this import names job {record.job['jobId']}, which this import did not start: somebody "
            f"else has written the record; {NEW_RUN}"
        )


def _judge(context: ImportContext, record: Record, job: Job, body: bytes | None, *, is_late: bool) -> Record:
    """Judge a job that has ended by the manifest that it left, if it did."""
    tolerance, manifest, unread = context.request.tolerance, None, ""
    result = replace(result_of(record, job.status), seconds=job.seconds)
    if body is not None:
        try:
            manifest = read_manifest(body)
        except TerminalError as error:
            unread = str(error)
    if body is not None and manifest is not None:
        warnings = count_warnings(context.aws, manifest, tolerated=tolerance.warnings, is_late=is_late)
        manifest = replace(manifest, counts=replace(manifest.counts, warnings=warnings))
        uri = context.records.keep_manifest(record, body)
        result = replace(result, counts=manifest.counts, manifest_uri=uri, failures_uri=manifest.failures_uri)
    verdict, reason = judge(job, manifest, tolerance, unread=unread)
    if reason:
        reason = f"import job {result.job_id} {reason}"
    if reason and manifest:
        causes = describe_causes(count_causes(context.aws, manifest), manifest.failures_uri)
        reason += f": {result.counts.sentence()}{causes}; manifest: {result.manifest_uri}"
    elif unread:
        reason += f"; {NEW_RUN}"
    elif reason:
        where = f"--datastore-id {context.request.datastore_id} --job-id {result.job_id}"
        reason += f"; read the rest with: aws medical-imaging get-dicom-import-job {where}"
        if verdict is Verdict.UNKNOWN:
            reason += f"; what it imported could not be determined; {NEW_RUN}"
        elif context.request.cross_account_advice:
            reason += f"; if it was denied access: {context.request.cross_account_advice}"
    return write_verdict(context, record, verdict, reason, result)


def write_verdict(
    context: ImportContext, record: Record, verdict: Verdict, reason: str, result: ImportResult
) -> Record:
    """Write the verdict, before anybody is told of it: it is the only one of this job, for whoever asks later."""
    counts = result.counts
    log.line(
        "judged", job_id=result.job_id, job_status=result.job_status, verdict=verdict, scanned=counts.scanned,
        imported=counts.imported, rejected=counts.rejected, image_sets=counts.image_sets,
        warnings=counts.warning_list(),
    )  # fmt: skip
    return context.records.save(
        record, state=State.JUDGED, verdict=verdict, result=result, reason=reason, lease_until=0.0, published=False
    )


def result_of(record: Record, job_status: str = "IN_PROGRESS") -> ImportResult:
    """Return what a record says of its job before there is a verdict."""
    return ImportResult(record.job.get("jobId", ""), job_status, record.job.get("submittedAt", ""))


def publish_verdict(context: ImportContext, record: Record) -> Record:
    """Send the verdict out, in the words of the record; one that another request has left is confirmed first."""
    request, verdict = context.request, record.verdict or Verdict.UNKNOWN
    if record.owner.request_id != context.me.request_id and verdict is not Verdict.UNKNOWN:
        confirm(context, record)
    if verdict is Verdict.SUCCEEDED:
        try:
            context.records.note_imported(Run(request.series, request.run_id, request.intent, record.submitted_at))
        except TerminalError as error:
            log.line("not noted", reason=str(error))
    tell(context, verdict, record.result)
    return context.records.save(record, published=True)


def tell(context: ImportContext, verdict: Verdict, result: ImportResult) -> None:
    """Send a verdict out."""
    publish(
        context.aws,
        import_name=context.request.import_name,
        datastore_id=context.request.datastore_id,
        verdict=verdict,
        result=result,
        topic_arn=context.request.topic_arn,
        notify=context.request.notify,
    )
    log.line("published", job_id=result.job_id, verdict=verdict)


def confirm(context: ImportContext, record: Record) -> ImportResult:
    """Compare a verdict that another request has written with what HealthImaging and the job itself say.

    Raises:
        TerminalError: there is no such job, or it has other numbers.
    """
    job_id, result = record.job["jobId"], record.result
    folder = f"s3://{context.request.output_bucket}/{context.request.output_prefix}"
    result = replace(result, failures_uri=result.failures_uri if result.failures_uri.startswith(folder) else "")
    if record.verdict is Verdict.SUCCEEDED and result.counts.imported == 0:
        raise TerminalError(f"the record of this import calls a job that imported nothing a success; {NEW_RUN}")
    try:
        job = get_job(context.aws, context.request.datastore_id, job_id)
    except TerminalError as error:
        if error.code != "ResourceNotFoundException":
            raise
        if context.clock() - record.submitted_at > _ARCHIVED_SECONDS:
            return result
        msg = f"the record of this import names job {job_id}, which HealthImaging does not know; {NEW_RUN}"
        raise TerminalError(msg) from None
    _check_job(context, record, job)
    said = f"the record of this import says that job {job_id} is {result.job_status}"
    if job.status != result.job_status:
        raise TerminalError(f"{said}, it is {job.status}; {NEW_RUN}")
    body = read_manifest_body(context.aws, job.folder)
    if body is not None and read_manifest(body).counts != replace(result.counts, warnings={}):
        raise TerminalError(f"{said} with other numbers than its manifest has; {NEW_RUN}")
    return result
