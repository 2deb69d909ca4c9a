"""A process that starts as the function's environment does; prints seconds from the first import on, and its peak.

``client`` creates a bare boto3 client, ``import`` imports the handler, ``call`` has it take a request of CloudFormation
as well, which comes on the standard input.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.processes import peak_megabytes


def main(what: str) -> None:
    """Do it and print what it took."""
    text = sys.stdin.read()
    cpu, wall = time.process_time(), time.perf_counter()
    if what == "client":
        import boto3  # noqa: PLC0415 - what is measured

        boto3.client("medical-imaging")
    else:
        from healthimaging_import import handler  # noqa: PLC0415 - what is measured

        if what == "call":
            handler.handle(json.loads(text), None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    sys.stdout.write("\n" + json.dumps({"wall": wall, "cpu": cpu, "peak": peak_megabytes()}) + "\n")


main(*sys.argv[1:])
