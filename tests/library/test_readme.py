"""The examples of README and docs are code, their tables are whole, and their links lead somewhere."""

import inspect
import json
import re
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest
from aws_cdk import App

from healthimaging_cdk import DicomImport
from healthimaging_cdk._common.runtime import service_model
from tests.conftest import ROOT
from tests.library.examples import Namespace

README = (ROOT / "README.md").read_text(encoding="utf-8")


PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
    *PAGES,
]

PLACEHOLDERS = {
    '"ID"': f'"{"0" * 32}"',
    "REGION:ACCOUNT": "us-east-1:111122223333",
    '"NAME"': '"images"',
    "IMAGES_KEY_ARN": '"arn:aws:kms:us-east-1:444455556666:key/1"',
}


def examples(text: str, language: str = "python") -> list[str]:
    """The blocks of a language, also those that are indented in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, flags=re.DOTALL | re.MULTILINE)
    return [dedent(block) for _, block in found]


@pytest.fixture
def phantoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of local files that some examples import."""
    (tmp_path / "phantoms").mkdir()
    (tmp_path / "phantoms" / "one.dcm").write_bytes(bytes(128) + b"DICM")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("example", examples(README))
def test_the_examples_synthesize(example):
    names = Namespace()
    exec(compile(example, "README.md", "exec"), names)  # the README is ours
    names["app"].synth()


def test_the_first_example_is_short_and_needs_nothing():
    names: dict = {}
    first = examples(README)[0]
    exec(compile(first, "README.md", "exec"), names)
    assert isinstance(names["app"], App)
    assert len(first.strip().splitlines()) <= 10


NOT_SYNTHESIZED = {"local-cloud.md", "test-your-own-stack.md"}
"""Pages whose examples start the local cloud: tests/stacks and tests/local run them."""
CALLS_AWS = "boto3.client("
"""In an example that is no part of an app; tests/stacks/test_pages.py runs those."""


def pages_with_examples() -> list[str]:
    return sorted(page.name for page in (ROOT / "docs").glob("*.md") if examples(page.read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.usefixtures("phantoms")
@pytest.mark.parametrize("page", sorted(set(pages_with_examples()) - NOT_SYNTHESIZED))
def test_the_examples_of_the_page_synthesize(page):
    names = Namespace()
    for example in examples((ROOT / "docs" / page).read_text(encoding="utf-8")):
        for placeholder, value in PLACEHOLDERS.items():
            example = example.replace(placeholder, value)  # noqa: PLW2901 - as the reader does
        if CALLS_AWS in example:
            continue
        exec(compile(example, page, "exec"), names)  # as above
    names.app.synth()


@pytest.mark.parametrize("page", sorted(NOT_SYNTHESIZED))
def test_the_other_examples_compile(page):
    for example in examples((ROOT / "docs" / page).read_text(encoding="utf-8")):
        compile(example, page, "exec")


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_are_understood_by_a_shell_and_data_by_a_parser(document):
    text = document.read_text(encoding="utf-8")
    for block in examples(text, "sh"):
        assert "" == subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False).stderr
    for block in examples(text, "json"):
        json.loads(block)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_exist(document):
    blocks = "\n".join(examples(document.read_text(encoding="utf-8"), "sh"))
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set() == set(re.findall(r"\bmake ([\w-]+)", blocks)) - set(targets)
    pinned = json.loads((ROOT / "tools" / "package.json").read_text(encoding="utf-8"))["dependencies"]["aws-cdk"]
    assert {pinned} >= set(re.findall(r"\baws-cdk@(\S+)", blocks))


def test_the_regions_with_healthimaging_are_named():
    page = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    assert set(service_model.REGIONS) == set(re.findall(r"\b[a-z]{2}-[a-z]+-[0-9]\b", page))


def test_every_option_is_in_the_table():
    options = set(inspect.signature(DicomImport.__init__).parameters) - {"self", "scope", "construct_id"}
    table, _, _ = (ROOT / "docs" / "options.md").read_text(encoding="utf-8").partition("## Attributes")
    rows = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert options == documented


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_prose_is_wrapped_and_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    assert [] == [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
    prose = re.sub(r"^ *```.*?^ *```$|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose) if "://" not in link]
    assert [] == [link for link in links if not document.parent.joinpath(link).exists()]
