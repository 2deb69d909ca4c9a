"""Bulk imports: planning against parsing the listing, and the time of a run against what the quotas allow."""

from __future__ import annotations

import contextlib
import io
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse

from benchmarks.page import Table
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
}


def measure_planning(counts: list[int]) -> Table:
    """Plan listings of several sizes and layouts, against boto3's paginator on the same pages."""
    rows = []
    for layout, listing in _LAYOUTS.items():
        parse = _seconds_of_boto3(list(islice(listing(), 50 * _PAGE))) / (50 * _PAGE)
        for count in counts:
            seconds, jobs = _seconds_to_plan(listing, count)
            peak = f"{_peak_of_planning(listing, count) / 1e6:.1f}" if count == counts[0] else ""
            rate, share = f"{count / seconds / 1e6:.2f}", f"{100 * seconds / count / parse:.1f}"
            rows.append([layout, f"{count / 1e6:g}", rate, f"{parse * 1e6:.1f}", share, str(jobs), peak])
    return Table(
        "Planning a bulk import",
        "Million keys that the planner takes in a second of CPU, microseconds of CPU that boto3's paginator takes for "
        "a key of the same pages, and what planning adds to that. Memory is the planner's own peak, by tracemalloc.",
        ["layout", "million keys", "million/s", "boto3 (us)", "on top (%)", "jobs", "peak (MB)"],
        rows,
    )


def _seconds_to_plan(listing: Callable[[], Iterator[File]], count: int) -> tuple[float, int]:
    planner, files = Planner("images", "a/", Limits()), listing()
    seconds, jobs, left = 0.0, 0, count
    while left > 0:
        page = list(islice(files, min(left, _PAGE * 100)))
        left -= len(page)
        began = time.process_time()
        jobs += sum(1 for _ in planner.feed(page))
        seconds += time.process_time() - began
    return seconds, jobs + sum(1 for _ in planner.finish())


def _peak_of_planning(listing: Callable[[], Iterator[File]], count: int) -> int:
    tracemalloc.start()
    planner, files = Planner("images", "a/", Limits()), listing()
    for _ in range(0, count, _PAGE):
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
    for rate in (0.25, 1.0):
        for name, seconds in _LENGTHS.items():
            with contextlib.redirect_stdout(io.StringIO()):
                took, bound, throttles, loops, size = _simulate(jobs, rate, seconds)
            ratio = f"{100 * (took / bound - 1):.1f}"
            rows.append([f"{rate:g}", name, f"{bound / 3600:.1f}", ratio, str(throttles), str(loops), str(size)])
    files = jobs * Limits.files
    studies = files // _STUDY
    return Table(
        "Running a bulk import",
        f"{jobs:,} simulated jobs, lengths lognormal, {_FAILING:.0%} of them fail and are started again, {_SLOTS} at "
        f"once, burst 1, each call {_CALL_SECONDS * 1000:.0f} ms. The bound is the larger of starts by rate and job "
        f"hours by slots. The same {files:,} files as a job a study would need {studies / 0.25 / 3600:,.0f} h of "
        f"starts at 0.25 a second, as a job an object {files / 0.25 / 3600 / 24:,.0f} days.",
        ["starts/s", "job", "bound (h)", "over it (%)", "throttled", "loops", "largest state (bytes)"],
        rows,
    )


def _simulate(jobs: int, rate: float, seconds: float) -> tuple[float, float, int, int, int]:
    world = World(lognormal(1, seconds, _FAILING), rate=rate, slots=_SLOTS, call_seconds=_CALL_SECONDS)
    options = make_settings(world)
    plan: dict[str, Any] = write_plan(world, options, [10] * jobs)
    began = world.now
    _, loops = run_to_end(world, options, plan)
    started = list(world.jobs.values())
    mean = sum(job.ends_at - job.submitted_at for job in started) / len(started)
    bound = max(len(started) / rate + mean, len(started) * mean / _SLOTS)
    size = max(len(body) for name, body in world.objects.items() if name.endswith("state.json"))
    return world.now - began, bound, world.throttles, loops, size
