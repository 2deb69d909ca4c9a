"""This library's own rules, on every template of the catalogue."""

from __future__ import annotations

import pytest

from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import CATALOGUE
from tests.judges.findings import Finding, unanswered

pytestmark = pytest.mark.judges


@pytest.mark.parametrize("example", CATALOGUE)
def test_the_rules_find_nothing_that_is_not_acknowledged(
    example: str, checks_findings: dict[str, list[Finding]]
) -> None:
    assert [] == unanswered(checks_findings[example], ACKNOWLEDGED)
