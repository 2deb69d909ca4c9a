"""What IAM takes as a policy, and whom a policy means."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping

from ministack.core import iam_actions, iam_evaluator, responses
from ministack.services import iam, lambda_svc
from ministack.services.cloudformation import provisioners

from healthimaging_local import decisions
from healthimaging_local.ports import Json

_CHARACTERS = re.compile(r"[\t\n\r\x20-\xff]+")
_SPACE = re.compile(r"\s")
_LONGEST = {"role": 10_240, "user": 2_048, "group": 5_120, "managed": 6_144, "trust": 2_048}
_OPERATIONS = {
    "PutRolePolicy": "role",
    "PutUserPolicy": "user",
    "PutGroupPolicy": "group",
    "CreatePolicy": "managed",
    "CreatePolicyVersion": "managed",
    "CreateRole": "trust",
    "UpdateAssumeRolePolicy": "trust",
}


def policies_have_iams_characters_and_lengths() -> None:
    """Refuse a policy with a character above U+00FF, or one that is too long.

    IAM's model has the characters, its guide ("IAM and AWS STS quotas") the lengths, in which white space does not
    count: 10,240 for all inline policies of a role together.
    """
    for operation, kind in _OPERATIONS.items():
        checked = _checked(iam._IAM_HANDLERS[operation], kind)
        iam._IAM_HANDLERS[operation] = checked
        for name, known in list(vars(iam).items()):
            if known is checked.__wrapped__:  # type: ignore[attr-defined]
                setattr(iam, name, checked)  # CloudFormation calls it by name
    for resource_type, find in (
        ("AWS::IAM::Role", _of_role),
        ("AWS::IAM::ManagedPolicy", lambda it: [("managed", [it.get("PolicyDocument", {})])]),
        ("AWS::IAM::Policy", lambda it: [("role", [it.get("PolicyDocument", {})])]),
    ):
        handlers = provisioners._RESOURCE_HANDLERS[resource_type]
        for name, position in (("create", 1), ("update", 2)):
            handlers[name] = _checked_resource(handlers[name], position, find)


def _checked(original: Callable[[Json], Json], kind: str) -> Callable[[Json], Json]:
    def handler(parameters: Json) -> Json:
        document = iam._p(parameters, "AssumeRolePolicyDocument" if kind == "trust" else "PolicyDocument") or ""
        others = []
        if kind == "role":
            role = iam._roles.get(iam._p(parameters, "RoleName")) or {}
            name = iam._p(parameters, "PolicyName")
            others = [text for other, text in (role.get("InlinePolicies") or {}).items() if other != name]
        problem = _problem(kind, [document, *others])
        return iam._error(problem[2], problem[0], problem[1], ns="iam") if problem else original(parameters)

    handler.__wrapped__ = original  # type: ignore[attr-defined]
    return handler


def _of_role(properties: Json) -> Iterable[tuple[str, list[Json]]]:
    yield "trust", [properties.get("AssumeRolePolicyDocument", {})]
    yield "role", [policy.get("PolicyDocument", {}) for policy in properties.get("Policies") or []]


def _checked_resource(
    original: Callable[..., Json], position: int, find: Callable[[Json], Json]
) -> Callable[..., Json]:
    def handler(*arguments: Json, **more: Json) -> Json:
        for kind, documents in find(arguments[position]):
            problem = _problem(kind, documents)
            if problem:
                raise ValueError(problem[1])
        return original(*arguments, **more)

    return handler


def _problem(kind: str, documents: Iterable[Json]) -> tuple[str, str, int] | None:
    """Code, message and status of what is wrong with the documents of one role, or one policy."""
    texts = [
        it if isinstance(it, str) else json.dumps(it, ensure_ascii=False, separators=(",", ":")) for it in documents
    ]
    if any(text and not _CHARACTERS.fullmatch(text) for text in texts):
        message = "The specified value for policyDocument is invalid. It must contain only printable ASCII characters."
        return "ValidationError", message, 400
    longest = _LONGEST[kind]
    if sum(len(_SPACE.sub("", text)) for text in texts) > longest:
        return "LimitExceeded", f"Maximum policy size of {longest} bytes exceeded", 409
    return None


def a_principal_is_a_role_with_its_path() -> None:
    """Let a policy that names a role mean the role of that very ARN, with its path; ministack looks at the name."""
    original = iam_evaluator._principal_matches

    def principal_matches(principal: Json, caller: str) -> bool:
        if not isinstance(principal, Mapping) or ":assumed-role/" not in caller:
            return bool(original(principal, caller))
        named = principal.get("AWS", [])
        named = [named] if isinstance(named, str) else named
        account, name = caller.split(":")[4], caller.split("/")[1]
        role = iam._roles.get_scoped(account, None, name) or {}
        kept = [it for it in named if ":role/" not in it or it == role.get("Arn")]
        return bool(original({**principal, "AWS": kept}, caller))

    iam_evaluator._principal_matches = principal_matches


def trust_conditions_are_asked_wherever_a_role_is_assumed() -> None:
    """Give ``sts:AssumeRole`` its condition keys also where a trust policy alone allows it."""
    original = iam_actions.request_tag_context
    keys = {
        "ExternalId": "sts:externalid",
        "RoleSessionName": "sts:rolesessionname",
        "SourceIdentity": "sts:sourceidentity",
    }

    def request_tag_context(service: str, action: str, body: bytes, parameters: Json) -> Json:
        context = original(service, action, body, parameters)
        if action != "sts:AssumeRole":
            return context
        given = {key: parameters[name][0] for name, key in keys.items() if parameters.get(name)}
        return {**context, **given}

    iam_actions.request_tag_context = request_tag_context


def functions_need_a_role_that_trusts_them() -> None:
    """Refuse a function whose role does not let Lambda in, as AWS does when it is made."""
    create = lambda_svc._create_function
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    message = "The role defined for the function cannot be assumed by Lambda."

    def is_refused(role: Json) -> bool:
        return isinstance(role, str) and not decisions.trusts(role, "lambda.amazonaws.com", {})

    def create_function(data: Json, *rest: Json) -> Json:
        if is_refused(data.get("Role")):
            return responses.error_response_json("InvalidParameterValueException", message, 400)
        return create(data, *rest)

    def checked(original: Callable[..., Json], position: int) -> Callable[..., Json]:
        def handler(*arguments: Json, **more: Json) -> Json:
            if is_refused(arguments[position].get("Role")):
                raise ValueError(message)
            return original(*arguments, **more)

        return handler

    lambda_svc._create_function = create_function
    for name, position in (("create", 1), ("update", 2)):
        handlers[name] = checked(handlers[name], position)
