"""What the function costs: its start, and a warm step. Real boto3 clients talk to a fake AWS on this machine."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.page import Table, times
from benchmarks.pairs import run_in_turns
from benchmarks.processes import run_module
from tests.handler import cloudformation_events
from tests.handler.fake_aws import DICOM, SOURCE, FakeAws, Server

_STARTS = {
    "client": "bare boto3 client, created",
    "import": "`healthimaging_import.handler`, imported",
    "call": "the same, and its first call (3 API calls)",
}


@contextmanager
def _fake_aws() -> Iterator[FakeAws]:
    """Serve a fake AWS by the real clock, with a file to import and jobs that do not end."""
    server = Server()
    aws = server.aws
    aws.state.now = time.time  # type: ignore[method-assign]
    aws.state.settings.job_seconds = 1e6
    aws.state.settings.jobs_per_datastore = 1_000_000
    # The first store is created in the future of the real clock.
    created = aws.healthimaging.CreateDatastore({"datastoreName": "now", "clientToken": "now"}, aws.caller)
    aws.datastore_id = str(created["datastoreId"])
    aws.put(SOURCE, "studies/1.dcm", DICOM)
    try:
        yield aws
    finally:
        server.close()


def _environment(aws: FakeAws) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "AMBIENT",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def measure_start(rounds: int) -> Table:
    """Start the function and the peer in turns, each in a process of its own."""
    with _fake_aws() as aws:

        def start(what: str) -> Any:  # noqa: ANN401 - a JSON document
            aws.executions.clear()
            event = json.dumps(cloudformation_events.event(aws, "import-create"))
            return run_module("benchmarks.start_process", what, text=event, environment=_environment(aws)).document

        found = run_in_turns(list(_STARTS), start, rounds)
    rows = []
    for what, title in _STARTS.items():
        wall, cpu, peak = (found.median(what, _reader(name)) for name in ("wall", "cpu", "peak"))
        ratios = [times(found.ratio(what, "client", _reader(name))) for name in ("wall", "cpu")]
        rows.append([title, f"{1000 * wall:.0f}", f"{1000 * cpu:.0f}", f"{peak:.0f}", *ratios])
    return Table(
        "The function's start",
        f"From the first import on, without the start of Python; medians of {rounds} rounds. Ratios are against "
        '`boto3.client("medical-imaging")`.',
        ["what", "wall (ms)", "CPU (ms)", "peak memory (MB)", "wall against client", "CPU against client"],
        rows,
    )


def _reader(name: str) -> Any:  # noqa: ANN401 - a function of a JSON document
    return lambda document: float(document[name])


@dataclass(frozen=True)
class _Cost:
    cpu: float
    wall: float
    against_bare: float


def measure_step(rounds: int) -> Table:
    """Take steps in a warm function."""
    with _fake_aws() as aws:
        event = json.dumps(cloudformation_events.event(aws, "import-create"))
        run_module("benchmarks.start_process", "call", text=event, environment=_environment(aws))
        (execution,) = aws.executions.values()
        aws.calls.clear()
        found = run_module(
            "benchmarks.step_process", str(rounds), text=execution["input"], environment=_environment(aws)
        ).document
        calls = Counter(call.operation for call in aws.calls)
    bare = found["bare"]
    costs = {name: _cost(found[name], bare) for name in ("bare", "poll", "start")}
    titles = {
        "bare": "bare client's GetDICOMImportJob",
        "poll": "step that polls a running job",
        "start": "step that starts a job",
    }
    rows = [
        [titles[name], f"{1000 * cost.cpu:.1f}", f"{1000 * cost.wall:.1f}", times(cost.against_bare)]
        for name, cost in costs.items()
    ]
    first, last = found["peaks"]
    steps = len(found["poll"]) + len(found["start"])
    return Table(
        "A warm step of the function",
        f"One process, medians of {len(bare)} polls and {len(found['start'])} starts. Its peak memory was "
        f"{first:.0f} MB after the first request and {last:.0f} MB after {steps} steps (with the bare client in it). "
        f"AssumeRole was called {calls['STS.AssumeRole']} time(s) by all steps together.",
        ["what", "CPU (ms)", "wall (ms)", "CPU against bare client"],
        rows,
    )


def _cost(timed: list[tuple[float, float]], bare: list[tuple[float, float]]) -> _Cost:
    peer = median(cpu for cpu, _ in bare)
    pairs = zip(timed, bare, strict=True) if len(timed) == len(bare) else ((one, (peer, 0.0)) for one in timed)
    ratio = median(one[0] / other[0] for one, other in pairs)
    return _Cost(median(cpu for cpu, _ in timed), median(wall for _, wall in timed), ratio)
