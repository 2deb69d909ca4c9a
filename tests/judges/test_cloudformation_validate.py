"""cloudformation-validate, the engine of aws-cdk-lib's own validation."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.findings import Finding, unanswered
from tests.judges.judging import CloudFormationValidate

pytestmark = pytest.mark.judges


@pytest.mark.parametrize("example", CATALOGUE)
def test_cloudformation_validate_finds_no_error(example: str, validate_findings: dict[str, list[Finding]]) -> None:
    assert [] == unanswered(validate_findings[example], ACKNOWLEDGED)


DEFECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "F3012": ("AWS::Lambda::Function", {"Properties": {"MemorySize": "much"}}),
    "F3002": ("AWS::S3::Bucket", {"Properties": {"Encrypted": True}}),
}


@pytest.mark.parametrize("rule", DEFECTS)
def test_fails_for_a_seeded_defect(
    rule: str, templates: dict[str, list[Template]], validate_engine: CloudFormationValidate
) -> None:
    kind, change = DEFECTS[rule]
    found = validate_engine.findings(_changed(templates["one line"][0], kind, change))
    assert [(rule, kind)] == sorted({(finding.rule, finding.on) for finding in found})


def test_fails_for_a_template_that_is_none(validate_engine: CloudFormationValidate) -> None:
    broken = Template("broken", Path("Broken.template.json"), {"Resources": {"Bucket": {"Properties": {}}}})
    assert [] != validate_engine.findings(broken)


def _changed(template: Template, kind: str, change: dict[str, Any]) -> Template:
    """The template with one resource of a type changed; None takes a property away."""
    changed = copy.deepcopy(template)
    resource = next(item for item in changed.resources.values() if item["Type"] == kind)
    for name, value in change.items():
        if name == "Properties":
            resource[name] |= value
            resource[name] = {key: item for key, item in resource[name].items() if item is not None}
        else:
            resource[name] = value
    return changed
