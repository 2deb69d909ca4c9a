"""A crash at every call and after every line of the main paths, and a request that an older version began."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from healthimaging_import import handler
from tests.model.fakes import Crash, HealthImaging, Plans, World
from tests.model.runs import Request, Stage, filled, properties, zipped
from tests.model.test_life_model import THOROUGH

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent / "state_v1.json"
SECONDS = 5.0  # a job's
MODULES = (
    "handler", "receiving", "lifecycle", "starting", "jobs", "judging", "record", "last_runs", "dicom_import",
    "publish", "job_output",
)  # fmt: skip


def create(stage: Stage) -> Request:
    return stage.request("Create", properties())


def submit(stage: Stage) -> Request:
    return stage.request("Create", properties(Completion="submit"))


def detach(stage: Stage) -> Request:
    stage.world.plans = Plans(seconds=200)
    return stage.request("Create", properties(Completion="detach", WaitSeconds="100"))


def fail(stage: Stage) -> Request:
    stage.world.plans = Plans(outcome="none", seconds=SECONDS)
    return stage.request("Create", properties())


def tolerate(stage: Stage) -> Request:
    stage.world.plans = Plans(outcome="some", seconds=SECONDS, warnings=2, manifest_delay=30)
    return stage.request("Create", properties(MaxRejectedPercent="50"))


def unpack(stage: Stage) -> Request:
    return stage.request("Create", properties(WaitSeconds="3000", **zipped(stage.world)))


def deployed(stage: Stage, **changes: Any) -> Request:
    stage.world.crash_from = 10**9  # nothing goes wrong up to here
    request = stage.request("Create", properties(**changes))
    stage.pass_time(5)
    stage.world.crash_from = len(stage.world.calls)
    return request


def update(stage: Stage) -> Request:
    """The job of the request before still runs, and nobody waits for it."""
    deployed(stage, Completion="submit")
    stage.world.stack_status = "UPDATE_IN_PROGRESS"
    return stage.request("Update", properties(JobName="another"), properties(Completion="submit"))


def roll_back(stage: Stage) -> Request:
    """The deploy is cancelled while its job runs."""
    deployed(stage)
    stage.settle()
    stage.world.stack_status = "UPDATE_IN_PROGRESS"
    stage.request("Update", properties(RunId="1"), properties())
    stage.pass_time(5)
    stage.world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    return stage.request("Rollback", properties(), properties(RunId="1"))


def delete(stage: Stage) -> Request:
    deployed(stage, Completion="submit")
    stage.world.stack_status = "DELETE_IN_PROGRESS"
    return stage.request("Delete", properties(Completion="submit"))


PATHS: dict[Callable[[Stage], Request], str] = {
    create: "SUCCESS",
    submit: "SUCCESS",
    detach: "SUCCESS",
    fail: "FAILED",
    tolerate: "SUCCESS",
    unpack: "SUCCESS",
    update: "SUCCESS",
    roll_back: "SUCCESS",
    delete: "SUCCESS",
}


def run(path: Callable[[Stage], Request], crash_at: tuple[int, str] | None = None, crashes: int = 1) -> Stage:
    world = World(crash_at=crash_at, crashes=crashes, plans=Plans(seconds=SECONDS))
    stage = Stage(world)
    filled(world)
    with stage.installed():
        request = path(stage)
        stage.settle()
        stage.check()
        world.crash_at = None
        if crashes < 3:  # Step Functions and Lambda call again: nobody notices
            assert PATHS[path] == request.status, request.answers
            assert all(job.attempt == 1 for job in world.jobs.values())
        assert len({job.intent for job in world.jobs.values()}) == len(world.jobs)
        assert all(len(one.answers) == 1 for one in stage.requests.values() if not one.died_answering)
        stage.deploy_a_clean_run()
    return stage


def calls(path: Callable[[Stage], Request]) -> list[str]:
    world = World(plans=Plans(seconds=SECONDS))
    stage = Stage(world)
    filled(world)
    with stage.installed():
        path(stage)
        stage.settle()
    return world.calls[world.crash_from :]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_a_path_without_a_crash_ends_as_it_should(path):
    run(path)


@pytest.mark.parametrize(
    "crashes", [1, *(pytest.param(it, marks=pytest.mark.long) for it in ([2, 3] if THOROUGH else [3]))]
)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_a_crash_at_any_call_starts_nothing_twice_and_is_answered_once(path, crashes):
    for number in range(len(calls(path))):
        for when in ("before", "after"):
            try:
                run(path, (number, when), crashes)
            except AssertionError as failure:
                failure.add_note(f"{crashes} crashes {when} call {number} ({calls(path)[number]}) of {path.__name__}")
                raise


def test_no_crash_starts_twice_where_tokens_are_forgotten_at_once():
    for number in range(len(calls(create))):
        for when in ("before", "after"):
            world = World(crash_at=(number, when), token_memory=0)
            stage = Stage(world)
            filled(world)
            with stage.installed():
                request = create(stage)
                stage.settle()
                stage.check()
            assert ("SUCCESS", 1) == (request.status, len(world.jobs))


class Lines:
    """Counts the lines of the function's modules as they run, and dies after one of them."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if "healthimaging_import" not in name or name.rpartition("/")[2].removesuffix(".py") not in MODULES:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise Crash
        return self


def with_lines(path: Callable[[Stage], Request], last: int) -> tuple[Stage, Request, int]:
    world = World(plans=Plans(seconds=SECONDS))
    stage = Stage(world)
    filled(world)
    lines = Lines(last)
    real = handler.handle

    def traced(*arguments: Any) -> Any:
        before = sys.gettrace()
        sys.settrace(lines)
        try:
            return real(*arguments)
        finally:
            sys.settrace(before)

    with stage.installed(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(handler, "handle", traced)
        request = path(stage)
        stage.settle()
    return stage, request, lines.left


@pytest.mark.parametrize("path", [create, fail, roll_back, delete], ids=lambda path: path.__name__)
def test_a_crash_after_any_line_starts_nothing_twice_and_is_answered_once(path):
    most = 10**9
    with_lines(path, most)  # which imports what is imported when it is needed
    total = most - with_lines(path, most)[2]
    for last in range(1, total, 7 if THOROUGH else 43):
        stage, request, left = with_lines(path, last)
        assert left <= 0
        stage.check()
        assert (PATHS[path], 1) == (request.status, len(request.answers)), (last, request.answers)
        assert len({job.intent for job in stage.world.jobs.values()}) == len(stage.world.jobs)


def walk_as_the_first_version(stage: Stage, state: dict[str, Any]) -> None:
    """Its state machine: Advance until there is an answer, then Answer, then the end."""
    for _ in range(100):
        state = stage.invoke({"step": "advance", "state": state})
        if state["next"] == "answer":
            stage.invoke({"step": "answer", "state": state})
        if state["next"] != "wait":
            return
        stage.world.now += state["wait_seconds"]


def test_a_request_that_the_first_version_began_is_finished_by_this_one():
    golden = json.loads(GOLDEN.read_text())
    world = World(plans=Plans(seconds=SECONDS))
    stage = Stage(world)
    filled(world)
    with stage.installed():
        created = stage.request("Create", properties(), deliver=False)
        assert created.event == {**golden["state"]["event"], "ResponseURL": created.event["ResponseURL"]}
        world.at_work.append(created.id)
        record = golden["record"]
        world.written[record["parameters"]["clientToken"]] = record
        world.objects["results", f"out/.healthimaging-cdk/{record['intent']}.json"] = golden["record_text"].encode()
        HealthImaging(world).start_dicom_import_job(**record["parameters"])
        world.at_work.pop()
        walk_as_the_first_version(stage, golden["state"])
        assert ["SUCCEEDED"] == [json.loads(event["Detail"])["outcome"] for event in world.events]
        stage.check()
    assert "SUCCESS" == created.status
    assert record["job"]["jobId"] == created.answers[0]["Data"]["JobId"]
    assert 1 == len(world.jobs)
