"""The examples of README and docs are code, their tables are whole, and their links lead somewhere."""

import inspect
import re

import pytest
from aws_cdk import App

from healthimaging_cdk import DicomImport
from healthimaging_cdk._common.runtime import service_model
from tests.conftest import ROOT
from tests.library.examples import Namespace

README = (ROOT / "README.md").read_text(encoding="utf-8")


PLACEHOLDERS = {
    '"ID"': f'"{"0" * 32}"',
    "REGION:ACCOUNT": "us-east-1:111122223333",
    '"NAME"': '"images"',
    "IMAGES_KEY_ARN": '"arn:aws:kms:us-east-1:444455556666:key/1"',
}


def examples(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


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


NOT_SYNTHESIZED = {"judges.md", "local-cloud.md", "moving-a-data-store.md"}
"""Pages whose examples read a file, start the local cloud, or call AWS."""


def pages_with_examples() -> list[str]:
    return sorted(page.name for page in (ROOT / "docs").glob("*.md") if examples(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", sorted(set(pages_with_examples()) - NOT_SYNTHESIZED))
def test_the_examples_of_the_page_synthesize(page):
    names = Namespace()
    for example in examples((ROOT / "docs" / page).read_text(encoding="utf-8")):
        for placeholder, value in PLACEHOLDERS.items():
            example = example.replace(placeholder, value)  # noqa: PLW2901 - as the reader does
        exec(compile(example, page, "exec"), names)  # as above
    names.app.synth()


@pytest.mark.parametrize("page", sorted(NOT_SYNTHESIZED))
def test_the_other_examples_compile(page):
    for example in examples((ROOT / "docs" / page).read_text(encoding="utf-8")):
        compile(example, page, "exec")


def test_the_regions_with_healthimaging_are_named():
    assert set(service_model.REGIONS) == set(re.findall(r"\b[a-z]{2}-[a-z]+-[0-9]\b", README))


def test_every_option_is_in_the_table():
    options = set(inspect.signature(DicomImport.__init__).parameters) - {"self", "scope", "construct_id"}
    table, _, _ = (ROOT / "docs" / "options.md").read_text(encoding="utf-8").partition("## Attributes")
    rows = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert options == documented


def test_every_page_is_in_the_map():
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages == set(re.findall(r"\((docs/[\w-]+\.md)\)", README.partition("## More")[2]))


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
)
def test_prose_is_wrapped_and_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [] == [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert [] == [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
