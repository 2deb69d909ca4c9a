"""Rules about who may have a role assumed by HealthImaging."""

from __future__ import annotations

from collections.abc import Iterator

from healthimaging_cdk.review.facts import CONDITION_KEY_FAMILIES, CONDITION_KEYS, STS_CONDITION_KEYS, is_meant
from healthimaging_cdk.review.finding import Hit, Rule, Severity, Subject
from healthimaging_cdk.review.reading.statements import HEALTHIMAGING, Condition, PolicyKind, Statement
from healthimaging_cdk.review.reading.template import normalized
from healthimaging_cdk.review.reading.text import Text, arn_parts

_ACCOUNT_KEYS = {"aws:sourceaccount", "aws:sourceorgid", "aws:sourceorgpaths"}
_PINS = _ACCOUNT_KEYS | {"aws:sourcearn"}
_COMPARES = {"stringequals", "stringlike", "stringequalsignorecase", "arnequals", "arnlike"}
_DIFFERS = {"stringnotequals", "stringnotlike", "stringnotequalsignorecase", "arnnotequals", "arnnotlike"}


def _trusts(subject: Subject) -> Iterator[Statement]:
    for statement in subject.policies.statements:
        if statement.kind is PolicyKind.TRUST and statement.allows and statement.is_for_service(HEALTHIMAGING):
            yield statement


def _pins(condition: Condition) -> bool:
    """Whether a condition says for which account HealthImaging may act, with whatever operator."""
    key = condition.key.lower()
    if key not in _PINS or condition.plain_operator not in _COMPARES:
        return False
    if not condition.is_readable:
        return True
    return all(_names_account(key, value) for value in condition.values)


def _names_account(key: str, value: Text) -> bool:
    if value.literal is not None and set(value.literal) <= set("*?"):
        return False
    parts = arn_parts(value) if key == "aws:sourcearn" else None
    if key == "aws:sourcearn" and parts is None and value.literal and "*" in value.literal:
        return value.literal.count(":") >= 5 and "*" not in value.literal.split(":")[4]
    if parts is None or parts[4].literal is None:
        return True
    return bool(parts[4].literal) and not set(parts[4].literal) <= set("*?")


def _is_denied_otherwise(subject: Subject, statement: Statement) -> bool:
    """Whether a Deny beside it ends requests for other accounts."""
    for other in subject.policies.statements:
        is_beside = other.template is statement.template and other.logical_id == statement.logical_id
        if other.kind is not PolicyKind.TRUST or other.allows or not is_beside:
            continue
        for condition in other.conditions:
            if condition.key.lower() in _PINS and condition.plain_operator in _DIFFERS:
                return True
    return False


def _any_account(subject: Subject) -> Iterator[Hit]:
    for statement in _trusts(subject):
        is_known = statement.has_all_conditions
        if is_known and not any(map(_pins, statement.conditions)) and not _is_denied_otherwise(subject, statement):
            text = "HealthImaging can be made to assume this role by a job of any account"
            yield Hit(statement.template, statement.logical_id, statement.path, text)


def _weak_operator(subject: Subject) -> Iterator[Hit]:
    for statement in _trusts(subject):
        present = {
            condition.key.lower()
            for condition in statement.conditions
            if condition.operator.lower() == "null" and [value.literal for value in condition.values] == ["false"]
        }
        # Where a plain operator names the account, the data store only narrows it further, and may be absent.
        if any(
            _pins(condition) and not condition.is_weak and condition.key.lower() in _ACCOUNT_KEYS
            for condition in statement.conditions
        ):
            present.add("aws:sourcearn")
        for condition in statement.conditions:
            key = condition.key.lower()
            if condition.is_weak and key not in present and key != "aws:tagkeys":
                text = f"{condition.operator} lets a request pass that has no {condition.key}"
                path = f"{statement.path}/Condition/{condition.operator}"
                yield Hit(statement.template, statement.logical_id, path, text, fix=_plain(condition))


def _plain(condition: Condition) -> str:
    """What to write instead."""
    name = condition.operator
    if name.lower().startswith("forallvalues:"):
        name = name.partition(":")[2]
    if name.lower().endswith("ifexists"):
        name = name[: -len("IfExists")]
    return f"use {name}"


def _unknown_principal(subject: Subject) -> Iterator[Hit]:
    for statement in subject.policies.statements:
        for kind, name in statement.principals:
            if kind == "AWS" and (name.literal or "").strip() == HEALTHIMAGING:
                text = f"{HEALTHIMAGING} stands under AWS: as an account or a user it does not exist"
                fix = f'write "Service": "{HEALTHIMAGING}"'
                yield Hit(statement.template, statement.logical_id, f"{statement.path}/Principal/AWS", text, fix=fix)
            if kind == "Service" and is_misspelt_service(name):
                text = f"there is no service principal {name}"
                yield Hit(statement.template, statement.logical_id, f"{statement.path}/Principal/Service", text)
        for condition in statement.conditions:
            if condition.key.lower() == "iam:passedtoservice":
                for name in condition.values:
                    if is_misspelt_service(name) and "*" not in str(name):
                        text = f"there is no service principal {name}: no role can be passed to it"
                        path = f"{statement.path}/Condition/{condition.operator}"
                        yield Hit(statement.template, statement.logical_id, path, text)


def is_misspelt_service(name: Text) -> bool:
    """Whether a service principal is meant for HealthImaging, but is another name."""
    shown = str(name)
    if shown == HEALTHIMAGING or name.is_open:
        return False
    if ".amazon" not in shown:
        return normalized(shown) in {"medicalimaging", "healthimaging"}
    return "imaging" in normalized(shown) or is_meant(shown.partition(".")[0])


def _unknown_key(subject: Subject) -> Iterator[Hit]:
    for statement in _trusts(subject):
        for condition in statement.conditions:
            if not _may_exist(condition.key.lower()):
                text = f"there is no condition key {condition.key} in a request of HealthImaging to assume a role"
                path = f"{statement.path}/Condition/{condition.operator}/{condition.key}"
                yield Hit(statement.template, statement.logical_id, path, text)


def _may_exist(key: str) -> bool:
    service, colon, name = key.partition(":")
    if (
        key in CONDITION_KEYS
        or key in STS_CONDITION_KEYS
        or key.startswith((*CONDITION_KEY_FAMILIES, "sts:requestcontext/"))
    ):
        return True
    # Keys of identity providers belong to the provider: whether they exist is not known here.
    is_global = f"aws:{name}" in CONDITION_KEYS
    return bool(colon) and service not in {"aws", "sts"} and "imaging" not in service and not is_global


RULES = (
    Rule(
        "HI201",
        Severity.ERROR,
        "A role that HealthImaging assumes says for which account",
        "add the condition StringEquals aws:SourceAccount with your account",
        _any_account,
    ),
    Rule(
        "HI202",
        Severity.ERROR,
        "A role that HealthImaging assumes compares with plain operators",
        "use the plain operator, as StringEquals",
        _weak_operator,
    ),
    Rule(
        "HI203",
        Severity.ERROR,
        "HealthImaging's service principal is spelt as it is",
        f"write {HEALTHIMAGING}, in every Region",
        _unknown_principal,
    ),
    Rule(
        "HI204",
        Severity.ERROR,
        "The condition keys of a role that HealthImaging assumes exist",
        "spell the key as AWS does, as aws:SourceAccount; letter case does not matter",
        _unknown_key,
    ),
)
