"""A run stays within the limits of Step Functions, and leaves starts to a deploy of the same account."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthimaging_import.bulk import handler
from healthimaging_import.bulk.folder import Folder
from healthimaging_import.bulk.job_set import JobSet
from healthimaging_import.bulk.state import RunState
from healthimaging_import.bulk.totals import result_document
from healthimaging_import.contract import Verdict
from healthimaging_import.errors import TerminalError
from tests.handler.bulk.bulk_world import World, make_settings, run_to_end, write_plan

pytestmark = pytest.mark.slow

MOST_EVENTS, MOST_BYTES = 25_000, 256 * 1024
EVENTS_OF_A_LOOP = 9
MOST_JOBS, SLOTS = 185_000, 100
LONGEST_RUN_HOURS = 206
"""40 million files in flat studies of 216 files, at 0.25 starts a second."""


@dataclass
class SharedAccount(World):
    """A deploy tries to start its own job, with pauses as an import on deploy makes them."""

    rng: random.Random = field(default_factory=lambda: random.Random(1))
    next_try: float = 0.0
    asked_at: float = 0.0
    waited: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        end = self.now + seconds
        self.next_try = self.next_try or self.now
        self.asked_at = self.asked_at or self.now
        while self.next_try <= end:
            self.now = max(self.now, self.next_try)
            if self._take():
                self.waited.append(self.now - self.asked_at)
                self.asked_at = self.next_try = self.now + 1800  # the next deploy
            else:
                self.next_try = self.now + self.rng.uniform(0.5, 30)
        self.now = end


def test_a_deploy_of_the_same_account_gets_its_start_within_its_patience():
    world = SharedAccount(lambda *_: (60, "COMPLETED", 10, 10, True), rate=0.25, call_seconds=0.06)
    options = make_settings(world)
    plan = write_plan(world, options, [10] * 3000)
    run_to_end(world, options, plan)
    assert len(world.waited) >= 3
    assert max(world.waited) < 50 * 60, "longer than the default timeout of an import on deploy"


@pytest.mark.long
def test_the_longest_run_fits_into_executions_of_two_thousand_loops():
    world = World(lambda *_: (90, "COMPLETED", 10, 10, True), rate=0.25, call_seconds=0.06)
    options = make_settings(world)
    plan = write_plan(world, options, [10] * 2000)
    began = world.now
    _, loops = run_to_end(world, options, plan, seconds=options.step_seconds)
    hours = (world.now - began) / 3600
    assert loops / hours * LONGEST_RUN_HOURS < handler._MOST_LOOPS
    assert handler._MOST_LOOPS * EVENTS_OF_A_LOOP < MOST_EVENTS


def test_the_state_stays_small_with_as_many_jobs_as_forty_million_files_can_need():
    rng, state = random.Random(1), RunState("p" * 64, "r" * 16, MOST_JOBS)
    numbers = {"planned": 216, "scanned": 216}
    for n in range(1, MOST_JOBS + 1):
        imported = 216 - rng.choice([0, 0, 1])
        verdict = Verdict.SUCCEEDED if rng.random() > 0.1 else Verdict.FAILED
        result = result_document(
            verdict, numbers={**numbers, "imported": imported}, reason="", job_status="COMPLETED", seconds=60.0
        )
        state.next = n + 1
        state.note_result(n, 1, result, attempts=3, now=4.0 * n)
    for n in range(SLOTS):
        state.running.append({"n": n, "attempt": 1, "job_id": "0" * 32, "at": 0.0})
    body = state.encode()
    assert len(body) < 100_000
    again = RunState.decode(body)
    assert (list(state.bad), list(state.rejecting)) == (list(again.bad), list(again.rejecting))
    assert body == again.encode()


@given(st.sets(st.tuples(st.integers(1, 3000), st.integers(1, 10))), st.tuples(st.integers(1, 3000), st.integers(1, 3)))
def test_a_set_of_jobs_is_one_also_when_it_is_written_and_read(pairs, other):
    found = JobSet(pairs)
    assert sorted(pairs) == list(JobSet.decode(json.loads(json.dumps(found.encode())))) == list(found)
    assert (len(pairs), other in pairs) == (len(found), other in found)
    found.add(*other)
    assert sorted({*pairs, other}) == list(found)
    found.discard(*other)
    found.discard(*other)
    assert sorted(pairs - {other}) == list(found)
    assert list(found) == list(JobSet.decode([list(pair) for pair in pairs - {other}]))


def test_fails_for_a_set_of_jobs_that_is_damaged():
    with pytest.raises(TerminalError, match="damaged"):
        RunState.decode(RunState("p", "r", 1).encode().replace(b'"bad":{}', b'"bad":{"1":"AAAA"}'))


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def event(world: World, plan: dict[str, Any], **state: Any) -> dict[str, Any]:
    options = make_settings(world)
    settings = {
        "RoleArn": options.role_arn, "DatastoreId": options.datastore_id, "ImportName": options.import_name,
        "DataAccessRoleArn": options.data_access_role_arn, "InputBucket": "source", "InputPrefix": "in/",
        "OutputBucket": "results", "OutputPrefix": "out/", "MaxFiles": 5000, "MaxBytes": 10 * 1024**3,
        "MaxFileBytes": 10 * 1024**3, "MaxFolders": 10_000, "AnyPrefix": False, "StartsPerSecond": 0.25,
        "ConcurrentJobs": 100, "Attempts": 3, "StepSeconds": 30,
    }  # fmt: skip
    execution = {"Id": "arn:x", "Name": "first", "Input": {}, "RedriveCount": 0}
    return {
        "bulk": "run",
        "settings": settings,
        "execution": execution,
        "state_machine": "arn:machine",
        "state": {"planned": plan["plan"], **state},
    }


def test_a_long_execution_goes_on_in_another_one_and_carries_little(monkeypatch):
    started: list[dict[str, Any]] = []

    class Account(World):
        def _StartExecution(self, **parameters: Any) -> dict[str, Any]:  # noqa: N802
            started.append(parameters)
            return {}

    world = Account(lambda *_: (600, "COMPLETED", 10, 10, True), rate=0.25)
    plan = write_plan(world, make_settings(world), [10] * 50)
    monkeypatch.setattr(handler, "Aws", lambda *_, **__: world)
    monkeypatch.setattr(handler.time, "time", world.clock)
    monkeypatch.setattr(handler.time, "sleep", world.sleep)
    answer = handler.handle_bulk(event(world, plan), Context())
    assert "wait" == answer["next"]
    assert 1 == answer["loops"]
    answer = handler.handle_bulk(event(world, plan, loops=2000, asker="first#0"), Context())
    assert "end" == answer["next"]
    (handed,) = started
    assert "arn:machine" == handed["stateMachineArn"]
    assert "first-part2" == handed["name"]
    given = json.loads(handed["input"])
    assert (plan["plan"], "first", "first#0") == (given["plan"], given["asked_by"], given["asker"])
    assert len(json.dumps(answer)) < 4096 < MOST_BYTES
    assert Folder(world, make_settings(world)).read(f"{plan['plan']}/plan.json")  # type: ignore[arg-type]
