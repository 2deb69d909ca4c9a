"""What the judged jobs of a run have come to, and how long they took: bounded, whatever the number of jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
