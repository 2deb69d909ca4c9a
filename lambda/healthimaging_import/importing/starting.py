"""An attempt, from its claim to its job."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import CALL_SECONDS, IAM_PROPAGATION_SECONDS, Aws
from healthimaging_import.contract import DEFAULT_INPUT_PREFIX, OnEmpty
from healthimaging_import.errors import RetryableError, StepError, TerminalError, UnfinishedError
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.jobs import find_job, get_known_job, start_job
from healthimaging_import.importing.record import Record, Retry, State
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.importing.unpack import unpack
from healthimaging_import.importing.verdict import NEW_RUN, NOTHING_TO_IMPORT, ImportResult

LEASE_SECONDS = 60
"""A start takes 25 seconds at most; the rest is for HealthImaging to list the job, and for clocks that differ."""
_REPLAY_SECONDS = 60
"""A job that was submitted so long before its attempt was claimed is an earlier one, which its token brought back."""
_SECONDS_WITH_SLOT = 20
"""How long local files are unpacked at once. A new account runs ten functions at once, and others are to begin, too."""
_SECONDS_WITHOUT_SLOT = 10.0
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""The storage classes whose objects cannot be read before they are restored."""
_BULK = "import it with BulkDicomImport, which takes any number"
_RAISED = "pass quotas= if AWS has raised yours"


def claim(context: ImportContext, record: Record | None) -> Record:
    """Begin an attempt.

    Raises:
        RetryableError: it repeats one whose rights IAM may not know yet, or whose job still runs.
        TerminalError: CloudFormation does not wait for this request.
    """
    attempt = record.attempt + 1 if record else 1
    is_retry = record is not None and record.retry is Retry.DUE and record.owner == context.me
    wait = context.me.sent_at + IAM_PROPAGATION_SECONDS - context.clock()
    if record is not None and is_retry and wait > 0:
        raise RetryableError(f"{record.reason}; it would have been started once more", after=wait)
    if record is not None:
        context.check_still_wanted()  # whoever makes a call up takes no success out of the record
    if record is not None and record.job:
        # A deletion, or whoever polled the job, could find no verdict in time, or somebody else made one up.
        job_id = record.job["jobId"]
        job = get_known_job(context.aws, context.request.datastore_id, job_id)
        if job and not job.has_ended:
            raise RetryableError(f"import job {job_id} of an earlier deploy is {job.status}; deploy again later")
    new = Record(
        intent=context.request.intent,
        attempt=attempt,
        state=State.CLAIMED,
        owner=context.me,
        parameters=context.request.start_parameters(attempt),
        claimed_at=context.clock(),
        retry=Retry.DONE if is_retry else Retry.NONE,
        etag=record.etag if record else "",
    )
    claimed = context.records.save(new)
    context.carried["owned"] = True
    log.line("claimed", intent=claimed.intent, attempt=attempt)
    return claimed


def start(context: ImportContext, record: Record) -> Record | ImportResult:
    """Start the job; the lease is visible to other requests before it is found out whether the job is wanted."""
    if not context.carried.get("prepared") and record.retry is not Retry.DONE:  # which repeats a start as it was
        try:
            _prepare(context)
        except TerminalError as error:
            return refuse(context, record, str(error))
        context.carried["prepared"] = True
    parameters = context.request.start_parameters(record.attempt)
    record = context.records.save(record, parameters=parameters, lease_until=context.clock() + LEASE_SECONDS)
    is_sent = False
    try:
        context.check_still_wanted()
        context.aws.client("medical-imaging", once=True)  # which may take a while, and must not after the next line
        if context.clock() > record.lease_until - CALL_SECONDS:
            raise RetryableError("the lease was over before the job could be started")
        is_sent = True
        job = start_job(context.aws, parameters)
    except StepError as error:
        if is_sent and not error.is_refusal:
            raise
        if isinstance(error, TerminalError):
            return refuse(context, record, f"no job was started: {error}" if is_sent else str(error))
        context.records.save(record, lease_until=0.0)
        raise
    if datetime.fromisoformat(job["submittedAt"]).timestamp() < record.claimed_at - _REPLAY_SECONDS:
        # Its record was lost, and the token brought the earlier job back.
        return context.records.save(record, attempt=record.attempt + 1, claimed_at=context.clock(), lease_until=0.0)
    context.records.save(record, state=State.RUNNING, job=job, lease_until=0.0)
    log.line("started", job_id=job["jobId"], datastore_id=context.request.datastore_id, attempt=record.attempt)
    return ImportResult(job["jobId"], "SUBMITTED", job["submittedAt"])


def _prepare(context: ImportContext) -> None:
    """Make the source ready, refuse what no job can be started for, and note the run as started last."""
    request, carried = context.request, context.carried
    # What was given is left out: a prefix may hold what does not belong into a reason.
    problems = [problem.split(", got ")[0] for problem in request.violations()]
    if problems:
        raise TerminalError("no job was started: " + "; ".join(problems))
    if request.asset and carried.get("unpacked", 0) is not None:
        until = context.clock() + _SECONDS_WITH_SLOT
        position = carried["unpacked"] = unpack(
            context.aws, request, carried.get("unpacked", 0), lambda: min(context.time_left(), until - context.clock())
        )
        log.line("unpacked", position=position)
        if position is not None:
            reason = "no job was started: the local files were not unpacked in time; use a bucket for so many"
            raise UnfinishedError(reason, after=_SECONDS_WITHOUT_SLOT)
    files = survey(context.aws, request)
    if files == 0 and request.on_empty is OnEmpty.SKIP:
        raise TerminalError(NOTHING_TO_IMPORT)
    if files == 0:
        raise TerminalError(
            f"nothing to import: no file is under the input prefix of bucket {request.input_bucket}; upload DICOM P10 "
            f"files ({upload_command(request.input_bucket, request.input_prefix)}) and deploy again, or set "
            "on_empty to skip"
        )
    context.last_runs.note_started(request)


def find(context: ImportContext, record: Record) -> Record:
    """Look for the job of a start whose answer was lost."""
    name, datastore_id = str(record.parameters.get("jobName") or ""), context.request.datastore_id
    if not name.endswith(context.request.mark(record.attempt)):
        raise TerminalError(
            "an earlier version of healthimaging-cdk may have started a job for this import, and nothing marks it: "
            f"look at the import jobs of data store {datastore_id}, then {NEW_RUN}"
        )
    try:
        job = find_job(context.aws, datastore_id, name, record.claimed_at)
    except TerminalError as error:
        reason = f"whether import job {name} was started could not be determined: {error}"
        raise TerminalError(reason, code=error.code) from None
    state = State.RUNNING if job else State.CLAIMED
    return context.records.save(record, state=state, job=job or {}, lease_until=0.0)


def refuse(context: ImportContext, record: Record, reason: str = "no job was started") -> Record:
    """End an attempt whose start was never sent, or was refused."""
    log.line("refused", reason=reason)
    context.has_ended = True
    return context.records.save(record, state=State.REFUSED, reason=reason, lease_until=0.0)


# -- counting the source ---------------------------------------------------------------------------------------------


def upload_command(bucket: str, prefix: str) -> str:
    """Return the command that uploads a folder to the source.

    A prefix that the user chose may name a patient, so a placeholder stands for it. The default names no patient.
    """
    shown = prefix if prefix == DEFAULT_INPUT_PREFIX else "INPUT_PREFIX"
    return f"aws s3 cp --recursive FOLDER s3://{bucket}/{shown}"


def survey(aws: Aws, request: ImportRequest) -> int:
    """Count the files under the input prefix, no further than one past what a job takes, which is refused."""
    quotas, files, total_bytes, archived = request.quotas, 0, 0, 0
    owner = {"ExpectedBucketOwner": request.input_owner_account_id} if request.input_owner_account_id else {}
    for page in aws.pages(
        "s3", "ListObjectsV2", files_of, purpose="input bucket", if_denied=request.cross_account_advice,
        Bucket=request.input_bucket, Prefix=request.input_prefix, OptionalObjectAttributes=["RestoreStatus"], **owner,
    ):  # fmt: skip
        for _, size, is_archived in page:
            files += 1
            total_bytes += size
            archived += is_archived
            if files > quotas.files:
                problem = f"at least {files} files are under the input prefix, one import job takes {quotas.files}"
                raise TerminalError(f"no job was started: {problem}; {_BULK}, or {_RAISED}")
            if size > quotas.file_bytes:
                problem = f"a file under the input prefix has {size} bytes, it may have {quotas.file_bytes}"
                raise TerminalError(f"no job was started: {problem}; move it out of the prefix, or {_RAISED}")
            if total_bytes > quotas.total_bytes:
                problem = f"at least {total_bytes} bytes are under the input prefix, one job takes {quotas.total_bytes}"
                raise TerminalError(f"no job was started: {problem}; {_BULK}, or {_RAISED}")
    log.line("surveyed", files=files, bytes=total_bytes)
    if archived:
        raise TerminalError(
            f"no job was started: {archived} of {files} objects under the input prefix are in the storage class "
            "GLACIER or DEEP_ARCHIVE, which HealthImaging cannot read; restore them (aws s3api restore-object) or move "
            "them out of the prefix, then deploy again"
        )
    return files


def files_of(page: Mapping[str, Any]) -> list[tuple[str, int, bool]]:
    """Return key and size of each file of a page, and whether it has to be restored before it can be read.

    Folder markers (keys that end in ``/`` and hold nothing) are no files.
    """
    return [
        (item["Key"], item["Size"], item.get("StorageClass") in _ARCHIVED and not _is_restored(item))
        for item in page.get("Contents", ())
        if item["Size"] or not item["Key"].endswith("/")
    ]


def _is_restored(item: Mapping[str, Any]) -> bool:
    restored = item.get("RestoreStatus") or {}
    return "RestoreExpiryDate" in restored and not restored.get("IsRestoreInProgress")
