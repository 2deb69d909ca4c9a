"""Which clouds run: one small file for each, so that none is forgotten, by its name."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from healthimaging_local.errors import CloudError
from healthimaging_local.paths import PACKAGE, state_folder
from healthimaging_local.processes import command_of

BOOT = PACKAGE / "boot.py"
DEFAULT_NAME = "default"

_NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Record:
    """A cloud that was started.

    Attributes:
        name: What the cloud is called; no two running ones share a name.
        pid: The process id, which is also the id of its process group.
        port: Where its gateway listens on 127.0.0.1.
        folder: The cloud's own folder.
        log: Its log.
        started_at: When it was started, ISO 8601, in UTC.
        started_by: The program that started it.
        parent: The id of the process that it ends with; 0 for one in the background.
    """

    name: str
    pid: int
    port: int
    folder: str
    log: str
    started_at: str
    started_by: str
    parent: int

    @property
    def is_running(self) -> bool:
        """Whether the process is still that cloud: process ids are used again."""
        # Compared as one text: paths may hold spaces, and ps does not say where a word ends.
        return f" {BOOT} {self.name} " in f" {command_of(self.pid).strip()} "


def record_file(name: str) -> Path:
    """Return the file of a cloud's record.

    Raises:
        CloudError: The name cannot be a file's.
    """
    if not _NAMES.fullmatch(name):
        raise CloudError(
            f"a cloud's name must be 1 to 64 letters, digits, dots, underscores and hyphens, and begin with a letter "
            f"or a digit, got {name!r}"
        )
    return state_folder() / f"{name}.json"


def write_record(record: Record) -> None:
    """Remember a cloud. Its file is the user's own: it holds nothing secret, but names folders."""
    file = record_file(record.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(f".{os.getpid()}")
    half.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    half.replace(file)


def running(name: str) -> Record | None:
    """Return the record of a cloud that runs under this name."""
    record = _read(record_file(name))
    return record if record and record.is_running else None


def all_running() -> list[Record]:
    """Return the record of every cloud that runs, by name; forget those that ended."""
    found = []
    for file in sorted(state_folder().glob("*.json")):
        record = _read(file)
        if record and record.is_running:
            found.append(record)
        else:
            file.unlink(missing_ok=True)
    return found


def _read(file: Path) -> Record | None:
    try:
        return Record(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none, half written by a crash, or of another version
        return None
