"""A token bucket for each account, as AWS's request quotas (rate and burst) work, and the quotas of HealthImaging."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

RATES: Mapping[str, tuple[float, int]] = {
    "CopyImageSet": (0.25, 1),
    "CreateDatastore": (0.085, 1),
    "DeleteDatastore": (0.085, 1),
    "DeleteImageSet": (0.25, 1),
    "GetDICOMImportJob": (25, 50),
    "GetDatastore": (10, 20),
    "GetImageFrame": (1000, 2000),
    "GetImageSet": (25, 50),
    "GetImageSetMetadata": (50, 100),
    "ListDICOMImportJobs": (10, 20),
    "ListDatastores": (5, 10),
    "ListImageSetVersions": (25, 50),
    "ListTagsForResource": (10, 20),
    "SearchImageSets": (25, 50),
    "StartDICOMImportJob": (0.25, 1),
    "TagResource": (10, 20),
    "UntagResource": (10, 20),
    "UpdateImageSetMetadata": (0.25, 1),
}
"""Calls per second, and at once, of an account in a Region (developer guide, "Throttling limits", the English page)."""


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
