"""Starts the emulator with HealthImaging in it: ``python -m healthimaging_local.launcher`` in the cloud's own venv.

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

from healthimaging_local.state import Settings
from healthimaging_local.tables import EmulatorChangedError, check_tables

PARENT_VARIABLE = "HEALTHIMAGING_LOCAL_PARENT"
FOLDER_VARIABLE = "HEALTHIMAGING_LOCAL_FOLDER"
JOB_SECONDS_VARIABLE = "HEALTHIMAGING_LOCAL_JOB_SECONDS"


def settings_from_environment() -> Settings:
    """The settings to start with; all others are AWS's defaults until a test changes them."""
    settings = Settings()
    if JOB_SECONDS_VARIABLE in os.environ:
        settings.job_seconds = float(os.environ[JOB_SECONDS_VARIABLE])
    return settings


def end_with(parent: int) -> None:
    """End this process group, and remove its folder, when the process that started it is gone, however it went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if os.environ.get(FOLDER_VARIABLE):
            shutil.rmtree(os.environ[FOLDER_VARIABLE], ignore_errors=True)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


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
    app.main()


if __name__ == "__main__":
    main()
