"""checkov, from an environment of its own, once over everything."""

from __future__ import annotations

import pytest

from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.findings import Finding, unanswered

pytestmark = pytest.mark.judges


@pytest.mark.parametrize("example", CATALOGUE)
def test_checkov_finds_nothing_that_is_not_acknowledged(
    example: str, checkov_findings: dict[str, list[Finding]]
) -> None:
    assert [] == unanswered(checkov_findings[example], ACKNOWLEDGED)


def test_fails_for_a_bucket_that_is_public(checkov_findings: dict[str, list[Finding]], defective: Template) -> None:
    rules = {finding.rule for finding in unanswered(checkov_findings[defective.example], ACKNOWLEDGED)}
    expected = {"CKV_AWS_20", "CKV_AWS_21", "CKV_AWS_53"}  # a public ACL, no versions, no block of public access
    assert expected == expected & rules
