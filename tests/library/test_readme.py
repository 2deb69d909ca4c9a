"""The README's examples are code, and its table names every option there is."""

import inspect
import re

import pytest
from aws_cdk import App

from healthimaging_cdk import DicomImport
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
PROGRAMS = [example for example in EXAMPLES if "app = App()" in example]
"""The others are fragments."""


def test_the_first_example_is_a_program():
    assert EXAMPLES[0] in PROGRAMS


@pytest.mark.parametrize("example", PROGRAMS)
def test_the_examples_synthesize(example):
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)  # the README is ours
    assert isinstance(names["app"], App)


def test_the_first_example_is_short():
    assert len(EXAMPLES[0].strip().splitlines()) <= 10


def test_every_option_is_in_the_table():
    options = set(inspect.signature(DicomImport.__init__).parameters) - {"self", "scope", "construct_id"}
    rows = re.findall(r"^\| (`.*?) \|", README, flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set() == options - documented
