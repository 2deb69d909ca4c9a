"""The same app gives the same bytes wherever it is synthesized, and the function keeps its asset hash."""

from __future__ import annotations

import compileall
import sysconfig
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.judges.catalogue import Template
from tests.judges.checkouts import copy_checkout, other_python, synthesize_app

pytestmark = pytest.mark.judges

Assembly = dict[str, bytes]
"""The files of a cdk.out, by their path."""

_HERE = "a checkout"
_OTHER_PYTHON = "another Python"
_NO_OTHER_PYTHON = "no other Python from 3.11 on here can import the packages of this one"
_ELSEWHERE = {
    "AWS_REGION": "eu-west-1",
    "AWS_PROFILE": "nobody",
    "CDK_DEFAULT_ACCOUNT": "444455556666",
    "CDK_DEFAULT_REGION": "ap-southeast-2",
    "LC_ALL": "C",
    "PYTHONHASHSEED": "7",
    "TZ": "Asia/Kathmandu",
    "USER": "somebody",
}


def _checkout(folder: Path) -> Assembly:
    copy = copy_checkout(folder / "checkout")
    return synthesize_app(copy, folder / "out", _roots(copy), environment={"PYTHONHASHSEED": "1"})


def _another_path(folder: Path) -> Assembly:
    copy = copy_checkout(folder / "My Projects" / "a longer name for the same")
    return synthesize_app(copy, copy / "cdk.out", _roots(copy))


def _another_environment(folder: Path) -> Assembly:
    copy = copy_checkout(folder / "checkout")
    return synthesize_app(copy, folder / "out", _roots(copy), environment=_ELSEWHERE)


def _with_byte_code(folder: Path) -> Assembly:
    copy = copy_checkout(folder / "checkout")
    assert compileall.compile_dir(copy, quiet=2)
    assert (copy / "lambda" / "healthimaging_import" / "__pycache__").is_dir()
    return synthesize_app(copy, folder / "out", _roots(copy))


def _another_python(folder: Path) -> Assembly:
    site_packages = Path(sysconfig.get_path("purelib"))
    python = other_python(site_packages)
    if python is None:
        return {}
    copy = copy_checkout(folder / "checkout")
    libraries = [*_roots(copy), site_packages]
    return synthesize_app(copy, folder / "out", libraries, python=python)


def _roots(copy: Path) -> list[Path]:
    return [copy / "constructs", copy / "lambda"]


PLACES: dict[str, Callable[[Path], Assembly]] = {
    _OTHER_PYTHON: _another_python,  # the slowest first: two at a time
    _HERE: _checkout,
    "a path with spaces": _another_path,
    "another environment": _another_environment,
    "a checkout with byte code": _with_byte_code,
}


@pytest.fixture(scope="session")
def assemblies(tmp_path_factory: pytest.TempPathFactory, installed_wheel: Path) -> dict[str, Assembly]:
    def from_the_wheel(folder: Path) -> Assembly:
        assert (installed_wheel / "healthimaging_cdk" / "_lambda" / "healthimaging_import" / "__pycache__").is_dir()
        project = copy_checkout(folder / "project", ["app.py", "stacks"])
        return synthesize_app(project, folder / "out", [installed_wheel])

    with ThreadPoolExecutor(max_workers=2) as pool:
        running: dict[str, Future[Assembly]] = {
            name: pool.submit(place, tmp_path_factory.mktemp("place"))
            for name, place in {**PLACES, "the wheel": from_the_wheel}.items()
        }
        return {name: future.result() for name, future in running.items()}


@pytest.mark.parametrize("place", [*PLACES, "the wheel"])
def test_every_place_writes_the_same_files(place: str, assemblies: dict[str, Assembly]) -> None:
    if place == _OTHER_PYTHON and not assemblies[place]:
        pytest.skip(_NO_OTHER_PYTHON)
    expected = assemblies[_HERE]
    assert set(expected) == set(assemblies[place])
    assert [] == [file for file, content in expected.items() if content != assemblies[place][file]]


@pytest.mark.parametrize("place", [*PLACES, "the wheel"])
def test_the_function_has_one_asset_hash_everywhere(place: str, assemblies: dict[str, Assembly]) -> None:
    if place == _OTHER_PYTHON and not assemblies[place]:
        pytest.skip(_NO_OTHER_PYTHON)
    assert 1 == len(_assets(assemblies[_HERE]))
    assert _assets(assemblies[_HERE]) == _assets(assemblies[place])


def test_the_catalogue_holds_what_the_app_makes(
    assemblies: dict[str, Assembly], templates: dict[str, list[Template]]
) -> None:
    made = {name: content for name, content in assemblies[_HERE].items() if name.endswith(".template.json")}
    assert made == {template.path.name: template.path.read_bytes() for template in templates["ready-made app"]}


def test_the_asset_holds_the_sources_and_no_cache(assemblies: dict[str, Assembly]) -> None:
    (asset,) = _assets(assemblies[_HERE])
    held = {name.removeprefix(f"{asset}/") for name in assemblies[_HERE] if name.startswith(f"{asset}/")}
    assert "healthimaging_import/handler.py" in held
    assert set() == {name for name in held if name.endswith(".pyc") or "__pycache__" in name}


def test_fails_when_a_source_of_the_function_differs(tmp_path: Path, assemblies: dict[str, Assembly]) -> None:
    copy = copy_checkout(tmp_path / "checkout")
    with (copy / "lambda" / "healthimaging_import" / "handler.py").open("a", encoding="utf-8") as source:
        source.write("# another line\n")
    changed = synthesize_app(copy, tmp_path / "out", _roots(copy))
    assert _assets(assemblies[_HERE]) != _assets(changed)


def _assets(assembly: Assembly) -> set[str]:
    return {name.split("/")[0] for name in assembly if name.startswith("asset.")}
