"""The catalogue shows everything that the library offers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import healthimaging_cdk
from tests.judges import catalogue
from tests.judges.catalogue import CATALOGUE, Template

pytestmark = pytest.mark.judges


def test_every_public_name_is_in_an_example() -> None:
    source = ast.parse(Path(catalogue.__file__).read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(source) if isinstance(node, ast.Name)}
    no_resources = {"HealthImagingChecks", "IDatastore"}
    assert set() == set(healthimaging_cdk.__all__) - no_resources - used


@pytest.mark.parametrize("example", CATALOGUE)
def test_every_example_gives_a_template(example: str, templates: dict[str, list[Template]]) -> None:
    assert [] != [name for template in templates[example] for name in template.resources]


def test_a_nested_stack_and_a_stage_are_found_too(templates: dict[str, list[Template]]) -> None:
    assert 2 == len(templates["nested stack"])
    assert "assembly-Production" == templates["stage"][0].path.parent.name
