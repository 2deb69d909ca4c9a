"""One step of a run: judges what has ended, starts what is due, and waits for either.

All that is known stands in ``state.json``, which is written by condition. A claim is written before each start. A step
that finds the claim of another waits until that one's lease is over, looks once for the job by its name, and starts it
only if there is none: so there is one job for each plan, prefix and attempt, whatever dies and whoever works beside.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import CALL_SECONDS, Aws
from healthimaging_import.bulk.folder import Folder
from healthimaging_import.bulk.judging import import_result, judge_job, lost_job, refused_job
from healthimaging_import.bulk.pace import Pacer, poll_interval
from healthimaging_import.bulk.plan import PlannedJob, decode_jobs, file_of
from healthimaging_import.bulk.settings import Settings
from healthimaging_import.bulk.state import RunState
from healthimaging_import.contract import Verdict
from healthimaging_import.errors import ConflictError, RetryableError, TerminalError
from healthimaging_import.importing.jobs import Job, find_job, get_job, list_running, start_job
from healthimaging_import.importing.publish import write_metrics

LEASE_SECONDS = 90.0
"""How long a claim stands. A start takes CALL_SECONDS at most; the rest is for HealthImaging to list the job."""
_SEND_BEFORE = LEASE_SECONDS - CALL_SECONDS - 20.0
_NEW_JOB_SECONDS = 10.0
_UNKNOWN_JOB_PATIENCE_SECONDS = 300.0
_DENIED_PATIENCE_SECONDS = 120.0
_MOST_FAILURES_IN_A_ROW = 25
_LOOK_AGAIN_SECONDS = 5.0
_LONGEST_PAUSE = 60.0
_CLAIM_AHEAD_SECONDS = 1.0
"""How long before a start is due its claim is written, so that nothing is left to do but to start."""
_QUIET_SECONDS = 0.4
"""How long before a start is due nothing else is begun."""
_THROTTLES = frozenset({"ThrottlingException", "TooManyRequestsException"})
_NO_SLOT = "ServiceQuotaExceededException"


class Run:
    """A step of one run of one plan."""

    def __init__(
        self,
        aws: Aws,
        folder: Folder,
        settings: Settings,
        *,
        plan: str,
        run: str,
        jobs: int,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        """Take the AWS calls, the plan and the run, and the time."""
        self._aws = aws
        self._folder = folder
        self._settings = settings
        self._plan, self._run = plan, run
        self._clock, self._sleep = clock, sleep
        self._place = f"{plan}/runs/{run}"
        self._me = uuid.uuid4().hex
        self._job = lru_cache(maxsize=4)(self._read_jobs)
        self._ended: dict[str, tuple[float, Job | None]] = {}
        """By the job's id: when to look for its manifest next, and what HealthImaging said of it."""
        self._missing: deque[dict[str, Any]] = deque()
        """Jobs that are not among those that run."""
        self._is_sent = False
        """Whether a start under the claim of this step may be on its way."""
        self._started: dict[str, str] | None = None
        """The job that was started under the claim, until the state knows it."""
        self._polled_at = 0.0
        self._sent_at = 0.0
        self._denied_since = 0.0
        self._tries = 0
        self._state, self._tag = self._load(jobs)

    @property
    def state(self) -> RunState:
        """The state as this step has last seen it."""
        return self._state

    def begin(self, asker: str, *, retry: bool) -> None:
        """Note who asks. A new asker clears what stopped the run before, and may have failed jobs started again."""
        if self._state.asker == asker:
            return
        again = {}
        if retry:
            again = {tuple(it): self._folder.read_json(self._result_name(*it)) for it in self._state.bad}

        def change(state: RunState) -> bool:
            if state.asker == asker:
                return False
            state.asker, state.reason, state.failed_in_a_row, state.ended_at = asker, "", 0, 0.0
            for n, attempt in [it for it in state.bad if tuple(it) in again]:
                found = again[n, attempt]
                if found is None:
                    continue
                state.bad.remove([n, attempt])
                state.rejecting = [it for it in state.rejecting if it != [n, attempt]]
                state.totals.add(found[0], -1)
                state.done -= 1
                state.repeated += 1
                state.again.append([n, attempt + 1])
            return True

        self._change(change)
        log.line("began", plan=self._plan, jobs=self._state.jobs, to_do=self._state.to_do)

    def step(self, until: float) -> float | None:
        """Work until the time is over; returns the seconds to wait before the next step, or None when all is done."""
        while True:
            now = self._clock()
            if self._state.is_over and self._started is None:
                return None
            try:
                pause = self._act(now)
                self._tries = 0
            except RetryableError as error:
                if not isinstance(error, ConflictError):
                    log.line("later", reason=str(error))
                self._tries += 1
                pause = max(error.after, 0.0 if isinstance(error, ConflictError) else 2.0 ** min(self._tries, 6))
                self._polled_at = 0.0  # which reads the state again
            pause = min(pause, _LONGEST_PAUSE)
            if self._clock() + pause >= until:
                self._release()
                return pause
            if pause > 0:
                self._sleep(pause)

    # -- what comes next -------------------------------------------------------------------------------------------

    def _act(self, now: float) -> float:
        """Do the one thing that is due, starts before all else; returns the seconds until something is."""
        claim, start_at = self._state.claim, self._start_at(now)
        ready = next((job_id for job_id, (at, _) in self._ended.items() if at <= now), None)
        if self._started is not None:
            self._note_started(self._started["jobId"])
        elif start_at <= now:
            self._start(now)
        elif start_at - now < _QUIET_SECONDS:
            return start_at - now
        elif claim is not None and now >= claim["until"]:
            self._look_up(claim)
        elif ready is not None:
            self._judge(ready, now)
        elif self._missing:
            self._check(self._missing.popleft(), now)
        elif now >= self._poll_at():
            self._poll(now)
        else:
            lease = claim["until"] if claim is not None else float("inf")
            return min([start_at, self._poll_at(), lease, *(at for at, _ in self._ended.values())]) - now
        return 0.0

    def _start_at(self, now: float) -> float:
        """When the next start is due; never while another's claim stands or no slot is free."""
        state = self._state
        if state.claim is not None:
            is_mine = state.claim["by"] == self._me and not self._is_sent
            return max(state.due, now if is_mine else float("inf"))
        if state.reason or not (state.again or state.next <= state.jobs):
            return float("inf")
        if self._is_full():
            return float("inf")
        return state.due - _CLAIM_AHEAD_SECONDS

    def _is_full(self) -> bool:
        return len(self._state.running) - len(self._ended) >= self._settings.pace.concurrent_jobs

    # -- starting --------------------------------------------------------------------------------------------------

    def _start(self, now: float) -> None:
        claim = self._state.claim
        if claim is None or now > claim["at"] + _SEND_BEFORE:
            if not self._claim(now):
                return
            claim = self._state.claim
        if claim is None or self._state.due > self._clock():
            return
        n, attempt = claim["n"], claim["attempt"]
        planned = self._planned(n)
        parameters = self._parameters(planned, attempt)
        self._aws.client("medical-imaging", once=True)  # which may take a while, and must not after the next line
        if self._clock() > claim["at"] + _SEND_BEFORE + 10.0:
            return
        self._is_sent, self._sent_at = True, self._clock()
        try:
            self._started = start_job(self._aws, parameters)
        except RetryableError as error:
            if error.is_refusal:
                self._is_sent = False
                self._put_off(error)
                return
            raise
        except TerminalError as error:
            if not error.is_refusal:
                raise RetryableError(str(error)) from None
            self._is_sent = False
            if error.code == "ValidationException":
                self._note_result(n, attempt, refused_job(planned, str(error), self._clock()), running=None)
            else:
                self._stop(str(error))
            return
        log.line("started", job_id=self._started["jobId"], n=n, attempt=attempt)
        self._note_started(self._started["jobId"])

    def _claim(self, now: float) -> bool:
        """Write down which job is started next, before it is; or again, where a claim of this step has grown old."""

        def change(state: RunState) -> bool:
            if state.claim is not None:
                if state.claim["by"] != self._me:
                    return False
                state.claim.update(at=now, until=now + LEASE_SECONDS)
                return True
            if state.reason:
                return False
            if state.again:
                n, attempt = state.again.pop(0)
            elif state.next <= state.jobs:
                n, attempt = state.next, 1
                state.next += 1
            else:
                return False
            name = self._parameters(self._planned(n), attempt)["jobName"]
            lease = {"by": self._me, "at": now, "until": now + LEASE_SECONDS}
            state.claim = {"n": n, "attempt": attempt, "name": name, **lease}
            return True

        self._is_sent = False
        return self._change(change)

    def _release(self) -> None:
        """Give up a claim under which nothing was sent: the next step need not wait until its lease is over."""
        claim = self._state.claim
        if claim is None or claim["by"] != self._me or self._is_sent:
            return

        def change(state: RunState) -> bool:
            if state.claim != claim:
                return False
            state.again.insert(0, [claim["n"], claim["attempt"]])
            state.claim = None
            return True

        try:
            self._change(change)
        except RetryableError as error:
            log.line("later", reason=str(error))

    def _note_started(self, job_id: str) -> None:
        def change(state: RunState) -> bool:
            if state.claim is None or state.claim["by"] != self._me:
                return False
            self._to_running(state, job_id)
            return True

        self._change(change)
        self._started, self._is_sent, self._denied_since = None, False, 0.0

    def _to_running(self, state: RunState, job_id: str) -> None:
        claim, now = state.claim, self._clock()
        assert claim is not None  # noqa: S101 - for the type checker: who calls has just looked
        if not any(job["job_id"] == job_id for job in state.running):
            state.running.append({"n": claim["n"], "attempt": claim["attempt"], "job_id": job_id, "at": now})
        state.claim = None
        pacer = self._pacer(state)
        pacer.started(self._sent_at or now)
        self._keep(state, pacer)

    def _put_off(self, error: RetryableError) -> None:
        """HealthImaging did not take the start: try it again later."""
        now = self._clock()
        if error.code not in _THROTTLES | {_NO_SLOT}:
            self._denied_since = self._denied_since or now
            if now - self._denied_since > _DENIED_PATIENCE_SECONDS:
                self._stop(str(error))
                return

        def change(state: RunState) -> bool:
            if error.code in _THROTTLES:
                pacer = self._pacer(state)
                pacer.throttled(now)
                self._keep(state, pacer)
                state.throttled += 1
            else:
                state.due = now + poll_interval(state.times.mean, is_full=True)
            return True

        self._change(change)

    def _look_up(self, claim: dict[str, Any]) -> None:
        """Find the job of a claim that was left behind, or make the claim this step's own."""
        found = find_job(self._aws, self._settings.datastore_id, claim["name"], claim["at"])
        log.line("looked up", n=claim["n"], found=int(found is not None))

        def change(state: RunState) -> bool:
            if state.claim != claim:
                return False
            if found is not None:
                self._to_running(state, found["jobId"])
            else:
                now = self._clock()
                state.claim.update(by=self._me, at=now, until=now + LEASE_SECONDS)
            return True

        self._change(change)
        self._is_sent = False

    def _stop(self, reason: str) -> None:
        def change(state: RunState) -> bool:
            state.reason = state.reason or reason
            if state.claim is not None and state.claim["by"] == self._me:
                state.again.insert(0, [state.claim["n"], state.claim["attempt"]])
                state.claim = None
            return True

        log.line("stopped", reason=reason)
        self._change(change)

    # -- polling and judging ---------------------------------------------------------------------------------------

    def _poll(self, now: float) -> None:
        """See which jobs run. One that is not listed may be merely new: it is asked for before it is judged."""
        running = list_running(self._aws, self._settings.datastore_id)
        waiting = {job["job_id"] for job in self._missing} | self._ended.keys()
        self._missing.extend(
            job
            for job in self._state.running
            if job["job_id"] not in running and job["job_id"] not in waiting and now - job["at"] > _NEW_JOB_SECONDS / 2
        )
        self._polled_at = now
        self._reload()

    def _poll_at(self) -> float:
        return self._polled_at + poll_interval(self._state.times.mean, is_full=self._is_full())

    def _check(self, running: dict[str, Any], now: float) -> None:
        if running not in self._state.running:
            return
        try:
            job = get_job(self._aws, self._settings.datastore_id, running["job_id"])
        except TerminalError as error:
            if error.code != "ResourceNotFoundException":
                raise
            if now - running["at"] > _UNKNOWN_JOB_PATIENCE_SECONDS:
                self._ended[running["job_id"]] = (now, None)
            return
        if job.has_ended:
            self._ended[running["job_id"]] = (now, job)

    def _judge(self, job_id: str, now: float) -> None:
        _, job = self._ended[job_id]
        running = next((it for it in self._state.running if it["job_id"] == job_id), None)
        if running is None:
            del self._ended[job_id]
            return
        planned = self._planned(running["n"])
        result = lost_job(planned, job_id, now) if job is None else judge_job(self._aws, planned, job_id, job, now)
        if result is None:
            self._ended[job_id] = (now + _LOOK_AGAIN_SECONDS, job)
            return
        self._note_result(running["n"], running["attempt"], result, running=running)
        self._ended.pop(job_id, None)

    def _note_result(self, n: int, attempt: int, result: dict[str, Any], *, running: dict[str, Any] | None) -> None:
        """Write the result of an attempt, and then, once, into the state."""
        name = self._result_name(n, attempt)
        try:
            self._folder.write_json(name, result, "")
        except ConflictError:
            found = self._folder.read_json(name)
            result = found[0] if found else result

        def change(state: RunState) -> bool:
            if running is not None:
                if running not in state.running:
                    return False
                state.running.remove(running)
            elif state.claim is None or (state.claim["n"], state.claim["attempt"]) != (n, attempt):
                return False
            else:
                state.claim = None
            self._add(state, n, attempt, result)
            return True

        if self._change(change):
            log.line("judged", job_id=result["job_id"], job_status=result["job_status"], verdict=result["verdict"])
            write_metrics(
                self._settings.import_name, self._settings.datastore_id, Verdict(result["verdict"]),
                import_result(result),
            )  # fmt: skip

    def _add(self, state: RunState, n: int, attempt: int, result: dict[str, Any]) -> None:
        has_run = result["job_status"] == "COMPLETED"
        state.failed_in_a_row = 0 if has_run else state.failed_in_a_row + 1
        if state.failed_in_a_row >= _MOST_FAILURES_IN_A_ROW and not state.reason:
            state.reason = f"{state.failed_in_a_row} jobs in a row have failed, the last because it {result['reason']}"
        numbers = result["numbers"]
        state.times.add(self._clock(), result["seconds"], numbers.get("imported", 0))
        if result["job_status"] == "FAILED" and attempt < self._settings.attempts:
            state.again.append([n, attempt + 1])
            state.repeated += 1
            return
        state.done += 1
        state.totals.add(result)
        if result["verdict"] != Verdict.SUCCEEDED:
            state.bad.append([n, attempt])
        if numbers.get("scanned", 0) > numbers.get("imported", 0):
            state.rejecting.append([n, attempt])

    # -- small things ----------------------------------------------------------------------------------------------

    def _result_name(self, n: int, attempt: int) -> str:
        return f"{self._place}/results/{n:06}-{attempt}.json"

    def _parameters(self, planned: PlannedJob, attempt: int) -> dict[str, Any]:
        token = self._settings.token(self._plan, self._run, planned.prefix, attempt)
        return self._settings.start_parameters(token, planned.prefix)

    def _planned(self, n: int) -> PlannedJob:
        jobs = self._job(file_of(n))
        return jobs[n - jobs[0].n]

    def _read_jobs(self, name: str) -> list[PlannedJob]:
        found = self._folder.read(f"{self._plan}/{name}")
        if found is None:
            raise TerminalError(f"{name} of plan {self._plan} is gone: put it back, or plan anew")
        return decode_jobs(found[0])

    def _pacer(self, state: RunState) -> Pacer:
        return Pacer(self._settings.pace.starts_per_second, state.due, state.throttles, state.starts, state.owed)

    @staticmethod
    def _keep(state: RunState, pacer: Pacer) -> None:
        state.due, state.throttles = pacer.due, pacer.throttles
        state.starts, state.owed = pacer.starts, pacer.owed

    def _load(self, jobs: int) -> tuple[RunState, str]:
        name = f"{self._place}/state.json"
        while True:
            found = self._folder.read(name)
            if found is not None:
                return RunState.decode(found[0]), found[1]
            now = self._clock()
            state = RunState(self._plan, self._run, jobs, began_at=now)
            state.times.begin = now
            try:
                return state, self._folder.write(name, state.encode(), "")
            except ConflictError:
                continue

    def _reload(self) -> None:
        found = self._folder.read(f"{self._place}/state.json")
        if found is not None:
            self._state, self._tag = RunState.decode(found[0]), found[1]

    def _change(self, change: Callable[[RunState], bool]) -> bool:
        """Change the state, also if somebody else has meanwhile; returns whether there was anything to change."""
        while True:
            state = RunState.decode(self._state.encode())
            if not change(state):
                return False
            if state.is_over and not state.ended_at:
                state.ended_at = self._clock()
            try:
                self._tag = self._folder.write(f"{self._place}/state.json", state.encode(), self._tag)
            except ConflictError:
                self._reload()
                continue
            self._state = state
            return True
