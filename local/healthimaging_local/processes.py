"""Small things about processes and ports, for ``cloud`` and the command line."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable

_GRACE_SECONDS = 3.0


def end_process_group(group: int, ended: Callable[[], bool]) -> None:
    """SIGTERM to a process group, SIGKILL after a grace period: a Lambda that hangs keeps the emulator from ending."""
    for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, 0.0)):
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not ended():
            time.sleep(0.02)


def free_port(host: str) -> int:
    """A port of ``host`` that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def alive(pid: int) -> bool:
    """Whether a process of this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
