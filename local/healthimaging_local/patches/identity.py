"""Patches of ministack's IAM and STS: whom a policy means, and what it may ask of a request."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import json
import re

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import iam

from healthimaging_local.ports import Json

_ROLE_ARN = re.compile(r"arn:[^:]+:iam::(?P<account>[0-9]{12}):role/(?:.*/)?(?P<name>[^/]+)")
_SESSION_ARN = re.compile(r"arn:[^:]+:sts::(?P<account>[0-9]{12}):assumed-role/(?P<name>[^/]+)/.+")


def every_request_is_secure() -> None:
    """Let ``aws:SecureTransport`` be true: on loopback plain HTTP stands for TLS.

    Bucket policies that refuse plain HTTP are a must on AWS and would refuse everything here.
    """
    original = app.pin_request_origin

    def pin_request_origin(source_ip: str, _: object) -> None:
        original(source_ip, True)

    app.pin_request_origin = pin_request_origin


def trust_alone_allows_assume_role() -> None:
    """Let a role be assumed by a principal of its account that its trust policy names, without an identity policy.

    AWS: "add the user as a principal directly in the role's trust policy" (IAM user guide, "Granting a user
    permissions to switch roles"). A trust policy that names only the account still needs an identity policy.
    """

    def role_trust_policy_for_arn(role_arn: str) -> tuple[Json, str] | None:
        match = _ROLE_ARN.fullmatch(role_arn)
        role = iam._roles.get_scoped(match["account"], None, match["name"]) if match else None
        return (role.get("AssumeRolePolicyDocument"), match["account"]) if match and role else None

    iam.role_trust_policy_for_arn = role_trust_policy_for_arn
    iam_evaluator._RESOURCE_POLICY_LOOKUPS["sts"] = ("iam", "role_trust_policy_for_arn")


def put_events_knows_its_source() -> None:
    """Give ``events:PutEvents`` the condition key ``events:source``, which policies limit it by."""
    original = iam_actions.request_tag_context

    def request_tag_context(service: str, iam_action: str, body: bytes, params: Json) -> Json:
        context = original(service, iam_action, body, params)
        if iam_action == "events:PutEvents":
            sources = {str(entry.get("Source")) for entry in json.loads(body or b"{}").get("Entries") or []}
            if len(sources) == 1:
                context = {**context, "events:source": sources.pop()}
        return context

    iam_actions.request_tag_context = request_tag_context


def principal_arn_is_the_role() -> None:
    """Let ``aws:PrincipalArn`` be the role's ARN for a session of it: policies of other accounts name roles so.

    AWS: "For IAM roles, the request context returns the ARN of the role, not the ARN of the user that assumed the
    role" (IAM user guide, "AWS global condition context keys").
    """
    original = iam_evaluator._resolve_condition_key

    def resolve_condition_key(key: str, context: Json) -> Json:
        session = _SESSION_ARN.fullmatch(context.principal_arn) if key.lower() == "aws:principalarn" else None
        role = iam._roles.get_scoped(session["account"], None, session["name"]) if session else None
        return role["Arn"] if role else original(key, context)

    iam_evaluator._resolve_condition_key = resolve_condition_key
