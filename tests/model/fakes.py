"""AWS in memory, for the model of an import's life: typed, virtual in time, and unreliable on demand.

Every call goes through :meth:`World.call`, where a misfortune can strike: the function dies before the call reaches the
service or after it took effect, the answer is an error, is lost or is malformed, or somebody else acts meanwhile.
What must never be is noted in ``World.violations``, since the function catches what a fake raises.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError

from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

T = TypeVar("T")

SOURCE, RESULTS, ASSETS = "source", "results", "assets"
PATIENT = "DOE^JANE"
"""Stands in keys, prefixes, file contents and error texts, and must come out nowhere."""
NEVER = None
LONGEST_CALL_SECONDS = {False: 70.0, True: 20.0}
"""How long a call may take; a start is sent once, without botocore's retries."""


class Crash(BaseException):
    """The function dies here: a time-out, no memory, a sandbox that is gone."""


class NoSuchKey(ClientError):
    """As the S3 client has it in ``exceptions``."""


class ExecutionAlreadyExists(ClientError):
    """As the Step Functions client has it in ``exceptions``."""


@dataclass
class Misfortune:
    """What strikes the next calls of an operation (``*``: of any), after ``skip`` of them, ``times`` times."""

    operation: str
    kind: str
    code: str = ""
    skip: int = 0
    times: int = 1


@dataclass
class Job:
    """An import job, and how it ends."""

    job_id: str
    token: str
    parameters: dict[str, Any]
    submitted_at: float
    ends_at: float
    outcome: str
    manifest_at: float | None
    warnings: int
    submitted_by: str
    others: int = 0
    """How many of its image sets are not primary."""
    intent: str = ""
    attempt: int = 0
    status: str = "SUBMITTED"
    scanned: int = 0
    imported: int = 0
    has_manifest: bool = False

    @property
    def folder(self) -> str:
        """The job's own folder in the output bucket."""
        out = self.parameters["outputS3Uri"]
        return f"{out}{self.parameters['datastoreId']}-DicomImport-{self.job_id}/"

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.status in ("COMPLETED", "FAILED")


@dataclass
class Plans:
    """How the next job goes."""

    outcome: str = "all"
    seconds: float = 20.0
    manifest_delay: float | None = 0.0
    warnings: int = 0
    others: int = 0


@dataclass
class World:
    """One account: what it stores, what time it is, and what goes wrong next."""

    token_memory: int | None = None
    """After how many further starts HealthImaging forgets a token; None: never."""
    now: float = 1_800_000_000.0
    misfortunes: list[Misfortune] = field(default_factory=list)
    plans: Plans = field(default_factory=Plans)
    calls: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    crash_at: tuple[int, str] | None = None
    """Die at the call of this number (from 0), ``before`` or ``after``; for the tests that go through all calls."""
    crashes: int = 1
    crash_from: int = 0
    """The call from which on is counted."""
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    changed: dict[tuple[str, str], float] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    starts: list[tuple[str, str]] = field(default_factory=list)
    """The requests that had a start accepted, and with which token."""
    written: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By token: what the record says of it."""
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By token: the request that took the last lease, and its end."""
    disowned: set[str] = field(default_factory=set)
    """The jobs that HealthImaging said it did not know."""
    tokens: dict[str, tuple[int, dict[str, Any], str]] = field(default_factory=dict)
    image_sets: dict[str, int] = field(default_factory=dict)
    tells_ends: bool = True
    """Whether HealthImaging says when a job ended."""
    stack_status: str = "CREATE_IN_PROGRESS"
    stack_updated: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    other_stacks: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """By id: what CloudFormation does with stacks that are not that of ``stack_status``, and since when."""
    told_blindly: list[tuple[str, float]] = field(default_factory=list)
    """Which request told of a job whose id nobody knows, and when."""
    events: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[dict[str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    at_work: list[str] = field(default_factory=list)
    """The request on whose behalf the function runs, innermost last."""
    failed_by: dict[str, str] = field(default_factory=dict)
    """By token: the request that saw the attempt fail."""
    status_unknown: set[str] = field(default_factory=set)
    """The requests that could not be told what CloudFormation does with the stack."""
    was_answered: Callable[[str], bool] = lambda _: False
    may_be_repeated: Callable[[Job], bool] = lambda _: False
    meanwhile: Callable[[float], None] = lambda _: None
    impatient: Callable[[float], None] = lambda _: None
    """CloudFormation waits no more, and sends what comes next."""
    was_undone: Callable[[str], bool] = lambda _: False
    put_answer: Callable[[str, bytes], None] = lambda *_: None
    start_execution: Callable[[str, str], None] = lambda *_: None

    def sleep(self, seconds: float) -> None:
        """Time that passes without anybody waiting."""
        self.now += seconds

    def clock(self) -> SimpleNamespace:
        """What stands for the module ``time``."""
        return SimpleNamespace(time=lambda: self.now, monotonic=lambda: self.now, sleep=self.sleep)

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    def call(self, operation: str, effect: Callable[[], T]) -> T:
        """A call to AWS: ``effect`` is what the service does."""
        number = len(self.calls)
        self.calls.append(operation)
        self._catch_up()
        if self.crash_at and 0 <= number - self.crash_from - self.crash_at[0] < self.crashes:
            if self.crash_at[1] == "after":
                effect()
            raise Crash
        found = self._take(operation)
        if found is None:
            return effect()
        self.struck.append(f"{operation}: {found.kind} {found.code}".strip())
        silent = found.kind in ("error", "unreachable", "answer lost", "malformed")
        if operation in ("DescribeStacks", "AssumeRole") and silent:
            self.status_unknown.add(self.at_work[-1])
        return self._struck(found, operation, effect)

    def _struck(self, found: Misfortune, operation: str, effect: Callable[[], T]) -> T:
        longest = LONGEST_CALL_SECONDS[operation == "StartDICOMImportJob"]
        if found.kind == "crash before":
            raise Crash
        if found.kind == "error":
            raise error(found.code, operation)
        if found.kind == "unreachable":
            raise URLError("no route") if operation == "Answer" else ConnectTimeoutError(endpoint_url="https://aws")
        if found.kind in ("meanwhile", "impatient"):
            (self.meanwhile if found.kind == "meanwhile" else self.impatient)(longest)
            return effect()
        answer = effect()
        if found.kind == "crash after":
            raise Crash
        if found.kind == "error after":
            raise error(found.code, operation)
        if found.kind == "answer lost":
            raise TimeoutError if operation == "Answer" else ReadTimeoutError(endpoint_url="https://aws")
        if found.kind in ("meanwhile after", "impatient after"):
            (self.meanwhile if found.kind == "meanwhile after" else self.impatient)(longest)
            return answer
        assert found.kind == "malformed"
        return dict.fromkeys(answer) if found.code == "nulls" else {}  # type: ignore[call-overload,return-value]

    def _take(self, operation: str) -> Misfortune | None:
        for misfortune in self.misfortunes:
            if misfortune.operation not in (operation, "*"):
                continue
            if misfortune.skip:
                misfortune.skip -= 1
                continue
            misfortune.times -= 1
            if misfortune.times <= 0:
                self.misfortunes.remove(misfortune)
            return misfortune
        return None

    def violation(self, text: str) -> None:
        """Note what must never be."""
        self.violations.append(text)

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        for job in self.jobs.values():
            if not job.over and self.now >= job.ends_at:
                self._end(job)
            if job.over and not job.has_manifest and job.manifest_at is not None and self.now >= job.manifest_at:
                self._write_manifest(job)

    def _end(self, job: Job) -> None:
        bucket, _, prefix = job.parameters["inputS3Uri"].removeprefix("s3://").partition("/")
        job.scanned = len(self.files(bucket, prefix))
        job.imported = {"all": job.scanned, "some": (job.scanned + 1) // 2}.get(job.outcome, 0)
        job.status = "FAILED" if job.outcome == "failed" else "COMPLETED"
        if job.imported:
            self.image_sets[job.job_id] = job.imported

    def _write_manifest(self, job: Job) -> None:
        rejected = job.scanned - job.imported
        summary = {
            "jobId": job.job_id,
            "failureOutputS3Uri": f"{job.folder}FAILURE/",
            "numberOfScannedFiles": job.scanned,
            "numberOfImportedFiles": job.imported,
            "numberOfFilesWithCustomerError": rejected,
            "numberOfFilesWithServerError": 0,
            "numberOfGeneratedImageSets": job.imported,
            "imageSetsSummary": [
                {"imageSetId": f"{job.job_id}-{n}", "isPrimary": n >= job.others} for n in range(job.imported)
            ],
        }
        if job.warnings:
            summary["warningsOutputS3Uri"] = f"{job.folder}WARNING/"
            warning = {"inputFile": PATIENT, "importResponse": {"warnings": [{"warning_reason_code": 45344}]}}
            self._write_result(job, "WARNING/warning.ndjson", [warning] * job.warnings)
        message = f"Patient {PATIENT} has an unsupported value"
        failure = {"inputFile": PATIENT, "exception": {"exceptionType": "ValidationException", "message": message}}
        self._write_result(job, "FAILURE/failure.ndjson", [failure] * rejected)
        garbage = job.outcome == "garbage"
        self._write_result(job, "job-output-manifest.json", [PATIENT if garbage else {"jobSummary": summary}])
        job.has_manifest = True

    def _write_result(self, job: Job, name: str, lines: list[Any]) -> None:
        bucket, _, folder = job.folder.removeprefix("s3://").partition("/")
        self.objects[bucket, folder + name] = "\n".join(map(json.dumps, lines)).encode()

    def files(self, bucket: str, prefix: str) -> list[str]:
        """The keys of what is no folder marker."""
        found = (key for name, key in self.objects if name == bucket and key.startswith(prefix))
        return sorted(key for key in found if not key.endswith("/"))


SERVER_ERRORS = (
    "InternalError",
    "InternalException",
    "InternalFailure",
    "InternalServerException",
    "ServiceUnavailable",
)


def error(code: str, operation: str) -> ClientError:
    """As botocore raises it; the text names an object, and so a patient."""
    message = f"s3://{SOURCE}/in/{PATIENT}/1.dcm cannot be read"
    status = code if code.isdecimal() else 500 if code in SERVER_ERRORS else 400
    metadata = {"HTTPStatusCode": int(status)}
    kind = NoSuchKey if code == "NoSuchKey" else ClientError
    return kind({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, operation)


def etag(body: bytes) -> str:
    """Equal for equal content, as in S3."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


@dataclass
class Body:
    """A streaming body: reading it is another chance to fail."""

    world: World
    content: bytes

    def read(self, size: int | None = None) -> bytes:
        """All of it, or the first bytes."""
        return self.world.call("GetObject.Body", lambda: self.content[:size])

    def iter_chunks(self, chunk_size: int) -> Iterator[bytes]:
        """All of it, in one piece."""
        assert chunk_size
        yield self.read()

    def close(self) -> None:
        """Leave the rest."""


@dataclass
class S3:
    """Amazon S3, as far as an import knows it. Deleting is a violation."""

    world: World
    exceptions = SimpleNamespace(NoSuchKey=NoSuchKey)

    def get_object(self, Bucket: str, Key: str, Range: str = "") -> dict[str, Any]:  # noqa: N803 - as in boto3
        def effect() -> dict[str, Any]:
            content = self._existing(Bucket, Key)
            part = content
            if Range:
                first, _, last = Range.removeprefix("bytes=").partition("-")
                part = content[int(first) : int(last) + 1]
            changed = datetime.fromtimestamp(self.world.changed.get((Bucket, Key), self.world.now), UTC)
            return {"Body": Body(self.world, part), "ETag": etag(content), "LastModified": changed}

        return self.world.call("GetObject", effect)

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        def effect() -> dict[str, Any]:
            if (Bucket, Key) not in self.world.objects:
                raise error("404", "HeadObject")
            return {"ContentLength": len(self.world.objects[Bucket, Key])}

        return self.world.call("HeadObject", effect)

    def put_object(
        self,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: bytes,  # noqa: N803
        ContentType: str = "",  # noqa: ARG002, N803
        IfMatch: str = "",  # noqa: N803
        IfNoneMatch: str = "",  # noqa: N803
    ) -> dict[str, Any]:
        def effect() -> dict[str, Any]:
            there = self.world.objects.get((Bucket, Key))
            if IfNoneMatch == "*" and there is not None:
                raise error("PreconditionFailed", "PutObject")
            if IfMatch and there is None:
                raise error("NoSuchKey", "PutObject")
            if IfMatch and there is not None and etag(there) != IfMatch:
                raise error("PreconditionFailed", "PutObject")
            self.world.objects[Bucket, Key] = Body
            self.world.changed[Bucket, Key] = self.world.now
            self._note(Bucket, Key, Body)
            return {"ETag": etag(Body)}

        return self.world.call("PutObject", effect)

    def upload_fileobj(self, Fileobj: Any, Bucket: str, Key: str) -> None:  # noqa: N803
        content = Fileobj.read()

        def effect() -> None:
            self.world.now += 250  # big files: an invocation cannot unpack them all
            self.world.objects[Bucket, Key] = content

        self.world.call("UploadFileobj", effect)

    def get_paginator(self, operation: str) -> S3:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str, **_: Any) -> Iterator[dict[str, Any]]:  # noqa: N803
        keys = sorted(key for bucket, key in self.world.objects if bucket == Bucket and key.startswith(Prefix))
        pages = [keys[first : first + 2] for first in range(0, len(keys), 2)] or [[]]
        for page in pages:
            changed = datetime.fromtimestamp(self.world.now, UTC)
            contents = [
                {"Key": key, "Size": len(self.world.objects.get((Bucket, key), b"")), "LastModified": changed}
                for key in page
            ]
            answer = {"Contents": contents} if contents else {}
            yield self.world.call("ListObjectsV2", lambda answer=answer: answer)  # type: ignore[misc]

    def list_objects_v2(self, Bucket: str, Prefix: str, MaxKeys: int) -> dict[str, Any]:  # noqa: N803
        keys = sorted(key for bucket, key in self.world.objects if bucket == Bucket and key.startswith(Prefix))
        return self.world.call("ListObjectsV2", lambda: {"Contents": [{"Key": key} for key in keys[:MaxKeys]]})

    def delete_object(self, **what: Any) -> None:
        self.world.violation(f"an object was deleted: {sorted(what)}")

    delete_objects = delete_object

    def _existing(self, bucket: str, key: str) -> bytes:
        if (bucket, key) not in self.world.objects:
            raise error("NoSuchKey", "GetObject")
        return self.world.objects[bucket, key]

    def _note(self, bucket: str, key: str, body: bytes) -> None:
        if bucket == RESULTS and ".healthimaging-cdk/" in key and not key.endswith(("manifest.json", "-last.json")):
            record = json.loads(body)
            token = record["parameters"]["clientToken"]
            before = self.world.written.get(token)
            self._check_owner(before or {}, record)
            if record["lease_until"] not in (0.0, (before or {}).get("lease_until")):
                self.world.leases[token] = self.world.at_work[-1], record["lease_until"]
            if before and before.get("verdict"):
                told = ("verdict", "result", "reason", "job")
                if (
                    any(before.get(name) != record.get(name) for name in told)
                    or before["published"] > record["published"]
                ):
                    self.world.violation(f"a verdict changed: {before} {record}")
            self.world.written[token] = record
            if record["state"] == "REFUSED" or record["verdict"] in ("FAILED", "UNKNOWN"):
                self.world.failed_by[token] = record["owner"]
        elif bucket == SOURCE:
            self.world.violation("an object of the user was overwritten")

    def _check_owner(self, before: dict[str, Any], record: dict[str, Any]) -> None:
        """Whoever is not the owner changes nothing, but that a verdict has been published."""
        if record["owner"] != self.world.at_work[-1] and {**before, "published": True} != record:
            self.world.violation(f"{self.world.at_work[-1]} changed the record of {record['owner']}")
        if record["owner_began_at"] < before.get("owner_began_at", 0.0):
            self.world.violation(f"{record['owner']} took the record from a later request")


@dataclass
class HealthImaging:
    """AWS HealthImaging, with jobs that take virtual time and tokens that may be forgotten."""

    world: World

    def start_dicom_import_job(self, **parameters: Any) -> dict[str, Any]:
        # Whoever takes the record over meanwhile waits for the lease of this request.
        token, request = parameters["clientToken"], self.world.at_work[-1]
        is_of_this_version = self.world.written.get(token, {}).get("schema", 1) > 1
        leased_by, until = self.world.leases.get(token, ("", 0.0))
        if is_of_this_version and (leased_by != request or until <= self.world.now):
            self.world.violation(f"{request} started a job without a lease")
        return self.world.call("StartDICOMImportJob", lambda: self._start(parameters))

    def _start(self, parameters: dict[str, Any]) -> dict[str, Any]:
        world, token = self.world, parameters["clientToken"]
        record = world.written.get(token)
        if record is None or record["parameters"] != parameters:
            world.violation("a job was started whose exact request no record holds")
        request = world.at_work[-1]
        if request.startswith(("Delete", "Rollback", "Cleanup")):
            world.violation(f"{request} started a job")
        if world.was_answered(request):
            world.violation(f"{request} started a job after it was answered")
        if world.was_undone(request):
            world.violation(f"{request} started a job after its deletion or rollback was answered")
        number = len(world.starts)
        world.starts.append((request, token))
        known = world.tokens.get(token)
        if known and (world.token_memory is None or number - known[0] <= world.token_memory):
            if known[1] != parameters:
                world.violation("a token was sent again with other parameters")
            job = world.jobs[known[2]]
        else:
            job = self._new_job(parameters, record or {})
            world.tokens[token] = (number, parameters, job.job_id)
        submitted = datetime.fromtimestamp(job.submitted_at, UTC)
        return {"jobId": job.job_id, "jobStatus": job.status, "submittedAt": submitted}

    def _new_job(self, parameters: dict[str, Any], record: dict[str, Any]) -> Job:
        world, plans = self.world, self.world.plans
        ends_at = world.now + plans.seconds
        job = Job(
            job_id=f"{len(world.jobs):032x}",
            token=parameters["clientToken"],
            parameters=parameters,
            submitted_at=world.now,
            ends_at=ends_at,
            outcome=plans.outcome,
            manifest_at=None if plans.manifest_delay is None else ends_at + plans.manifest_delay,
            warnings=plans.warnings,
            others=plans.others,
            submitted_by=world.at_work[-1],
            intent=record.get("intent", ""),
            attempt=record.get("attempt", 0),
        )
        for earlier in world.jobs.values():
            if earlier.intent != job.intent or earlier.job_id in world.disowned:
                continue
            if earlier.token == job.token:
                world.violation("a request became a second job")
            elif not earlier.over:
                world.violation("a new attempt began while the earlier job ran")
            elif not world.may_be_repeated(earlier) and "GetObject: error NoSuchKey" not in world.struck:
                # Where the note of the last run is gone, nobody knows that the intent is current.
                world.violation("a new attempt began after the earlier one had succeeded")
        world.jobs[job.job_id] = job
        return job

    def get_paginator(self, operation: str) -> HealthImaging:
        assert operation == "list_dicom_import_jobs"
        return self

    def paginate(self, **parameters: Any) -> Iterator[dict[str, Any]]:
        page = self.list_dicom_import_jobs(**parameters)
        yield page
        while "nextToken" in page:
            page = self.list_dicom_import_jobs(**parameters, nextToken=page["nextToken"])
            yield page

    def list_dicom_import_jobs(self, datastoreId: str, maxResults: int, nextToken: str = "0") -> dict[str, Any]:  # noqa: N803
        assert maxResults == 50

        def effect() -> dict[str, Any]:
            jobs = [job for job in self.world.jobs.values() if job.parameters["datastoreId"] == datastoreId]
            first = int(nextToken)
            summaries = [
                {
                    "jobId": job.job_id,
                    "jobName": job.parameters.get("jobName", ""),
                    "jobStatus": job.status,
                    "datastoreId": datastoreId,
                    "submittedAt": datetime.fromtimestamp(job.submitted_at, UTC),
                }
                for job in jobs[first : first + 2]
            ]
            more = {"nextToken": str(first + 2)} if jobs[first + 2 :] else {}
            return {"jobSummaries": summaries, **more}

        return self.world.call("ListDICOMImportJobs", effect)

    def get_dicom_import_job(self, datastoreId: str, jobId: str) -> dict[str, Any]:  # noqa: N803
        def effect() -> dict[str, Any]:
            if jobId not in self.world.jobs:
                raise error("ResourceNotFoundException", "GetDICOMImportJob")
            job = self.world.jobs[jobId]
            if datastoreId != job.parameters["datastoreId"]:
                self.world.violation("a job was looked for in another data store")
            sent = {name: job.parameters.get(name) for name in ("inputS3Uri", "dataAccessRoleArn", "jobName")}
            submitted = datetime.fromtimestamp(job.submitted_at, UTC)
            properties = {"jobStatus": job.status, "outputS3Uri": job.folder, "submittedAt": submitted, **sent}
            if job.over and self.world.tells_ends:
                properties["endedAt"] = datetime.fromtimestamp(job.ends_at, UTC)
            if not job.over:
                properties["jobStatus"] = "IN_PROGRESS" if self.world.now > job.submitted_at + 5 else "SUBMITTED"
            if job.status == "FAILED":
                properties["message"] = f"s3://{SOURCE}/in/{PATIENT}/1.dcm cannot be read"
            return {"jobProperties": properties}

        try:
            return self.world.call("GetDICOMImportJob", effect)
        except ClientError as failure:
            if failure.response["Error"]["Code"] == "ResourceNotFoundException":
                self.world.disowned.add(jobId)
            raise


@dataclass
class StepFunctions:
    """AWS Step Functions, to start an execution with."""

    world: World
    exceptions: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(ExecutionAlreadyExists=ExecutionAlreadyExists)
    )

    def start_execution(self, stateMachineArn: str, name: str, input: str) -> dict[str, Any]:  # noqa: A002, ARG002, N803
        def effect() -> dict[str, Any]:
            self.world.start_execution(name, input)
            return {"executionArn": f"arn:{name}"}

        return self.world.call("StartExecution", effect)


@dataclass
class CloudFormation:
    """AWS CloudFormation, which tells what it does with the stack."""

    world: World

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        assert StackName
        world = self.world

        def effect() -> dict[str, Any]:
            status, mark = world.other_stacks.get(StackName, (world.stack_status, world.stack_updated))
            return {"Stacks": [{"StackStatus": status, "LastUpdatedTime": mark}]}

        return world.call("DescribeStacks", effect)


@dataclass
class EventBridge:
    """Amazon EventBridge, which takes events."""

    world: World

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        def effect() -> dict[str, Any]:
            self.world.events.extend(Entries)
            for entry in Entries:
                self._check_written(json.loads(entry["Detail"]))
            return {"FailedEntryCount": 0, "Entries": [{}]}

        return self.world.call("PutEvents", effect)

    def _check_written(self, told: dict[str, Any]) -> None:
        """A verdict stands in the record before anybody is told of it."""
        world = self.world
        if not told["jobId"]:
            world.told_blindly.append((world.at_work[-1], world.now))
        elif (job := world.jobs.get(told["jobId"])) is None:
            world.violation(f"a verdict was told of a job that there is not: {told}")
        elif (told["outcome"], told["jobId"]) != _kept(world.written.get(job.token)):
            world.violation(f"a verdict was told that no record holds: {told}")


def _kept(record: dict[str, Any] | None) -> tuple[str, str]:
    return (record.get("verdict", ""), record["job"].get("jobId", "")) if record else ("", "")


@dataclass
class Sns:
    """Amazon SNS, which takes notifications."""

    world: World

    def publish(self, TopicArn: str, Subject: str, Message: str) -> dict[str, Any]:  # noqa: N803
        assert TopicArn

        def effect() -> dict[str, Any]:
            self.world.notifications.append({"Subject": Subject, "Message": Message})
            return {"MessageId": "1"}

        return self.world.call("Publish", effect)


@dataclass
class Sts:
    """AWS STS, asked once in each step."""

    world: World

    def assume_role(self, RoleArn: str, RoleSessionName: str) -> dict[str, Any]:  # noqa: N803
        assert RoleArn
        assert RoleSessionName
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        return self.world.call("AssumeRole", lambda: {"Credentials": dict.fromkeys(names, "x")})


def client_of(world: World, service: str) -> Any:
    """What stands for a boto3 client."""
    kinds = {
        "s3": S3,
        "medical-imaging": HealthImaging,
        "stepfunctions": StepFunctions,
        "events": EventBridge,
        "cloudformation": CloudFormation,
        "sns": Sns,
        "sts": Sts,
    }
    return kinds[service](world)


class AnsweringUrls:
    """Stands for ``urllib`` where CloudFormation is answered."""

    error = SimpleNamespace(URLError=URLError, HTTPError=HTTPError)

    def __init__(self, world: World) -> None:
        self._world = world
        self.request = SimpleNamespace(Request=self._request, urlopen=self._open)

    @staticmethod
    def _request(url: str, data: bytes, method: str, headers: dict[str, str]) -> tuple[str, bytes]:
        assert method == "PUT"
        assert headers == {"Content-Type": ""}
        return url, data

    def _open(self, request: tuple[str, bytes], timeout: float) -> io.BytesIO:
        assert timeout
        self._world.call("Answer", lambda: self._world.put_answer(*request))
        return io.BytesIO()
