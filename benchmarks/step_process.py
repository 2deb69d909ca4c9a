"""A process that is a warm function: it takes steps of the state machine again and again.

The standard input holds an execution's input. In turns: a bare client's GetDICOMImportJob, a step that polls a running
job, and the step that takes a new request up to its started job.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import boto3

from benchmarks.processes import peak_megabytes
from healthimaging_import import handler

_CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)
_POLLS = 20
"""Polls for each start: a deploy has one start and many polls."""
State = dict[str, Any]


def _step(state: State) -> State:
    return handler.handle({"step": "step", "state": copy.deepcopy(state)}, _CONTEXT)


def _start(state: State) -> State:
    """Take the step that starts the request's job."""
    state = _step(state)
    if state["next"] != "wait" or "failing_since" in state:
        raise RuntimeError(f"no job was started: {state}")
    return state


def _of_run(state: State, run_id: str) -> State:
    changed = copy.deepcopy(state)
    changed["event"]["RequestId"] = run_id
    changed["event"]["ResourceProperties"]["RunId"] = run_id
    return changed


def _timed(action: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    action()
    return time.process_time() - cpu, time.perf_counter() - wall


def main(rounds: str) -> None:
    """Print (CPU, wall) seconds of each, and the peak memory after one request and after all."""
    state = json.loads(sys.stdin.read())
    running = _start(state)
    for _ in range(_POLLS):
        _step(running)
    peaks = [peak_megabytes()]
    datastore_id = state["event"]["ResourceProperties"]["DatastoreId"]
    client = boto3.client("medical-imaging")
    (job,) = client.list_dicom_import_jobs(datastoreId=datastore_id)["jobSummaries"]
    bare: list[tuple[float, float]] = []
    polls: list[tuple[float, float]] = []
    starts: list[tuple[float, float]] = []
    for number in range(int(rounds)):
        for _ in range(_POLLS):
            bare.append(_timed(lambda: client.get_dicom_import_job(datastoreId=datastore_id, jobId=job["jobId"])))
            polls.append(_timed(lambda: _step(running)))
        starts.append(_timed(lambda: _start(_of_run(state, f"run-{number}"))))  # noqa: B023 - called at once
    peaks.append(peak_megabytes())
    sys.stdout.write("\n" + json.dumps({"bare": bare, "poll": polls, "start": starts, "peaks": peaks}) + "\n")


main(*sys.argv[1:])
