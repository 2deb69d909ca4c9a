"""The state of a run: one small object, written by condition, which says what is started, running and done."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from healthimaging_import.errors import DECODE_ERRORS, TerminalError

SCHEMA = 1
_MOST_CAUSES = 40
_OTHER_CAUSES = "other causes"
_MOST_BINS = 200
_FIRST_BIN_SECONDS = 300.0
_COUNTED = (
    "planned", "scanned", "imported", "customer_errors", "server_errors", "without_reason", "not_judged",
    "image_sets", "non_primary_image_sets", "appeared", "vanished", "bytes",
)  # fmt: skip


@dataclass
class Totals:
    """What the judged jobs have come to. Adding and taking away a result undo each other."""

    numbers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))
    """Files, except ``image_sets``, ``non_primary_image_sets`` and ``bytes`` (of the plan). ``not_judged`` are the
    planned files of jobs without a manifest; ``appeared`` and ``vanished`` tell by how many files jobs found more or
    less than was listed."""
    verdicts: dict[str, int] = field(default_factory=dict)
    causes: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    """Why jobs have failed, by the words of the reason that can be shown."""

    def add(self, result: Mapping[str, Any], sign: int = 1) -> None:
        """Add what became of a job; with -1 take it away again, since the job is started anew."""
        for name in _COUNTED:
            self.numbers[name] = self.numbers.get(name, 0) + sign * int(result["numbers"].get(name, 0))
        _count(self.verdicts, {result["verdict"]: 1}, sign)
        _count(self.warnings, result["warnings"], sign)
        _count(self.causes, result["causes"], sign)
        if result["reason"]:
            _count(self.reasons, {result["reason"]: 1}, sign)


def _count(counted: dict[str, int], more: Mapping[str, int], sign: int) -> None:
    for name, count in more.items():
        known = name in counted or (sign > 0 and len(counted) < _MOST_CAUSES)
        shown = name if known else _OTHER_CAUSES
        counted[shown] = counted.get(shown, 0) + sign * count
        if counted[shown] <= 0:
            del counted[shown]


@dataclass
class Times:
    """How long jobs took, and when files were imported: bins that double their width when there are too many."""

    jobs: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    minutes: dict[str, int] = field(default_factory=dict)
    """Jobs by duration: up to 1, 2, 4, 8, ... minutes."""
    begin: float = 0.0
    width: float = _FIRST_BIN_SECONDS
    files: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)

    @property
    def mean(self) -> float | None:
        """Seconds that a job takes; None before the first has ended."""
        return self.seconds / self.jobs if self.jobs else None

    def add(self, now: float, seconds: float | None, files: int) -> None:
        """Note a job that has ended."""
        if seconds is not None:
            self.jobs += 1
            self.seconds += seconds
            self.longest = max(self.longest, seconds)
            bound = 1
            while bound * 60 < seconds:
                bound *= 2
            self.minutes[str(bound)] = self.minutes.get(str(bound), 0) + 1
        index = int(max(0.0, now - self.begin) // self.width)
        while index >= _MOST_BINS:
            self.files = [sum(self.files[at : at + 2]) for at in range(0, len(self.files), 2)]
            self.ended = [sum(self.ended[at : at + 2]) for at in range(0, len(self.ended), 2)]
            self.width *= 2
            index //= 2
        missing = [0] * (index + 1 - len(self.files))
        self.files += missing
        self.ended += missing
        self.files[index] += files
        self.ended[index] += 1


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
    claim: dict[str, Any] | None = None
    """``n``, ``attempt``, ``by``, ``at`` and ``until`` of the one start that may be on its way."""
    running: list[dict[str, Any]] = field(default_factory=list)
    """``n``, ``attempt``, ``job_id`` and ``at`` of each job that is not judged."""
    done: int = 0
    """Jobs that are judged for good."""
    bad: list[list[int]] = field(default_factory=list)
    """Of those, the ones that failed or whose verdict is unknown, as ``[n, attempt]``."""
    rejecting: list[list[int]] = field(default_factory=list)
    """Of those, the ones that rejected files, as ``[n, attempt]``."""
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
        if self.claim is not None or self.running:
            return False
        return bool(self.reason) or (self.next > self.jobs and not self.again)

    @property
    def to_do(self) -> int:
        """Jobs that are not judged for good."""
        return self.jobs - self.done

    def encode(self) -> bytes:
        """Write the state as it is stored."""
        document = {**vars(self), "schema": SCHEMA, "totals": vars(self.totals), "times": vars(self.times)}
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
            return RunState(**values)
        except DECODE_ERRORS:
            raise TerminalError("state.json of the bulk import is damaged: put an earlier version of it back") from None


def result_document(
    verdict: str,
    *,
    numbers: Mapping[str, int],
    causes: Mapping[str, int] | None = None,
    warnings: Mapping[str, int] | None = None,
    reason: str = "",
    **more: object,
) -> dict[str, Any]:
    """Write what became of a job, as :meth:`Totals.add` takes it."""
    return {
        "verdict": verdict,
        "numbers": {name: count for name, count in numbers.items() if count},
        "causes": dict(Counter(causes or {})),
        "warnings": dict(warnings or {}),
        "reason": reason,
        **more,
    }
