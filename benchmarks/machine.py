"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_BUSY = 0.5
"""Processes that wait for each core, from which on a machine is called busy."""


def describe(load_before: float) -> str:
    """Describe the machine in some lines of Markdown."""
    cores = os.cpu_count() or 1
    packages = ", ".join(f"{name} {version(name)}" for name in ("aws-cdk-lib", "jsii", "boto3"))
    command = [os.environ["JSII_NODE"], "--version"]
    node = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - CDK's own Node.js
    lines = [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}.",
        f"{_processor()}, {cores} cores, {_memory()}.",
        f"Python {platform.python_version()}, Node.js {node.stdout.strip().removeprefix('v')}, {packages}.",
    ]
    if load_before > _BUSY * cores:
        lines.append(
            f"**The machine was busy** (load {load_before:.1f} before the run): the seconds are too high. "
            "The ratios hold better."
        )
    return "\n".join(lines)


def describe_part(load_before: float) -> str:
    """Say when and on what a part was measured that was run alone."""
    return (
        f"Run alone on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count() or 1} cores, load {load_before:.1f} before it, "
        f"Python {platform.python_version()}, boto3 {version('boto3')}."
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
