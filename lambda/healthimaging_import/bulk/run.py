"""One step of a run: judges what has ended, starts what is due, and waits for either.

All that is known stands in ``state.json``, which is written by condition, and a claim is written before each start
(``starting``): so there is one job for each plan, prefix and attempt, whatever dies and whoever works beside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.bulk.context import RunContext
from healthimaging_import.bulk.folder import Folder
from healthimaging_import.bulk.polling import Poller
from healthimaging_import.bulk.settings import Settings
from healthimaging_import.bulk.starting import Starter
from healthimaging_import.bulk.state import RunState
from healthimaging_import.errors import ConflictError, RetryableError

_LONGEST_PAUSE = 60.0
_QUIET_SECONDS = 0.4
"""How long before a start is due nothing else is begun."""


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
        self._context = RunContext(aws, folder, settings, plan=plan, run=run, jobs=jobs, clock=clock)
        self._starter = Starter(self._context)
        self._poller = Poller(self._context)
        self._clock, self._sleep = clock, sleep

    @property
    def state(self) -> RunState:
        """The state as this step has last seen it."""
        return self._context.state

    def begin(self, asker: str, *, retry: bool) -> None:
        """Note who asks. A new asker clears what stopped the run before, and may have failed jobs started again."""
        if self.state.asker == asker:
            return
        results: dict[tuple[int, int], dict[str, Any]] = {}
        for n, attempt in self.state.bad if retry else ():
            result = self._context.read_result(n, attempt)
            if result is not None:
                results[n, attempt] = result

        def change(state: RunState) -> bool:
            if state.asker == asker:
                return False
            state.asker, state.reason, state.failed_in_a_row, state.ended_at = asker, "", 0, 0.0
            for (n, attempt), result in results.items():
                if (n, attempt) in state.bad:
                    state.take_back(n, attempt, result)
            return True

        self._context.stored.change(change)
        log.line("began", plan=self.state.plan, jobs=self.state.jobs, to_do=self.state.to_do)

    def step(self, until: float) -> float | None:
        """Work until the time is over; returns the seconds to wait before the next step, or None when all is done."""
        tries = 0
        while self._starter.is_to_note or not self.state.is_over:
            try:
                pause = self._act(self._clock())
                tries = 0
            except ConflictError:
                pause = 0.0
                self._poller.poll_soon()
            except RetryableError as error:
                log.line("later", reason=str(error))
                tries += 1
                pause = max(error.after, 2.0 ** min(tries, 6))
                self._poller.poll_soon()
            pause = min(pause, _LONGEST_PAUSE)
            if self._clock() + pause >= until:
                self._starter.release()
                return pause
            if pause > 0:
                self._sleep(pause)
        return None

    def _act(self, now: float) -> float:
        """Do the one thing that is due, starts before all else; returns the seconds until something is."""
        claim = self.state.claim
        lease_until = claim["until"] if claim is not None else float("inf")
        start_at = self._starter.due_at(now, is_full=self._poller.is_full)
        if self._starter.is_to_note:
            self._starter.note_job()
        elif start_at <= now:
            self._starter.start(now)
        elif start_at - now < _QUIET_SECONDS:
            return start_at - now
        elif claim is not None and lease_until <= now:
            self._starter.look_up(claim)
        elif self._poller.next_at() <= now:
            self._poller.act(now)
        else:
            return min(start_at, lease_until, self._poller.next_at()) - now
        return 0.0
