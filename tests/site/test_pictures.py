"""The pictures show what the code does: they are drawn anew from templates and the lifecycle, and compared."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from healthimaging_import.importing.lifecycle import Action
from healthimaging_import.importing.record import State
from tests.conftest import ROOT

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "website" / "pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_every_picture_is_on_a_page() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in Path(ROOT / "docs").glob("*.md"))
    assert [] == [it.name for it in (ROOT / "docs" / "pictures").glob("*.svg") if f"pictures/{it.name}" not in pages]
