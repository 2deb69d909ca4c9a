"""The time that a run of a bulk import takes, against what the quotas allow."""

from __future__ import annotations

import contextlib
import heapq
import io
import math
import random
from dataclasses import dataclass
from typing import Any

from benchmarks.layouts import STUDY_FILES
from benchmarks.page import Table
from healthimaging_import.bulk.planner import Limits
from tests.handler.bulk.bulk_world import World, lognormal, make_settings, run_to_end, write_plan

_SLOTS = 100
_FAILING = 0.02
_SENDING_SECONDS, _ANSWERING_SECONDS = 0.03, 0.03
_SPREAD = 0.6
"""A call takes so long until it has its effect, on average, and so long from then on."""
_LENGTHS = {"1 min": 60.0, "6.7 min": 402.0, "15 min": 900.0, "50 min": 3000.0}


def measure(jobs: int) -> Table:
    """Run jobs on a simulated account with the function's own controller, against the bound of the quotas."""
    rows = []
    files = jobs * Limits.files
    for rate in (0.25, 1.0):
        for name, seconds in _LENGTHS.items():
            with contextlib.redirect_stdout(io.StringIO()):
                made = _simulate(jobs, rate, seconds)
            ratios = [f"{100 * (took / made.bound - 1):.1f}" for took in (made.took, made.ideal)]
            peers = [
                f"{made.took / 3600:.1f}",
                f"{files / STUDY_FILES / rate / 3600:,.0f}",
                f"{files / rate / 3600:,.0f}",
            ]
            counts = [str(made.throttles), str(made.loops), f"{made.largest_state / 1000:.1f}"]
            rows.append([f"{rate:g}", name, f"{made.bound / 3600:.1f}", *ratios, *peers, *counts])
    return Table(
        "Running a bulk import",
        f"{jobs:,} jobs on a simulated account, in simulated time. Lengths are lognormal, {_FAILING:.0%} fail and are "
        f"started again, {_SLOTS} run at once, burst 1. A call takes {1000 * _SENDING_SECONDS:.0f} ms on average "
        f"(lognormal) until it has its effect, and {1000 * _ANSWERING_SECONDS:.0f} ms from then on. The bound is "
        "arithmetic: the larger of starts by rate plus one job, and job hours by slots. The ideal controller starts at "
        "exactly the rate, and at the very moment a job ends: what it is over the bound is due to the jobs' lengths, "
        f"and nobody can do better in that order. The last two are arithmetic, too: the same {files:,} files at one "
        f"start for each study of {STUDY_FILES} files, and for each object, by the rate alone.",
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
    rng = random.Random(1)  # noqa: S311 - no secret

    def delay(world: World, _operation: str, after: bool) -> None:  # noqa: FBT001 - as the world calls it
        if not after:
            world.now += rng.lognormvariate(math.log(_SENDING_SECONDS) - _SPREAD**2 / 2, _SPREAD)

    fate = lognormal(1, seconds, _FAILING)
    world = World(fate, rate=rate, slots=_SLOTS, call_seconds=_ANSWERING_SECONDS, disturb=delay)
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
