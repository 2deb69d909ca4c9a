"""Cuts a listing into the outermost folders that fit into one job, in one pass over S3's own order (UTF-8 bytes).

At any moment it holds, for each folder on the path of the last key, at most as many smaller folders and files as a job
has files; of a folder that is known not to fit, nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from healthimaging_import.bulk.parts import File, Item, Limits, Piece, decode_items


@dataclass(slots=True)
class _Folder:
    """A folder on the path of the last key: all of it that has been seen so far."""

    length: int
    """How many characters its prefix has."""
    files: int = 0
    bytes: int = 0
    folders: int = 0
    fits: bool = True
    held: list[Item] = field(default_factory=list)
    """What it is cut into if it does not fit, in order; empty once that is known."""


class FolderCutter:
    """Takes the files of a listing in order, and gives folders and single files as soon as they are certain."""

    def __init__(self, root_length: int, limits: Limits) -> None:
        """Take how long the prefix is that all keys begin with, and how much one job takes."""
        self._limits = limits
        self._stack = [_Folder(root_length)]
        self.last_key = ""
        self._cut: list[Item] = []

    def cut(self, files: Iterable[File]) -> list[Item]:
        """Take further files; returns what is certain now, in order: folders that fit, and files that are in none.

        Raises:
            ValueError: the files are not in S3's order.
        """
        limits, folder, last = self._limits, self._stack[-1], self.last_key
        path = last[: folder.length]
        for file in files:
            key, size, is_archived = file
            if key <= last:
                raise ValueError("the listing is not in S3's order")
            length = key.rfind("/") + 1
            if length != folder.length or not last or not key.startswith(path):
                folder = self._move_to(key, length)
                path = key[:length]
            self.last_key = last = key
            if folder.fits and (is_archived or size > limits.file_bytes):
                self._break_up()
            if not folder.fits:
                self._cut.append(file)
                continue
            folder.files += 1
            folder.bytes += size
            folder.held.append(file)
            if folder.files > limits.files or folder.bytes > limits.total_bytes:
                self._break_up()
        return self._take_cut()

    def finish(self) -> list[Item]:
        """Return the rest."""
        while len(self._stack) > 1:
            self._close()
        root = self._stack[0]
        if root.fits and root.files:
            self._cut.append(Piece(self.last_key[: root.length], root.files, root.bytes, root.folders))
        return self._take_cut()

    def save(self) -> dict[str, Any]:
        """Write down where the cutter is, as JSON."""
        stack = [[it.length, it.files, it.bytes, it.folders, it.fits, list(map(list, it.held))] for it in self._stack]
        return {"last_key": self.last_key, "stack": stack}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where another cutter was saved."""
        self.last_key = saved["last_key"]
        self._stack = [_Folder(*node) for node in saved["stack"]]
        for folder in self._stack:
            folder.held = decode_items(folder.held)

    def _take_cut(self) -> list[Item]:
        cut, self._cut = self._cut, []
        return cut

    def _move_to(self, key: str, length: int) -> _Folder:
        """Close the folders that do not contain the key, and open its own."""
        common = self._common(key, length)
        while self._stack[-1].length > common:
            self._close(at_least=common)
        if self._stack[-1].length < length:
            self._stack.append(_Folder(length))
        return self._stack[-1]

    def _common(self, key: str, length: int) -> int:
        """How much of the key's folder the last key's has as well."""
        last = self.last_key
        low = self._stack[0].length  # both have that
        while True:
            end = key.find("/", low, length) + 1
            if not end or last[low:end] != key[low:end]:
                return low
            low = end

    def _close(self, at_least: int = 0) -> None:
        """Merge the last folder into the one around it, which is made if none of that length is open."""
        last, child, parent = self.last_key, self._stack.pop(), self._stack[-1]
        if parent.length < at_least:
            parent = _Folder(at_least)
            self._stack.append(parent)
        parent.files += child.files
        parent.bytes += child.bytes
        parent.folders += child.folders + last.count("/", parent.length, child.length)
        if parent.fits and not (child.fits and self._limits.fit(parent.files, parent.bytes, parent.folders)):
            self._break_up()
        if child.fits and child.files:
            # Of the folders that hold the same files, the outermost.
            end = last.find("/", parent.length) + 1
            piece = Piece(last[:end], child.files, child.bytes, child.folders + last.count("/", end, child.length))
            (parent.held if parent.fits else self._cut).append(piece)

    def _break_up(self) -> None:
        """The last folder does not fit, so that none around it does: give what is in them, the outermost first."""
        for folder in self._stack:
            folder.fits = False
            self._cut += folder.held
            folder.held = []
