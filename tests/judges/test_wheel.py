"""The wheel holds the tree and no more, and works in somebody else's project."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.judges.catalogue import Template
from tests.judges.checkouts import synthesize_app
from tests.judges.judging import ROOT

pytestmark = pytest.mark.judges

_MAPPED = {
    "constructs/healthimaging_cdk": "healthimaging_cdk",
    "lambda": "healthimaging_cdk/_lambda",
    "local/healthimaging_local": "healthimaging_local",
}

_THEIR_APP = """
from aws_cdk import App, Stack
from healthimaging_cdk import DicomImport

app = App(analytics_reporting=False)
DicomImport(Stack(app, "OneLine"), "Import")
app.synth()
"""


def test_the_wheel_holds_what_the_tree_holds(wheel: Path) -> None:
    expected = {
        f"{there}/{file.relative_to(ROOT / here).as_posix()}"
        for here, there in _MAPPED.items()
        for file in (ROOT / here).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert expected == {name for name in _names(wheel) if ".dist-info/" not in name}


def test_the_wheel_says_that_it_is_typed_and_brings_its_licence_and_the_service_model(wheel: Path) -> None:
    names = _names(wheel)
    assert "healthimaging_cdk/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert any(name.startswith("healthimaging_cdk/_lambda/") and name.endswith("/service-2.json.gz") for name in names)


@pytest.mark.parametrize("name", _MAPPED.values())
def test_the_wheel_holds_the_same_bytes_as_the_tree(name: str, wheel: Path) -> None:
    folder = ROOT / next(here for here, there in _MAPPED.items() if there == name)
    with zipfile.ZipFile(wheel) as archive:
        differing = [
            file
            for file in folder.rglob("*.py")
            if archive.read(f"{name}/{file.relative_to(folder).as_posix()}") != file.read_bytes()
        ]
    assert [] == differing


def test_another_project_gets_the_same_template_from_the_wheel(
    tmp_path: Path, installed_wheel: Path, templates: dict[str, list[Template]]
) -> None:
    project = tmp_path / "their project"
    project.mkdir()
    (project / "app.py").write_text(_THEIR_APP, encoding="utf-8")
    assembly = synthesize_app(project, tmp_path / "out", [installed_wheel])
    (ours,) = templates["one line"]
    assert ours.path.read_bytes() == assembly["OneLine.template.json"]


@pytest.mark.parametrize("root", ["constructs", "lambda", "local"])
def test_no_import_root_is_a_package(root: str) -> None:
    assert (ROOT / root).is_dir()
    assert not (ROOT / root / "__init__.py").exists(), f"{root}/__init__.py would shadow packages of other people"


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())
