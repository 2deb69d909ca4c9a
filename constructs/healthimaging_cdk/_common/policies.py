"""Statements of identity policies, as JSON has them: a document of any length is one call into jsii."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aws_cdk import aws_iam as iam

Statement = Mapping[str, Any]
"""A statement as it is written in JSON. Its text may hold tokens."""

Conditions = Mapping[str, Mapping[str, str | Sequence[str]]]


def allow(
    actions: str | Sequence[str], resources: str | Sequence[str], conditions: Conditions | None = None
) -> Statement:
    """State what is allowed."""
    condition = {"Condition": conditions} if conditions else {}
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **condition}


def deny(
    actions: str | Sequence[str], resources: str | Sequence[str], conditions: Conditions | None = None
) -> Statement:
    """State what is denied."""
    return {**allow(actions, resources, conditions), "Effect": "Deny"}


def policy_document(statements: Iterable[Statement]) -> iam.PolicyDocument:
    """Create a policy document of statements."""
    return iam.PolicyDocument.from_json({"Version": "2012-10-17", "Statement": list(statements)})


__all__ = ["Conditions", "Statement", "allow", "deny", "policy_document"]
