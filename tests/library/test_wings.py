"""Which modules may import which: the contracts of `make lint` fail when an arrow is drawn back."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from constructs import Construct

import healthimaging_cdk

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "constructs" / "healthimaging_cdk"
IMPORT_ROOTS = ("constructs", "lambda", "local")
WINGS = [
    "_common",
    "_provider",
    "_verify",
    "bulk_import",
    "cli",
    "datastore",
    "dicom_import",
    "monitoring",
    "network",
    "review",
]

DOWNWARDS = "the wings of the library import each other downwards"
PRIVATE = "private modules are imported in their own package alone"
CIRCLE = "no modules import each other in a circle"
SHARED = "the library shares two modules with the function, its commands more"
FUNCTION = "the layers of the function import each other downwards"
FUNCTION_ALONE = "the function knows neither the library nor the local cloud"
CLOUD_ALONE = "the local cloud does not know the library"


def lint_imports(checkout: Path) -> str:
    """The contracts that import-linter finds broken in a checkout, as it prints them."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    path = os.pathsep.join(str(checkout / root) for root in IMPORT_ROOTS)
    result = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts: " in result.stdout, result.stdout + result.stderr
    broken = [line.partition(" BROKEN")[0] for line in result.stdout.splitlines() if " BROKEN" in line]
    assert (result.returncode == 0) == (not broken)
    return "; ".join(broken)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for root in IMPORT_ROOTS:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_contract_is_kept() -> None:
    assert "" == lint_imports(ROOT)


@pytest.mark.long
@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("healthimaging_cdk/_common/metrics", "healthimaging_cdk._provider.provider", DOWNWARDS),
        ("healthimaging_cdk/_provider/provider", "healthimaging_cdk.datastore.datastore", DOWNWARDS),
        ("healthimaging_cdk/_provider/function_network", "healthimaging_cdk.network.import_network", DOWNWARDS),
        ("healthimaging_cdk/datastore/_tags", "healthimaging_cdk.dicom_import.options", DOWNWARDS),
        ("healthimaging_cdk/network/import_network", "healthimaging_cdk.dicom_import.options", DOWNWARDS),
        ("healthimaging_cdk/dicom_import/source", "healthimaging_cdk.network.import_network", DOWNWARDS),
        ("healthimaging_cdk/dicom_import/options", "healthimaging_cdk.monitoring.import_alarms", DOWNWARDS),
        ("healthimaging_cdk/monitoring/import_alarms", "healthimaging_cdk.datastore._tags", PRIVATE),
        ("healthimaging_cdk/datastore/_tags", "healthimaging_cdk.datastore.datastore", CIRCLE),
        ("healthimaging_cdk/_common/runtime", "healthimaging_import.handler", SHARED),
        ("healthimaging_import/importing/lifecycle", "healthimaging_import.cfn", FUNCTION),
        ("healthimaging_import/importing/lifecycle", "healthimaging_import.resources.tags", FUNCTION),
        ("healthimaging_import/aws/clients", "healthimaging_import.importing.jobs", FUNCTION),
        ("healthimaging_import/resources/tags", "healthimaging_import.handler", FUNCTION),
        ("healthimaging_import/contract", "healthimaging_cdk", FUNCTION_ALONE),
        ("healthimaging_local/cloud", "healthimaging_cdk", CLOUD_ALONE),
    ],
)
def test_fails_an_arrow_that_is_drawn_back(checkout: Path, module: str, imported: str, contract: str) -> None:
    (path,) = checkout.glob(f"*/{module}.py")
    with path.open("a", encoding="utf-8") as source:
        # An arrow that only a type checker follows is an arrow.
        source.write(f"\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import {imported}\n")
    assert contract in lint_imports(checkout)


def test_fails_a_wing_without_a_place_among_the_others(checkout: Path) -> None:
    (checkout / "constructs" / "healthimaging_cdk" / "homeless").mkdir()
    (checkout / "constructs" / "healthimaging_cdk" / "homeless" / "__init__.py").touch()
    assert DOWNWARDS == lint_imports(checkout)


def packages() -> dict[str, Path]:
    """The wings and their parts, by the path below the library."""
    found = (path.parent for path in LIBRARY.rglob("__init__.py") if path.parent != LIBRARY)
    return {str(path.relative_to(LIBRARY)): path for path in sorted(found)}


def test_every_wing_says_what_lives_there() -> None:
    said = {name: ast.get_docstring(ast.parse((path / "__init__.py").read_text())) for name, path in packages().items()}
    assert WINGS == [name for name in said if "/" not in name]
    assert [] == [name for name, text in said.items() if not text]


def test_the_tree_of_contributing_is_the_tree() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    library = page.split("### The library")[1].split("\n## ")[0]
    told = re.findall(r"^\| `([\w/.]+?)/?` \|", library, re.MULTILINE)
    modules = [path.name for path in LIBRARY.glob("*.py") if path.name != "__init__.py"]
    assert sorted([*packages(), *modules]) == sorted(told)


def test_a_folder_can_be_held_in_the_head() -> None:
    modules = {name: len(list(path.glob("*.py"))) for name, path in packages().items()}
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in LIBRARY.rglob("*.py")}
    assert [] == [name for name, number in modules.items() if number > 14]
    assert [] == [name for name, number in lines.items() if number > 400]


def constructs() -> dict[str, Path]:
    """The public constructs, each with the file of its tests."""
    found = {}
    for name in healthimaging_cdk.__all__:
        public = getattr(healthimaging_cdk, name)
        if issubclass(public, Construct) and not inspect.isabstract(public):
            _, wing, module = public.__module__.split(".")
            found[name] = ROOT / "tests" / "library" / wing / f"test_{module}.py"
    return found


CONSTRUCTS = constructs()


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_the_tests_of_a_construct_begin_with_minimal_and_with_all_properties(name: str) -> None:
    functions = [
        node.name for node in ast.parse(CONSTRUCTS[name].read_text()).body if isinstance(node, ast.FunctionDef)
    ]
    tests = [function for function in functions if function.startswith("test_")]
    assert ["minimal_properties", "all_properties"] == ["_".join(test.split("_")[-2:]) for test in tests[:2]]
