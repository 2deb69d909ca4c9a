"""The pictures show what the code does: they are drawn anew from templates and the lifecycle, and compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from healthimaging_import.importing import lifecycle
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.lifecycle import Action
from healthimaging_import.importing.record import Record, Records, State
from tests.conftest import ROOT
from tests.model.fakes import Crash, Plans, World
from tests.model.runs import Stage, filled, properties
from tests.model.test_every_crash import PATHS, calls
from tests.site_build import load

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    return load("pictures")


def test_the_pictures_are_those_of_the_code(pictures: ModuleType) -> None:
    drawn = pictures.texts()
    assert drawn == {name: (pictures.PICTURES / name).read_text(encoding="utf-8") for name in drawn}, "run `make docs`"


@pytest.mark.parametrize("name", ["architecture", "life-of-an-import"])
def test_d2_draws_the_same_picture_again(pictures: ModuleType, name: str) -> None:
    again = pictures.PICTURES / f".{name}.again.svg"
    try:
        pictures.render(ROOT / ".docs" / "bin" / "d2", pictures.PICTURES / f"{name}.d2", again)
        assert (pictures.PICTURES / f"{name}.svg").read_bytes() == again.read_bytes()
    finally:
        again.unlink(missing_ok=True)


def test_the_life_of_an_import_shows_every_state_and_every_action(pictures: ModuleType) -> None:
    text = pictures.life()
    assert [] == [name for name in [*State, *Action] if str(name) not in text]


def empty(stage: Stage) -> None:
    """Nothing is under the prefix."""
    stage.request("Create", properties(InputPrefix="empty/"))
    stage.settle()
    stage.request("Update", properties(InputPrefix="empty/"), properties())


@pytest.fixture(scope="module")
def observed() -> set[tuple[str, str, str]]:
    """The state before, the action and the state after, in many lives of an import."""
    seen: set[tuple[str, str, str]] = set()
    written: list[list[State]] = []  # by each action at work: one may begin while another is under way

    def watched(action: Action, do: Callable[..., Any]) -> Callable[..., Any]:
        def watch(context: ImportContext, record: Record | None) -> Any:
            before = str(record.state) if record else "no record"
            written.append([])
            is_cut_off = False
            try:
                return do(context, record)
            except Crash:
                is_cut_off = True
                raise
            finally:
                states = written.pop()
                if states or not is_cut_off:
                    seen.add((before, str(action), str(states[-1]) if states else before))

        return watch

    def save(records: Records, record: Record, **changes: Any) -> Record:
        saved = real(records, record, **changes)
        if written:
            written[-1].append(saved.state)
        return saved

    real = Records.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Records, "save", save)
        patch.setattr(lifecycle, "_DO", {action: watched(action, do) for action, do in lifecycle._DO.items()})
        for path in (*PATHS, empty):
            for crash in (None, *itertools.product(range(0, len(calls(path)), 3), ("before", "after"))):
                world = World(crash_at=crash, plans=Plans(seconds=5.0))
                stage = Stage(world)
                filled(world)
                with stage.installed():
                    path(stage)
                    stage.settle()
                    world.crash_at = None
                    world.stack_status = "UPDATE_IN_PROGRESS"
                    stage.request("Update", properties(), properties(RunId="1"))
                    stage.settle()
    return seen


def test_the_life_of_an_import_shows_what_the_function_does(
    pictures: ModuleType, observed: set[tuple[str, str, str]]
) -> None:
    ends = {"STOP", "RESPOND"}
    drawn = {(*edge, action) for edge, actions in pictures.steps().items() for action in actions}
    moves = {(before, after, action) for before, action, after in observed if action not in ends}
    assert set() == moves - drawn
    # Most of what is drawn is seen in these lives, each way to another state at least.
    changes = {move for move in drawn if move[0] != move[1] and move[2] not in ends}
    assert set() == changes - moves
    assert ends == {action for _, action, _ in observed} & ends


def test_every_picture_is_on_a_page() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in Path(ROOT / "docs").glob("*.md"))
    assert [] == [it.name for it in (ROOT / "docs" / "pictures").glob("*.svg") if f"pictures/{it.name}" not in pages]
