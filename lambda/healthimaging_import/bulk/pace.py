"""When the next start is due. Pure: it is told the time.

AWS's quota is a token bucket of burst 1. Starts at exactly its rate are throttled most of the time, and a pacer that
learns the rate from throttles slows down for ever: so the rate is given, and starts keep a little above its interval.
How much is told by the last call: one that took longer than others may have reached HealthImaging later by as much.
"""

from __future__ import annotations

from dataclasses import dataclass

_MARGIN = 1.005
_AFTER_THROTTLE = 0.06
"""What a throttle costs, in intervals: to wait longer in order to avoid one would be no gain."""
_PATIENT_THROTTLES = 4
_STARTS_PER_GAP = 75
"""One interval in so many is left to others of the account, for example to a deploy."""
_POLL_PART = 0.02
_SHORTEST_POLL, _LONGEST_POLL = 2.0, 60.0
_FIRST_GUESS_SECONDS = 300.0


@dataclass
class Pacer:
    """The pace of starts; all of it is in the run's state."""

    rate: float
    """Starts per second."""
    due: float = 0.0
    """When the next start is due, in seconds since the epoch."""
    throttles: int = 0
    """How many starts in a row were throttled."""
    starts: int = 0
    owed: float = 0.0
    """Seconds that others of the account are owed. A start that is late, as all slots are taken, pays some back."""

    @property
    def interval(self) -> float:
        """Seconds between two starts."""
        return _MARGIN / self.rate

    def started(self, now: float, delay: float = 0.0) -> None:
        """Note a start that HealthImaging took.

        Args:
            now: when it was sent.
            delay: by how many seconds later than the quickest it may have arrived.
        """
        self.starts += 1
        self.throttles = 0
        self.owed = max(0.0, self.owed + self.interval / _STARTS_PER_GAP - max(0.0, now - self.due))
        is_gap = self.owed >= self.interval
        if is_gap:
            self.owed = 0.0
        self.due = now + (2 if is_gap else 1) * self.interval + min(delay, _AFTER_THROTTLE * self.interval)

    def throttled(self, now: float) -> None:
        """Note a start that was throttled: somebody else's was a moment ago, or the bucket is a little behind."""
        self.throttles += 1
        doublings = max(0, self.throttles - _PATIENT_THROTTLES)
        self.due = now + min(_AFTER_THROTTLE * self.interval * 2.0**doublings, 60.0)


def poll_interval(mean_job_seconds: float | None, *, is_full: bool) -> float:
    """Return how often to look at the jobs that run, by how long a job lasts: oftener if a start waits for a slot."""
    seconds = _FIRST_GUESS_SECONDS if mean_job_seconds is None else mean_job_seconds
    part = _POLL_PART / 4 if is_full else _POLL_PART
    return min(max(part * seconds, _SHORTEST_POLL), _LONGEST_POLL)
