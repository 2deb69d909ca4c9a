"""Processes of their own for what is measured, and what they cost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_MEGABYTE = 1000 * 1000


@dataclass(frozen=True)
class Finished:
    """A process that has ended: its seconds, start of Python included, and the JSON document that it printed."""

    wall: float
    cpu: float
    document: Any


def run_module(module: str, *arguments: str, text: str = "", environment: Mapping[str, str] | None = None) -> Finished:
    """Run one of our modules. The CPU seconds are those of all its processes."""
    # Byte code is compiled, and CDK's validator, which takes seconds, is off.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    cpu, wall = _cpu_of_children(), time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own modules
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**inherited, "CDK_VALIDATION": "false", **(environment or {})},
        input=text,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    wall, cpu = time.perf_counter() - wall, _cpu_of_children() - cpu
    return Finished(wall, cpu, json.loads(done.stdout.splitlines()[-1]))


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_megabytes() -> float:
    """Return the sum of the peaks of this process and of those that it started; 0 where there is no /proc."""
    waiting, peak = ["self"], 0.0
    while waiting:
        folder = Path("/proc", waiting.pop())
        if not (folder / "status").exists():
            continue
        status = dict(line.split(":", 1) for line in (folder / "status").read_text(encoding="utf-8").splitlines())
        peak += float(status["VmHWM"].split()[0]) * 1024 / _MEGABYTE
        for task in (folder / "task").iterdir():
            waiting += (task / "children").read_text(encoding="utf-8").split()
    return peak
