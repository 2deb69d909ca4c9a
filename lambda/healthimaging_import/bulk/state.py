"""The state of a run: one small object, which says what is started, running and done, and how each of it changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict

from healthimaging_import.bulk.job_set import JobSet
from healthimaging_import.bulk.totals import Times, Totals
from healthimaging_import.contract import Verdict
from healthimaging_import.errors import DECODE_ERRORS, TerminalError

SCHEMA = 1
_MOST_FAILURES_IN_A_ROW = 25


class Claim(TypedDict):
    """The one start that may be on its way. Times are seconds since the epoch."""

    n: int
    attempt: int
    name: str
    """The name that the job is started with."""
    by: str
    """The step that may start it."""
    at: float
    until: float
    """When another step may look for the job, and start it where there is none."""


class RunningJob(TypedDict):
    """A job that is started and not judged."""

    n: int
    attempt: int
    job_id: str
    at: float
    """When it was started, in seconds since the epoch."""


@dataclass
class RunState:
    """All that is known of a run. Times are seconds since the epoch."""

    plan: str
    run: str
    jobs: int
    """How many jobs the plan has."""
    next: int = 1
    """The first job that was never claimed."""
    again: list[list[int]] = field(default_factory=list)
    """Jobs to start again, as ``[n, attempt]``."""
    claim: Claim | None = None
    running: list[RunningJob] = field(default_factory=list)
    done: int = 0
    """Jobs that are judged for good."""
    bad: JobSet = field(default_factory=JobSet)
    """Of those, the ones that failed or whose verdict is unknown."""
    rejecting: JobSet = field(default_factory=JobSet)
    """Of those, the ones that rejected files."""
    due: float = 0.0
    throttles: int = 0
    starts: int = 0
    owed: float = 0.0
    throttled: int = 0
    repeated: int = 0
    """Jobs that were started again after they failed."""
    failed_in_a_row: int = 0
    reason: str = ""
    """Why no further job is started."""
    asker: str = ""
    """The last execution, with its redrive, that was told to go on."""
    began_at: float = 0.0
    ended_at: float = 0.0
    totals: Totals = field(default_factory=Totals)
    times: Times = field(default_factory=Times)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.claim is None and not self.running and self.next_to_claim is None

    @property
    def to_do(self) -> int:
        """Jobs that are not judged for good."""
        return self.jobs - self.done

    @property
    def next_to_claim(self) -> tuple[int, int] | None:
        """The number and the attempt of the job that is claimed next; None where no further job is started."""
        if self.reason:
            return None
        if self.again:
            n, attempt = self.again[0]
            return n, attempt
        return (self.next, 1) if self.next <= self.jobs else None

    def put_claim(self, claim: Claim) -> None:
        """Claim the job that is next."""
        if self.again:
            self.again.pop(0)
        else:
            self.next += 1
        self.claim = claim

    def withdraw_claim(self) -> None:
        """Give up the claim: its job is claimed again, before any other."""
        if self.claim is not None:
            self.again.insert(0, [self.claim["n"], self.claim["attempt"]])
            self.claim = None

    def note_running(self, job_id: str, now: float) -> None:
        """Turn the claim into a job that runs."""
        if self.claim is None:
            return
        if not any(job["job_id"] == job_id for job in self.running):
            claimed = self.claim
            self.running.append({"n": claimed["n"], "attempt": claimed["attempt"], "job_id": job_id, "at": now})
        self.claim = None

    def note_result(self, n: int, attempt: int, result: Mapping[str, Any], *, attempts: int, now: float) -> None:
        """Add what became of an attempt at a job; a FAILED one is started again, ``attempts`` times in all."""
        has_run = result["job_status"] == "COMPLETED"
        self.failed_in_a_row = 0 if has_run else self.failed_in_a_row + 1
        if self.failed_in_a_row >= _MOST_FAILURES_IN_A_ROW and not self.reason:
            self.reason = f"{self.failed_in_a_row} jobs in a row have failed, the last because it {result['reason']}"
        numbers = result["numbers"]
        self.times.add(now, result["seconds"], numbers.get("imported", 0))
        if result["job_status"] == "FAILED" and attempt < attempts:
            self.again.append([n, attempt + 1])
            self.repeated += 1
            return
        self.done += 1
        self.totals.add(result)
        if result["verdict"] != Verdict.SUCCEEDED:
            self.bad.add(n, attempt)
        if numbers.get("scanned", 0) > numbers.get("imported", 0):
            self.rejecting.add(n, attempt)

    def take_back(self, n: int, attempt: int, result: Mapping[str, Any]) -> None:
        """Take away what became of a bad job, and have it started again."""
        self.bad.discard(n, attempt)
        self.rejecting.discard(n, attempt)
        self.totals.add(result, -1)
        self.done -= 1
        self.repeated += 1
        self.again.append([n, attempt + 1])

    def encode(self) -> bytes:
        """Write the state as it is stored."""
        parts = {"totals": vars(self.totals), "times": vars(self.times)}
        sets = {"bad": self.bad.encode(), "rejecting": self.rejecting.encode()}
        document = {**vars(self), **parts, **sets, "schema": SCHEMA}
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()

    @staticmethod
    def decode(body: bytes) -> RunState:
        """Read a stored state.

        Raises:
            TerminalError: it is damaged, or of a newer version.
        """
        try:
            document = json.loads(body)
            if document.pop("schema") != SCHEMA:
                raise ValueError
            known = {item.name for item in fields(RunState)}
            values = {name: value for name, value in document.items() if name in known}
            values["totals"], values["times"] = Totals(**values["totals"]), Times(**values["times"])
            values["bad"], values["rejecting"] = (JobSet.decode(values[name]) for name in ("bad", "rejecting"))
            return RunState(**values)
        except DECODE_ERRORS:
            raise TerminalError("state.json of the bulk import is damaged: put an earlier version of it back") from None
