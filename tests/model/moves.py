"""Counts how often one create moves between the function's modules: what a reader who follows it has to do."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import healthimaging_import
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
        callers = list(callers_of(frame))
        if not callers or "handler" != module_of(callers[-1]):
            return  # a test's own question
        if callers[0].f_code.co_filename != frame.f_code.co_filename:
            moves[module_of(callers[0]), module_of(frame)] += 1

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


def module_of(frame: FrameType) -> str:
    """Name a module as it is called in the package."""
    return frame.f_code.co_filename.removeprefix(ROOT).removesuffix(".py")


if __name__ == "__main__":
    found = moves_of_one_create()
    for (caller, called), count in found.most_common():
        print(f"{count:4} {caller} -> {called}")  # noqa: T201
    print(f"{found.total():4} moves")  # noqa: T201
