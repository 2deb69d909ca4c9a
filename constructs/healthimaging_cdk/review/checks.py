"""Runs the rules over an assembly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from healthimaging_cdk.review.finding import Finding, Hit, Rule, Subject
from healthimaging_cdk.review.reading.assembly import Assembly
from healthimaging_cdk.review.reading.template import Template
from healthimaging_cdk.review.rules import RULES

PLUGIN = "HealthImagingChecks"
"""What stands before the id of a rule where a finding is acknowledged."""


def find(assembly: Assembly, rules: Sequence[Rule] = RULES, *, is_strict: bool = False) -> list[Finding]:
    """Every finding in an assembly, acknowledged ones included, by stack, resource and rule.

    Args:
        assembly: the templates.
        rules: the rules to run. Default: all of them.
        is_strict: whether an error in a rule is raised. Default: the rule is silent, since a rule must never end a
            synth.
    """
    subject = Subject(assembly)
    found: list[Finding] = []
    for rule in rules:
        try:
            if subject.is_relevant:
                found += _findings(rule, subject)
        except Exception:  # a template nobody has thought of
            if is_strict:
                raise
    order = {id(template): index for index, template in enumerate(assembly.templates)}
    found.sort(key=lambda item: (order.get(id(item.template), 0), item.id, item.resource, item.path, item.text))
    return found


def _findings(rule: Rule, subject: Subject) -> Iterator[Finding]:
    seen: set[tuple[str, str, str, str]] = set()
    for hit in rule.check(subject):
        path = hit.path if hit.path.startswith("Resources/") else f"Resources/{hit.resource}/{hit.path}"
        key = (hit.template.name, hit.resource, path, hit.text)
        if key not in seen:
            seen.add(key)
            yield Finding(
                id=rule.id,
                severity=hit.severity or rule.severity,
                stack=hit.template.name,
                resource=hit.resource,
                path=path,
                text=hit.text,
                fix=hit.fix or rule.fix,
                construct=hit.template.construct_paths.get(hit.resource, ""),
                acknowledged=_reason(rule.id, hit),
                template=hit.template,
            )


def _reason(rule_id: str, hit: Hit) -> str:
    """Why a finding is acknowledged, at its construct or at one above it."""
    path = hit.template.construct_paths.get(hit.resource, "")
    return reason_at(hit.template, path, rule_id)


def reason_at(template: Template, path: str, rule_id: str) -> str:
    """The reason for which a construct or one above it acknowledges a rule; empty where none does."""
    while path:
        reason = template.acknowledged.get(path, {}).get(f"{PLUGIN}::{rule_id}")
        if reason is not None:
            return reason or "no reason given"
        path = path.rpartition("/")[0]
    return ""
