"""What all workers of a session share: each thing is made once, by the worker that asks first."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

V = TypeVar("V")


class Once:
    """Things by their names, in a folder that the workers of a session have in common."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, object] = {}

    def get(self, name: str, make: Callable[[Path], V]) -> V:
        """The thing of this name; ``make`` is given an empty folder that stays for the session."""
        if name not in self._known:
            self._known[name] = self._read_or_make(name, make)
        found: V = self._known[name]  # type: ignore[assignment]
        return found

    def _read_or_make(self, name: str, make: Callable[[Path], V]) -> V:
        place = self._folder / hashlib.sha256(name.encode()).hexdigest()[:16]
        made = place.with_suffix(".pickle")
        with FileLock(place.with_suffix(".lock")):
            if made.exists():
                read: V = pickle.loads(made.read_bytes())
                return read
            shutil.rmtree(place, ignore_errors=True)  # of one that failed
            place.mkdir()
            thing = make(place)
            made.write_bytes(pickle.dumps(thing))
            return thing
