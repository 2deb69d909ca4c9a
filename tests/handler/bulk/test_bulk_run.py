"""A run starts each job once, whatever dies and whoever works beside, and accounts for every file."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthimaging_import.bulk.report import make_report
from healthimaging_import.errors import RetryableError, TerminalError
from tests.handler.bulk.bulk_world import Crash, World, make_run, make_settings, run_to_end, write_plan


def fates(seed: int) -> Any:
    rng = random.Random(seed)

    def fate(_prefix: str, _attempt: int) -> tuple[float, str, int, int, bool]:
        seconds = rng.choice([1, 20, 400])
        status = rng.choices(["COMPLETED", "FAILED"], [8, 2])[0]
        files = rng.choice([10, 9, 11])
        imported = 0 if status == "FAILED" else rng.choice([files, files, files - 3, 0])
        return seconds, status, files, imported, rng.random() > (0.5 if status == "FAILED" else 0.05)

    return fate


def check(world: World, run: Any, plan: dict[str, Any], options: Any) -> dict[str, Any]:
    """What must hold at the end of every run."""
    state = run.state
    report = make_report(plan, state, options, world.now)
    tokens = {job.parameters["clientToken"]: 0 for job in world.jobs.values()}
    for job in world.jobs.values():
        tokens[job.parameters["clientToken"]] += 1
    assert {1} == set(tokens.values()) or not tokens, "a job was started twice for one attempt"
    assert state.jobs == state.done
    assert plan["jobs"]["count"] == sum(state.totals.verdicts.values())
    assert report["files"]["adds_up"]
    assert world.most_running <= world.slots
    last: dict[str, Any] = {}
    for job in world.jobs.values():
        last[job.parameters["inputS3Uri"]] = job
    judged = [job for job in last.values() if job.has_manifest]
    assert sum(job.imported for job in judged) == report["files"]["imported"]
    assert sum(job.files for job in judged) == report["files"]["scanned"]
    assert len(last) == state.jobs
    return report


def test_every_job_is_started_once_and_every_file_accounted_for():
    world = World(lambda *_: (100, "COMPLETED", 10, 9, True), rate=1, slots=5)
    options = make_settings(world)
    plan = write_plan(world, options, [10] * 30)
    run, _ = run_to_end(world, options, plan)
    report = check(world, run, plan, options)
    assert (300, 270, 30, 0) == tuple(report["files"][name] for name in ("listed", "imported", "rejected", "to_do"))
    assert {"ValidationException": 30} == {cause.split(":")[0]: n for cause, n in report["rejected"]["causes"].items()}
    assert "DOE" not in str(report)
    assert ("SUCCEEDED", 30, 30) == (report["verdict"], report["jobs"]["started"], len(world.jobs))
    assert 5 == world.most_running


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 10**9), st.integers(1, 12), st.booleans(), st.floats(0.0, 0.15))
def test_whatever_dies_no_attempt_is_started_twice_and_nothing_is_lost(seed, jobs, remembers, often):
    rng = random.Random(seed)

    def disturb(world: World, operation: str, after: bool) -> None:
        if rng.random() >= often:
            return
        kind = rng.choice(["crash", "crash", "slow", "lost"])
        if kind == "crash":
            raise Crash
        if kind == "slow":
            world.now += rng.choice([1, 30])
        elif after or operation != "StartDICOMImportJob":
            raise RetryableError("no answer")

    world = World(fates(seed), rate=0.5, slots=4, remembers_tokens=remembers, disturb=disturb)
    options = make_settings(world, attempts=2)
    plan = write_plan(world, options, [10] * jobs)
    run, _ = run_to_end(world, options, plan)
    world.disturb = lambda *_: None
    check(world, run, plan, options)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_starts_nothing_twice(after):
    number = 0
    while True:
        count = 0

        def disturb(_world: World, _operation: str, is_after: bool) -> None:
            nonlocal count
            if is_after == after:
                count += 1
                if count == number + 1:  # noqa: B023 - one run after the other
                    raise Crash

        world = World(lambda *_: (30, "COMPLETED", 10, 10, True), rate=1, slots=2, remembers_tokens=False)
        options = make_settings(world)
        plan = write_plan(world, options, [10] * 3)
        world.disturb = disturb
        run, _ = run_to_end(world, options, plan)
        calls, world.disturb = count, lambda *_: None
        check(world, run, plan, options)
        assert 3 == len(world.jobs)
        number += 1
        if number > calls:
            break


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 10**9), st.booleans())
def test_a_second_controller_by_mistake_starts_nothing_twice(seed, remembers):
    rng = random.Random(seed)
    world = World(fates(seed), rate=0.5, slots=4, remembers_tokens=remembers)
    options = make_settings(world, attempts=2)
    plan = write_plan(world, options, [10] * 6)
    runs = [make_run(world, options, plan) for _ in range(2)]
    for run in runs:
        run.begin("a", retry=False)
    working = False

    def interleave(_world: World, _operation: str, _after: bool) -> None:
        nonlocal working
        if not working and rng.random() < 0.3:
            working = True
            other = runs[1]
            try:
                if not other.state.is_over:
                    other._act(world.now)
            except RetryableError:
                pass
            finally:
                working = False

    world.disturb = interleave
    for _ in range(5000):
        if runs[0].step(world.now + 30) is None:
            break
        world.now += 1
    world.disturb = lambda *_: None
    run, _ = run_to_end(world, options, plan)
    check(world, run, plan, options)


def test_a_failed_job_frees_its_slot_and_is_tried_again_as_often_as_said():
    outcomes = {"in/000001/": ["FAILED", "COMPLETED"], "in/000002/": ["FAILED"] * 5}

    def fate(prefix: str, attempt: int) -> tuple[float, str, int, int, bool]:
        status = outcomes.get(prefix, ["COMPLETED"] * 9)[attempt]
        return 10, status, 10, 10 if status == "COMPLETED" else 0, status == "COMPLETED"

    world = World(fate, rate=1, slots=1)
    options = make_settings(world, attempts=3)
    plan = write_plan(world, options, [10] * 3)
    run, _ = run_to_end(world, options, plan)
    report = check(world, run, plan, options)
    assert 2 + 3 + 1 == len(world.jobs)
    assert (2, 1, 3) == tuple(report["jobs"][name] for name in ("succeeded", "failed", "repeated"))
    assert (20, 10) == (report["files"]["imported"], report["files"]["not_judged"])
    assert "FAILED" == report["verdict"]


def test_a_retry_starts_the_failed_jobs_again_and_their_numbers_are_taken_back():
    broken = True

    def fate(prefix: str, _attempt: int) -> tuple[float, str, int, int, bool]:
        if broken and prefix == "in/000002/":
            return 10, "FAILED", 10, 0, True
        return 10, "COMPLETED", 10, 10, True

    world = World(fate, rate=1, slots=2)
    options = make_settings(world, attempts=1)
    plan = write_plan(world, options, [10] * 3)
    run, _ = run_to_end(world, options, plan)
    assert "FAILED" == check(world, run, plan, options)["verdict"]
    run, _ = run_to_end(world, options, plan, asker="b")
    assert 3 == len(world.jobs)
    broken = False
    run, _ = run_to_end(world, options, plan, asker="c", retry=True)
    report = check(world, run, plan, options)
    assert ("SUCCEEDED", 30, 4) == (report["verdict"], report["files"]["imported"], len(world.jobs))


def test_the_same_asker_does_not_retry_twice():
    world = World(lambda *_: (10, "FAILED", 10, 0, False), rate=1, slots=2)
    options = make_settings(world, attempts=1)
    plan = write_plan(world, options, [10])
    for _ in range(3):
        run_to_end(world, options, plan, asker="b", retry=True)
    assert 1 == len(world.jobs)


def test_jobs_that_fail_one_after_the_other_stop_the_run():
    world = World(lambda *_: (10, "FAILED", 10, 0, False), rate=1, slots=2)
    options = make_settings(world, attempts=1)
    plan = write_plan(world, options, [10] * 200)
    run, _ = run_to_end(world, options, plan)
    assert 25 <= len(world.jobs) < 40
    report = make_report(plan, run.state, options, world.now)
    assert "jobs in a row have failed" in report["reason"]
    assert report["files"]["adds_up"]
    assert "FAILED" == report["verdict"]


def test_a_start_that_is_denied_stops_the_run_with_the_reason_and_a_new_execution_goes_on():
    world = World(lambda *_: (10, "COMPLETED", 10, 10, True), rate=1, slots=2)
    denied = True

    def disturb(_world: World, operation: str, after: bool) -> None:
        if denied and operation == "StartDICOMImportJob" and not after:
            raise TerminalError("a permission is missing", code="AccessDeniedException", is_refusal=True)

    world.disturb = disturb
    options = make_settings(world)
    plan = write_plan(world, options, [10] * 3)
    run, _ = run_to_end(world, options, plan)
    assert "a permission is missing" == run.state.reason
    assert 0 == len(world.jobs)
    denied = False
    run, _ = run_to_end(world, options, plan, asker="b")
    assert "SUCCEEDED" == check(world, run, plan, options)["verdict"]


def test_jobs_of_others_that_fill_the_slots_are_waited_for():
    world = World(lambda *_: (10, "COMPLETED", 10, 10, True), rate=1, slots=1)
    options = make_settings(world, pace=make_settings(world).pace.__class__(1, 3))
    plan = write_plan(world, options, [10] * 5)
    run, _ = run_to_end(world, options, plan)
    check(world, run, plan, options)


@pytest.mark.slow
def test_most_starts_are_not_throttled():
    world = World(lambda *_: (60, "COMPLETED", 10, 10, True), rate=0.25, call_seconds=0.05)
    options = make_settings(world)
    plan = write_plan(world, options, [10] * 200)
    run, _ = run_to_end(world, options, plan)
    check(world, run, plan, options)
    assert world.throttles < 10


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_calls_that_take_longer_or_shorter_cause_few_throttles_and_cost_little(rate):
    rng = random.Random(1)

    def disturb(world: World, _operation: str, after: bool) -> None:
        world.now += 0 if after else rng.lognormvariate(math.log(0.03), 0.6)

    world = World(lambda *_: (60, "COMPLETED", 10, 10, True), rate=rate, call_seconds=0.03, disturb=disturb)
    options = make_settings(world)
    plan = write_plan(world, options, [10] * 300)
    began = world.now
    run, _ = run_to_end(world, options, plan)
    check(world, run, plan, options)
    assert world.throttles < 0.05 * 300
    assert world.now - began < 1.04 * (300 / rate + 60)


def test_a_start_whose_answer_is_lost_is_found_by_its_name():
    lost = 2

    def disturb(_world: World, operation: str, after: bool) -> None:
        nonlocal lost
        if operation == "StartDICOMImportJob" and after and lost:
            lost -= 1
            raise RetryableError("time-out")

    world = World(lambda *_: (60, "COMPLETED", 10, 10, True), rate=1, remembers_tokens=False, disturb=disturb)
    options = make_settings(world)
    plan = write_plan(world, options, [10] * 4)
    run, _ = run_to_end(world, options, plan)
    check(world, run, plan, options)
    assert 4 == len(world.jobs)
