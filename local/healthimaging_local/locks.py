"""Locks between processes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from healthimaging_local.errors import CloudError
from healthimaging_local.paths import EXTRA


def file_lock(file: Path) -> AbstractContextManager[object]:
    """Return a lock that one process of this machine holds at a time, and that ends with it.

    Raises:
        CloudError: The extra is not installed.
    """
    try:
        import filelock  # noqa: PLC0415 - of the extra, and not needed inside the emulator
    except ModuleNotFoundError as error:
        raise CloudError(f"the local cloud needs its extra: {EXTRA}") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    lock: AbstractContextManager[object] = filelock.FileLock(file)
    return lock
