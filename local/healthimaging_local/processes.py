"""Small things about processes and ports, for ``cloud`` and the command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

_GRACE_SECONDS = 3.0


def end_process_group(group: int, ended: Callable[[], bool]) -> None:
    """SIGTERM to a process group, SIGKILL after a grace period: a Lambda that hangs keeps the emulator from ending."""
    for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, 0.0)):
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):  # macOS answers the second one for a group of zombies
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not ended():
            time.sleep(0.02)


def free_port(host: str) -> int:
    """A port of ``host`` that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def command_of(pid: int) -> str:
    """The command line of a process, empty when there is none; a zombie has none either."""
    proc = Path("/proc")
    if proc.joinpath("self").exists():
        try:
            return proc.joinpath(str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    listed = subprocess.run(  # noqa: S603 - a fixed command and a number; -ww: not cut off at 80 characters
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip()


def alive(pid: int) -> bool:
    """Whether a process of this id still runs."""
    return bool(command_of(pid))


def is_free(host: str, port: int) -> bool:
    """Whether nothing listens on a port of ``host``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
