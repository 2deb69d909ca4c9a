"""The report of a run: a page to attach to an issue, without anything that names the account."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from healthimaging_cdk._verify.experiment import Finding


def markdown(findings: Iterable[Finding], *, region: str, version: str, day: str, redact: Iterable[str] = ()) -> str:
    """Write the findings as a table.

    Args:
        findings: what was seen.
        region: the Region.
        version: this library's version.
        day: when it was.
        redact: texts that do not belong into a public page: the account's id.
    """
    lines = [
        f"# verify-aws of healthimaging-cdk {version}, {region}, {day}",
        "",
        "| experiment | question | guessed | seen | |",
        "|---|---|---|---|---|",
    ]
    for finding in findings:
        cells = (finding.experiment, finding.question, finding.guess or "-", finding.seen, finding.agreement.value)
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return _without(redact, "\n".join(lines) + "\n")


def document(findings: Iterable[Finding], *, region: str, version: str, day: str, redact: Iterable[str] = ()) -> str:
    """Write the findings as JSON; the arguments are those of :func:`markdown`."""
    found = [asdict(finding) for finding in findings]
    text = json.dumps({"version": version, "region": region, "day": day, "findings": found}, indent=2)
    return _without(redact, text + "\n")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _without(redact: Iterable[str], text: str) -> str:
    for word in redact:
        text = text.replace(word, "ACCOUNT")
    return text
