"""One world, and the stage on which the function runs in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.fakes import World
from tests.model.runs import Stage, filled


@pytest.fixture
def world() -> World:
    world = World()
    filled(world)
    return world


@pytest.fixture
def stage(world: World) -> Iterator[Stage]:
    stage = Stage(world)
    with stage.installed():
        yield stage
    assert [] == [text for text in world.violations if "patient" in text]
