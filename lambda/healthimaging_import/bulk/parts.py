"""What a source is cut into, and what a job may hold of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Limits:
    """How much one job takes, and what may be its prefix."""

    files: int = 5_000
    total_bytes: int = 10 * 1024**3
    file_bytes: int = 10 * 1024**3
    folders: int = 10_000
    """Nested folders. What AWS counts is not documented; here it is every folder below the prefix."""
    any_prefix: bool = False
    """Whether a prefix may end anywhere, not only at ``/``. Whether HealthImaging takes those is not documented."""

    def fit(self, files: int, size: int, folders: int = 0) -> bool:
        """Whether one job takes so many files, bytes and nested folders."""
        return files <= self.files and size <= self.total_bytes and folders <= self.folders


class File(NamedTuple):
    """An object of the listing that is a file."""

    key: str
    size: int
    is_archived: bool = False


class Piece(NamedTuple):
    """A prefix that fits into one job, and what is below it."""

    prefix: str
    files: int
    bytes: int
    folders: int = 0


Item = Piece | File
"""A folder that fits into one job, or a file that is in no such folder."""


@dataclass
class Tally:
    """Files and bytes."""

    files: int = 0
    bytes: int = 0

    def add(self, files: int, size: int) -> None:
        """Count some more."""
        self.files += files
        self.bytes += size


def decode_items(items: Iterable[Sequence[Any]]) -> list[Item]:
    """Read items that JSON has made lists of: a file has three members, a piece four."""
    return [File(*item) if len(item) == len(File._fields) else Piece(*item) for item in items]
