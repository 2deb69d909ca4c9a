"""A process that builds many stacks with one import each: NAME, number of stacks, folder."""

from __future__ import annotations

import json
import sys
import time

from aws_cdk import App, Stack

from benchmarks.apps import AppName, add_to


def main(name: str, stacks: str, folder: str) -> None:
    """Print the seconds that each stack took, and those of the synth of all."""
    app = App(analytics_reporting=False, outdir=folder)
    seconds = []
    for number in range(int(stacks)):
        began = time.perf_counter()
        add_to(Stack(app, f"Stack{number}"), AppName(name), 1)
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    app.synth()
    sys.stdout.write(json.dumps({"seconds": seconds, "synth": time.perf_counter() - began}) + "\n")


main(*sys.argv[1:])
