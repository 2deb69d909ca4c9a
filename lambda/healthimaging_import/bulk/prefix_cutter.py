"""Cuts a listing into the outermost prefixes that fit into one job, where a prefix may end anywhere.

It is given what folders come to: what fits by folders fits by prefixes that end anywhere as well, so that each such
folder is taken as a whole, and single files only where no folder holds them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from healthimaging_import.bulk.cutter import Cutter, OpenPrefix
from healthimaging_import.bulk.parts import Item, Limits, Piece, Tally


@dataclass(slots=True)
class _Prefix(OpenPrefix):
    own_files: int = 0
    """Files whose whole key it is."""
    own_bytes: int = 0


class PrefixCutter(Cutter[_Prefix, Piece]):
    """Takes folders and files in order, and gives prefixes as soon as they are certain."""

    def __init__(self, root_length: int, limits: Limits) -> None:
        """Take how long the prefix is that all keys begin with, and how much one job takes."""
        super().__init__(root_length, limits)
        self.loose = Tally()
        """Files that one job takes and that no prefix holds: their key begins too many others."""

    def cut(self, items: Sequence[Item]) -> list[Piece]:
        """Take further items; returns the prefixes that are certain now."""
        start = 0
        while start < len(items):
            end = self._end_of_siblings(items, start)
            if end - start > 1:
                self._take_siblings(items[start:end])
            else:
                self._take(items[start])
            start = end
        return self._take_cut()

    def save(self) -> dict[str, Any]:
        """Write down where the cutter is, as JSON."""
        stack = [
            [it.length, it.files, it.bytes, it.folders, it.own_files, it.own_bytes, it.fits, list(map(list, it.held))]
            for it in self._stack
        ]
        return {"last": self.last, "stack": stack, "loose": [self.loose.files, self.loose.bytes]}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where another cutter was saved."""
        self.last = saved["last"]
        self._stack = [
            _Prefix(length, files, size, folders, fits, [Piece(*piece) for piece in held], own_files, own_bytes)
            for length, files, size, folders, own_files, own_bytes, fits, held in saved["stack"]
        ]
        self.loose.add(*saved["loose"])

    # -- many items at once ----------------------------------------------------------------------------------------

    def _end_of_siblings(self, items: Sequence[Item], start: int) -> int:
        """Return where the items end that are of one folder and that a job takes, from ``start`` on."""
        name, most_bytes = items[start][0], self._limits.file_bytes
        length = name.rfind("/", 0, len(name) - 1) + 1
        folder = name[:length]
        for end in range(start, len(items)):
            item = items[end]
            name = item[0]
            if name.rfind("/", 0, len(name) - 1) + 1 != length or not name.startswith(folder):
                return end
            if not isinstance(item, Piece) and (item.is_archived or item.size > most_bytes):
                return max(end, start + 1)
        return len(items)

    def _take_siblings(self, items: Sequence[Item]) -> None:
        """Take the items of one folder: as a whole all that begin with the same characters, where that fits.

        The items are in order. So those that have a prefix in common stand together, and are all of them if neither
        the item before nor the last one has it.
        """
        pieces = [item if isinstance(item, Piece) else Piece(item.key, 1, item.size, -1) for item in items]
        files, sizes, folders = (
            list(accumulate(values, initial=0))
            for values in (
                (piece.files for piece in pieces),
                (piece.bytes for piece in pieces),
                (piece.folders + 1 for piece in pieces),  # with the folder itself; a file has none
            )
        )
        start, ends = 0, [len(pieces)]
        while ends:
            if start == ends[-1]:
                ends.pop()
                continue
            name = pieces[start].prefix
            length = 1 + max(self._common(name, len(name)), _common(name, pieces[ends[-1] - 1].prefix))
            if length >= len(name):
                self._take(items[start])
                start += 1
                continue
            prefix = name[:length]
            end = bisect_left(pieces, True, start + 1, ends[-1], key=lambda it: not it.prefix.startswith(prefix))
            counts = files[end] - files[start], sizes[end] - sizes[start], folders[end] - folders[start]
            if self._limits.fit(*counts):
                self._take(Piece(prefix, *counts))
                start = end
            elif end - start == 1:
                self._take(items[start])
                start = end
            else:
                ends.append(end)

    # -- one item --------------------------------------------------------------------------------------------------

    def _take(self, item: Item) -> None:
        """Take files whose common prefix is certain to fit, or a single file."""
        if isinstance(item, Piece):
            name, files, size, folders = item
            fits = True
        else:
            name, files, size, folders = item.key, 1, item.size, 0
            fits = not item.is_archived and size <= self._limits.file_bytes
        top = self._move_to(name, len(name))
        self.last = name
        if fits:
            top.files += files
            top.bytes += size
            top.folders += folders
            top.own_files += files
            top.own_bytes += size
        if top.fits and not (fits and self._limits.fit(top.files, top.bytes)):
            self._break_up()

    # -- prefixes --------------------------------------------------------------------------------------------------

    def _open(self, length: int) -> _Prefix:
        return _Prefix(length)

    def _common(self, name: str, length: int) -> int:  # noqa: ARG002 - a prefix may end anywhere
        return max(self._stack[0].length, _common(name, self.last))

    def _shortest_end(self, length: int) -> int:
        return length + 1

    def _break(self, prefix: _Prefix) -> None:
        super()._break(prefix)
        self.loose.add(prefix.own_files, prefix.own_bytes)


def _common(one: str, other: str) -> int:
    """How many characters two names have in common from the beginning on."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
