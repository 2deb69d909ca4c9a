"""A process that synthesizes one app: NAME, folder, and for each of its stacks the number of imports."""

from __future__ import annotations

import json
import sys

from aws_cdk import App, Stack

from benchmarks.apps import AppName, add_to
from benchmarks.processes import peak_megabytes


def main(name: str, folder: str, *imports: str) -> None:
    """Synthesize the app and print the peak memory."""
    app = App(analytics_reporting=False, outdir=folder)
    for count in imports:
        add_to(Stack(app, f"Stack{count}"), AppName(name), int(count))
    app.synth()
    sys.stdout.write(json.dumps({"peak": peak_megabytes()}) + "\n")


main(*sys.argv[1:])
