"""A job of a run, from its claim to its id in the state.

A claim is written before each start. A step that finds the claim of another waits until that one's lease is over, looks
once for the job by its name, and starts it only if there is none.
"""

from __future__ import annotations

import uuid

from healthimaging_import import log
from healthimaging_import.aws.clients import CALL_SECONDS
from healthimaging_import.bulk.context import RunContext
from healthimaging_import.bulk.judging import refused_job
from healthimaging_import.bulk.pace import Pacer, poll_interval
from healthimaging_import.bulk.state import Claim, RunState
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.jobs import find_job, start_job

LEASE_SECONDS = 90.0
"""How long a claim stands. A start takes CALL_SECONDS at most; the rest is for HealthImaging to list the job."""
_SEND_BEFORE = LEASE_SECONDS - CALL_SECONDS - 20.0
_LATEST_SEND = _SEND_BEFORE + 10.0
_CLAIM_AHEAD_SECONDS = 1.0
"""How long before a start is due its claim is written, so that nothing is left to do but to start."""
_DENIED_PATIENCE_SECONDS = 120.0
_THROTTLES = frozenset({"ThrottlingException", "TooManyRequestsException"})
_NO_SLOT = "ServiceQuotaExceededException"


class Starter:
    """Starts the jobs of a run, one after the other."""

    def __init__(self, context: RunContext) -> None:
        """Take the run."""
        self._context = context
        self._me = uuid.uuid4().hex
        self._is_sent = False
        """Whether a start under the claim of this step may be on its way."""
        self._job_id = ""
        """The job that was started under the claim, until the state knows it."""
        self._sent_at = 0.0
        self._delay = 0.0
        """By how much later than it was sent the last start may have reached HealthImaging."""
        self._shortest_call = float("inf")
        self._denied_since = 0.0

    @property
    def is_to_note(self) -> bool:
        """Whether a job was started whose id the state does not have."""
        return bool(self._job_id)

    def due_at(self, now: float, *, is_full: bool) -> float:
        """Return when the next start, or its claim, is due; never while another's claim stands or no slot is free."""
        state = self._context.state
        if state.claim is not None:
            is_mine = state.claim["by"] == self._me and not self._is_sent
            return max(state.due, now if is_mine else float("inf"))
        if is_full or state.next_to_claim is None:
            return float("inf")
        return state.due - _CLAIM_AHEAD_SECONDS

    def start(self, now: float) -> None:
        """Claim the next job, and start it as soon as that is due."""
        claim = self._context.state.claim
        if claim is None or now > claim["at"] + _SEND_BEFORE:
            if not self._put_claim(now):
                return
            claim = self._context.state.claim
        if claim is None or self._context.state.due > self._context.clock():
            return
        self._send(claim)

    def note_job(self) -> None:
        """Note the job that was started under the claim of this step."""

        def change(state: RunState) -> bool:
            if state.claim is None or state.claim["by"] != self._me:
                return False
            self._to_running(state, self._job_id, sent_at=self._sent_at, delay=self._delay)
            return True

        self._context.stored.change(change)
        self._job_id, self._is_sent, self._denied_since = "", False, 0.0

    def look_up(self, claim: Claim) -> None:
        """Find the job of a claim that was left behind, or make the claim this step's own."""
        context = self._context
        found = find_job(context.aws, context.settings.datastore_id, claim["name"], claim["at"])
        log.line("looked up", n=claim["n"], found=int(found is not None))

        def change(state: RunState) -> bool:
            if state.claim is None or state.claim != claim:
                return False
            now = context.clock()
            if found is not None:
                self._to_running(state, found["jobId"], sent_at=now)
            else:
                _renew(state.claim, self._me, now)
            return True

        context.stored.change(change)
        self._is_sent = False

    def release(self) -> None:
        """Give up a claim under which nothing was sent: the next step need not wait until its lease is over."""
        claim = self._context.state.claim
        if claim is None or claim["by"] != self._me or self._is_sent:
            return

        def change(state: RunState) -> bool:
            if state.claim != claim:
                return False
            state.withdraw_claim()
            return True

        try:
            self._context.stored.change(change)
        except RetryableError as error:
            log.line("later", reason=str(error))

    def _put_claim(self, now: float) -> bool:
        """Write down which job is started next, before it is; or again, where a claim of this step has grown old."""

        def change(state: RunState) -> bool:
            if state.claim is not None:
                if state.claim["by"] != self._me:
                    return False
                _renew(state.claim, self._me, now)
                return True
            chosen = state.next_to_claim
            if chosen is None:
                return False
            n, attempt = chosen
            name = self._context.parameters(n, attempt)["jobName"]
            state.put_claim(Claim(n=n, attempt=attempt, name=name, by=self._me, at=now, until=now + LEASE_SECONDS))
            return True

        self._is_sent = False
        return self._context.stored.change(change)

    def _send(self, claim: Claim) -> None:
        context = self._context
        parameters = context.parameters(claim["n"], claim["attempt"])
        context.aws.client("medical-imaging", once=True)  # which may take a while, and must not after the next line
        if context.clock() > claim["at"] + _LATEST_SEND:
            return
        self._is_sent, self._sent_at = True, context.clock()
        try:
            self._job_id = start_job(context.aws, parameters)["jobId"]
        except (RetryableError, TerminalError) as error:
            if not error.is_refusal:
                raise RetryableError(str(error)) from None
            self._is_sent = False
            self._note_refusal(claim, error)
            return
        call = context.clock() - self._sent_at
        self._delay = max(0.0, call - self._shortest_call)
        self._shortest_call = min(call, self._shortest_call)
        log.line("started", job_id=self._job_id, n=claim["n"], attempt=claim["attempt"])
        self.note_job()

    def _note_refusal(self, claim: Claim, error: RetryableError | TerminalError) -> None:
        """HealthImaging did not take the start: try it again later, end its job, or start no further one."""
        now = self._context.clock()
        if isinstance(error, RetryableError):
            if error.code in _THROTTLES | {_NO_SLOT}:
                self._put_off(now, is_throttle=error.code in _THROTTLES)
                return
            self._denied_since = self._denied_since or now
            if now - self._denied_since <= _DENIED_PATIENCE_SECONDS:
                self._put_off(now, is_throttle=False)
                return
        elif error.code == "ValidationException":
            planned = self._context.planned(claim["n"])
            self._context.note_result(claim["n"], claim["attempt"], refused_job(planned, str(error), now))
            return
        self._stop(str(error))

    def _put_off(self, now: float, *, is_throttle: bool) -> None:
        def change(state: RunState) -> bool:
            if is_throttle:
                pacer = self._pacer(state)
                pacer.throttled(now)
                _keep(state, pacer)
                state.throttled += 1
            else:
                state.due = now + poll_interval(state.times.mean, is_full=True)
            return True

        self._context.stored.change(change)

    def _stop(self, reason: str) -> None:
        """Start no further job."""

        def change(state: RunState) -> bool:
            state.reason = state.reason or reason
            if state.claim is not None and state.claim["by"] == self._me:
                state.withdraw_claim()
            return True

        log.line("stopped", reason=reason)
        self._context.stored.change(change)

    def _to_running(self, state: RunState, job_id: str, *, sent_at: float, delay: float = 0.0) -> None:
        state.note_running(job_id, self._context.clock())
        pacer = self._pacer(state)
        pacer.started(sent_at, delay)
        _keep(state, pacer)

    def _pacer(self, state: RunState) -> Pacer:
        rate = self._context.settings.pace.starts_per_second
        return Pacer(rate, state.due, state.throttles, state.starts, state.owed)


def _renew(claim: Claim, me: str, now: float) -> None:
    claim["by"], claim["at"], claim["until"] = me, now, now + LEASE_SECONDS


def _keep(state: RunState, pacer: Pacer) -> None:
    state.due, state.throttles = pacer.due, pacer.throttles
    state.starts, state.owed = pacer.starts, pacer.owed
