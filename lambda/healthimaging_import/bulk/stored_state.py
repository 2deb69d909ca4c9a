"""The state of a run in the output bucket: read once, changed by condition on what was read."""

from __future__ import annotations

from collections.abc import Callable

from healthimaging_import.bulk.folder import Folder
from healthimaging_import.bulk.state import RunState
from healthimaging_import.errors import ConflictError


class StoredState:
    """The ``state.json`` of a run, as this step has last seen or written it."""

    def __init__(self, folder: Folder, *, plan: str, run: str, jobs: int, clock: Callable[[], float]) -> None:
        """Read the state, or begin it.

        Args:
            folder: the files of bulk imports.
            plan: the plan's name.
            run: the run's name.
            jobs: how many jobs the plan has.
            clock: tells the seconds since the epoch.
        """
        self._folder, self._clock = folder, clock
        self._name = f"{plan}/runs/{run}/state.json"
        while not self.reload():
            now = clock()
            self._state = RunState(plan, run, jobs, began_at=now)
            self._state.times.begin = now
            try:
                self._tag = folder.write(self._name, self._state.encode(), "")
            except ConflictError:
                continue
            break

    @property
    def state(self) -> RunState:
        """The state as it was last seen; :meth:`change` alone changes it."""
        return self._state

    def reload(self) -> bool:
        """Read the state anew; returns whether there is one."""
        found = self._folder.read(self._name)
        if found is not None:
            self._state, self._tag = RunState.decode(found[0]), found[1]
        return found is not None

    def change(self, change: Callable[[RunState], bool]) -> bool:
        """Change the state, also if somebody else has meanwhile.

        Args:
            change: changes the state that it is given, and says whether there was anything to change. It is called
                again with a newer state if somebody else was first.

        Returns:
            Whether there was anything to change.
        """
        while True:
            state = RunState.decode(self._state.encode())
            if not change(state):
                return False
            if state.is_over and not state.ended_at:
                state.ended_at = self._clock()
            try:
                self._tag = self._folder.write(self._name, state.encode(), self._tag)
            except ConflictError:
                self.reload()
                continue
            self._state = state
            return True
