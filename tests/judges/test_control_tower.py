"""The proactive controls of AWS Control Tower, which an organization can turn on for every deploy of an account."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.findings import Finding, unanswered
from tests.judges.judging import ControlTower

pytestmark = pytest.mark.judges


@pytest.mark.parametrize("example", CATALOGUE)
def test_control_tower_would_let_every_template_pass(
    example: str, control_tower_findings: dict[str, list[Finding]]
) -> None:
    assert [] == unanswered(control_tower_findings[example], ACKNOWLEDGED)


def test_the_controls_of_every_service_in_use_are_there(control_tower: ControlTower) -> None:
    expected = {"CLOUDWATCH", "IAM", "KMS", "LAMBDA", "S3", "STEPFUNCTIONS"}
    assert expected == expected & {control.split(".")[1] for control in control_tower.controls}


DEFECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "CT.S3.PR.1": ("AWS::S3::Bucket", {"PublicAccessBlockConfiguration": {"BlockPublicAcls": False}}),
    "CT.S3.PR.11": ("AWS::S3::Bucket", {"VersioningConfiguration": {"Status": "Suspended"}}),
    "CT.CLOUDWATCH.PR.2": ("AWS::Logs::LogGroup", {"RetentionInDays": 30}),
    "CT.KMS.PR.1": ("AWS::KMS::Key", {"EnableKeyRotation": False}),
    "CT.LAMBDA.PR.2": ("AWS::Lambda::Permission", {"SourceArn": None}),
}


@pytest.mark.parametrize("control", DEFECTS)
def test_fails_for_a_seeded_defect(
    control: str, templates: dict[str, list[Template]], control_tower: ControlTower
) -> None:
    kind, change = DEFECTS[control]
    template = copy.deepcopy(templates["one line"][0])
    resource = next(item for item in template.resources.values() if item["Type"] == kind)
    changed = resource["Properties"] | change
    resource["Properties"] = {name: value for name, value in changed.items() if value is not None}
    found = unanswered(control_tower.findings(template), ACKNOWLEDGED)
    assert [(control, kind)] == [(finding.rule, finding.on) for finding in found]
