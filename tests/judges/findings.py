"""What a judge says about a template, and which of it has an answer (acknowledged.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True, repr=False)
class Finding:
    """One objection of one judge."""

    judge: str
    rule: str
    on: str
    """The CloudFormation type of what it is about."""
    example: str
    """The entry of the catalogue."""
    where: str
    """Template and logical id, or construct path."""
    message: str = ""

    def __repr__(self) -> str:
        """The finding as a failed test shows it."""
        return f"<{self.judge}: {self.rule} on {self.on} at {self.where}: {self.message}>"


@dataclass(frozen=True)
class Acknowledgement:
    """Why a finding is right to stay."""

    judge: str
    rule: str
    on: str
    reason: str
    examples: tuple[str, ...] = ()
    """The entries of the catalogue it is for; all of them unless given."""

    def covers(self, finding: Finding) -> bool:
        """Whether this is the answer to the finding."""
        same = (self.judge, self.rule, self.on) == (finding.judge, finding.rule, finding.on)
        return same and (not self.examples or finding.example in self.examples)


def unanswered(findings: Iterable[Finding], table: Iterable[Acknowledgement]) -> list[Finding]:
    """The findings that no acknowledgement covers."""
    rows = list(table)
    return sorted({finding for finding in findings if not any(row.covers(finding) for row in rows)})
