"""cloudsplaining: what the statements of a role amount to together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.findings import Finding, unanswered
from tests.judges.judging import cloudsplaining

pytestmark = pytest.mark.judges

_FUNCTION = "arn:aws:lambda:us-east-1:111122223333:function:import"
_ROLE = "arn:aws:iam::111122223333:role/healthimaging"


@pytest.mark.parametrize("example", CATALOGUE)
def test_cloudsplaining_finds_no_risk_that_is_not_acknowledged(
    example: str, cloudsplaining_findings: dict[str, list[Finding]]
) -> None:
    assert [] == unanswered(cloudsplaining_findings[example], ACKNOWLEDGED)


DEFECTS: dict[str, list[tuple[list[str], str]]] = {
    "privilege escalation PassExistingRoleToNewLambdaThenInvoke": [
        (["iam:PassRole"], _ROLE),
        (["lambda:CreateFunction", "lambda:InvokeFunction"], _FUNCTION),
    ],
    "permissions management iam:PutRolePolicy": [(["iam:PutRolePolicy"], _ROLE)],
    "permissions management lambda:AddPermission": [(["lambda:AddPermission"], _FUNCTION)],
    "allows_data_exfiltration_actions s3:GetObject": [(["s3:GetObject"], "*")],
    "credentials_exposure sts:AssumeRole": [(["sts:AssumeRole"], "*")],
    "service_wildcard medical-imaging": [(["medical-imaging:*"], _ROLE)],
}


@pytest.mark.parametrize("risk", DEFECTS)
def test_fails_for_a_seeded_risk(risk: str) -> None:
    found = unanswered(cloudsplaining(*_template(DEFECTS[risk])), ACKNOWLEDGED)
    assert risk in {finding.rule for finding in found}


def _template(statements: list[tuple[list[str], str]]) -> tuple[Template, list[Template]]:
    """One role with an inline policy for each statement."""
    inline: list[dict[str, Any]] = [
        {
            "PolicyName": f"Policy{number}",
            "PolicyDocument": {"Statement": [{"Effect": "Allow", "Action": actions, "Resource": resource}]},
        }
        for number, (actions, resource) in enumerate(statements)
    ]
    role = {"Type": "AWS::IAM::Role", "Properties": {"Policies": inline}}
    template = Template("seeded", Path("Seeded.template.json"), {"Resources": {"Role": role}})
    return template, [template]
