"""Seconds and memory of a synth, as a whole process."""

from __future__ import annotations

import tempfile

from benchmarks.apps import AppName
from benchmarks.page import Table, times
from benchmarks.pairs import run_in_turns
from benchmarks.processes import Finished, run_module

_PEERS = (AppName.EMPTY, AppName.AWS_CUSTOM_RESOURCE, AppName.PROVIDER)


def measure(rounds: int) -> Table:
    """Synthesize all apps in turns."""
    found = run_in_turns(list(AppName), _synthesize, rounds)
    rows = []
    for name in AppName:
        wall, cpu, peak = (found.median(name, read) for read in (_wall, _cpu, _peak))
        ratios = [f"{times(found.ratio(name, it, _wall))} / {times(found.ratio(name, it, _cpu))}" for it in _PEERS]
        rows.append([name, f"{wall:.2f}", f"{cpu:.2f}", f"{peak:.0f}", *ratios])
    return Table(
        "Synth",
        f"Whole processes, medians of {rounds} rounds; ratios are wall / CPU. Memory is the sum of the peaks of Python "
        "and Node.js.",
        ["app", "wall (s)", "CPU (s)", "memory (MB)", *(f"against {peer}" for peer in _PEERS)],
        rows,
    )


def _synthesize(name: AppName) -> Finished:
    with tempfile.TemporaryDirectory() as folder:
        return run_module("benchmarks.synth_process", name, folder, "1")


def _wall(finished: Finished) -> float:
    return finished.wall


def _cpu(finished: Finished) -> float:
    return finished.cpu


def _peak(finished: Finished) -> float:
    return float(finished.document["peak"])
