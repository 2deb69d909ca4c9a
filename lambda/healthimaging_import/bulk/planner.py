"""Cuts a listing into the fewest import jobs that prefixes allow: the outermost folders that fit into one job.

Pure, and in one pass. Jobs are disjoint, each is within one outermost folder that fits, and each of those needs a job:
so there are no fewer. Beside it counts what prefixes that end anywhere would come to, or plans those if told to.

Standard library only: a laptop plans with this very module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from healthimaging_import.bulk.folder_cutter import FolderCutter
from healthimaging_import.bulk.parts import File, Item, Limits, Piece, Tally
from healthimaging_import.bulk.prefix_cutter import PrefixCutter

__all__ = ["Cause", "Cut", "File", "Limits", "Part", "Planner", "Tally", "fewest_jobs"]

_LONGEST_URI = 1024
_NOT_IN_A_URI = re.compile("[\x00\n\r\x85\u2028\u2029]")


class Cause(StrEnum):
    """Why a file is in no job."""

    DIRECT = "direct"
    """It is directly in a folder that does not fit into one job."""
    TOO_LARGE = "too large"
    """It has more bytes than HealthImaging takes in one file."""
    ARCHIVED = "archived"
    """It is in GLACIER or DEEP_ARCHIVE and not restored."""
    NAME = "name"
    """No S3 URI names its folder: it is longer than 1,024 characters or holds a line break."""


class Part(NamedTuple):
    """What one job imports."""

    prefix: str
    files: int
    bytes: int


@dataclass
class Cut:
    """What a way to cut the source comes to."""

    jobs: int = 0
    files: int = 0


class Planner:
    """Takes the files of a listing in order, and gives the parts as soon as they are certain."""

    def __init__(self, bucket: str, prefix: str, limits: Limits) -> None:
        """Take what is listed.

        Args:
            bucket: the source bucket; only the length of its name matters.
            prefix: the source prefix, which all keys begin with; empty or ending in ``/``.
            limits: how much one job takes.
        """
        self.limits = limits
        self._bucket, self._prefix = bucket, prefix
        self._longest = _LONGEST_URI - len(f"s3://{bucket}/")
        self._folders = FolderCutter(len(prefix), limits)
        self._prefixes = PrefixCutter(len(prefix), limits)
        self.listed = Tally()
        self.uncovered: dict[Cause, Tally] = {cause: Tally() for cause in Cause}
        self.any_prefix: Cut | None = None if limits.any_prefix else Cut()
        """What prefixes that end anywhere would come to; None where they are planned."""

    def feed(self, files: Iterable[File]) -> list[Part]:
        """Take further files, as many as are held in memory at once.

        Raises:
            ValueError: they are not in S3's order.
        """
        files = list(files)
        self.listed.add(len(files), sum([file.size for file in files]))
        items = self._folders.cut(files)
        return self._sort(items, self._prefixes.cut(items)) if items else []

    def finish(self) -> list[Part]:
        """Give the remaining parts."""
        items = self._folders.finish()
        return self._sort(items, [*self._prefixes.cut(items), *self._prefixes.finish()])

    def save(self) -> dict[str, Any]:
        """Write down where the planner is, as JSON: another one goes on from there with the next key."""
        return {
            "bucket": self._bucket,
            "prefix": self._prefix,
            "limits": asdict(self.limits),
            "folders": self._folders.save(),
            "prefixes": self._prefixes.save(),
            "listed": asdict(self.listed),
            "uncovered": {cause.value: asdict(tally) for cause, tally in self.uncovered.items()},
            "any_prefix": asdict(self.any_prefix) if self.any_prefix else None,
        }

    @staticmethod
    def resume(saved: Mapping[str, Any]) -> Planner:
        """Go on where another planner was saved."""
        planner = Planner(saved["bucket"], saved["prefix"], Limits(**saved["limits"]))
        planner._folders.restore(saved["folders"])
        planner._prefixes.restore(saved["prefixes"])
        planner.listed = Tally(**saved["listed"])
        planner.uncovered = {cause: Tally(**saved["uncovered"][cause.value]) for cause in Cause}
        planner.any_prefix = Cut(**saved["any_prefix"]) if saved["any_prefix"] else None
        return planner

    @property
    def last_key(self) -> str:
        """The last key that was taken; empty before the first."""
        return self._folders.last

    def _sort(self, items: list[Item], prefixes: list[Piece]) -> list[Part]:
        """Sort what is certain now into parts and causes."""
        direct = self._count_files([item for item in items if isinstance(item, File)])
        if self.any_prefix is None:
            loose = self._prefixes.loose
            self.uncovered[Cause.DIRECT] = Tally(loose.files, loose.bytes)
            return [Part(*piece[:3]) for piece in prefixes if self._has_name(piece, self.uncovered[Cause.NAME])]
        self.uncovered[Cause.DIRECT].add(direct.files, direct.bytes)
        for piece in prefixes:
            if self._has_name(piece, Tally()):
                self.any_prefix.jobs += 1
                self.any_prefix.files += piece.files
        folders = [item for item in items if isinstance(item, Piece)]
        return [Part(*piece[:3]) for piece in folders if self._has_name(piece, self.uncovered[Cause.NAME])]

    def _count_files(self, files: list[File]) -> Tally:
        """Count files that no job takes by cause; returns the others."""
        direct = Tally()
        for _, size, is_archived in files:
            if is_archived:
                self.uncovered[Cause.ARCHIVED].add(1, size)
            elif size > self.limits.file_bytes:
                self.uncovered[Cause.TOO_LARGE].add(1, size)
            else:
                direct.files += 1
                direct.bytes += size
        return direct

    def _has_name(self, piece: Piece, unnamed: Tally) -> bool:
        """Whether an S3 URI can name it; if not, its files are counted as unnamed."""
        has_name = len(piece.prefix) <= self._longest and not _NOT_IN_A_URI.search(piece.prefix)
        if not has_name:
            unnamed.add(piece.files, piece.bytes)
        return has_name


def fewest_jobs(files: int, size: int, limits: Limits) -> int:
    """Return the jobs that a layout would need whose folders fill every job: the bound that no plan goes below."""
    return max(-(-files // limits.files), -(-size // limits.total_bytes), 1 if files else 0)
