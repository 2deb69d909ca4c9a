"""Cuts a listing into the outermost folders that fit into one job, in one pass over S3's own order (UTF-8 bytes).

At any moment it holds, for each folder on the path of the last key, at most as many smaller folders and files as a job
has files; of a folder that is known not to fit, nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from healthimaging_import.bulk.cutter import Cutter, OpenPrefix
from healthimaging_import.bulk.parts import File, Item, decode_items


class FolderCutter(Cutter[OpenPrefix, Item]):
    """Takes the files of a listing in order, and gives folders and single files as soon as they are certain."""

    def cut(self, files: Iterable[File]) -> list[Item]:
        """Take further files; returns what is certain now, in order: folders that fit, and files that are in none.

        Raises:
            ValueError: the files are not in S3's order.
        """
        limits, folder, last = self._limits, self._stack[-1], self.last
        path = last[: folder.length]
        for file in files:
            key, size, is_archived = file
            if key <= last:
                raise ValueError("the listing is not in S3's order")
            length = key.rfind("/") + 1
            if length != folder.length or not last or not key.startswith(path):
                folder = self._move_to(key, length)
                path = key[:length]
            self.last = last = key
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

    def save(self) -> dict[str, Any]:
        """Write down where the cutter is, as JSON."""
        stack = [[it.length, it.files, it.bytes, it.folders, it.fits, list(map(list, it.held))] for it in self._stack]
        return {"last_key": self.last, "stack": stack}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where another cutter was saved."""
        self.last = saved["last_key"]
        self._stack = [OpenPrefix(*node) for node in saved["stack"]]
        for folder in self._stack:
            folder.held = decode_items(folder.held)

    def _open(self, length: int) -> OpenPrefix:
        return OpenPrefix(length)

    def _common(self, name: str, length: int) -> int:
        last = self.last
        low = self._stack[0].length  # both have that
        while True:
            end = name.find("/", low, length) + 1
            if not end or last[low:end] != name[low:end]:
                return low
            low = end

    def _shortest_end(self, length: int) -> int:
        return self.last.find("/", length) + 1
