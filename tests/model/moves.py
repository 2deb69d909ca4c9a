"""Counts how often one create moves between the function's modules: what a reader who follows it has to do."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import healthimaging_import
from healthimaging_import.handler import handle
from tests.model.fakes import Plans, World
from tests.model.runs import Stage, filled, properties

ROOT = str(Path(healthimaging_import.__file__).parent) + "/"
TESTS = str(Path(__file__).parent) + "/"
JOB_SECONDS = 10.0


def moves_of_one_create() -> Counter[tuple[str, str]]:
    """Count the calls of a function of the package whose nearest caller in the package is in another module."""
    moves: Counter[tuple[str, str]] = Counter()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(ROOT):
            return
        caller = caller_of(frame)
        if caller and caller.f_code.co_filename != frame.f_code.co_filename and is_of_function(caller):
            moves[module_of(caller), module_of(frame)] += 1

    world = World(plans=Plans(seconds=JOB_SECONDS))
    filled(world)
    stage = Stage(world)
    with stage.installed():
        request = stage.request("Create", properties())
        sys.setprofile(profile)
        try:
            stage.settle()
        finally:
            sys.setprofile(None)
    assert "SUCCESS" == request.status
    return moves


def callers_of(frame: FrameType) -> Iterator[FrameType]:
    """Go back through the callers of a call in the package, to the one that a test has called."""
    caller = frame.f_back
    while caller and not caller.f_code.co_filename.startswith(TESTS):
        if caller.f_code.co_filename.startswith(ROOT):
            yield caller
        caller = caller.f_back


def caller_of(frame: FrameType) -> FrameType | None:
    """Find the nearest caller in the package; None where it is called by a test, or by what a test stands for."""
    caller = frame.f_back
    while caller and not caller.f_code.co_filename.startswith((ROOT, TESTS)):
        caller = caller.f_back
    return caller if caller and caller.f_code.co_filename.startswith(ROOT) else None


def is_of_function(frame: FrameType | None) -> bool:
    """Whether a call is made for the create, and not by a test that reads what the function has written."""
    while frame and frame.f_code is not handle.__code__:
        frame = caller_of(frame)
    return frame is not None


def module_of(frame: FrameType) -> str:
    """Name a module as it is called in the package."""
    return frame.f_code.co_filename.removeprefix(ROOT).removesuffix(".py")


if __name__ == "__main__":
    found = moves_of_one_create()
    for (caller, called), count in found.most_common():
        print(f"{count:4} {caller} -> {called}")  # noqa: T201
    print(f"{found.total():4} moves")  # noqa: T201
