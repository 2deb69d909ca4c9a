"""What KMS decides about a key: its state, its policy, identity policies and grants, with KMS's own condition keys.

KMS's guide: "Determining access to AWS KMS keys", "Grants in AWS KMS", "AWS KMS condition keys".
"""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ministack import app
from ministack.core import iam_evaluator, responses, router
from ministack.services import kms

from healthimaging_local import decisions
from healthimaging_local.ports import Json

_EVERYTHING = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}


@dataclass(frozen=True)
class Use:
    """One use of a key.

    Args:
        action: As IAM names it, ``kms:Decrypt``.
        key: The key's id, ARN, alias or alias ARN.
        via: The service that asks KMS in its caller's name, ``s3``; empty for a call of KMS itself, and for a service
            whose ``kms:ViaService`` AWS does not document.
        context: The encryption context.
        more: Further condition keys.
    """

    action: str
    key: str
    via: str = ""
    context: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Json] = field(default_factory=dict)


def refusal(principal: Json, use: Use) -> str:
    """Why KMS refuses somebody a use of a key; empty when it allows it."""
    if not app.AUTH:
        return ""
    found = find_key(use.key, principal.account)
    if found is None:
        return f"NotFoundException: Key '{use.key}' does not exist"
    key, owner = found
    if key["KeyState"] != "Enabled":
        return f"{key['Arn']} is {_STATES.get(key['KeyState'], key['KeyState'])}."
    if principal.policies is None:  # the root of an account: only the key's policy limits it
        principal = dataclasses.replace(principal, policies=[iam_evaluator.parse_policy_document(_EVERYTHING)])
    context = {**_conditions(use, key, principal.account), **use.more}
    reason = decisions.refusal(principal, use.action, key["Arn"], context, policy=(key.get("Policy") or "", owner))
    if reason and "explicit deny" not in reason and is_granted(principal.arn, use, key["Arn"]):
        return ""
    return reason


def service_refusal(service: str, use: Use) -> str:
    """Why a key's policy does not let a service in that acts as itself; empty when it does."""
    if not app.AUTH:
        return ""
    account = responses.get_account_id()
    found = find_key(use.key, account)
    if found is None:
        return f"NotFoundException: Key '{use.key}' does not exist"
    key, _ = found
    if key["KeyState"] != "Enabled":
        return f"{key['Arn']} is {_STATES.get(key['KeyState'], key['KeyState'])}."
    context = {**_conditions(use, key, account), **use.more}
    if decisions.service_may(service, use.action, key["Arn"], key.get("Policy") or "", context):
        return ""
    return "" if is_granted(service, use, key["Arn"]) else f"{service} is not authorized to perform: {use.action}"


def caller_refusal(headers: Json, query: Json, uses: Sequence[Use]) -> str:
    """Why KMS refuses the sender of a request one of several uses; empty when it allows all."""
    if not uses or not app.AUTH:
        return ""
    access_key = router.extract_access_key_id(headers, query)
    principal = iam_evaluator.resolve_principal(access_key, responses.get_account_id())
    if isinstance(principal, iam_evaluator.AuthError):
        return ""  # refused by the service itself
    return next((reason for reason in (refusal(principal, use) for use in uses) if reason), "")


_STATES = {"PendingDeletion": "pending deletion", "PendingImport": "pending import", "Disabled": "disabled"}


def find_key(reference: str, account: str) -> tuple[Json, str] | None:
    """A key and the account that owns it; what is no ARN is looked for in the account of who asks."""
    region = responses.get_region()
    name = reference
    if reference.startswith("arn:"):
        _, _, _, region, account, name = reference.split(":", 5)
    name = name.removeprefix("key/")
    if name.startswith("alias/"):
        name = kms._aliases.get_scoped(account, region, f"arn:aws:kms:{region}:{account}:{name}") or ""
    key = kms._keys.get_scoped(account, region, name)
    return (key, account) if key else None


def _conditions(use: Use, key: Json, account: str) -> dict[str, Json]:
    region = responses.get_region()
    conditions: dict[str, Json] = {f"kms:EncryptionContext:{name}": value for name, value in use.context.items()}
    if use.context:
        conditions["kms:EncryptionContextKeys"] = list(use.context)
    if use.via:
        conditions["kms:ViaService"] = f"{use.via}.{region}.amazonaws.com"
    aliases = [arn.split(":", 5)[5] for arn, key_id in kms._aliases.items() if key_id == key["KeyId"]]
    return {**conditions, "kms:CallerAccount": account, "kms:ResourceAliases": aliases, "aws:SourceAccount": account}


def is_granted(principal_arn: str, use: Use, key_arn: str) -> bool:
    """Whether a grant on the key lets somebody do it. A session has the grants of its role."""
    operation = use.action.partition(":")[2]
    return any(
        grant["KeyId"] == key_arn
        and operation in grant["Operations"]
        and _is_meant(grant["GranteePrincipal"], principal_arn)
        and _meets(grant.get("Constraints") or {}, use.context)
        for grant in _all_grants()
    )


def _all_grants() -> Iterator[Json]:
    return iter(list(kms._grants._data.values()))


def _is_meant(grantee: str, principal_arn: str) -> bool:
    if grantee == principal_arn:
        return True
    if ":assumed-role/" not in principal_arn or ":role/" not in grantee:
        return False
    account, role = principal_arn.split(":")[4], principal_arn.split("/")[1]
    return decisions.role_of(grantee) == (account, role)


def _meets(constraints: Mapping[str, Mapping[str, str]], context: Mapping[str, str]) -> bool:
    exact = constraints.get("EncryptionContextEquals")
    subset = constraints.get("EncryptionContextSubset") or {}
    return (exact is None or dict(exact) == dict(context)) and subset.items() <= context.items()
