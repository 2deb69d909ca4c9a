"""Patches of ministack's Lambda: what a function may import."""

from __future__ import annotations

import os

RUNTIME_VARIABLE = "HEALTHIMAGING_LOCAL_RUNTIME"


def workers_use_the_runtime_sdk() -> None:
    """Let Lambda workers import the SDK of a Lambda runtime, not the emulator's own newer one.

    For child processes only: this process has its modules already. The checkout leaves the path with it, so that a
    function sees its own asset and the runtime, as on AWS.
    """
    runtime = os.environ.get(RUNTIME_VARIABLE, "")
    if runtime:
        os.environ["PYTHONPATH"] = runtime
    else:
        os.environ.pop("PYTHONPATH", None)
