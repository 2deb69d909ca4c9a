"""A review as Markdown for a pull request, and as SARIF for code scanning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from healthimaging_cdk.review.change.again import ImportFact
from healthimaging_cdk.review.change.data import DataFact, Fate
from healthimaging_cdk.review.change.rights import Right
from healthimaging_cdk.review.finding import Finding, Severity
from healthimaging_cdk.review.reading.imports import ImportKind
from healthimaging_cdk.review.report import Review
from healthimaging_cdk.review.rules import RULES

_FATES = {
    Fate.DELETED: "the old one is deleted",
    Fate.ORPHANED: "the old one stays, and no stack has it",
    Fate.STAYS: "the old one stays where it is",
}
_MAX_ROWS = 200


def headline(found: Review) -> str:
    """The review in one line."""
    parts = []
    if found.is_comparison:
        lost = sum(item.is_loss for item in found.data)
        parts.append(f"{lost} resources with data would leave their stacks" if lost else "no data is lost")
        again = sum(item.is_again for item in found.imports)
        parts.append(f"{again} imports run again" if again else "nothing is imported again")
        parts.append(f"{len(found.rights)} new rights" if found.rights else "no new rights")
    errors = sum(item.severity is Severity.ERROR for item in found.open_findings)
    warnings = len(found.open_findings) - errors
    parts.append(f"{errors} errors, {warnings} warnings" if found.open_findings else "no findings")
    return "; ".join(parts)


def data_line(item: DataFact) -> str:
    """What becomes of one resource's data."""
    return f"{item.stack}/{item.resource} ({item.type}) is {item.kind.value}: {item.because}; {_FATES[item.fate]}"


def right_line(right: Right) -> str:
    """A right in words."""
    who = f"{right.principal} through " if right.principal else ""
    conditions = f" if {' and '.join(right.conditions)}" if right.conditions else ""
    verb = "may" if right.effect == "Allow" else "must not"
    return f"{who}{right.stack}/{right.resource} {verb} {right.action} on {right.on}{conditions}"


def finding_line(item: Finding) -> str:
    """A finding in words."""
    where = item.construct or f"{item.stack}/{item.resource}"
    return f"{item.id} {item.severity.value}: {where}: {item.text}. Fix: {item.fix}"


def sections(found: Review) -> Iterator[tuple[str, list[str]]]:
    """Everything a review says, section by section: what nobody else says comes first."""
    if found.is_comparison:
        yield "Data that would be replaced, renamed away or orphaned", [data_line(item) for item in found.data]
        yield (
            "Imported by this change",
            [
                f"{item.stack}/{item.resource} {_again(item)} {item.source}: " + "; ".join(item.because)
                for item in found.imports
            ],
        )
        yield "New rights", [f"{right_line(item.right)} ({item.because})" for item in found.rights]
    yield "Findings", [finding_line(item) for item in found.open_findings]
    yield (
        "Acknowledged findings",
        [
            f"{item.id} {item.stack}/{item.resource}: {item.acknowledged}"
            for item in found.findings
            if item.acknowledged
        ],
    )
    if found.is_comparison:
        added = [f"added: {name}" for name in found.added] + [f"removed: {name}" for name in found.removed]
        yield "Resources that change", added + [f"changed: {name}" for name in found.changed]
    yield (
        "What is created",
        [f"{stack}: {count} {kind}" for stack, kinds in found.resources.items() for kind, count in kinds.items()],
    )
    yield (
        "Imports",
        [
            f"{item.stack}/{item.resource} ({item.kind}): {item.source or 'a source'} to {item.output or 'an output'}"
            for item in found.planned_imports
        ],
    )
    yield "Who may do what", [right_line(item) for item in found.principals]
    yield (
        "Encrypted with",
        [f"{item.stack}/{item.resource} ({item.type}): {item.key}" for item in found.encryption],
    )
    yield "Stays when the stack goes", [f"{item.stack}/{item.resource} ({item.type})" for item in found.retained]
    total = sum(item.dollars_a_month for item in found.idle_cost)
    costs = [f"{item.count} {item.type}: ${item.dollars_a_month:.2f} a month" for item in found.idle_cost]
    yield "Cost when nothing runs, without storage", [*costs, f"together ${total:.2f} a month"] if costs else []


def _again(item: ImportFact) -> str:
    if item.kind == ImportKind.BULK:
        return "starts a further bulk run of" if item.is_again else "starts its first bulk run of"
    if not item.is_certain:
        return "may import again"
    return "imports again" if item.is_again else "imports for the first time"


def markdown(found: Review) -> str:
    """The review for a pull request."""
    lines = ["## HealthImaging review", "", f"**{_escaped(headline(found))}**", ""]
    for index, (title, rows) in enumerate(sections(found)):
        is_first = index < (5 if found.is_comparison else 2)
        if not rows and not is_first:
            continue
        shown = [f"- {_escaped(row)}" for row in rows[:_MAX_ROWS]] or ["- none"]
        if len(rows) > _MAX_ROWS:
            shown.append(f"- and {len(rows) - _MAX_ROWS} more: see --format json")
        if is_first:
            lines += [f"### {title}", "", *shown, ""]
        else:
            lines += [f"<details><summary>{title} ({len(rows)})</summary>", "", *shown, "", "</details>", ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """A text that Markdown shows as it is: a template is input, and must not write the page."""
    shown = text.replace("\\", "\\\\").replace("\r", " ").replace("\n", " ")
    for character in "`*_[]<>|#@~":
        shown = shown.replace(character, f"&#{ord(character)};" if character in "<>@#" else f"\\{character}")
    return shown


def sarif(found: Review, version: str) -> dict[str, Any]:
    """The findings and what becomes of data as SARIF 2.1.0."""
    rules = [
        {
            "id": rule.id,
            "name": rule.id,
            "shortDescription": {"text": rule.title},
            "help": {"text": rule.fix},
            "defaultConfiguration": {"level": rule.severity.value},
        }
        for rule in RULES
    ]
    rules.append(
        {
            "id": "HI001",
            "name": "HI001",
            "shortDescription": {"text": "Data would be replaced, renamed away or orphaned"},
            "help": {"text": "Keep the logical id and what only a new resource can have otherwise"},
            "defaultConfiguration": {"level": "error"},
        }
    )
    results = [_result(item) for item in found.findings]
    results += [
        _sarif_result("HI001", "error", data_line(item), f"{item.stack}/{item.resource}", item.stack)
        for item in found.data
    ]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "healthimaging-cdk", "version": version, "rules": rules}},
                "results": results,
            }
        ],
    }


def _result(item: Finding) -> dict[str, Any]:
    name = item.construct or f"{item.stack}/{item.resource}"
    uri = _relative(item.template.file if item.template else "") or item.stack
    result = _sarif_result(item.id, item.severity.value, f"{item.text}. Fix: {item.fix}", name, uri)
    if item.acknowledged:
        result["suppressions"] = [{"kind": "external", "justification": item.acknowledged}]
    return result


def _relative(file: str) -> str:
    """A file as code scanning wants it: below the folder where the command runs, if it is."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else file)


def _sarif_result(rule: str, level: str, text: str, name: str, uri: str) -> dict[str, Any]:
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(uri.replace("\\", "/"))},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": name}],
            }
        ],
        "partialFingerprints": {"place/v1": f"{rule}:{name}"},
    }
