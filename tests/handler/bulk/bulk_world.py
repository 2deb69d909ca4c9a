"""AWS in memory for bulk imports: virtual in time, unreliable on demand, at the level of the function's own calls."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.bulk.folder import Folder
from healthimaging_import.bulk.plan import Pace, PlanWriter, make_plan
from healthimaging_import.bulk.planner import Limits, Part, Planner
from healthimaging_import.bulk.run import Run
from healthimaging_import.bulk.settings import Settings, Source
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.verdict import Tolerance

STORE = "0" * 32


class Crash(BaseException):
    """The function dies here."""


@dataclass
class FakeJob:
    """An import job of the world."""

    job_id: str
    parameters: dict[str, Any]
    submitted_at: float
    ends_at: float
    status: str
    """What it ends with."""
    files: int
    imported: int
    has_manifest: bool = True
    judged: bool = False


@dataclass
class World:
    """One account. ``fate`` says how a job goes: its seconds, status, files found, files imported, manifest."""

    fate: Callable[[str, int], tuple[float, str, int, int, bool]]
    rate: float = 0.25
    slots: int = 100
    remembers_tokens: bool = True
    call_seconds: float = 0.0
    now: float = 1_800_000_000.0
    objects: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    by_token: Counter[str] = field(default_factory=Counter)
    open: list[FakeJob] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    throttles: int = 0
    bucket_level: float = 1.0
    bucket_at: float = 0.0
    most_running: int = 0
    disturb: Callable[[World, str, bool], None] = lambda *_: None
    """Called before and after each call's effect; may raise."""

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def clock(self) -> float:
        return self.now

    # -- the interface of Aws ------------------------------------------------------------------------------------

    def client(self, _service: str, *, once: bool = False) -> None:
        """Nothing to make."""

    def call(self, _service: str, operation: str, read: Callable[[Any], Any], **parameters: Any) -> Any:
        parameters.pop("purpose", None)
        effect = getattr(self, f"_{operation}")
        return read(self._do(operation, lambda: effect(**parameters)))

    read_bytes = Aws.read_bytes
    start_execution = Aws.start_execution
    write_object = Aws.write_object

    def read_object(self, bucket: str, key: str, read: Callable[[Any], Any], *, purpose: str) -> Any:  # noqa: ARG002
        body = self._do("GetObject", lambda: self.objects.get(f"{bucket}/{key}"))
        return None if body is None else read({"Body": _Body(body), "ETag": _tag(body)})

    def pages(self, _service: str, operation: str, read: Callable[[Any], Any], **parameters: Any) -> Iterator[Any]:
        if operation == "ListDICOMImportJobs":
            yield from self._pages_of_jobs(read, parameters.get("jobStatus", ""), parameters["maxResults"])
            return
        place, after = f"{parameters['Bucket']}/{parameters['Prefix']}", parameters.get("StartAfter", "")
        keys = sorted(key.partition("/")[2] for key in self.objects if key.startswith(place))
        keys = [key for key in keys if key > after]
        for first in range(0, len(keys), 10):
            page = [
                {"Key": key, "Size": len(self.objects[f"{parameters['Bucket']}/{key}"])}
                for key in keys[first : first + 10]
            ]
            yield read(self._do("ListObjectsV2", lambda page=page: {"Contents": page}))  # type: ignore[misc]

    def _pages_of_jobs(self, read: Callable[[Any], Any], status: str, size: int) -> Iterator[Any]:
        listed = {"": lambda: list(self.jobs.values()), "IN_PROGRESS": self._running, "SUBMITTED": list}
        for first in itertools.count(0, size):
            jobs = self._do("ListDICOMImportJobs", listed[status])
            page = [{**self._named(job), "jobName": job.parameters["jobName"]} for job in jobs[first : first + size]]
            yield read({"jobSummaries": page})
            if first + size >= len(jobs):
                return

    # -- operations ----------------------------------------------------------------------------------------------

    def _do(self, operation: str, effect: Callable[[], Any]) -> Any:
        self.calls[operation] += 1
        self.disturb(self, operation, False)
        answer = effect()
        self.now += self.call_seconds
        self.disturb(self, operation, True)
        return answer

    def _PutObject(self, Bucket: str, Key: str, Body: bytes, IfMatch: str = "", IfNoneMatch: str = "", **_: Any) -> Any:  # noqa: N802, N803
        name = f"{Bucket}/{Key}"
        there = self.objects.get(name)
        if (IfNoneMatch and there is not None) or (IfMatch and (there is None or _tag(there) != IfMatch)):
            raise TerminalError("precondition", code="PreconditionFailed", is_refusal=True)
        self.objects[name] = Body
        return {"ETag": _tag(Body)}

    def _StartDICOMImportJob(self, **parameters: Any) -> Any:  # noqa: N802
        token = parameters["clientToken"]
        if not self._take():
            self.throttles += 1
            raise RetryableError("throttled", code="ThrottlingException", is_refusal=True)
        if self.remembers_tokens and token in self.tokens:
            return self._named(self.jobs[self.tokens[token]])
        if len(self._running()) >= self.slots:
            raise RetryableError("no slot", code="ServiceQuotaExceededException", is_refusal=True)
        prefix = parameters["inputS3Uri"].partition("//")[2].partition("/")[2]
        seconds, status, files, imported, has_manifest = self.fate(prefix, self.by_token[prefix])
        job = FakeJob(
            f"{len(self.jobs):032}", parameters, self.now, self.now + seconds, status, files, imported, has_manifest
        )
        self.jobs[job.job_id] = job
        self.open.append(job)
        self.tokens[token] = job.job_id
        self.by_token[token] += 1
        self.by_token[prefix] += 1
        self.most_running = max(self.most_running, len(self._running()))
        if has_manifest:
            self._write_manifest(job)
        return self._named(job)

    def _GetDICOMImportJob(self, datastoreId: str, jobId: str) -> Any:  # noqa: N802, N803, ARG002
        job = self.jobs[jobId]
        over = job.ends_at <= self.now
        told = {
            "jobStatus": job.status if over else "IN_PROGRESS",
            "jobName": job.parameters["jobName"],
            "inputS3Uri": job.parameters["inputS3Uri"],
            "outputS3Uri": self._folder(job),
            "submittedAt": datetime.fromtimestamp(job.submitted_at, UTC),
        }
        return {"jobProperties": {**told, **({"endedAt": datetime.fromtimestamp(job.ends_at, UTC)} if over else {})}}

    def _PutEvents(self, **_: Any) -> Any:  # noqa: N802
        return {"FailedEntryCount": 0}

    def _take(self) -> bool:
        self.bucket_level = min(1.0, self.bucket_level + (self.now - self.bucket_at) * self.rate)
        self.bucket_at = self.now
        if self.bucket_level < 1.0:
            return False
        self.bucket_level -= 1.0
        return True

    def _running(self) -> list[FakeJob]:
        self.open = [job for job in self.open if job.ends_at > self.now]
        return list(self.open)

    def _named(self, job: FakeJob) -> Any:
        return {"jobId": job.job_id, "submittedAt": datetime.fromtimestamp(job.submitted_at, UTC)}

    def _folder(self, job: FakeJob) -> str:
        return f"{job.parameters['outputS3Uri']}{STORE}-DicomImport-{job.job_id}/"

    def _write_manifest(self, job: FakeJob) -> None:
        folder = self._folder(job)
        summary = {
            "numberOfScannedFiles": job.files,
            "numberOfImportedFiles": job.imported,
            "numberOfFilesWithCustomerError": job.files - job.imported,
            "numberOfGeneratedImageSets": min(job.imported, 1),
            "failureOutputS3Uri": f"{folder}FAILURE/" if job.imported < job.files else "",
        }
        place = folder.removeprefix("s3://")
        self.objects[f"{place}job-output-manifest.json"] = json.dumps({"jobSummary": summary}).encode()
        failure = {
            "inputFile": "DOE^JANE",
            "exception": {"exceptionType": "ValidationException", "message": "DOE^JANE"},
        }
        lines = (json.dumps(failure) + "\n") * (job.files - job.imported)
        self.objects[f"{place}FAILURE/failure.ndjson"] = lines.encode()


class _Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Iterator[bytes]:
        while chunk := self.read(size):
            yield chunk


def _tag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def make_settings(world: World, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "role_arn": "arn:aws:iam::111122223333:role/Bulk",
        "datastore_id": STORE,
        "data_access_role_arn": "arn:aws:iam::111122223333:role/Access",
        "source": Source("source", "in/"),
        "output_bucket": "results",
        "output_prefix": "out/",
        "import_name": "Stack/Archive",
        "job_name": "",
        "limits": Limits(),
        "pace": Pace(world.rate, world.slots),
        "tolerance": Tolerance(),
    }
    return Settings(**{**values, **changes})


def write_plan(world: World, settings: Settings, sizes: list[int], prefix: str = "in/{n:06}/") -> dict[str, Any]:
    """A plan of so many jobs, each with so many files, whose prefixes are named like that."""
    disturb, world.disturb = world.disturb, lambda *_: None
    planner = Planner(settings.source.bucket, settings.source.prefix, settings.limits)
    planner.listed.files = sum(sizes)
    writer, folder = PlanWriter(settings.source.bucket), Folder(world, settings)  # type: ignore[arg-type]
    parts = (Part(prefix.format(n=n), files, files) for n, files in enumerate(sizes, start=1))
    bodies = [*writer.add(parts), *writer.finish()]
    source = {"bucket": settings.source.bucket, "prefix": settings.source.prefix, "owner_account_id": None}
    plan = make_plan(planner, writer, source=source, limits=settings.limits, pace=settings.pace)
    for name, body in bodies:
        folder.write(f"{plan['plan']}/{name}", body)
    folder.write_json(f"{plan['plan']}/plan.json", plan)
    world.disturb = disturb
    return plan


def make_run(world: World, settings: Settings, plan: dict[str, Any]) -> Run:
    return Run(
        world,  # type: ignore[arg-type]
        Folder(world, settings),  # type: ignore[arg-type]
        settings,
        plan=plan["plan"],
        run="run",
        jobs=plan["jobs"]["count"],
        clock=world.clock,
        sleep=world.sleep,
    )


def run_to_end(
    world: World,
    settings: Settings,
    plan: dict[str, Any],
    *,
    asker: str = "a",
    retry: bool = False,
    loops: int = 10_000,
    seconds: float = 420,
) -> tuple[Run, int]:
    """Step by step, as the state machine does; a step that dies is repeated."""
    for loop in range(loops):
        try:
            run = make_run(world, settings, plan)
            run.begin(asker, retry=retry)
            pause = run.step(world.now + seconds)
        except (Crash, RetryableError):
            world.now += 2
            continue
        if pause is None:
            return run, loop + 1
        world.now += max(1, round(pause))
    raise AssertionError("the run did not end")


def lognormal(seed: int, mean: float, failing: float = 0.0) -> Callable[[str, int], tuple[float, str, int, int, bool]]:
    rng = random.Random(seed)
    sigma = 0.5

    def fate(_prefix: str, _attempt: int) -> tuple[float, str, int, int, bool]:
        seconds = rng.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)
        if rng.random() < failing:
            return seconds, "FAILED", 0, 0, False
        return seconds, "COMPLETED", 10, 10, True

    return fate
