"""The rules, one family a module; docs/rules.md has the reason, the fix and two templates for each."""

from __future__ import annotations

from dataclasses import replace

from healthimaging_cdk.review.finding import Rule
from healthimaging_cdk.review.rules import data_access, endpoints, events, grants, imports, stores, trust
from healthimaging_cdk.review.rules.reasons import REASONS

_FAMILIES = (stores, trust, grants, data_access, imports, events, endpoints)

RULES: tuple[Rule, ...] = tuple(
    replace(rule, reason=REASONS[rule.id][0], page=REASONS[rule.id][1]) for family in _FAMILIES for rule in family.RULES
)
"""Every rule, by id."""

__all__ = ["RULES"]
