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

    @property
    def name(self) -> str:
        """Judge and rule, as acknowledgements name them."""
        return f"{self.judge}: {self.rule}"

    def __repr__(self) -> str:
        """The finding as a failed test shows it."""
        return f"<{self.judge}: {self.rule} on {self.on} at {self.where}: {self.message}>"


@dataclass(frozen=True)
class Acknowledgement:
    """Why findings are right to stay: one reason, whichever judges object."""

    findings: tuple[str, ...]
    """Their names: the judge's and the rule's."""
    on: str
    reason: str
    examples: tuple[str, ...] = ()
    """The entries of the catalogue it is for; all of them unless given."""
    but_not: tuple[str, ...] = ()
    """The entries it is not for, since they ask for what takes the finding away."""

    def covers(self, finding: Finding) -> bool:
        """Whether this is the answer to the finding."""
        if finding.name not in self.findings or finding.on != self.on or finding.example in self.but_not:
            return False
        return not self.examples or finding.example in self.examples


def unanswered(findings: Iterable[Finding], table: Iterable[Acknowledgement]) -> list[Finding]:
    """The findings that no acknowledgement covers."""
    rows = list(table)
    return sorted({finding for finding in findings if not any(row.covers(finding) for row in rows)})
