"""One import, from looking at the source to the verdict, in steps that can be repeated at any point.

Knows HealthImaging and S3 and nothing of CloudFormation: the custom resource and any other workflow call the same
two functions, :func:`begin` until there is a job (or nothing to do) and :func:`follow` until there is a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from healthimaging_import import log, records
from healthimaging_import.aws import Clients
from healthimaging_import.faults import explained
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.records import Record, Records, Stored
from healthimaging_import.request import ImportRequest
from healthimaging_import.source import Survey, survey, unpack
from healthimaging_import.verdict import Counts, exception_types, read_manifest

NOTHING_TO_IMPORT = "NOTHING_TO_IMPORT"
"""Stands where a job's status would stand when the source was empty."""
NOT_STARTED = "NOT_STARTED"
"""Stands where a job's status would stand when no job may be started and none is remembered."""

_MANIFEST_PATIENCE_SECONDS = 120
_LONGEST_FAILURE_LIST = 8 * 1024**2


@dataclass(frozen=True)
class Outcome:
    """How an import stands: done well, or with ``job_id`` still running when ``finished`` is False."""

    finished: bool
    job_id: str = ""
    job_status: str = NOTHING_TO_IMPORT
    submitted_at: str = ""
    counts: Counts = field(default_factory=Counts)
    manifest_uri: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The outcome as it is kept in a record."""
        return {
            "job_id": self.job_id,
            "job_status": self.job_status,
            "submitted_at": self.submitted_at,
            "counts": self.counts.as_dict(),
            "manifest_uri": self.manifest_uri,
        }


@dataclass
class Progress:
    """What has to be remembered between two steps; plain values, since a workflow carries it as JSON."""

    unpacked: int = 0
    ready: bool = False
    ended_at: float = 0.0


@dataclass(frozen=True)
class Importer:
    """The steps of one import.

    Args:
        request: what to import.
        clients: AWS clients with this import's rights.
        asked_by: who asks: the same asker gets the same answer again, another one may start a new attempt.
        now: the time, in seconds.
        time_left: the seconds this invocation may still use.
        settling: whether roles and policies may be too new for IAM to know them everywhere.
        may_start: whether a job may be started; if not, the answer comes from memory alone.
    """

    request: ImportRequest
    clients: Clients
    asked_by: str
    now: Callable[[], float]
    time_left: Callable[[], float]
    settling: bool = False
    may_start: bool = True

    @property
    def records(self) -> Records:
        """The records of this import."""
        request = self.request
        return Records(self.clients.s3, request.output_bucket, request.records_prefix, settling=self.settling)

    def step(self, progress: Progress) -> Outcome:
        """Do what can be done now.

        Returns:
            The outcome; unfinished while unpacking goes on or the job runs.

        Raises:
            TryLater: something has to pass first.
            Refused: the import failed, with the reason.
        """
        stored = self.records.load(self.request.intent)
        if stored is None or self._over_for(stored.record):
            if not self.may_start:
                log.line("not started", reason="only what is remembered was asked for")
                return Outcome(finished=True, job_status=NOT_STARTED)
            outcome = self._prepare(progress)
            if outcome is not None:
                return outcome
            stored = self._claim(stored)
        record = stored.record
        if record.state == records.SUCCEEDED:
            log.line("remembered", job_id=record.job.get("jobId"), attempt=record.attempt)
            return _outcome(record)
        if record.state == records.FAILED:
            raise Refused(record.reason)
        if record.state == records.CLAIMED:
            # Written down is asked for: whether HealthImaging has heard of it only the replay can tell.
            stored = self._start(stored)
        return self._follow(stored, progress)

    def _over_for(self, record: Record) -> bool:
        return record.state == records.FAILED and record.asked_by != self.asked_by

    def _prepare(self, progress: Progress) -> Outcome | None:
        """Make the source ready and look at it; an outcome here ends the step without a job."""
        s3, request = self.clients.s3, self.request
        problems = request.violations()
        if problems:
            raise Refused("no job was started: " + "; ".join(problems))
        if request.asset and not progress.ready:
            position = unpack(s3, request, progress.unpacked, self.time_left)
            log.line("unpacked", position=position)
            if position is not None:
                progress.unpacked = position
                return Outcome(finished=False)
        progress.ready = True
        found = survey(s3, request, settling=self.settling)
        log.line("surveyed", files=found.files, bytes=found.total_bytes, complete=found.complete)
        found.refuse_beyond(request.quotas)
        return self._nothing(found) if found.empty else None

    def _nothing(self, found: Survey) -> Outcome:
        if self.request.on_empty == "fail":
            raise Refused(
                f"nothing to import: {found.files} files lie under the input prefix of bucket "
                f"{self.request.input_bucket}; upload DICOM P10 files there and deploy again, or set on_empty='skip'"
            )
        log.line("nothing to import", bucket=self.request.input_bucket)
        return Outcome(finished=True)

    def _claim(self, over: Stored | None) -> Stored:
        attempt = over.record.attempt + 1 if over else 1
        record = Record(
            intent=self.request.intent,
            attempt=attempt,
            asked_by=self.asked_by,
            parameters=self.request.start_parameters(attempt),
        )
        return self.records.claim(record, over)

    def _start(self, stored: Stored) -> Stored:
        """Send the request exactly as it was written down."""
        record = stored.record
        try:
            with explained("medical-imaging", "StartDICOMImportJob", settling=self.settling):
                answer = self.clients.healthimaging.start_dicom_import_job(**record.parameters)
        except Refused as refusal:
            reason = f"no job was started: {refusal}"
            self.records.save(record.changed(state=records.FAILED, reason=reason), stored)
            raise Refused(reason) from None
        job = {"jobId": str(answer["jobId"]), "submittedAt": answer["submittedAt"].isoformat()}
        log.line("started", job_id=job["jobId"], datastore_id=str(answer["datastoreId"]), attempt=record.attempt)
        return self.records.save(record.changed(state=records.STARTED, job=job), stored)

    def _follow(self, stored: Stored, progress: Progress) -> Outcome:
        record = stored.record
        with explained("medical-imaging", "GetDICOMImportJob", settling=self.settling):
            job = self.clients.healthimaging.get_dicom_import_job(
                datastoreId=record.parameters["datastoreId"], jobId=record.job["jobId"]
            )["jobProperties"]
        status = str(job["jobStatus"])
        log.line("checked", job_id=record.job["jobId"], job_status=status)
        if status not in ("COMPLETED", "FAILED"):
            return _outcome(record, status=status)
        progress.ended_at = progress.ended_at or self.now()
        patient = self.now() - progress.ended_at < _MANIFEST_PATIENCE_SECONDS and status == "COMPLETED"
        manifest = self._manifest(str(job["outputS3Uri"]))
        if manifest is None and patient:
            raise TryLater(f"job {record.job['jobId']} is {status} and has not written its manifest")
        return self._judge(stored, status, manifest)

    def _judge(self, stored: Stored, status: str, manifest: bytes | None) -> Outcome:
        record = stored.record
        job_id = record.job["jobId"]
        if manifest is None:
            reason = (
                f"import job {job_id} ended with {status} and left no manifest; read its message with: "
                f"aws medical-imaging get-dicom-import-job --datastore-id {record.parameters['datastoreId']} "
                f"--job-id {job_id}"
            )
            self.records.save(record.changed(state=records.FAILED, reason=reason), stored)
            raise Refused(reason)
        counts, failures = read_manifest(manifest)
        uri = self.records.keep_manifest(record, manifest)
        outcome = Outcome(True, job_id, status, record.job["submittedAt"], counts, uri)
        log.line("judged", job_id=job_id, job_status=status, rejected=counts.rejected, **counts.as_dict())
        if counts.imported == 0:
            reason = f"import job {job_id} ended with {status} but imported nothing: {counts.sentence()}"
            reason += self._causes(failures) + f"; manifest: {uri}"
            self.records.save(record.changed(state=records.FAILED, reason=reason), stored)
            raise Refused(reason)
        self.records.save(record.changed(state=records.SUCCEEDED, outcome=outcome.as_dict()), stored)
        return outcome

    def _manifest(self, folder_uri: str) -> bytes | None:
        """The job's manifest. None while it is not there; without s3:ListBucket S3 answers 403 for that."""
        bucket, _, folder = folder_uri.removeprefix("s3://").partition("/")
        return self._read(bucket, folder.rstrip("/") + "/job-output-manifest.json")

    def _read(self, bucket: str, key: str, limit: int | None = None) -> bytes | None:
        with explained("s3", "s3:GetObject (job output)", settling=self.settling):
            try:
                body: bytes = self.clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read(limit)
            except ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise
        return body

    def _causes(self, folder_uri: str) -> str:
        """The most frequent exception types, for the reason. Their absence must not hide the verdict."""
        bucket, _, folder = folder_uri.removeprefix("s3://").partition("/")
        try:
            body = self._read(bucket, folder.rstrip("/") + "/failure.ndjson", _LONGEST_FAILURE_LIST)
        except (Refused, TryLater):
            return ""
        found = exception_types((body or b"").splitlines()).most_common(3)
        if not found:
            return ""
        return "; most frequent: " + ", ".join(f"{kind} ({count})" for kind, count in found)


def _outcome(record: Record, status: str = "") -> Outcome:
    if status:
        return Outcome(False, record.job["jobId"], status, record.job["submittedAt"])
    kept = json.loads(json.dumps(record.outcome))
    return Outcome(finished=True, **{**kept, "counts": Counts(**kept["counts"])})
