"""A token bucket for each account, as AWS's request quotas (rate and burst) work."""

from __future__ import annotations

import threading
import time


class TokenBucket:
    """Counts calls against a rate and a burst that may change at any time."""

    def __init__(self) -> None:
        """Begin with full buckets."""
        self._lock = threading.Lock()
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, key: str, rate: float, burst: int) -> bool:
        """Whether one more call fits now; a rate of 0 means no limit."""
        if rate <= 0:
            return True
        with self._lock:
            now = time.monotonic()
            level, at = self._levels.get(key, (float(burst), now))
            level = min(float(burst), level + (now - at) * rate)
            taken = level >= 1
            self._levels[key] = (level - 1 if taken else level, now)
            return taken
