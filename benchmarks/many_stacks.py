"""Construction of many stacks in one process: each takes as long as the one before."""

from __future__ import annotations

import tempfile
from statistics import mean
from typing import Any

from benchmarks.apps import AppName
from benchmarks.page import Table, times
from benchmarks.pairs import run_in_turns
from benchmarks.processes import run_module

_NAMES = (AppName.LIBRARY, AppName.AWS_CUSTOM_RESOURCE)
_TEN = 10


def measure(rounds: int, stacks: int) -> Table:
    """Build stacks with one import each, in turns with the peer."""

    def build(name: AppName) -> Any:  # noqa: ANN401 - a JSON document
        with tempfile.TemporaryDirectory() as folder:
            return run_module("benchmarks.stacks_process", name, str(stacks), folder).document

    found = run_in_turns(_NAMES, build, rounds)
    rows = []
    for name in _NAMES:
        parts = (_first, _early, _late, _synth)
        first, early, late, synth = (found.median(name, part) for part in parts)
        growth = found.median(name, lambda document: _late(document) / _early(document))
        peer = found.ratio(name, AppName.AWS_CUSTOM_RESOURCE, _late)
        cells = [f"{1000 * first:.0f}", f"{1000 * early:.0f}", f"{1000 * late:.0f}", times(growth), f"{synth:.2f}"]
        rows.append([name, *cells, times(peer)])
    return Table(
        "Many stacks in one app",
        f"{stacks} stacks with one import each in one process, medians of {rounds} rounds. The first stack loads what "
        "all need.",
        [
            "app",
            "first stack (ms)",
            "each of the next ten (ms)",
            "each of the last ten (ms)",
            "last ten against next ten",
            "synth of all (s)",
            f"last ten against {AppName.AWS_CUSTOM_RESOURCE}",
        ],
        rows,
    )


def _first(document: Any) -> float:  # noqa: ANN401 - a JSON document
    return float(document["seconds"][0])


def _early(document: Any) -> float:  # noqa: ANN401 - a JSON document
    return float(mean(document["seconds"][1 : _TEN + 1]))


def _late(document: Any) -> float:  # noqa: ANN401 - a JSON document
    return float(mean(document["seconds"][-_TEN:]))


def _synth(document: Any) -> float:  # noqa: ANN401 - a JSON document
    return float(document["synth"])
