"""The table of acknowledgements: complete, without leftovers, and the same in docs/judges.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.judges.acknowledged import ACKNOWLEDGED, table
from tests.judges.findings import Acknowledgement, Finding, unanswered

pytestmark = pytest.mark.judges

_DOCUMENT = Path(__file__).parents[2] / "docs" / "judges.md"
_BUCKET = Finding("checkov", "CKV_AWS_18", "AWS::S3::Bucket", "one line", "One.template.json Bucket")


_EACH = [(row, name) for row in ACKNOWLEDGED for name in row.findings]


@pytest.mark.parametrize(("row", "name"), _EACH, ids=[f"{name} {row.on}" for row, name in _EACH])
def test_every_acknowledgement_is_still_needed(row: Acknowledgement, name: str, all_findings: list[Finding]) -> None:
    used_in = {finding.example for finding in all_findings if finding.name == name and row.covers(finding)}
    assert (set(row.examples) or used_in) == used_in
    assert used_in


def test_no_finding_is_acknowledged_twice(all_findings: list[Finding]) -> None:
    twice = [finding for finding in all_findings if len([row for row in ACKNOWLEDGED if row.covers(finding)]) > 1]
    assert [] == twice


@pytest.mark.parametrize("rule", ["HIPAA.Security-LambdaInsideVPC", "CKV_AWS_117"])
def test_that_the_function_is_in_no_vpc_is_found_everywhere_but_in_the_vpc(
    rule: str, all_findings: list[Finding]
) -> None:
    examples = {finding.example for finding in all_findings if finding.rule == rule}
    assert "one line" in examples
    assert "in a VPC" not in examples


def test_the_document_shows_the_table() -> None:
    assert table() in _DOCUMENT.read_text(encoding="utf-8"), "python -m tests.judges.acknowledged prints it anew"


@pytest.mark.parametrize("row", ACKNOWLEDGED, ids=lambda row: f"{row.findings[0]} {row.on}")
def test_every_acknowledgement_gives_a_reason_in_whole_sentences(row: Acknowledgement) -> None:
    assert row.reason.endswith(".")
    assert len(row.reason) > 80


def test_fails_for_a_finding_that_nobody_has_acknowledged() -> None:
    assert [_BUCKET] == unanswered([_BUCKET], [])


@pytest.mark.parametrize(
    "row",
    [
        Acknowledgement(("cdk-nag: CKV_AWS_18",), "AWS::S3::Bucket", "another judge"),
        Acknowledgement(("checkov: CKV_AWS_21",), "AWS::S3::Bucket", "another rule"),
        Acknowledgement(("checkov: CKV_AWS_18",), "AWS::S3::AccessPoint", "another type"),
        Acknowledgement(("checkov: CKV_AWS_18",), "AWS::S3::Bucket", "another example", ("stage",)),
        Acknowledgement(("checkov: CKV_AWS_18",), "AWS::S3::Bucket", "not this example", but_not=("one line",)),
    ],
    ids=lambda row: row.reason,
)
def test_fails_for_a_finding_that_differs_from_the_acknowledged_one(row: Acknowledgement) -> None:
    assert [_BUCKET] == unanswered([_BUCKET], [row])
