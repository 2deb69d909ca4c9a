"""The README's example is code, and its table names every option there is."""

import inspect
import re

from aws_cdk import App

from healthimaging_cdk import DicomImport
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_synthesizes():
    example, *_ = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)  # the README is ours
    assert isinstance(names["app"], App)
    assert len(example.strip().splitlines()) <= 10


def test_every_option_is_in_the_table():
    options = set(inspect.signature(DicomImport.__init__).parameters) - {"self", "scope", "construct_id"}
    rows = re.findall(r"^\| (`.*?) \|", README, flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set() == options - documented
