"""Cuts a listing into the fewest import jobs that prefixes allow: the outermost folders that fit into one job.

Pure, and in one pass over S3's own order (UTF-8 bytes). Jobs are disjoint, each is within one outermost folder that
fits, and each of those needs a job: so there are no fewer. At any moment the planner holds, for each folder on the
path of the last key, at most as many smaller folders and direct files as a job has files.

Beside it counts what prefixes that end anywhere would come to. What fits by folders fits by those as well: so the
count takes each planned folder as a whole, and single files only where no folder holds them.

Standard library only: a laptop plans with this very module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

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


class File(NamedTuple):
    """An object of the listing that is a file."""

    key: str
    size: int
    is_archived: bool = False


class Part(NamedTuple):
    """What one job imports."""

    prefix: str
    files: int
    bytes: int


class _Piece(NamedTuple):
    """A part, with its nested folders."""

    prefix: str
    files: int
    bytes: int
    folders: int = 0


@dataclass
class Cut:
    """What a way to cut the source comes to."""

    jobs: int = 0
    files: int = 0


@dataclass
class Tally:
    """Files and bytes."""

    files: int = 0
    bytes: int = 0

    def add(self, files: int, size: int) -> None:
        """Count some more."""
        self.files += files
        self.bytes += size


@dataclass(slots=True)
class _Node:
    """A prefix on the path of the last key: all of it that has been seen so far."""

    length: int
    files: int = 0
    bytes: int = 0
    folders: int = 0
    direct_files: int = 0
    direct_bytes: int = 0
    fits: bool = True
    pending: list[_Piece] = field(default_factory=list)
    """The parts to cut it into if it does not fit; empty once that is known."""
    direct: list[File] = field(default_factory=list)
    """Its direct files, for the comparison, as long as it fits."""


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
        self._longest = _LONGEST_URI - len(f"s3://{bucket}/")
        self._stack = [_Node(len(prefix))]
        self._last = prefix
        self._is_first = True
        self._ready: list[Part] = []
        self.listed = Tally()
        self.uncovered: dict[Cause, Tally] = {cause: Tally() for cause in Cause}
        self.any_prefix: Cut | None = None if limits.any_prefix else Cut()
        """What prefixes that end anywhere would come to; None where they are planned."""
        self._beside = None if limits.any_prefix else Planner(bucket, prefix, replace(limits, any_prefix=True))
        self._bucket, self._prefix = bucket, prefix

    def feed(self, files: Iterable[File]) -> Iterator[Part]:
        """Take further files.

        Raises:
            ValueError: they are not in S3's order.
        """
        add, ready = self._add, self._ready
        for file in files:
            add(file)
            if ready:
                yield from ready
                ready.clear()

    def finish(self) -> Iterator[Part]:
        """Give the remaining parts."""
        while len(self._stack) > 1:
            self._close()
        root = self._stack[0]
        if root.fits and root.files:
            self._emit(_Piece(self._last[: root.length], root.files, root.bytes, root.folders))
        if self._beside is not None:
            self._count(self._beside.finish())
        yield from self._ready
        self._ready.clear()

    def save(self) -> dict[str, Any]:
        """Write down where the planner is, as JSON: another one goes on from there with the next key."""
        return {
            "bucket": self._bucket,
            "prefix": self._prefix,
            "limits": asdict(self.limits),
            "last": None if self._is_first else self._last,
            "stack": [
                [n.length, n.files, n.bytes, n.folders, n.direct_files, n.direct_bytes, n.fits,
                 [list(piece) for piece in n.pending], [list(file) for file in n.direct]]
                for n in self._stack
            ],
            "listed": asdict(self.listed),
            "uncovered": {cause.value: asdict(tally) for cause, tally in self.uncovered.items()},
            "any_prefix": asdict(self.any_prefix) if self.any_prefix else None,
            "beside": self._beside.save() if self._beside else None,
        }  # fmt: skip

    @staticmethod
    def resume(saved: Mapping[str, Any]) -> Planner:
        """Go on where another planner was saved."""
        planner = Planner(saved["bucket"], saved["prefix"], Limits(**saved["limits"]))
        if saved["last"] is not None:
            planner._last, planner._is_first = saved["last"], False
        planner._stack = [_Node(*node) for node in saved["stack"]]
        for node in planner._stack:
            node.pending = [_Piece(*piece) for piece in node.pending]
            node.direct = [File(*file) for file in node.direct]
        planner.listed = Tally(**saved["listed"])
        planner.uncovered = {cause: Tally(**saved["uncovered"][cause.value]) for cause in Cause}
        if saved["beside"] is not None:
            planner._beside, planner.any_prefix = Planner.resume(saved["beside"]), Cut(**saved["any_prefix"])
        return planner

    @property
    def last_key(self) -> str:
        """The last key that was taken; empty before the first."""
        return "" if self._is_first else self._last

    # -- one key ---------------------------------------------------------------------------------------------------

    def _add(self, file: File) -> None:
        key, size, is_archived = file
        top = self._stack[-1]
        last = self._last
        if key <= last and not self._is_first:
            raise ValueError("the listing is not in S3's order")
        length = len(key) if self.limits.any_prefix else key.rfind("/") + 1
        if not (length == top.length and last[:length] == key[:length]):
            self._move_to(key, length)
            top = self._stack[-1]
        self._last, self._is_first = key, False
        self.listed.files += 1
        self.listed.bytes += size
        if is_archived or size > self.limits.file_bytes:
            self.uncovered[Cause.ARCHIVED if is_archived else Cause.TOO_LARGE].add(1, size)
            if top.fits:
                self._break()
            self._compare(key, 1, size, fits=False)
            return
        top.files += 1
        top.bytes += size
        if top.fits:
            top.direct_files += 1
            top.direct_bytes += size
            if self._beside is not None:
                top.direct.append(file)
            if top.files > self.limits.files or top.bytes > self.limits.total_bytes:
                self._break()
        else:
            self.uncovered[Cause.DIRECT].add(1, size)
            self._compare(key, 1, size)

    def _move_to(self, key: str, length: int) -> None:
        """Close what does not contain the key, and open its own prefix of that length."""
        common = self._common(key, length)
        while self._stack[-1].length > common:
            self._close(at_least=common)
        if self._stack[-1].length < length:
            self._stack.append(_Node(length))

    def _common(self, key: str, length: int) -> int:
        """How much of the key's prefix the last key has as well."""
        last = self._last
        low = self._stack[0].length  # both have that
        if self.limits.any_prefix:
            high = min(length, len(last))
            # Neighbours most often have all in common but their last characters.
            near = self._stack[-2].length if len(self._stack) > 1 else low
            if near <= high and key[:near] == last[:near]:
                low = near
                if low < high and key[low] != last[low]:
                    return low
            while low < high:
                middle = (low + high + 1) // 2
                if key[low:middle] == last[low:middle]:
                    low = middle
                else:
                    high = middle - 1
            return low
        while True:
            end = key.find("/", low, length) + 1
            if not end or last[low:end] != key[low:end]:
                return low
            low = end

    def _close(self, at_least: int = -1) -> None:
        """Merge the last prefix into the one around it, which is made if none of that length is open."""
        child = self._stack.pop()
        parent = self._stack[-1]
        if parent.length < at_least:
            parent = _Node(at_least)
            self._stack.append(parent)
        parent.files += child.files
        parent.bytes += child.bytes
        parent.folders += child.folders + self._last.count("/", parent.length, child.length)
        if parent.fits and (
            not child.fits
            or parent.files > self.limits.files
            or parent.bytes > self.limits.total_bytes
            or parent.folders > self.limits.folders
        ):
            self._break()
        if child.fits and child.files:
            # Of the prefixes that hold the same files, the outermost.
            end = parent.length + 1
            if not self.limits.any_prefix:
                end = self._last.find("/", parent.length) + 1
            folders = child.folders + self._last.count("/", end, child.length)
            piece = _Piece(self._last[:end], child.files, child.bytes, folders)
            if parent.fits:
                parent.pending.append(piece)
            else:
                self._emit(piece)

    def _break(self) -> None:
        """The last prefix does not fit, so that none around it does: cut what is in them, the outermost first."""
        for node in self._stack:
            if not node.fits:
                continue
            node.fits = False
            pieces, node.pending = node.pending, []
            direct, node.direct = node.direct, []
            self.uncovered[Cause.DIRECT].add(node.direct_files, node.direct_bytes)
            at = 0
            for piece in pieces:
                while at < len(direct) and direct[at].key < piece.prefix:
                    self._compare(direct[at].key, 1, direct[at].size)
                    at += 1
                self._emit(piece)
            for file in direct[at:]:
                self._compare(file.key, 1, file.size)

    def _emit(self, piece: _Piece) -> None:
        self._compare(*piece)
        prefix, files, size, _ = piece
        if len(prefix) > self._longest or _NOT_IN_A_URI.search(prefix):
            self.uncovered[Cause.NAME].add(files, size)
        else:
            self._ready.append(Part(prefix, files, size))

    # -- the comparison --------------------------------------------------------------------------------------------

    def _compare(self, prefix: str, files: int, size: int, folders: int = 0, *, fits: bool = True) -> None:
        """Give a planned folder, or a file in none, to the count of prefixes that end anywhere."""
        beside = self._beside
        if beside is not None:
            beside._take(prefix, files, size, folders, fits)  # noqa: SLF001 - of this class
            if beside._ready:  # noqa: SLF001
                self._count(beside._ready)  # noqa: SLF001
                beside._ready.clear()  # noqa: SLF001

    def _count(self, parts: Iterable[Part]) -> None:
        cut = self.any_prefix
        if cut is not None:
            for part in parts:
                cut.jobs += 1
                cut.files += part.files

    def _take(self, prefix: str, files: int, size: int, folders: int, fits: bool) -> None:  # noqa: FBT001 - a million times
        """Take files whose common prefix is a job, or a file for which there is none."""
        self._move_to(prefix, len(prefix))
        self._last = prefix
        self._is_first = False
        top = self._stack[-1]
        if fits:
            top.files += files
            top.bytes += size
            top.folders += folders
        if top.fits and (not fits or top.files > self.limits.files or top.bytes > self.limits.total_bytes):
            self._break()


def fewest_jobs(files: int, size: int, limits: Limits) -> int:
    """Return the jobs that a layout would need whose folders fill every job: the bound that no plan goes below."""
    return max(-(-files // limits.files), -(-size // limits.total_bytes), 1 if files else 0)
