"""Paired runs. All that is compared runs in turns (A B A B ...), so that a busy moment strikes each alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Rounds(Generic[K, V]):
    """What each of several things gave, round by round."""

    def __init__(self, rounds: Sequence[Mapping[K, V]]) -> None:
        """Take one mapping for each round."""
        self._rounds = rounds

    def median(self, name: K, read: Callable[[V], float]) -> float:
        """Return the median of a number over all rounds."""
        return median(read(results[name]) for results in self._rounds)

    def ratio(self, name: K, peer: K, read: Callable[[V], float]) -> float:
        """Return the median of the ratios to a peer, each taken within one round."""
        return median(read(results[name]) / read(results[peer]) for results in self._rounds)


def run_in_turns(names: Sequence[K], run: Callable[[K], V], rounds: int) -> Rounds[K, V]:
    """Run each in turn, so many rounds. Of several, one more is run first and thrown away."""
    if rounds > 1:
        for name in names:
            run(name)
    return Rounds([{name: run(name) for name in names} for _ in range(rounds)])
