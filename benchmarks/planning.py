"""Planning a bulk import, against parsing the same listing with boto3's paginator."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.layouts import LAYOUTS
from benchmarks.page import Table
from benchmarks.processes import run_module

_PROCESS = "benchmarks.planning_process"
_PARSED_KEYS = 50_000
_LARGE = ("year/month/day/study/series", "one folder, UIDs")
"""The layouts that are planned in all sizes, the fastest and the slowest of real archives; the others in the first."""


def measure(counts: Sequence[int], rounds: int) -> Table:
    """Plan listings of several sizes and layouts; those of the first size ``rounds`` times, in turns with boto3."""
    rows = []
    for layout in LAYOUTS:
        sizes = counts if layout in _LARGE else counts[:1]
        parsed, planned = [], []
        for keys in [*[counts[0]] * (rounds - 1), *sizes]:
            parsed.append(_parse(layout))
            planned.append((keys, run_module(_PROCESS, "plan", layout, str(keys)).document))
        boto3 = median(parsed)
        for keys in sizes:
            of_size = [found for many, found in planned if many == keys]
            seconds = median(found["seconds"] / keys for found in of_size)
            peak = max(found["peak"] for found in of_size)
            numbers = [f"{1 / seconds / 1e6:.2f}", f"{boto3 * 1e6:.1f}", f"{100 * seconds / boto3:.1f}"]
            jobs = [f"{of_size[0][name]:,}" for name in ("jobs", "jobs_by_any_prefix")]
            rows.append([layout, f"{keys / 1e6:g}", *numbers, f"{peak:.0f}", *jobs])
    return Table(
        "Planning a bulk import",
        "Million keys that the function plans in a second of CPU, microseconds of CPU that boto3's paginator takes for "
        f"a key of the same listing ({_PARSED_KEYS:,} keys, without a network), and what planning adds to that: "
        "reading boto3's pages, cutting, writing the jobs, and counting the jobs by prefixes without '/'. Each is a "
        "process of its own, and memory is its peak, Python included. The listing is generated page by page. The "
        f"smallest size is the median of {rounds} rounds in turns with boto3. Two layouts were planned in larger "
        "sizes, once each.",
        ["layout", "million keys", "million/s", "boto3 (us)", "on top (%)", "peak (MB)", "jobs", "jobs without '/'"],
        rows,
    )


def _parse(layout: str) -> float:
    """Return the seconds of CPU that boto3 takes for a key."""
    return float(run_module(_PROCESS, "parse", layout, str(_PARSED_KEYS)).document["seconds"]) / _PARSED_KEYS
