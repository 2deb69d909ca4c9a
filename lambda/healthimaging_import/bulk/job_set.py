"""A set of attempts at jobs, which stays small for hundreds of thousands of them: a bit for each."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator, Mapping


class JobSet:
    """Pairs of a job's number and an attempt at it."""

    def __init__(self, pairs: Iterable[Iterable[int]] = ()) -> None:
        """Take the pairs."""
        self._bits: dict[int, int] = {}
        for n, attempt in pairs:
            self.add(n, attempt)

    def add(self, n: int, attempt: int) -> None:
        """Add an attempt at a job."""
        self._bits[attempt] = self._bits.get(attempt, 0) | 1 << n

    def discard(self, n: int, attempt: int) -> None:
        """Take an attempt at a job out, if it is in."""
        self._bits[attempt] = self._bits.get(attempt, 0) & ~(1 << n)

    def __contains__(self, pair: tuple[int, int]) -> bool:
        """Whether an attempt at a job is in."""
        n, attempt = pair
        return bool(self._bits.get(attempt, 0) >> n & 1)

    def __len__(self) -> int:
        """How many attempts are in."""
        return sum(bits.bit_count() for bits in self._bits.values())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give the pairs, by the jobs' numbers."""
        yield from sorted(
            (8 * index + bit, attempt)
            for attempt, bits in self._bits.items()
            for index, byte in enumerate(_bytes_of(bits))
            for bit in range(8)
            if byte >> bit & 1
        )

    def encode(self) -> dict[str, str]:
        """Write the set as JSON has it: for each attempt the bits of the jobs, compressed."""
        return {
            str(attempt): base64.b64encode(zlib.compress(_bytes_of(bits))).decode()
            for attempt, bits in self._bits.items()
            if bits
        }

    @staticmethod
    def decode(document: Mapping[str, str] | list[list[int]]) -> JobSet:
        """Read what :meth:`encode` wrote, or the list of pairs of an earlier version.

        Raises:
            ValueError: it is neither.
        """
        if isinstance(document, list):
            return JobSet(document)
        found = JobSet()
        for attempt, text in document.items():
            try:
                found._bits[int(attempt)] = int.from_bytes(zlib.decompress(base64.b64decode(text)), "little")
            except zlib.error:
                raise ValueError("a set of jobs is damaged") from None
        return found


def _bytes_of(bits: int) -> bytes:
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
