"""Bulk imports: planning against parsing the listing, and the time of a run against what the quotas allow."""

from __future__ import annotations

import contextlib
import heapq
import io
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse

from benchmarks.page import Table
from healthimaging_import.bulk.listing import files_of
from healthimaging_import.bulk.plan import PlanWriter
from healthimaging_import.bulk.planner import File, Limits, Planner
from tests.handler.bulk.bulk_world import World, lognormal, make_settings, run_to_end, write_plan

_SIZE = 500_000
_STUDY, _SERIES = 216, 54
_PAGE = 1000
_SLOTS = 100
_FAILING = 0.02
_CALL_SECONDS = 0.06
_LENGTHS = {"1 min": 60.0, "6.7 min": 402.0, "15 min": 900.0, "50 min": 3000.0}


def _studies(folder_of: Callable[[int], str], separator: str = "/") -> Iterator[File]:
    number = 0
    while True:
        for image in range(_STUDY):
            yield File(f"a/{folder_of(number)}/{image // _SERIES:02}{separator}{image:05}.dcm", _SIZE)
        number += 1


_LAYOUTS: dict[str, Callable[[], Iterator[File]]] = {
    "year/month/day/study/series": lambda: _studies(
        lambda n: f"{2000 + n // 6720:04}/{n // 560 % 12 + 1:02}/{n // 20 % 28 + 1:02}/{n % 20:02}"
    ),
    "patient/study/series": lambda: _studies(lambda n: f"p{n // 3:07}/{n % 3}"),
    "hash/study": lambda: _studies(lambda n: f"{n // 200:04x}/{n:08}", "-"),
    "flat studies": lambda: _studies(lambda n: f"{n:08}", "-"),
    "one folder": lambda: (File(f"a/{n:012}.dcm", _SIZE) for n in count()),
}


def measure_planning(counts: list[int]) -> Table:
    """Plan listings of several sizes and layouts, against boto3's paginator on the same pages."""
    rows = []
    for layout, listing in _LAYOUTS.items():
        parse = _seconds_of_boto3(list(islice(listing(), 50 * _PAGE))) / (50 * _PAGE)
        for keys in counts:
            seconds, jobs, others = _seconds_to_plan(listing, keys)
            peak = f"{_peak_of_planning(listing, keys) / 1e6:.1f}" if keys == counts[0] else ""
            rate, share = f"{keys / seconds / 1e6:.2f}", f"{100 * seconds / keys / parse:.1f}"
            rows.append([layout, f"{keys / 1e6:g}", rate, f"{parse * 1e6:.1f}", share, str(jobs), str(others), peak])
    return Table(
        "Planning a bulk import",
        "Million keys that the function plans in a second of CPU, microseconds of CPU that boto3's paginator takes for "
        "a key of the same pages (50,000 keys, without a network), and what planning adds to that: reading boto3's "
        "pages, cutting, writing the jobs, and counting the jobs by prefixes without '/'. Memory is the planner's own "
        "peak, by tracemalloc.",
        ["layout", "million keys", "million/s", "boto3 (us)", "on top (%)", "jobs", "jobs without '/'", "peak (MB)"],
        rows,
    )


def _seconds_to_plan(listing: Callable[[], Iterator[File]], keys: int) -> tuple[float, int, int]:
    """Do what a step of the function does with each page that boto3 gives it."""
    planner, writer, files = Planner("images", "a/", Limits()), PlanWriter("images"), listing()
    seconds, left = 0.0, keys
    while left > 0:
        many = min(left, _PAGE * 20)
        left -= many
        items = [{"Key": file.key, "Size": file.size, "StorageClass": "STANDARD"} for file in islice(files, many)]
        pages = [{"Contents": items[at : at + _PAGE]} for at in range(0, many, _PAGE)]
        began = time.process_time()
        for page in pages:
            for _ in writer.add(planner.feed(files_of(page))):
                pass
        seconds += time.process_time() - began
    for _ in writer.add(planner.finish()):
        pass
    return seconds, writer.jobs, planner.any_prefix.jobs if planner.any_prefix else 0


def _peak_of_planning(listing: Callable[[], Iterator[File]], keys: int) -> int:
    tracemalloc.start()
    planner, files = Planner("images", "a/", Limits()), listing()
    for _ in range(0, keys, _PAGE):
        for _part in planner.feed(islice(files, _PAGE)):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _seconds_of_boto3(files: list[File]) -> float:
    """Parse the pages of a listing as boto3's paginator does, without a network."""
    bodies = [
        _page(files[at : at + _PAGE], after="" if at + _PAGE >= len(files) else str(at))
        for at in range(0, len(files), _PAGE)
    ]
    waiting = iter(bodies)

    class _Raw(io.BytesIO):
        def stream(self, **_: object) -> Iterator[bytes]:
            yield self.read()

    def answer(**_: object) -> AWSResponse:
        return AWSResponse("https://s3", 200, {"content-type": "application/xml"}, _Raw(next(waiting)))

    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106 - no network
    client.meta.events.register("before-send.s3.ListObjectsV2", answer)
    began = time.process_time()
    found = sum(len(page["Contents"]) for page in client.get_paginator("list_objects_v2").paginate(Bucket="images"))
    seconds = time.process_time() - began
    if found != len(files):
        raise RuntimeError(f"boto3 read {found} keys of {len(files)}")
    return seconds


def _page(files: list[File], *, after: str) -> bytes:
    more = "<IsTruncated>false</IsTruncated>"
    if after:
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{after}</NextContinuationToken>"
    items = "".join(
        f"<Contents><Key>{file.key}</Key><LastModified>2026-11-28T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{index:032x}&quot;</ETag><Size>{file.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for index, file in enumerate(files)
    )
    return f'<?xml version="1.0"?><ListBucketResult><Name>images</Name>{more}{items}</ListBucketResult>'.encode()


def measure_makespan(jobs: int) -> Table:
    """Run jobs on a simulated account with the function's own controller, against the bound of the quotas."""
    rows = []
    files = jobs * Limits.files
    for rate in (0.25, 1.0):
        for name, seconds in _LENGTHS.items():
            with contextlib.redirect_stdout(io.StringIO()):
                made = _simulate(jobs, rate, seconds)
            ratios = [f"{100 * (took / made.bound - 1):.1f}" for took in (made.took, made.ideal)]
            peers = [f"{made.took / 3600:.1f}", f"{files / _STUDY / rate / 3600:,.0f}", f"{files / rate / 3600:,.0f}"]
            counts = [str(made.throttles), str(made.loops), f"{made.largest_state / 1000:.1f}"]
            rows.append([f"{rate:g}", name, f"{made.bound / 3600:.1f}", *ratios, *peers, *counts])
    return Table(
        "Running a bulk import",
        f"{jobs:,} jobs on a simulated account, in simulated time. Lengths are lognormal, {_FAILING:.0%} fail and are "
        f"started again, {_SLOTS} run at once, burst 1, each call takes {_CALL_SECONDS * 1000:.0f} ms. The bound is "
        "arithmetic: the larger of starts by rate plus one job, and job hours by slots. The ideal controller starts at "
        "exactly the rate, and at the very moment a job ends: what it is over the bound is due to the jobs' lengths, "
        f"and nobody can do better in that order. The last two are arithmetic, too: the same {files:,} files at one "
        f"start for each study of {_STUDY} files, and for each object, by the rate alone.",
        ["starts/s", "job", "bound (h)", "over it (%)", "ideal over it (%)", "h", "h, job a study", "h, job an object",
         "throttled", "loops", "largest state (kB)"],
        rows,
    )  # fmt: skip


@dataclass(frozen=True)
class _Simulated:
    took: float
    bound: float
    ideal: float
    throttles: int
    loops: int
    largest_state: int


def _simulate(jobs: int, rate: float, seconds: float) -> _Simulated:
    world = World(lognormal(1, seconds, _FAILING), rate=rate, slots=_SLOTS, call_seconds=_CALL_SECONDS)
    options = make_settings(world)
    plan: dict[str, Any] = write_plan(world, options, [10] * jobs)
    began = world.now
    _, loops = run_to_end(world, options, plan)
    lengths = [job.ends_at - job.submitted_at for job in world.jobs.values()]
    mean = sum(lengths) / len(lengths)
    bound = max(len(lengths) / rate + mean, len(lengths) * mean / _SLOTS)
    size = max(len(body) for name, body in world.objects.items() if name.endswith("state.json"))
    return _Simulated(world.now - began, bound, _ideal_seconds(lengths, rate), world.throttles, loops, size)


def _ideal_seconds(lengths: list[float], rate: float) -> float:
    """How long the same jobs take in the same order if each starts at the first moment that the quotas allow."""
    ends: list[float] = []
    start = 0.0
    for length in lengths:
        if len(ends) == _SLOTS:
            start = max(start, heapq.heappop(ends))
        heapq.heappush(ends, start + length)
        start += 1 / rate
    return max(ends)  # what was popped ended before the last start
