"""What both ways to cut a listing have in common: the prefixes of the last key, merged into each other as they end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from healthimaging_import.bulk.parts import Item, Limits, Piece


@dataclass(slots=True)
class OpenPrefix:
    """A prefix of the last key: all of it that has been seen so far."""

    length: int
    """How many characters it has."""
    files: int = 0
    bytes: int = 0
    folders: int = 0
    fits: bool = True
    held: list[Any] = field(default_factory=list)
    """What it is cut into if it does not fit, in order; empty once that is known."""


Open = TypeVar("Open", bound=OpenPrefix)
Certain = TypeVar("Certain", Piece, Item)


class Cutter(ABC, Generic[Open, Certain]):
    """Is given a listing in order, and gives what is certain."""

    def __init__(self, root_length: int, limits: Limits) -> None:
        """Take how long the prefix is that all keys begin with, and how much one job takes."""
        self.last = ""
        """The last key or prefix that was taken."""
        self._limits = limits
        self._stack = [self._open(root_length)]
        self._cut: list[Certain] = []

    def finish(self) -> list[Certain]:
        """Return the rest."""
        while len(self._stack) > 1:
            self._close()
        root = self._stack[0]
        if root.fits and root.files:
            self._cut.append(Piece(self.last[: root.length], root.files, root.bytes, root.folders))
        return self._take_cut()

    @abstractmethod
    def _open(self, length: int) -> Open:
        """Return a prefix of which nothing has been seen."""

    @abstractmethod
    def _common(self, name: str, length: int) -> int:
        """How many of the first characters of a name it shares with the last one, up to where a prefix may end."""

    @abstractmethod
    def _shortest_end(self, length: int) -> int:
        """Where the shortest prefix of the last name ends that is longer than ``length``."""

    def _break(self, prefix: Open) -> None:
        """Note that a prefix does not fit."""
        prefix.fits = False
        self._cut += prefix.held
        prefix.held = []

    def _take_cut(self) -> list[Certain]:
        cut, self._cut = self._cut, []
        return cut

    def _move_to(self, name: str, length: int) -> Open:
        """Close the prefixes that do not contain a name, and open the one that is its first ``length`` characters."""
        common = self._common(name, length)
        while self._stack[-1].length > common:
            self._close(at_least=common)
        if self._stack[-1].length < length:
            self._stack.append(self._open(length))
        return self._stack[-1]

    def _close(self, at_least: int = 0) -> None:
        """Merge the last prefix into the one around it, which is made if none of that length is open."""
        last, child, parent = self.last, self._stack.pop(), self._stack[-1]
        if parent.length < at_least:
            parent = self._open(at_least)
            self._stack.append(parent)
        parent.files += child.files
        parent.bytes += child.bytes
        parent.folders += child.folders + last.count("/", parent.length, child.length)
        if parent.fits and not (child.fits and self._limits.fit(parent.files, parent.bytes, parent.folders)):
            self._break_up()
        if child.fits and child.files:
            # Of the prefixes that hold the same files, the outermost.
            end = self._shortest_end(parent.length)
            piece = Piece(last[:end], child.files, child.bytes, child.folders + last.count("/", end, child.length))
            (parent.held if parent.fits else self._cut).append(piece)

    def _break_up(self) -> None:
        """The last prefix does not fit, so that none around it does: give what is in them, the outermost first."""
        for prefix in self._stack:
            if prefix.fits:
                self._break(prefix)
