"""Starts the emulator with HealthImaging in it, in the emulator's own environment; ``boot.py`` comes before it.

``Cloud`` sets the environment this needs; nobody else is expected to start it.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from healthimaging_local.state import Settings
from healthimaging_local.tables import EmulatorChangedError, check_tables

PARENT_VARIABLE = "HEALTHIMAGING_LOCAL_PARENT"
IDLE_VARIABLE = "HEALTHIMAGING_LOCAL_IDLE_SECONDS"
REMOVED_VARIABLE = "HEALTHIMAGING_LOCAL_REMOVED"
THROTTLING_VARIABLE = "HEALTHIMAGING_LOCAL_THROTTLING"
JOB_SECONDS_VARIABLE = "HEALTHIMAGING_LOCAL_JOB_SECONDS"


def settings_from_environment() -> Settings:
    """The settings to start with; all others are AWS's defaults until a test changes them."""
    settings = Settings()
    settings.throttling = os.environ.get(THROTTLING_VARIABLE, "true") != "false"
    if JOB_SECONDS_VARIABLE in os.environ:
        settings.job_seconds = float(os.environ[JOB_SECONDS_VARIABLE])
    return settings


def end_when(is_over: Callable[[], bool], every: float) -> None:
    """End this process group, and remove what it would leave behind, once ``is_over`` says so."""

    def watch() -> None:
        while not is_over():
            time.sleep(every)
        for path in filter(None, os.environ.get(REMOVED_VARIABLE, "").split(os.pathsep)):
            if Path(path).is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                Path(path).unlink(missing_ok=True)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="end-watch", daemon=True).start()


def end_with(parent: int) -> None:
    """End with the process that started this one, however that ended."""
    end_when(lambda: os.getppid() != parent, every=0.5)


def end_after_idle(seconds: float, app: Any) -> None:  # noqa: ANN401 - a module of ministack
    """End once no request has come for so long: a cloud in the background must not be forgotten."""
    served = app.app
    last_request = time.monotonic()

    async def application(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        nonlocal last_request
        last_request = time.monotonic()
        await served(scope, receive, send)

    app.app = application
    end_when(lambda: time.monotonic() - last_request > seconds, every=min(seconds / 10, 10))


def main() -> None:
    """Check the tables, fill them, patch what differs, and serve until stopped."""
    try:
        check_tables()
    except EmulatorChangedError as error:
        sys.exit(str(error))
    # Imported only now: these modules use the tables as soon as they load.
    from ministack import app  # noqa: PLC0415

    from healthimaging_local.emulator import register  # noqa: PLC0415
    from healthimaging_local.patches import WITHOUT_VARIABLE, apply_patches  # noqa: PLC0415

    # botocore and asyncio say much at DEBUG and nothing of use; the service itself logs no key and no patient data.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    register(settings_from_environment())
    apply_patches(os.environ.get(WITHOUT_VARIABLE, "").split())
    if os.environ.get(PARENT_VARIABLE):
        end_with(int(os.environ[PARENT_VARIABLE]))
    if os.environ.get(IDLE_VARIABLE):
        end_after_idle(float(os.environ[IDLE_VARIABLE]), app)
    app.main()
