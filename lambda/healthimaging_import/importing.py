"""One import, from looking at the source to the verdict, in steps that can be repeated at any point.

Knows HealthImaging and S3 and nothing of CloudFormation: the custom resource and any other workflow call the same
:class:`Importer` until its outcome is finished, with the time that passes in between left to them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from healthimaging_import import log, records
from healthimaging_import.aws import Clients
from healthimaging_import.jobs import Job, Jobs, age
from healthimaging_import.objects import read_object
from healthimaging_import.problems import NOT_AS_WRITTEN, Refused, TryLater
from healthimaging_import.records import Record, Records, Stored
from healthimaging_import.request import ImportRequest
from healthimaging_import.rules import Verdict
from healthimaging_import.signals import announce
from healthimaging_import.source import Survey, survey, unpack
from healthimaging_import.verdict import (
    UNREAD,
    Counts,
    Manifest,
    Tolerance,
    causes,
    lines_of,
    read_manifest,
    warning_codes,
)
from healthimaging_import.wording import plain

NOTHING_TO_IMPORT = "NOTHING_TO_IMPORT"
"""Stands where a job's status would stand when the source was empty."""
NOT_STARTED = "NOT_STARTED"
"""Stands where a job's status would stand when no job may be started and none is remembered."""

_MANIFEST_PATIENCE_SECONDS = {"COMPLETED": 120, "FAILED": 10}
"""How long a manifest may be late. A job that failed early never writes one."""
_UNKNOWN_JOB_PATIENCE_SECONDS = 300
"""How long HealthImaging may say that it does not know a job it has just answered with."""
_LONGEST_START_SECONDS = 30
"""How long a call of StartDICOMImportJob may be on its way when whoever sent it is replaced."""
_TRY_AGAIN = "deploy again with another run_id to import again"
_MOST_CAUSES = 3
_CHUNK = 64 * 1024
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """How an import stands: done well, or with ``job_id`` still running when ``finished`` is False."""

    finished: bool
    job_id: str = ""
    job_status: str = NOTHING_TO_IMPORT
    submitted_at: str = ""
    counts: Counts = field(default_factory=Counts)
    manifest_uri: str = ""

    @staticmethod
    def of_running(progress: Progress) -> Outcome:
        """As far as a job is known that goes on."""
        job = progress.job
        return Outcome(False, job["jobId"], progress.job_status, job["submittedAt"])

    def as_dict(self) -> dict[str, Any]:
        """The outcome as it is kept in a record."""
        kept = dataclasses.asdict(self)
        del kept["finished"]
        return kept

    @staticmethod
    def from_dict(kept: dict[str, Any]) -> Outcome:
        """The outcome that a record holds, perhaps one of another version of this code.

        Raises:
            Refused: it is damaged.
        """
        try:
            known = {item.name for item in dataclasses.fields(Outcome)}
            values = {name: value for name, value in kept.items() if name in known}
            return Outcome(**{**values, "finished": True, "counts": Counts.from_dict(kept["counts"])})
        except NOT_AS_WRITTEN:
            msg = f"the outcome in the record of this import is damaged; {_TRY_AGAIN}"
            raise Refused(msg) from None


@dataclass
class Progress:
    """What has to be remembered between two steps; plain values, since a workflow carries it as JSON."""

    unpacked: int = 0
    ready: bool = False
    joined: bool = False
    taken_over_at: float = 0.0
    run_id: str | None = None
    ended_at: float = 0.0
    job: dict[str, str] = field(default_factory=dict)
    """``jobId`` and ``submittedAt``, once there is a job."""
    job_status: str = "SUBMITTED"
    """What HealthImaging said last of a job that ran."""
    closed: bool = False
    """Whether its verdict is out."""

    @property
    def goes_on(self) -> bool:
        """Whether there is a job without a verdict."""
        return bool(self.job) and not self.closed

    @property
    def submitted(self) -> float:
        """When the job was submitted, in seconds."""
        return datetime.fromisoformat(self.job["submittedAt"]).timestamp() if self.job else 0.0

    @property
    def may_go_on(self) -> bool:
        """Whether there may be one: a start whose answer was lost, and that could not be looked for."""
        return (bool(self.job) or self.joined) and not self.closed

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Progress:
        """Read what a step wrote, perhaps one of another version of this code."""
        known = {item.name for item in dataclasses.fields(Progress)}
        return Progress(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True)
class Importer:
    """The steps of one import.

    Args:
        request: what to import.
        clients: AWS clients with this import's rights.
        asked_by: who asks: the same asker gets the same answer again, another one may start a new attempt.
        now: the time, in seconds.
        time_left: the seconds this invocation may still use.
        tolerance: what may go wrong in a job that still counts as good.
        settling: whether roles and policies may be too new for IAM to know them everywhere.
        may_start: whether a job may be started; if not, the answer comes from memory alone, and who waited for a
            running job so far stops waiting.
        still_asked: whether the request is still wanted; asked right before anything is written down or started.
    """

    request: ImportRequest
    clients: Clients
    asked_by: str
    now: Callable[[], float]
    time_left: Callable[[], float]
    tolerance: Tolerance = field(default_factory=Tolerance)
    settling: bool = False
    may_start: bool = True
    still_asked: Callable[[], bool] = lambda: True
    follows_to_the_end: bool = False
    """Nobody waits any more, so nobody can be replaced: the job is followed for metrics and events, not started."""

    @property
    def records(self) -> Records:
        """The records of this import."""
        request = self.request
        return Records(self.clients.s3, request.output_bucket, request.records_prefix, settling=self.settling)

    @property
    def jobs(self) -> Jobs:
        """The jobs of HealthImaging."""
        return Jobs(self.clients, settling=self.settling)

    def step(self, progress: Progress) -> Outcome:
        """Do what can be done now.

        Returns:
            The outcome; unfinished while unpacking goes on or the job runs.

        Raises:
            TryLater: something has to pass first.
            Refused: the import failed, with the reason.
        """
        if self.request.run_id is None:
            if progress.run_id is None:
                progress.run_id = self.records.latest_run(self.request.series) or ""
            return self._of_run(progress.run_id).step(progress)
        outcome = self._step(progress)
        if outcome.finished and outcome.job_id and (self.may_start or self.follows_to_the_end):
            # What has ended well since a followed job was started is of a later deploy.
            since = progress.submitted if self.follows_to_the_end else None
            self.records.note_latest_run(self.request.series, self.request.run_id, unless_noted_since=since)
        return outcome

    def lose_sight(self, progress: Progress) -> None:
        """Announce that nobody will find out how a job ended, unless its verdict was announced.

        For a job that nobody waits for: who does is told by the refusal.
        """
        if self.request.run_id is None:
            return self._of_run(progress.run_id or "").lose_sight(progress)
        progress.job = self._job_without_verdict(progress.job)
        if progress.job:
            self._announce(progress, Verdict.UNKNOWN, self.request.datastore_id)
        return None

    def _job_without_verdict(self, known: dict[str, str]) -> dict[str, str]:
        try:
            stored = self.records.load(self.request.intent)
        except (Refused, TryLater):
            return known
        if stored is None:
            return known
        record = stored.record
        # A later attempt is only made after the end of an earlier one.
        judged = record.state in (records.SUCCEEDED, records.FAILED)
        judged = judged or bool(known and record.job_before == known["jobId"])
        return {} if judged or self._is_anothers(record) else record.job or known

    def _is_anothers(self, record: Record) -> bool:
        return record.awaited_by not in ("", self.asked_by)

    def _of_run(self, run_id: str) -> Importer:
        return dataclasses.replace(self, request=dataclasses.replace(self.request, run_id=run_id))

    def _step(self, progress: Progress) -> Outcome:
        stored = self.records.load(self.request.intent)
        if stored is None and progress.joined:
            raise Refused(f"the record of this import was removed while it was at work; {_TRY_AGAIN}")
        if not self.may_start:
            stored = self._remembered(stored, progress)
            if stored is None:
                log.line("not started", reason="only what is remembered was asked for")
                return Outcome(finished=True, job_status=NOT_STARTED)
        claimed_now = stored is None or (self._over_for(stored.record) and not progress.joined)
        if stored is None or claimed_now:
            self._refuse_if_replaced()
            outcome = self._prepare(progress)
            if outcome is not None:
                return outcome
            self._refuse_if_replaced()
            stored = self._claim(stored)
            progress.joined = True
        record = stored.record
        if record.state in (records.SUCCEEDED, records.FAILED):
            progress.closed = True
        if record.state == records.SUCCEEDED:
            log.line("remembered", job_id=record.job.get("jobId"), attempt=record.attempt)
            return Outcome.from_dict(record.outcome)
        if record.state == records.FAILED:
            raise Refused(record.reason)
        stored = self._join(stored, progress)
        if record.state == records.CLAIMED:
            stored = self._start(stored, progress, claimed_now=claimed_now)
        progress.job = stored.record.job
        return self._follow(stored, progress)

    def take_over(self, progress: Progress) -> None:
        """Make whoever starts or awaits this import's job stop: a rollback or a deletion replaces that request."""
        stored = self.records.load(self.request.intent)
        if stored is None or stored.record.state not in (records.CLAIMED, records.STARTED):
            return
        if stored.record.followed_by != self.asked_by:
            self.records.save(stored.record.changed(followed_by=self.asked_by), stored)
        progress.taken_over_at = self.now()

    def _remembered(self, stored: Stored | None, progress: Progress) -> Stored | None:
        """What there is to answer from where no job may be started; None if there is no job."""
        if stored is None:
            return None
        if self.follows_to_the_end and self._is_anothers(stored.record):
            progress.closed = True
            raise Refused("a later request looks at this job")
        if stored.record.state == records.FAILED:
            progress.closed = True
            return None
        if stored.record.state != records.CLAIMED:
            return stored
        # Written down and not known to be started: whoever was at it may be in the middle of the call, or have died.
        job = self._sent(stored.record)
        if job is not None:
            return self._started(stored, progress, job)
        if self.now() - progress.taken_over_at < _LONGEST_START_SECONDS:
            raise TryLater("the start of an import job may be on its way")
        return None

    def _refuse_if_replaced(self) -> None:
        if not self.still_asked():
            raise Refused("this request was replaced before it started a job: the stack is rolled back or deleted")

    def _over_for(self, record: Record) -> bool:
        return record.state == records.FAILED and record.asked_by != self.asked_by

    def _join(self, stored: Stored, progress: Progress) -> Stored:
        """Go on with an attempt that is at work already, unless somebody else has been told to instead."""
        if self.follows_to_the_end:
            return stored
        follower = stored.record.followed_by
        if progress.joined:
            if follower not in ("", self.asked_by):
                raise Refused("a later request for this import replaced this one; a job that runs goes on")
            return stored
        if self.may_start:
            self._refuse_if_replaced()
        wanted = "" if self.may_start else self.asked_by
        if follower != wanted or stored.record.awaited_by != self.asked_by:
            joined = stored.record.changed(followed_by=wanted, awaited_by=self.asked_by)
            stored = self.records.save(joined, stored)
        progress.joined = True
        return stored

    def _prepare(self, progress: Progress) -> Outcome | None:
        """Make the source ready and look at it; an outcome here ends the step without a job."""
        s3, request = self.clients.s3, self.request
        # What was given is left out: a prefix may be of a kind that does not belong into a reason.
        problems = [problem.split(", got ")[0] for problem in request.violations()]
        if problems:
            raise Refused("no job was started: " + "; ".join(problems))
        if request.asset and not progress.ready:
            position = unpack(s3, request, progress.unpacked, self.time_left, settling=self.settling)
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
            awaited_by=self.asked_by,
            parameters=self.request.start_parameters(attempt),
            claimed_at=self.now(),
            job_before=over.record.job.get("jobId", "") if over else "",
        )
        return self.records.claim(record, over)

    def _start(self, stored: Stored, progress: Progress, *, claimed_now: bool) -> Stored:
        """Send the request exactly as it was written down, unless an earlier step's start turns out to have arrived."""
        job = None if claimed_now else self._sent(stored.record)
        if job is None:
            if not claimed_now:
                self._refuse_if_replaced()
            try:
                job = self.jobs.start(stored.record.parameters)
            except Refused as refusal:
                progress.closed = True
                raise self._failed(stored, f"no job was started: {refusal}") from None
        return self._started(stored, progress, job)

    def _sent(self, record: Record) -> dict[str, str] | None:
        if not record.claimed_at:
            return None
        found = self.jobs.like(record.parameters, record.claimed_at)
        if not found:
            return None
        others = self.records.jobs_since(record.claimed_at) | {record.job_before}
        return next((job for job in found if job["jobId"] not in others), None)

    def _started(self, stored: Stored, progress: Progress, job: dict[str, str]) -> Stored:
        record = stored.record
        progress.job = job
        log.line("started", job_id=job["jobId"], datastore_id=self.request.datastore_id, attempt=record.attempt)
        return self.records.save(record.changed(state=records.STARTED, job=job), stored)

    def _follow(self, stored: Stored, progress: Progress) -> Outcome:
        record = stored.record
        job_id = record.job["jobId"]
        job = self._look(stored, progress)
        log.line("checked", job_id=job_id, job_status=job.status)
        if not job.over:
            progress.job_status = job.status
            return Outcome.of_running(progress)
        progress.ended_at = progress.ended_at or self.now()
        body = self._read(job.folder, "job-output-manifest.json")
        if body is None:
            if self.now() - progress.ended_at < _MANIFEST_PATIENCE_SECONDS[job.status]:
                raise TryLater(f"import job {job_id} is {job.status} and has not written its manifest")
            raise self._failed_without_manifest(stored, progress, job)
        return self._judge(stored, progress, job, body)

    def _look(self, stored: Stored, progress: Progress) -> Job:
        record = stored.record
        job_id = record.job["jobId"]
        try:
            return self.jobs.get(record.parameters["datastoreId"], job_id)
        except Refused as refusal:
            if refusal.code != "ResourceNotFoundException":
                raise
            if age(record.job, self.now()) < _UNKNOWN_JOB_PATIENCE_SECONDS:
                raise TryLater(f"import job {job_id} is not known yet") from None
            self._announce(progress, Verdict.UNKNOWN, record.parameters["datastoreId"])
            raise self._failed(stored, f"import job {job_id} is not known any more; {_TRY_AGAIN}") from None

    def _failed_without_manifest(self, stored: Stored, progress: Progress, job: Job) -> Refused:
        record = stored.record
        job_id, datastore_id = record.job["jobId"], record.parameters["datastoreId"]
        said = f" ({plain(job.message)})" if job.message else ""
        # One that completed may have imported everything.
        verdict = Verdict.UNKNOWN if job.status == "COMPLETED" else Verdict.FAILED
        self._announce(progress, verdict, datastore_id, job)
        reason = (
            f"import job {job_id} ended with {job.status}{said} and left no manifest; read the rest with: "
            f"aws medical-imaging get-dicom-import-job --datastore-id {datastore_id} --job-id {job_id}"
        )
        if job.status == "COMPLETED":
            # The next request looks for the manifest again and starts nothing.
            return Refused(f"{reason}; deploy again to look for the manifest once more")
        if self.request.others_to_ask:
            reason += f"; if it was denied access: {self.request.others_to_ask}"
        return self._failed(stored, reason)

    def _judge(self, stored: Stored, progress: Progress, job: Job, body: bytes) -> Outcome:
        record, status = stored.record, job.status
        job_id, datastore_id = record.job["jobId"], record.parameters["datastoreId"]
        try:
            manifest = read_manifest(body)
        except Refused as refusal:
            self._announce(progress, Verdict.FAILED, datastore_id, job)
            raise self._failed(
                stored, f"import job {job_id} ended with {status}, but {refusal}; {_TRY_AGAIN}"
            ) from None
        counts = dataclasses.replace(manifest.counts, warnings=self._warnings(manifest, progress, status))
        uri = self.records.keep_manifest(record, body)
        problems = ["it did not run to its end"] if status == "FAILED" else []
        problems += self.tolerance.exceeded_by(counts)
        log.line(
            "judged", job_id=job_id, job_status=status, good=not problems, rejected=counts.rejected,
            scanned=counts.scanned, imported=counts.imported, image_sets=counts.image_sets,
            warnings=counts.warning_list(),
        )  # fmt: skip
        self._announce(progress, Verdict.FAILED if problems else Verdict.SUCCEEDED, datastore_id, job, counts)
        if problems:
            reason = f"import job {job_id} ended with {status} but {' and '.join(problems)}: {counts.sentence()}"
            raise self._failed(stored, reason + self._causes(manifest) + f"; manifest: {uri}")
        outcome = Outcome(True, job_id, status, record.job["submittedAt"], counts, uri)
        self.records.save(record.changed(state=records.SUCCEEDED, outcome=outcome.as_dict()), stored)
        return outcome

    def _failed(self, stored: Stored, reason: str) -> Refused:
        """End the attempt, for whoever has seen it end."""
        self.records.save(stored.record.changed(state=records.FAILED, asked_by=self.asked_by, reason=reason), stored)
        return Refused(reason)

    def _announce(
        self,
        progress: Progress,
        verdict: Verdict,
        datastore_id: str,
        job: Job | None = None,
        counts: Counts | None = None,
    ) -> None:
        if progress.closed:
            return
        announce(
            self.clients,
            import_name=self.request.import_name,
            datastore_id=datastore_id,
            job_id=progress.job["jobId"],
            job_status=job.status if job else Verdict.UNKNOWN,
            verdict=verdict,
            counts=counts or Counts(),
            seconds=job.seconds if job else None,
        )
        progress.closed = True

    def _warnings(self, manifest: Manifest, progress: Progress, status: str) -> dict[str, int]:
        """The files by warning code. What was announced and is not there is waited for, then told as not read."""
        tolerated = self.tolerance.warnings
        try:
            found = self._counted(manifest.warnings_uri, "warning.ndjson", warning_codes)
        except Refused:
            if not tolerated:
                raise
            return {UNREAD: 1}
        if found is not None:
            return dict(found)
        if not tolerated and self.now() - progress.ended_at < _MANIFEST_PATIENCE_SECONDS[status]:
            raise TryLater(f"import job {progress.job['jobId']} is {status} and has not written its warnings")
        return {UNREAD: 1}

    def _causes(self, manifest: Manifest) -> str:
        """The most frequent reasons of rejection, and where to read the rest. They must not hide the verdict."""
        try:
            found = self._counted(manifest.failures_uri, "failure.ndjson", causes)
        except (Refused, TryLater):
            return ""
        if not found:
            return ""
        among = " in the part that was read" if found.pop(UNREAD, 0) else ""
        frequent = ", ".join(f"{cause} ({count})" for cause, count in found.most_common(_MOST_CAUSES))
        return f"; most frequent{among}: {frequent}; all: FAILURE/failure.ndjson beside the job's manifest"

    def _counted(
        self, folder_uri: str, name: str, count: Callable[[Iterable[bytes | None]], Counter[str]]
    ) -> Counter[str] | None:
        """What is counted in the lines of a result file; None while it is not there."""
        if not folder_uri:
            return Counter()
        return self._opened(folder_uri, name, lambda body: count(lines_of(body.iter_chunks(_CHUNK))))

    def _read(self, folder_uri: str, name: str) -> bytes | None:
        """A file of the job's output folder; None while it is not there."""
        return self._opened(folder_uri, name, lambda body: bytes(body.read()))

    def _opened(self, folder_uri: str, name: str, read: Callable[[Any], T]) -> T | None:
        def closed_after(answer: dict[str, Any]) -> T:
            with closing(answer["Body"]) as body:
                return read(body)

        bucket, _, folder = folder_uri.removeprefix("s3://").partition("/")
        key = f"{folder.rstrip('/')}/{name}"
        return read_object(self.clients.s3, bucket, key, closed_after, what="job output", settling=self.settling)
