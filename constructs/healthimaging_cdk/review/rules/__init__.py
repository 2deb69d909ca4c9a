"""The rules, one family a module; docs/rules.md has the reason, the fix and two templates for each."""

from __future__ import annotations

from healthimaging_cdk.review.finding import Rule
from healthimaging_cdk.review.rules import data_access, endpoints, events, grants, imports, stores, trust

RULES: tuple[Rule, ...] = (
    *stores.RULES,
    *trust.RULES,
    *grants.RULES,
    *data_access.RULES,
    *imports.RULES,
    *events.RULES,
    *endpoints.RULES,
)
"""Every rule, by id."""

__all__ = ["RULES"]
