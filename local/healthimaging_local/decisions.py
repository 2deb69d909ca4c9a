"""What IAM decides about a role that a service acts with: identity policies, boundaries and the resource's policy."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

from collections.abc import Mapping

from ministack import app
from ministack.core import iam_actions, iam_evaluator, responses
from ministack.services import iam

from healthimaging_local.ports import Json


def role_of(role_arn: str) -> tuple[str, str]:
    """The account and the name (without its path) of a role's ARN."""
    parts = role_arn.split(":", 5)
    return parts[4], parts[5].rsplit("/", 1)[-1]


def find_role(role_arn: str) -> Json:
    """The emulator's record of a role, or None when there is no role of that very ARN."""
    account, name = role_of(role_arn)
    role = iam._roles.get_scoped(account, None, name)
    return role if role is not None and role.get("Arn") == role_arn else None


def session_of(role_arn: str, session: str) -> Json:
    """The principal that a service is which has assumed the role, with the policies of this moment."""
    account, name = role_of(role_arn)
    return iam_evaluator.PrincipalInfo(
        arn=f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
        type="AssumedRole",
        account=account,
        policies=iam_evaluator._gather_role_policies(name, account),
        keys={},
        limits=iam_evaluator._permissions_boundary(iam._roles, name, account),
    )


def refusal(
    principal: Json, action: str, resource: str, context: Mapping[str, Json] | None = None, *, policy: Json = None
) -> str:
    """Why IAM refuses, in AWS's words; empty when it allows.

    Args:
        principal: Who acts; one without policies (``None``) is a root user, whom no policy stops.
        action: As IAM names it, ``s3:GetObject``.
        resource: The ARN that the action is on.
        context: Condition keys of the service, whatever their case.
        policy: The resource's own policy with its owner's account; looked up when omitted.
    """
    if not app.AUTH or principal.policies is None:
        return ""
    service = action.partition(":")[0]
    asked = iam_evaluator.EvalContext(
        principal_arn=principal.arn,
        principal_type=principal.type,
        principal_account=principal.account,
        action=action,
        resource_arn=resource,
        region=responses.get_region(),
        service_context={name.lower(): value for name, value in (context or {}).items()},
        principal_keys=principal.keys,
    )
    result = iam_evaluator.evaluate(asked, principal.policies, *principal.limits)
    found = policy or iam_evaluator._resource_policy(service, resource)
    if found is not None:
        required = service in iam_evaluator._POLICY_REQUIRED
        result = iam_evaluator.combine_resource_policy(
            result, asked, *found, required=required, limits=principal.limits
        )
    if result.decision == "Allow":
        return ""
    if result.resource_policy_arn or (found is not None and found[1] not in {None, principal.account}):
        how = "with an explicit deny in" if result.decision == "Deny" else "because no"
        verb = "" if result.decision == "Deny" else f" allows the {action} action"
        return (
            f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource} "
            f"{how} {'a ' if result.decision == 'Deny' else ''}resource-based policy{verb}"
        )
    return str(
        iam_actions.identity_denial_message(action, principal.arn, resource, explicit_deny=result.decision == "Deny")
    )


def service_may(service: str, action: str, resource: str, policy: Json, context: Mapping[str, Json]) -> bool:
    """Whether a resource's policy lets an AWS service in that acts as itself."""
    asked = iam_evaluator.EvalContext(
        principal_arn=service,
        principal_type="Service",
        principal_account="",
        action=action,
        resource_arn=resource,
        region=responses.get_region(),
        service_context={name.lower(): value for name, value in context.items()},
    )
    return bool(iam_evaluator.evaluate_resource_policy(policy, asked, service=service).decision == "Allow")


def trusts(role_arn: str, service: str, context: Mapping[str, Json]) -> bool:
    """Whether a role exists and its trust policy lets the service assume it; without enforcement it always does."""
    if not app.AUTH:
        return True
    role = find_role(role_arn)
    return role is not None and service_may(
        service, "sts:AssumeRole", role_arn, role.get("AssumeRolePolicyDocument"), context
    )


def caller() -> Json:
    """Who sent the request that is being answered."""
    arn, account = iam_evaluator.caller_arn(), responses.get_account_id()
    if ":assumed-role/" in arn:
        _, role, session = arn.split("/", 2)
        return session_of(f"arn:aws:iam::{arn.split(':')[4]}:role/{role}", session)
    policies = None
    if ":user/" in arn:
        policies = iam_evaluator._gather_user_policies(arn.rsplit("/", 1)[-1], account)
    return iam_evaluator.PrincipalInfo(arn=arn, type="User", account=account, policies=policies)
