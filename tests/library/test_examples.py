"""Every example is a complete app that synthesizes as it is, and says what it is for."""

from __future__ import annotations

import json
import re

import pytest

from tests.conftest import ROOT
from tests.examples_apps import EXAMPLES, build

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_synthesizes(name):
    app = build(name)
    app.synth()
    assert app.node.children


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_a_folder_that_can_be_copied(name):
    folder = ROOT / "examples" / name
    assert "python3 app.py" == json.loads((folder / "cdk.json").read_text(encoding="utf-8"))["app"]
    assert "app.synth()" == (folder / "app.py").read_text(encoding="utf-8").splitlines()[-1]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_readme_of_the_example_names_every_value_that_it_asks_for(name):
    folder = ROOT / "examples" / name
    readme = (folder / "README.md").read_text(encoding="utf-8")
    code = (folder / "app.py").read_text(encoding="utf-8")
    asked = set(re.findall(r"get_context\(\"(\w+)\"\)", code))
    assert set() == asked - set(re.findall(r"`(\w+)`", readme)) - set(re.findall(r"-c (\w+)=", readme))
    assert "cdk deploy" in readme or "aws-cdk@2.1148.1 deploy" in readme
    assert "## What to look at" in readme


def test_every_example_is_in_the_overview():
    overview = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert set(EXAMPLES) == set(re.findall(r"\]\(([\w-]+)/README\.md\)", overview))
