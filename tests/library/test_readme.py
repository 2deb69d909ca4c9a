"""The README's examples are code, and its table names every option there is."""

import inspect
import re

import pytest
from aws_cdk import App

from healthimaging_cdk import DicomImport
from tests.conftest import ROOT
from tests.library.examples import Namespace

README = (ROOT / "README.md").read_text(encoding="utf-8")


PLACEHOLDERS = {'"ID"': f'"{"0" * 32}"', "REGION:ACCOUNT": "us-east-1:111122223333", '"NAME"': '"images"'}


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


def test_the_example_of_recovering_synthesizes():
    (example,) = examples((ROOT / "docs" / "recovering.md").read_text(encoding="utf-8"))
    for placeholder, value in PLACEHOLDERS.items():
        example = example.replace(placeholder, value)
    names = Namespace()
    exec(compile(example, "recovering.md", "exec"), names)  # as above
    names.app.synth()


def test_every_option_is_in_the_table():
    options = set(inspect.signature(DicomImport.__init__).parameters) - {"self", "scope", "construct_id"}
    rows = re.findall(r"^\| (`.*?) \|", README, flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set() == options - documented
