"""A plan: jobs under the quotas, what no prefix covers, how long it takes, and what would help.

A plan is a folder of files that a person reads and a program uses: ``plan.json`` and ``plan/0001.jsonl`` and so on,
each with a thousand jobs. It is named by the SHA-256 of what it says of source, limits and jobs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from healthimaging_import.bulk.planner import Cause, Cut, Limits, Part, Planner, Tally, fewest_jobs

SCHEMA = 1
JOBS_PER_FILE = 1000
_SMALL_JOB_MINUTES, _FULL_JOB_MINUTES = 1.5, 10.0
"""How long a job is taken to last. AWS says 80 to 120 seconds of small jobs, and nothing of full ones."""
# us-east-1, USD, 2026-11: S3 PUT and LIST, S3 GET, a GB-second of a function on arm64, a state transition.
_PUT, _GET, _GB_SECOND, _TRANSITION = 5e-6, 4e-7, 1.33334e-5, 2.5e-5
_KEYS_PER_LIST = 1000
_FUNCTION_GB = 0.5
_LOOPS_PER_HOUR = 12
_MUCH = 1.5
_encode = json.JSONEncoder(ensure_ascii=False).encode
_ADVICE = {
    Cause.DIRECT: "are directly in folders that are too large for one job: move them into folders of their own",
    Cause.TOO_LARGE: "have more bytes than HealthImaging takes in one file",
    Cause.ARCHIVED: "are in GLACIER or DEEP_ARCHIVE: restore them, then plan anew",
    Cause.NAME: "are in folders that no S3 URI names (longer than 1,024 characters, or with a line break): rename them",
}


@dataclass(frozen=True)
class PlannedJob:
    """One job of a plan; ``n`` counts from 1."""

    n: int
    bucket: str
    prefix: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Pace:
    """What the account and the data store allow."""

    starts_per_second: float
    concurrent_jobs: int

    def hours(self, jobs: int, job_minutes: float) -> float:
        """Return the hours that no run of so many jobs goes below: by the start rate, and by the concurrent jobs."""
        by_rate = jobs / self.starts_per_second / 3600
        by_slots = -(-jobs // self.concurrent_jobs) * job_minutes / 60
        return max(by_rate + job_minutes / 60 if jobs else 0.0, by_slots)


def encode_jobs(jobs: Sequence[PlannedJob]) -> bytes:
    """Write a file of a plan."""
    return b"".join(_encode(vars(job)).encode() + b"\n" for job in jobs)


def decode_jobs(body: bytes) -> list[PlannedJob]:
    """Read a file of a plan."""
    return [PlannedJob(**json.loads(line)) for line in body.decode().splitlines() if line]


def job_minutes(files: int, jobs: int, limits: Limits) -> float:
    """Return how long a job is taken to last, in which so many files are on average."""
    part = min(1.0, files / max(1, jobs) / limits.files)
    return _SMALL_JOB_MINUTES + part * (_FULL_JOB_MINUTES - _SMALL_JOB_MINUTES)


class PlanWriter:
    """Numbers the parts that a planner gives, and hands out whole files."""

    def __init__(self, bucket: str, files: Sequence[Mapping[str, Any]] = (), waiting: Sequence[Any] = ()) -> None:
        """Begin, or go on with what :meth:`save` wrote down."""
        self._bucket = bucket
        self.files = [dict(file) for file in files]
        self._jobs = [PlannedJob(**job) for job in waiting]

    def save(self) -> dict[str, Any]:
        """Write down where the writer is, as JSON."""
        return {"files": self.files, "waiting": [asdict(job) for job in self._jobs]}

    @property
    def jobs(self) -> int:
        """How many jobs there are so far."""
        return sum(int(file["jobs"]) for file in self.files) + len(self._jobs)

    def add(self, parts: Iterable[Part]) -> Iterator[tuple[str, bytes]]:
        """Take parts; gives the name and the content of each file that is full."""
        number = self.jobs
        for part in parts:
            number += 1
            self._jobs.append(PlannedJob(number, self._bucket, part.prefix, part.files, part.bytes))
            if len(self._jobs) == JOBS_PER_FILE:
                yield self._flush()

    def finish(self) -> Iterator[tuple[str, bytes]]:
        """Give the last file, if there is one."""
        if self._jobs:
            yield self._flush()

    def _flush(self) -> tuple[str, bytes]:
        body = encode_jobs(self._jobs)
        name = file_name(len(self.files) + 1)
        self.files.append({
            "name": name,
            "jobs": len(self._jobs),
            "files": sum(job.files for job in self._jobs),
            "bytes": sum(job.bytes for job in self._jobs),
            "sha256": hashlib.sha256(body).hexdigest(),
        })  # fmt: skip
        self._jobs = []
        return name, body


def file_name(number: int) -> str:
    """Return the name of a file of jobs, counted from 1."""
    return f"plan/{number:04}.jsonl"


def file_of(job: int) -> str:
    """Return the name of the file that a job is in."""
    return file_name((job - 1) // JOBS_PER_FILE + 1)


def make_plan(
    planner: Planner,
    writer: PlanWriter,
    *,
    source: Mapping[str, str | None],
    limits: Limits,
    pace: Pace,
) -> dict[str, Any]:
    """Write ``plan.json``, after the planner and the writer have finished.

    Args:
        planner: what was listed, and what is uncovered.
        writer: the files of jobs.
        source: ``bucket``, ``prefix`` and ``owner_account_id``.
        limits: how much one job takes.
        pace: what the account and the data store allow, for the estimate; it is no part of the plan's name.
    """
    any_prefix = planner.any_prefix
    covered = Tally(sum(file["files"] for file in writer.files), sum(file["bytes"] for file in writer.files))
    meaning = {"schema": SCHEMA, "source": dict(source), "limits": asdict(limits), "files": writer.files}
    uncovered = {cause.value: asdict(tally) for cause, tally in planner.uncovered.items()}
    bound = fewest_jobs(covered.files, covered.bytes, limits)
    jobs = writer.jobs
    minutes = job_minutes(covered.files, jobs, limits)
    hours = pace.hours(jobs, minutes)
    return {
        "plan": hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest(),
        **meaning,
        "listed": asdict(planner.listed),
        "jobs": {"count": jobs, **asdict(covered)},
        "uncovered": uncovered,
        "bound": {"jobs": bound, "hours": round(pace.hours(bound, job_minutes(covered.files, bound, limits)), 2)},
        "any_prefix": asdict(any_prefix) if any_prefix else None,
        "pace": asdict(pace),
        "estimate": {
            "hours": round(hours, 2),
            "assumed_job_minutes": round(minutes, 1),
            "usd": round(cost_usd(planner.listed.files, jobs, hours), 2),
        },
        "advice": advice(planner, covered, jobs, pace, any_prefix),
    }


def cost_usd(files: int, jobs: int, hours: float) -> float:
    """Estimate what listing and running cost, in USD; what HealthImaging takes for storage is not in it."""
    listing = files / _KEYS_PER_LIST * _PUT
    requests = jobs * (4 * _PUT + 6 * _GET)
    function = hours * 3600 * _FUNCTION_GB * _GB_SECOND
    return listing + requests + function + hours * _LOOPS_PER_HOUR * 3 * _TRANSITION


def advice(planner: Planner, covered: Tally, jobs: int, pace: Pace, any_prefix: Cut | None) -> list[str]:
    """Say how far a plan is from the bound, and what would help."""
    said = [f"{tally.files} files {_ADVICE[cause]}" for cause, tally in planner.uncovered.items() if tally.files]
    bound = fewest_jobs(covered.files, covered.bytes, planner.limits)

    def hours_of(count: int, rate: float = pace.starts_per_second, slots: int = pace.concurrent_jobs) -> float:
        return Pace(rate, slots).hours(count, job_minutes(covered.files, count, planner.limits))

    hours = hours_of(jobs)
    if jobs > _MUCH * bound:
        said.append(
            f"{jobs} jobs take at least {hours:.1f} h; full jobs would be {bound} and take {hours_of(bound):.1f} h: "
            f"folders of up to {planner.limits.files} files would help"
        )
    if any_prefix is not None and (_MUCH * any_prefix.jobs < jobs or any_prefix.files > covered.files):
        said.append(
            f"with prefixes that do not end in '/' it would be {any_prefix.jobs} jobs for {any_prefix.files} files "
            f"instead of {covered.files}, and at least {hours_of(any_prefix.jobs):.1f} h; whether HealthImaging "
            "takes such prefixes is not documented"
        )
    rate, slots = 4 * pace.starts_per_second, 4 * pace.concurrent_jobs
    if hours_of(jobs, rate) * _MUCH < hours:
        said.append(
            f"the start rate decides: at {rate:g} starts per second it would be {hours_of(jobs, rate):.1f} h instead "
            f"of {hours:.1f} h; ask AWS for a higher quota"
        )
    if hours_of(jobs, slots=slots) * _MUCH < hours:
        said.append(
            f"the concurrent jobs decide: with {slots} it would be {hours_of(jobs, slots=slots):.1f} h instead of "
            f"{hours:.1f} h; ask AWS for a higher quota"
        )
    return said
