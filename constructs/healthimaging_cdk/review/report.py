"""A review: all facts of an assembly and of a change, as one value, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from healthimaging_cdk.review.change.again import ImportFact, import_facts, uri
from healthimaging_cdk.review.change.compare import Comparison, Side
from healthimaging_cdk.review.change.data import DataFact, data_facts, replacements
from healthimaging_cdk.review.change.inventory import (
    Cost,
    Encryption,
    Stays,
    encryption,
    idle_cost,
    resource_counts,
    retained,
)
from healthimaging_cdk.review.change.rights import Right, RightFact, new_rights, rights_of
from healthimaging_cdk.review.checks import find
from healthimaging_cdk.review.finding import Finding, Severity
from healthimaging_cdk.review.reading.assembly import Assembly


class ExitCode(IntEnum):
    """How a review ends, by the worst that it found. 2 is a wrong command line."""

    NOTHING = 0
    WARNING = 1
    ERROR = 3
    DATA = 4
    """The stacks would no longer have data that they have."""


@dataclass(frozen=True)
class Planned:
    """An import of an assembly."""

    stack: str
    resource: str
    kind: str
    source: str
    output: str


@dataclass(frozen=True)
class Review:
    """Everything that a review says."""

    findings: list[Finding]
    data: list[DataFact]
    imports: list[ImportFact]
    rights: list[RightFact]
    resources: dict[str, dict[str, int]]
    added: list[str]
    removed: list[str]
    changed: list[str]
    planned_imports: list[Planned]
    principals: list[Right]
    encryption: list[Encryption]
    retained: list[Stays]
    idle_cost: list[Cost]
    is_comparison: bool

    @property
    def open_findings(self) -> list[Finding]:
        """The findings that nobody has acknowledged."""
        return [item for item in self.findings if not item.acknowledged]

    @property
    def exit_code(self) -> ExitCode:
        """How the review ends."""
        if any(item.is_loss for item in self.data):
            return ExitCode.DATA
        severities = {item.severity for item in self.open_findings}
        if Severity.ERROR in severities or self.data:
            return ExitCode.ERROR
        return ExitCode.WARNING if severities else ExitCode.NOTHING

    def as_json(self) -> dict[str, Any]:
        """The review as JSON has it; docs/review.md describes the members."""
        return {
            "version": 1,
            "findings": [finding_json(item) for item in self.findings],
            "data": [{**asdict(item), "lost": item.is_loss} for item in self.data],
            "imports": [_renamed(asdict(item), is_again="again", is_certain="certain") for item in self.imports],
            "rights": [{**asdict(item.right), "because": item.because} for item in self.rights],
            "changes": {"added": self.added, "removed": self.removed, "changed": self.changed},
            "resources": self.resources,
            "planned_imports": [asdict(item) for item in self.planned_imports],
            "principals": [asdict(item) for item in self.principals],
            "encryption": [asdict(item) for item in self.encryption],
            "retained": [asdict(item) for item in self.retained],
            "idle_cost": [asdict(item) for item in self.idle_cost],
            "exit_code": int(self.exit_code),
        }


def _renamed(found: dict[str, Any], **names: str) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in found.items()}


def finding_json(finding: Finding) -> dict[str, str]:
    """A finding as JSON has it."""
    return {
        "id": finding.id,
        "severity": finding.severity.value,
        "stack": finding.stack,
        "resource": finding.resource,
        "path": finding.path,
        "text": finding.text,
        "fix": finding.fix,
        "construct": finding.construct,
        "acknowledged": finding.acknowledged,
        "page": f"docs/rules.md#{finding.id.lower()}",
    }


def review(assembly: Assembly, against: Assembly | None = None) -> Review:
    """Review an assembly, and the change from an older one.

    Args:
        assembly: what is to be deployed.
        against: what was deployed. Default: only what is to be deployed is looked at.
    """
    change = Comparison(Side(assembly), Side(assembly)) if against is None else Comparison.of(against, assembly)
    replaced = {} if against is None else replacements(change)
    side = change.after
    changed = [] if against is None else [key for key in change.kept if _is_changed(change, key)]
    return Review(
        findings=find(assembly),
        data=[] if against is None else data_facts(change, replaced),
        imports=[] if against is None else import_facts(change, replaced),
        rights=[] if against is None else new_rights(change),
        resources=resource_counts(side),
        added=["/".join(key) for key in change.added],
        removed=["/".join(key) for key in change.removed],
        changed=["/".join(key) for key in changed],
        planned_imports=[
            Planned(use.template.name, use.logical_id, use.kind.value, uri(use.source), uri(use.output))
            for use in side.subject.uses.imports
        ],
        principals=rights_of(side),
        encryption=encryption(side),
        retained=retained(side),
        idle_cost=idle_cost(side),
        is_comparison=against is not None,
    )


def _is_changed(change: Comparison, key: tuple[str, str]) -> bool:
    old, new = change.kept[key]
    attributes = ("DeletionPolicy", "UpdateReplacePolicy", "Condition", "Type")
    return bool(change.changed_properties(key)) or any(
        old.resource.get(name) != new.resource.get(name) for name in attributes
    )
