"""Every record, mode and fault: one real step of the function, and what follows when nothing goes wrong any more.

The rows are those of the table in docs/life-of-an-import.md, each with the jobs that there can be beside such a record.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from healthimaging_cdk._provider.state_machine import DEFINITION
from healthimaging_import.contract import Verdict
from healthimaging_import.importing.last_runs import Run
from healthimaging_import.importing.mode import DEPLOYS, Mode
from healthimaging_import.importing.record import SCHEMA, Owner, Record, Retry, State
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.importing.verdict import NOTHING_TO_IMPORT, Counts, ImportResult
from tests.model.fakes import RESULTS, HealthImaging, Job, Misfortune, Plans, World
from tests.model.runs import Execution, Stage, filled, properties
from tests.model.test_lifecycle import records

pytestmark = pytest.mark.slow

JOB_SECONDS = 20.0
RECORDS = "out/.healthimaging-cdk/"
OWNERS = ("me", "an earlier request", "a later request")
STATUSES = {
    Mode.DEPLOY: "UPDATE_IN_PROGRESS",
    Mode.SUBMIT: "UPDATE_IN_PROGRESS",
    Mode.ROLLBACK: "UPDATE_ROLLBACK_IN_PROGRESS",
    Mode.DELETE: "DELETE_IN_PROGRESS",
    Mode.CLEANUP: "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    Mode.DETACHED: "UPDATE_COMPLETE",
}
KINDS = {Mode.ROLLBACK: "Rollback", Mode.DELETE: "Delete", Mode.CLEANUP: "Cleanup"}
DENIALS = {"AssumeRole": "AccessDenied", "DescribeStacks": "AccessDenied"}
S3_CALLS = ("GetObject", "PutObject", "ListObjectsV2")


@dataclass(frozen=True)
class Row:
    """A record, and the job that there is beside it; ``state`` is None where there is no record."""

    state: State | None
    owner: str = "me"
    lease: float = 0.0
    """When the lease ends, in seconds from now; 0 where there is none."""
    job: str = ""
    """How it goes, by ``Plans.outcome``, where there is one."""
    has_ended: bool = False
    """Whether the job has."""
    verdict: Verdict | None = None
    published: bool = False
    retry: Retry = Retry.NONE
    reason: str = ""

    def __str__(self) -> str:
        given = [self.state or "no record", self.owner, self.verdict, self.retry, self.reason, self.job]
        given += [f"lease {self.lease:g}", "published" if self.published else "", "over" if self.has_ended else ""]
        return ", ".join(str(it) for it in given if it)


def rows() -> Iterator[Row]:
    """Every record that there can be."""
    yield Row(None)
    yield Row(None, reason="removed while the request was at work")
    for owner in OWNERS:
        yield Row(State.CLAIMED, owner)
        for lease, job in itertools.product((30.0, -5.0), ("", "all")):
            yield Row(State.CLAIMED, owner, lease, job)
        for job, has_ended in itertools.product(("all", "none", "failed"), (False, True)):
            yield Row(State.RUNNING, owner, job=job, has_ended=has_ended)
        for reason in (NOTHING_TO_IMPORT, "no job was started"):
            yield Row(State.REFUSED, owner, reason=reason)
        for verdict, published in itertools.product(Verdict, (False, True)):
            job = {Verdict.SUCCEEDED: "all", Verdict.FAILED: "none"}.get(verdict, "silent")
            yield Row(State.JUDGED, owner, job=job, has_ended=True, verdict=verdict, published=published)
        yield Row(State.JUDGED, owner, verdict=Verdict.UNKNOWN, published=True)
        yield Row(State.JUDGED, owner, job="all", verdict=Verdict.UNKNOWN, published=True)  # which still runs
        yield Row(
            State.JUDGED, owner, job="failed", has_ended=True, verdict=Verdict.FAILED, published=True, retry=Retry.DUE
        )


ROWS = list(rows())
CASES = [
    (row, mode, is_current)
    for row, mode, is_current in itertools.product(ROWS, Mode, (False, True))
    # Only a deploy asks that, and of what has ended only.
    if is_current or (mode in DEPLOYS and row.state in (None, State.REFUSED, State.JUDGED))
]


class Case:
    """One record in one account, and the one request that looks at it."""

    def __init__(self, row: Row, mode: Mode, *, is_current: bool) -> None:
        self.row, self.mode = row, mode
        self.world = World(plans=Plans(seconds=JOB_SECONDS))
        self.stage = Stage(self.world, knows_all_jobs=False)
        self.is_current = is_current
        if row.reason != NOTHING_TO_IMPORT:
            filled(self.world)

    def build(self) -> None:
        """Put everything where it is in the middle of such a life."""
        world, stage, mode = self.world, self.stage, self.mode
        new = properties(**({"Completion": "submit"} if mode is Mode.SUBMIT else {}))
        self.earlier = stage.request("Create", properties(), deliver=False)
        world.stack_status = STATUSES[mode]
        old = properties(RunId="1") if mode is Mode.ROLLBACK else properties()
        is_update = mode not in (Mode.DELETE, Mode.CLEANUP)
        kind = KINDS.get(mode, "Update")
        self.me = stage.request(kind, new, old if is_update else None, physical_id="Import-x-run-", deliver=False)
        began_at, deploy = world.now, str(world.stack_updated)
        if self.row.owner == "a later request":
            self.later = stage.request("Rollback", properties(), new, deliver=False)
        world.now += 10
        carried = {"run_id": "", "is_current": self.is_current}
        if self.row.owner == "me" and (self.row.state or self.row.reason):
            carried["owned"] = True
        if mode is Mode.DETACHED:
            self.me.answers.append({"Status": "SUCCESS", "Reason": ""})
        state = {"event": self.me.event, "mode": _stored(mode), "deploy": deploy, "began_at": began_at}
        state["carried"] = carried
        data = json.loads(json.dumps(state))
        self.execution = Execution(self.me.id, json.dumps(state), DEFINITION["StartAt"], data, world.now)
        stage.executions[self.me.id] = self.execution
        if self.row.state:
            self._write_record(began_at)
        elif self.is_current:
            world.struck.append("GetObject: error NoSuchKey")  # somebody removed it

    def _write_record(self, began_at: float) -> None:
        row, wanted = self.row, self.me.wanted
        owner = {
            "me": Owner(self.me.id, began_at),
            "an earlier request": Owner(self.earlier.id, began_at - 100),
            "a later request": Owner(getattr(self, "later", self.me).id, began_at + 5),
        }[row.owner]
        record = Record(
            intent=wanted.intent,
            attempt=1,
            state=row.state or State.CLAIMED,
            owner=owner,
            parameters=wanted.start_parameters(1),
            claimed_at=self.world.now - 20,
            lease_until=self.world.now + row.lease if row.lease else 0.0,
            verdict=row.verdict,
            reason=row.reason,
            published=row.published,
            retry=row.retry,
        )
        job = self._start_job(record) if row.job else None
        if job and row.state is not State.CLAIMED:
            submitted_at = datetime.fromtimestamp(job.submitted_at, UTC).isoformat()
            known = {"jobId": job.job_id, "submittedAt": submitted_at}
            record = Record(**{**vars(record), "job": known})
            if row.verdict:
                record = Record(**{**vars(record), "result": _result(row, job, submitted_at)})
        self.place = (RESULTS, f"{RECORDS}{wanted.intent}.json")
        self.world.objects[self.place] = record.encode()
        self.world.written[record.parameters["clientToken"]] = self.record()
        other = ImportRequest.read(self.me.scope, properties(InputPrefix="other/"))
        if not self.is_current:
            self._start_another_job(other)
        last = wanted if self.is_current else other
        run = vars(Run(last.series, "", last.intent))
        note = {"schema": SCHEMA, "started": run, "imported": None}
        self.world.objects[RESULTS, f"{RECORDS}{wanted.store_scope}-last.json"] = json.dumps(note).encode()

    def _start_job(self, record: Record) -> Job:
        world, row = self.world, self.row
        is_silent = row.job in ("failed", "silent")
        world.plans = Plans(
            outcome="all" if row.job == "silent" else row.job,
            seconds=JOB_SECONDS,
            manifest_delay=None if is_silent else 0.0,
        )
        submitter = self.me if row.owner == "me" else self.earlier
        if row.has_ended:
            world.now -= JOB_SECONDS + 30
        world.at_work.append(submitter.id)
        job = HealthImaging(world)._new_job(record.parameters, {"intent": record.intent, "attempt": 1})
        world.at_work.pop()
        world.tokens[job.token] = (0, record.parameters, job.job_id)
        world.plans = Plans(seconds=JOB_SECONDS)
        if row.has_ended:
            world.now += JOB_SECONDS + 30
        world._catch_up()
        return job

    def _start_another_job(self, other: ImportRequest) -> None:
        """Let something else come into the store."""
        world = self.world
        world.at_work.append(self.earlier.id)
        world.plans = Plans(seconds=0.0)
        job = HealthImaging(world)._new_job(other.start_parameters(1), {"intent": other.intent, "attempt": 1})
        world.now += 1
        job.submitted_at = world.now
        world.at_work.pop()
        world.plans = Plans(seconds=JOB_SECONDS)

    def record(self) -> dict[str, Any] | None:
        """The record as it is stored."""
        found = self.world.objects.get((RESULTS, f"{RECORDS}{self.me.wanted.intent}.json"))
        return dict(json.loads(found)) if found else None


def _stored(mode: Mode) -> Mode:
    """SUBMIT is a DEPLOY whose properties say so."""
    return Mode.DEPLOY if mode is Mode.SUBMIT else mode


def _result(row: Row, job: Job, submitted_at: str) -> ImportResult:
    rejected = job.scanned - job.imported
    counts = Counts(job.scanned, job.imported, rejected, 0, job.imported) if job.has_manifest else Counts()
    status = "UNKNOWN" if row.verdict is Verdict.UNKNOWN and not job.over else job.status
    return ImportResult(job.job_id, status, submitted_at, counts)


def take(row: Row, mode: Mode, *, is_current: bool, number: int = -1, fault: Misfortune | None = None) -> list[str]:
    """Do one step, whose call of that number meets the fault, then let it end. Returns the calls of the step."""
    case = Case(row, mode, is_current=is_current)
    world, stage = case.world, case.stage
    with stage.installed():
        case.build()
        before, call, first = case.record(), world.call, len(world.calls)

        def struck(operation: str, effect: Callable[[], Any]) -> Any:
            if fault and len(world.calls) == first + number:
                world.misfortunes = [fault]
            return call(operation, effect)

        world.call = struck  # type: ignore[method-assign]
        stage._run_task(case.execution)
        world.call = call  # type: ignore[method-assign]
        calls = world.calls[first:]
        assert not fault or world.struck, "the fault met no call"
        check_step(case, before)
        stage.settle()
        stage.check()
        check_end(case, before, is_clean=fault is None)
    return calls


def check_step(case: Case, before: dict[str, Any] | None) -> None:
    """What holds after one step, whatever struck it. What no call may do is noted by the fakes."""
    world, after = case.world, case.record()
    assert [] == world.violations
    if world.starts:
        assert case.mode in DEPLOYS
        assert after is not None
        assert case.me.id == after["owner"]
    if case.row.owner == "a later request":
        assert {**(before or {}), "published": True} == {**(after or {}), "published": True}
    if before and before["verdict"] and after and after["attempt"] == before["attempt"]:
        assert [before[it] for it in ("verdict", "result", "reason")] == [
            after[it] for it in ("verdict", "result", "reason")
        ]


def check_end(case: Case, before: dict[str, Any] | None, *, is_clean: bool) -> None:
    """What holds when nothing is left to do."""
    world, me, mode, after = case.world, case.me, case.mode, case.record()
    assert case.execution.over
    assert 1 == len(me.answers), me.answers
    if mode not in DEPLOYS:
        assert "SUCCESS" == me.status, me.answers
        assert ([], before is None) == (world.starts, after is None)
    if after is None:
        assert mode not in DEPLOYS or bool(case.row.reason) == (me.status == "FAILED") or not is_clean
        return
    if after["owner"] == me.id:
        assert after["state"] in ("JUDGED", "REFUSED")
    told: dict[str, set[str]] = {}
    for event in map(json.loads, (it["Detail"] for it in world.events)):
        told.setdefault(event["jobId"], set()).add(event["outcome"])
    assert all(1 == len(outcomes) for outcomes in told.values()), told
    for job in world.jobs.values():
        record = world.written.get(job.token)
        if record and record["owner"] == me.id and not (before or {}).get("verdict") and case.row.owner == "me":
            assert record["verdict"], job
    if after["owner"] == me.id and after["verdict"] and not any("PutObject: error" in it for it in world.struck):
        assert after["published"]
    if is_clean and mode in DEPLOYS and after["owner"] == me.id:
        is_good = after["verdict"] == "SUCCEEDED" or after["reason"] == NOTHING_TO_IMPORT
        # It is answered before there is a verdict.
        is_good |= mode is Mode.SUBMIT and not (before and before["verdict"] == after["verdict"]) and bool(after["job"])
        assert ("SUCCESS" if is_good else "FAILED") == me.status, me.answers


def faults_of(operation: str) -> list[tuple[str, str]]:
    """What can happen to one call: a refusal and what passes stand for their kinds."""
    denied = DENIALS.get(operation, "AccessDenied" if operation in S3_CALLS else "AccessDeniedException")
    busy = "SlowDown" if operation in S3_CALLS else "ThrottlingException"
    codes = [] if operation == "GetObject.Body" else [("error", denied), ("error", busy)]
    return [("crash before", ""), ("crash after", ""), ("answer lost", ""), *codes]


def every_fault(calls: list[str]) -> Iterator[tuple[int, Misfortune]]:
    for number, operation in enumerate(calls):
        for kind, code in faults_of(operation):
            yield number, Misfortune(operation, kind, code)


def test_the_rows_are_those_of_the_table():
    leases = {0.0: "none", 30.0: "running", -5.0: "over"}
    here = {
        "no record" if row.state is None
        else f"CLAIMED, lease {leases[row.lease]}, owner {row.owner}" if row.state is State.CLAIMED
        else f"{row.state}, owner {row.owner}" if row.verdict is None
        else f"JUDGED {row.verdict}{' at once' if row.retry else ''}, {'' if row.published else 'not '}published, "
        f"owner {row.owner}"
        for row in ROWS
    }  # fmt: skip
    assert set(records()) == here


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.long, id="every fault"), pytest.param(5, id="every fifth fault")]
)
@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("mode", Mode)
def test_a_step_from_every_record_keeps_every_promise_whatever_its_calls_meet(mode, owner, every):
    """Each change tries every fifth fault of each row, another one in the next row; each night tries them all."""
    for at, (row, its_mode, is_current) in enumerate(CASES):
        if mode is not its_mode or row.owner != owner:
            continue
        fault: Misfortune | None = None
        try:
            calls = take(row, mode, is_current=is_current)
            for number, fault in itertools.islice(every_fault(calls), at % every, None, every):
                take(row, mode, is_current=is_current, number=number, fault=fault)
        except AssertionError as failure:
            failure.add_note(f"{row}; {mode}, {'current' if is_current else 'not current'}; {fault}")
            raise
