"""Listings of archives in several layouts, generated key by key in S3's order: ten million keys take no memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

SIZE = 500_000
STUDY_FILES, _SERIES_FILES = 216, 54
_UID_ROOT = "1.2.826.0.1.3680043.8.498."
_UID_DIGITS = 38
_MOST_UIDS = 20_000_000


def _studies(folder_of: Callable[[int], str], separator: str = "/") -> Iterator[str]:
    for number in count():
        folder = folder_of(number)
        for image in range(STUDY_FILES):
            yield f"a/{folder}/{image // _SERIES_FILES:02}{separator}{image:05}.dcm"


def _uids() -> Iterator[str]:
    """UIDs in order, as unlike each other as random ones."""
    rng = random.Random(1)  # noqa: S311 - no secret
    step, number = 9 * 10 ** (_UID_DIGITS - 1) // _MOST_UIDS, 10 ** (_UID_DIGITS - 1)
    while True:
        number += rng.randrange(1, 2 * step)
        yield f"{_UID_ROOT}{number}"


LAYOUTS: dict[str, Callable[[], Iterator[str]]] = {
    "year/month/day/study/series": lambda: _studies(
        lambda n: f"{2000 + n // 6720:04}/{n // 560 % 12 + 1:02}/{n // 20 % 28 + 1:02}/{n % 20:02}"
    ),
    "patient/study/series": lambda: _studies(lambda n: f"p{n // 3:07}/{n % 3}"),
    "hash/study": lambda: _studies(lambda n: f"{n // 200:04x}/{n:08}", "-"),
    "flat studies": lambda: _studies(lambda n: f"{n:08}", "-"),
    "a folder for each file": lambda: (f"a/{uid}/1.dcm" for uid in _uids()),
    "one folder, numbers": lambda: (f"a/{n:012}.dcm" for n in count()),
    "one folder, UIDs": lambda: (f"a/{uid}.dcm" for uid in _uids()),
}


def page_of(keys: list[str]) -> dict[str, Any]:
    """Return a page of ListObjectsV2 as boto3 gives it."""
    return {"Contents": [{"Key": key, "Size": SIZE, "StorageClass": "STANDARD"} for key in keys]}
