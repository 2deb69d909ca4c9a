"""What the parts of a step of a run share: the AWS calls, the planned jobs, the state, and how results are noted."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.bulk.folder import Folder
from healthimaging_import.bulk.judging import import_result
from healthimaging_import.bulk.plan import PlannedJob, decode_jobs, file_of
from healthimaging_import.bulk.settings import Settings
from healthimaging_import.bulk.state import RunningJob, RunState
from healthimaging_import.bulk.stored_state import StoredState
from healthimaging_import.contract import Verdict
from healthimaging_import.errors import ConflictError, TerminalError
from healthimaging_import.importing.publish import write_metrics


class RunContext:
    """One run of one plan, as a step works on it."""

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
    ) -> None:
        """Take the AWS calls, the plan and the run, and the time."""
        self.aws = aws
        self.settings = settings
        self.clock = clock
        self.stored = StoredState(folder, plan=plan, run=run, jobs=jobs, clock=clock)
        self._folder = folder
        self._plan, self._run = plan, run
        self._jobs_of = lru_cache(maxsize=4)(self._read_jobs)

    @property
    def state(self) -> RunState:
        """The state as this step has last seen it."""
        return self.stored.state

    def planned(self, n: int) -> PlannedJob:
        """Return a job of the plan.

        Raises:
            TerminalError: the file that it is in is gone.
        """
        jobs = self._jobs_of(file_of(n))
        return jobs[n - jobs[0].n]

    def parameters(self, n: int, attempt: int) -> dict[str, Any]:
        """Return the parameters of an attempt at a job: the same whoever starts it."""
        prefix = self.planned(n).prefix
        return self.settings.start_parameters(self.settings.token(self._plan, self._run, prefix, attempt), prefix)

    def read_result(self, n: int, attempt: int) -> dict[str, Any] | None:
        """Return what became of an attempt at a job; None where nothing is noted."""
        found = self._folder.read_json(self._result_name(n, attempt))
        return found[0] if found else None

    def note_result(self, n: int, attempt: int, result: dict[str, Any], *, running: RunningJob | None = None) -> None:
        """Write the result of an attempt, and then, once, into the state.

        Args:
            n: the job's number.
            attempt: which attempt at it.
            result: what became of it; one that is written already stands.
            running: the job as it is in the state. None where it was not started: then the claim ends.
        """
        try:
            self._folder.write_json(self._result_name(n, attempt), result, "")
        except ConflictError:
            result = self.read_result(n, attempt) or result

        def change(state: RunState) -> bool:
            if running is not None:
                if running not in state.running:
                    return False
                state.running.remove(running)
            elif state.claim is None or (state.claim["n"], state.claim["attempt"]) != (n, attempt):
                return False
            else:
                state.claim = None
            state.note_result(n, attempt, result, attempts=self.settings.attempts, now=self.clock())
            return True

        if self.stored.change(change):
            log.line("judged", job_id=result["job_id"], job_status=result["job_status"], verdict=result["verdict"])
            write_metrics(
                self.settings.import_name, self.settings.datastore_id, Verdict(result["verdict"]), import_result(result)
            )

    def _result_name(self, n: int, attempt: int) -> str:
        return f"{self._plan}/runs/{self._run}/results/{n:06}-{attempt}.json"

    def _read_jobs(self, name: str) -> list[PlannedJob]:
        found = self._folder.read(f"{self._plan}/{name}")
        if found is None:
            raise TerminalError(f"{name} of plan {self._plan} is gone: put it back, or plan anew")
        return decode_jobs(found[0])
