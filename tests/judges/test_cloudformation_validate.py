"""cloudformation-validate, the engine of aws-cdk-lib's own validation, with rules/healthimaging.guard."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, CloudFormationValidatePlugin, Stack, ValidationRuleSource, Validations

from healthimaging_cdk import Datastore
from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.findings import Finding, unanswered
from tests.judges.judging import RULES, CloudFormationValidate

pytestmark = pytest.mark.judges


@pytest.mark.parametrize("example", CATALOGUE)
def test_cloudformation_validate_finds_no_error(example: str, validate_findings: dict[str, list[Finding]]) -> None:
    assert [] == unanswered(validate_findings[example], ACKNOWLEDGED)


DEFECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "healthimaging_datastore_is_retained": ("AWS::HealthImaging::Datastore", {"UpdateReplacePolicy": "Delete"}),
    "healthimaging_datastore_has_no_tags_in_the_template": (
        "AWS::HealthImaging::Datastore",
        {"Properties": {"Tags": {"team": "radiology"}}},
    ),
    "healthimaging_datastore_has_a_customer_managed_key": (
        "AWS::HealthImaging::Datastore",
        {"Properties": {"KmsKeyArn": None}},
    ),
    "healthimaging_key_is_retained": ("AWS::KMS::Key", {"DeletionPolicy": "Delete"}),
    "healthimaging_bucket_is_retained": ("AWS::S3::Bucket", {"DeletionPolicy": "Delete"}),
    "healthimaging_custom_resource_has_a_timeout": (
        "Custom::HealthImagingImport",
        {"Properties": {"ServiceTimeout": None}},
    ),
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


def test_fails_for_a_trust_that_lets_healthimaging_act_for_any_account(
    templates: dict[str, list[Template]], validate_engine: CloudFormationValidate
) -> None:
    template = copy.deepcopy(templates["one line"][0])
    for resource in template.resources.values():
        if resource["Type"] == "AWS::IAM::Role":
            resource["Properties"]["AssumeRolePolicyDocument"]["Statement"][0].pop("Condition", None)
    found = validate_engine.findings(template)
    assert ["healthimaging_trust_names_the_account"] == [finding.rule for finding in found]


def test_fails_at_synth_where_a_user_adds_the_rules_as_a_plug_in(tmp_path: Path) -> None:
    as_errors = {"@aws-cdk/core:validateAgainstDefaultRules": True}
    app = App(outdir=str(tmp_path), analytics_reporting=False, context=as_errors)
    Datastore(Stack(app, "Stack"), "Datastore")
    rules = ValidationRuleSource(name="healthimaging", content=RULES.read_text(encoding="utf-8"))
    Validations.of(app).add_plugins(CloudFormationValidatePlugin(guard_rules=[rules], include_default_rules=False))
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    report = (tmp_path / "validation-report.json").read_text(encoding="utf-8")
    assert "healthimaging_datastore_has_a_customer_managed_key" in report


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
