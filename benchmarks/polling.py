"""API calls of a whole request, and how soon it notices that its job has ended, on the simulator's clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.apps import AppName
from benchmarks.page import Table
from tests.model.fakes import World, client_of
from tests.model.runs import Stage, filled, properties

_JOBS = {"20 s": 20, "100 s": 100, "10 min": 600, "45 min": 2700}
_SPREAD = 0.2
"""Jobs take up to this part longer than said; the longest ends within the hour that CloudFormation waits."""
_GOLDEN = 0.6180339887
"""Multiples of it spread evenly and never fall into step with the polls."""
_WAIT_SECONDS = "3600"  # CloudFormation's longest, so that the longest job ends before the response
_QUERY_INTERVAL = 5.0
"""CDK's default for the Provider framework."""


@dataclass(frozen=True)
class _Noticed:
    seconds: float
    calls: int
    invocations: int


class _CountingStage(Stage):
    """Counts the invocations of the function."""

    invoked = 0

    def invoke(self, payload: dict[str, Any]) -> Any:  # noqa: ANN401 - as the base has it
        self.invoked += 1
        return super().invoke(payload)


def measure(phases: int) -> Table:
    """Import with jobs of several lengths, by the function and by the peer."""
    rows = []
    for name, seconds in _JOBS.items():
        lengths = [seconds * (1 + _SPREAD * (phase * _GOLDEN % 1)) for phase in range(phases)]
        rows += [[name, AppName.LIBRARY, *_cells(_by_library, lengths)]]
        rows += [[name, AppName.PROVIDER, *_cells(_by_provider, lengths)]]
    return Table(
        "Noticing the end of a job",
        f"Simulated seconds from the job's end to the response to CloudFormation, medians of {phases} jobs; calls "
        f"take no time. The peer is the Provider framework with its default of a query every {_QUERY_INTERVAL:.0f} s. "
        "AwsCustomResource never notices.",
        ["job", "by", "late (s)", "latest (s)", "API calls", "invocations"],
        rows,
    )


def _cells(run: Callable[[float], _Noticed], lengths: Sequence[float]) -> list[str]:
    noticed = [run(seconds) for seconds in lengths]
    late = [one.seconds for one in noticed]
    counts = (median(one.calls for one in noticed), median(one.invocations for one in noticed))
    return [f"{median(late):.1f}", f"{max(late):.1f}", *(f"{count:.0f}" for count in counts)]


def _by_library(seconds: float) -> _Noticed:
    """Deploy a new import; the function and the state machine's definition are the real ones."""
    random.seed(0)
    world = World()
    world.plans.seconds = seconds
    filled(world)
    stage = _CountingStage(world)
    responded: list[_Noticed] = []
    stage.answered = lambda _: responded.append(_Noticed(world.now, len(world.calls), stage.invoked))
    with stage.installed():
        request = stage.request("Create", properties(WaitSeconds=_WAIT_SECONDS))
        stage.settle()
    stage.check()
    (job,) = world.jobs.values()
    if request.status != "SUCCESS":
        raise RuntimeError(f"the import failed: {request.answers}")
    return _Noticed(responded[0].seconds - job.ends_at, responded[0].calls, responded[0].invocations)


def _by_provider(seconds: float) -> _Noticed:
    """Do as the Provider framework does with the two functions of ``styles/provider.py``.

    Its own functions call those of the user, and one of them starts a state machine that asks again every few seconds.
    """
    world = World()
    world.plans.seconds = seconds
    filled(world)
    world.at_work.append("Create-0")
    healthimaging = client_of(world, "medical-imaging")
    sent = properties()
    parameters = {
        "clientToken": "one",
        "datastoreId": sent["DatastoreId"],
        "dataAccessRoleArn": sent["DataAccessRoleArn"],
        "inputS3Uri": f"s3://{sent['InputBucket']}/{sent['InputPrefix']}",
        "outputS3Uri": f"s3://{sent['OutputBucket']}/{sent['OutputPrefix']}",
    }
    invocations = 2
    world.call("Invoke", dict)
    job_id = healthimaging.start_dicom_import_job(**parameters)["jobId"]
    world.call("StartExecution", dict)
    while True:
        invocations += 2
        world.call("Invoke", dict)
        job = healthimaging.get_dicom_import_job(datastoreId=sent["DatastoreId"], jobId=job_id)["jobProperties"]
        if job["jobStatus"] == "COMPLETED":
            break
        world.sleep(_QUERY_INTERVAL)
    world.call("Answer", dict)
    return _Noticed(world.now - world.jobs[job_id].ends_at, len(world.calls), invocations)
