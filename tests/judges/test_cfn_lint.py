"""cfn-lint: its errors and its warnings."""

from __future__ import annotations

import copy

import pytest

from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.findings import Finding, unanswered
from tests.judges.judging import CfnLint

pytestmark = pytest.mark.judges


@pytest.mark.parametrize("example", CATALOGUE)
def test_cfn_lint_finds_nothing(example: str, cfn_lint_findings: dict[str, list[Finding]]) -> None:
    assert [] == unanswered(cfn_lint_findings[example], ACKNOWLEDGED)


def test_fails_for_a_reference_to_nothing(templates: dict[str, list[Template]], cfn_lint_runner: CfnLint) -> None:
    template = copy.deepcopy(templates["bare datastore"][0])
    template.document["Outputs"] = {"Lost": {"Value": {"Ref": "Nothing"}}}
    assert ["E6101"] == [finding.rule for finding in cfn_lint_runner.findings(template)]


def test_fails_for_a_warning_too(templates: dict[str, list[Template]], cfn_lint_runner: CfnLint) -> None:
    template = copy.deepcopy(templates["bare datastore"][0])
    template.document["Parameters"] = {"Unused": {"Type": "String"}}
    assert ["W2001"] == [finding.rule for finding in cfn_lint_runner.findings(template)]
