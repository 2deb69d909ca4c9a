"""Every fault at every call of every path, one at a time; and what strikes from outside at any moment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.model.fakes import PATIENT, RESULTS, Misfortune, Plans, World
from tests.model.runs import Request, Stage, filled, properties, verdicts
from tests.model.test_every_crash import PATHS, SECONDS, deployed
from tests.model.test_life_model import AWS_CALLS, ERRORS, MALFORMED

pytestmark = pytest.mark.slow

Path = Callable[[Stage], Request]


def undo_a_job_that_outlasted_its_deploy(stage: Stage) -> Request:
    deployed(stage)
    stage.world.crash_from = 10**9
    stage.settle()
    stage.world.plans = Plans(seconds=400)
    stage.world.stack_status = "UPDATE_IN_PROGRESS"
    new = properties(RunId="1", WaitSeconds="60")
    stage.request("Update", new, properties())
    stage.pass_time(90)
    stage.world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    stage.world.crash_from = len(stage.world.calls)
    return stage.request("Rollback", properties(), new)


def clean_up(stage: Stage) -> Request:
    """The import of another prefix has been submitted; the old id goes while both jobs run."""
    old = properties(Completion="submit")
    first = deployed(stage, Completion="submit")
    filled(stage.world, prefix=f"other/{PATIENT}/", files=2)
    stage.world.stack_status = "UPDATE_IN_PROGRESS"
    update = stage.request("Update", properties(Completion="submit", InputPrefix=f"other/{PATIENT}/"), old)
    while not update.answers:
        stage.pass_time(1)
    stage.world.stack_status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    return stage.request("Cleanup", old, physical_id=first.answers[0]["PhysicalResourceId"])


def faults_of(operation: str) -> list[tuple[str, str]]:
    """All that can happen to one call but a crash, which tests/model/test_every_crash.py has."""
    codes = [code for code in ERRORS.get(operation, ()) if code != "NoSuchKey"]  # S3 says so of what is gone alone
    found = [("error", code) for code in codes] + [("unreachable", ""), ("answer lost", "")]
    found += [("malformed", "nulls"), ("malformed", "")] if operation in MALFORMED else []
    return found + ([("error after", "503")] if operation in AWS_CALLS else [])


def walk(path: Path, number: int = -1, fault: Misfortune | None = None) -> list[str]:
    """Go the path; the call of that number (from where faults may come) meets the fault. Returns the calls."""
    world = World(plans=Plans(seconds=SECONDS))
    stage = Stage(world)
    filled(world)
    call = world.call

    def struck(operation: str, effect: Any) -> Any:
        # Pauses are random, so another call may be that of the number.
        if fault and len(world.calls) == world.crash_from + number and operation == fault.operation:
            world.misfortunes = [fault]
        return call(operation, effect)

    world.call = struck  # type: ignore[method-assign]
    with stage.installed():
        path(stage)
        stage.settle()
        calls = world.calls[world.crash_from :]
        world.crash_from = 10**9
        stage.check()
        check_verdicts(world)
        assert all(1 == len(one.answers) for one in stage.requests.values())
        world.misfortunes = []
        stage.deploy_a_clean_run()
        check_verdicts(world)
    return calls


def check_verdicts(world: World) -> None:
    """Each job is told of, under its id, with the verdict that its record has, and in the same words each time."""
    told = {(detail["jobId"], detail["outcome"]) for detail in map(json.loads, (it["Detail"] for it in world.events))}
    kept = {(job.job_id, world.written[job.token]["verdict"]) for job in world.jobs.values()}
    if not any(it.startswith("PutEvents") for it in world.struck):
        assert kept == told
    assert len(Counter(job_id for job_id, _ in told)) == len(told)


ALL_PATHS = [*PATHS, undo_a_job_that_outlasted_its_deploy, clean_up]


@pytest.mark.parametrize(
    "path",
    [pytest.param(it, marks=[] if it.__name__ == "submit" else pytest.mark.long) for it in ALL_PATHS],
    ids=lambda path: path.__name__,
)
def test_a_fault_of_any_kind_at_any_call_leaves_each_job_one_verdict_and_each_request_one_answer(path):
    for number, operation in enumerate(walk(path)):
        for kind, code in faults_of(operation):
            try:
                walk(path, number, Misfortune(operation, kind, code))
            except AssertionError as failure:
                failure.add_note(f"{kind} {code} at call {number} ({operation}) of {path.__name__}")
                raise


@pytest.mark.parametrize("completion", ["wait", "detach", "submit"])
@pytest.mark.parametrize("moment", [0, 1, 3, 15, 60, 200, 400, 700])
def test_an_event_that_comes_again_at_any_moment_changes_nothing(world, stage, completion, moment):
    world.plans = Plans(seconds=250)
    request = stage.request("Create", properties(Completion=completion))
    stage.pass_time(moment)
    stage.deliver(request)
    stage.pass_time(5)
    stage.deliver(request)
    stage.settle()
    stage.check()
    assert (1, 1, "SUCCESS") == (len(world.jobs), len(request.answers), request.status)
    assert ["SUCCEEDED"] == verdicts(world)


@pytest.mark.parametrize("moment", range(0, 100, 5))
@pytest.mark.parametrize("gone", ["all", "records", "last runs"])
def test_records_that_a_rule_removes_at_any_moment_start_nothing_twice_and_leave_one_verdict(
    world, stage, moment, gone
):
    world.plans = Plans(seconds=60)
    stage.request("Create", properties())
    stage.pass_time(moment)
    for bucket, key in list(world.objects):
        is_of_ours = bucket == RESULTS and ".healthimaging-cdk/" in key
        if is_of_ours and (gone == "all" or (gone == "last runs") == key.endswith("-last.json")):
            del world.objects[bucket, key]
    stage.settle()
    assert 1 == len(world.jobs) == len(verdicts(world))
    world.stack_status = "UPDATE_IN_PROGRESS"
    stage.request("Update", properties(MaxRejectedFiles="3"), properties())
    stage.settle()
    assert 1 == len(world.jobs) == len(verdicts(world))
