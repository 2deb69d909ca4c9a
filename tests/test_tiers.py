"""Every test is in a tier: `make test-all`, which runs each night and before a release, leaves nothing out."""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

from tests.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
MARKERS = [re.split(r"[:(]", line)[0] for line in SETTINGS["markers"]]
TIERS = ("test-unit", "test", "test-all")
SELECTING = re.compile(r' -m ["\']| -k | --(?:deselect|ignore|last-failed|stepwise)|::')


def commands(target: str) -> list[str]:
    """What a target of the Makefile gives to pytest, one line a run."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe, target
    return [line.partition("$(PYTEST)")[2] for line in recipe[1].splitlines() if "$(PYTEST)" in line]


def selection(target: str) -> Expression:
    """The marks that a tier leaves out or takes."""
    given = re.search(r' -m "([^"]+)"', commands(target)[0])
    return Expression.compile(given[1] if given else "not (a_mark_that_no_test_has)")


def test_ci_runs_the_command_of_the_readme() -> None:
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").endswith("\nexec make test\n")
    assert re.search(r"^make test +# what CI runs", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_largest_tier_leaves_nothing_out_and_runs_before_each_release() -> None:
    everything, under_every_flag, thorough = commands("test-all")
    assert "" == everything
    assert " tests/library" == under_every_flag
    assert " tests/model/test_life_model.py" == thorough
    assert "HYPOTHESIS_PROFILE=thorough $(PYTEST) tests/model" in MAKEFILE
    (program,) = re.findall(r"^PYTEST := (.*)$", MAKEFILE, re.MULTILINE)
    assert not SELECTING.search(f"{program} {SETTINGS['addopts']}")
    assert ["tests"] == SETTINGS["testpaths"]
    for file in ("README.md", "CONTRIBUTING.md", ".github/workflows/release.yml", ".github/workflows/nightly.yml"):
        assert "make test-all" in (ROOT / file).read_text(encoding="utf-8"), file


@pytest.mark.parametrize(("smaller", "larger"), [*itertools.pairwise(TIERS)])
def test_each_tier_holds_the_one_before(smaller: str, larger: str) -> None:
    for count in range(len(MARKERS) + 1):
        for marks in itertools.combinations(MARKERS, count):
            is_marked = marks.__contains__
            if selection(smaller).evaluate(is_marked):
                assert selection(larger).evaluate(is_marked), marks


@pytest.mark.parametrize("target", ["test-unit", "test"])
def test_a_tier_names_marks_that_there_are(target: str) -> None:
    (line,) = commands(target)
    named = set(re.findall(r"\w+", line.partition(" -m ")[2])) - {"not", "or", "and"}
    assert named
    assert named <= set(MARKERS)


def test_every_file_with_a_test_is_named_so_that_pytest_finds_it() -> None:
    lost = [
        file
        for file in sorted(ROOT.glob("tests/**/*.py"))
        if not file.name.startswith("test_") and names_of_tests(file)
    ]
    assert [] == lost


def names_of_tests(file: Path) -> list[str]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return [
        it.name for it in body if isinstance(it, ast.FunctionDef | ast.ClassDef) and it.name.lower().startswith("test_")
    ]
