"""The policy documents of an assembly: their statements, and what each role may do altogether."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from healthimaging_cdk.review.assembly import Assembly
from healthimaging_cdk.review.reader import Reader
from healthimaging_cdk.review.template import Node, Template, call_of, structure_of
from healthimaging_cdk.review.text import Covers, Text, arn_covers, arn_parts

HEALTHIMAGING = "medical-imaging.amazonaws.com"
"""The service principal of HealthImaging."""

_IDENTITY = ("AWS::IAM::", "AWS::SSO::", "AWS::Serverless::")
_ATTACHED = {"Roles": "AWS::IAM::Role", "Users": "AWS::IAM::User", "Groups": "AWS::IAM::Group"}
_NAMED = {"RoleName": "AWS::IAM::Role", "UserName": "AWS::IAM::User", "GroupName": "AWS::IAM::Group"}
_PRINCIPALS = ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group")
_SEPARATE = ("AWS::IAM::Policy", "AWS::IAM::RolePolicy", "AWS::IAM::UserPolicy", "AWS::IAM::GroupPolicy")


class PolicyKind(StrEnum):
    """What a policy document is for."""

    TRUST = "trust"
    IDENTITY = "identity"
    RESOURCE = "resource"


@dataclass(frozen=True)
class Condition:
    """One key of one operator of a statement's conditions."""

    operator: str
    key: str
    values: tuple[Text, ...]
    is_readable: bool

    @property
    def plain_operator(self) -> str:
        """The operator in lower case, without its set prefix and its suffix."""
        return re.sub(r"^(forallvalues|foranyvalue):|ifexists$", "", self.operator.lower())

    @property
    def is_weak(self) -> bool:
        """Whether it holds for a request without the key."""
        name = self.operator.lower()
        return name.startswith("forallvalues:") or name.endswith("ifexists")


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement of a policy document. Lists that cannot be read in full say so."""

    template: Template
    logical_id: str
    resource_type: str
    path: str
    """Where it stands, below the template's root."""
    kind: PolicyKind
    allows: bool
    actions: tuple[str, ...]
    not_actions: tuple[str, ...]
    has_all_actions: bool
    """Whether all actions could be read."""
    resources: tuple[Text, ...]
    not_resources: tuple[Text, ...]
    has_all_resources: bool
    principals: tuple[tuple[str, Text], ...]
    """Kind (``Service``, ``AWS`` ...) and name."""
    conditions: tuple[Condition, ...]
    has_all_conditions: bool

    def may(self, action: str) -> bool:
        """Whether an action is among those of the statement."""
        name = action.lower()
        if self.not_actions:
            return not any(fnmatchcase(name, pattern.lower()) for pattern in self.not_actions)
        return any(fnmatchcase(name, pattern.lower()) for pattern in self.actions)

    def covers(self, arn: Text) -> Covers:
        """Whether a resource is among those of the statement."""
        if self.not_resources:
            return (
                Covers.YES if all(arn_covers(item, arn) is Covers.NO for item in self.not_resources) else Covers.MAYBE
            )
        answers = {arn_covers(item, arn) for item in self.resources}
        if Covers.YES in answers:
            return Covers.YES
        return Covers.MAYBE if Covers.MAYBE in answers or not self.has_all_resources else Covers.NO

    def is_for_service(self, service: str) -> bool:
        """Whether it is for a service principal."""
        return any(kind == "Service" and name.literal == service for kind, name in self.principals)


@dataclass(eq=False)
class Principal:
    """A role, a user or a group, with what it may do."""

    template: Template
    logical_id: str
    resource_type: str
    statements: list[Statement]
    trust: list[Statement]
    is_complete: bool
    """Whether all of its policies could be read."""

    def allowing(self, action: str) -> list[Statement]:
        """The statements that allow an action, on whatever resource."""
        return [item for item in self.statements if item.allows and item.may(action)]

    def may(self, action: str, arn: Text) -> Covers:
        """Whether it may do an action on a resource by its own policies; a Deny is not looked at."""
        answers = {item.covers(arn) for item in self.allowing(action)}
        if Covers.YES in answers:
            return Covers.YES
        is_open = Covers.MAYBE in answers or not self.is_complete or any(not i.has_all_actions for i in self.statements)
        return Covers.MAYBE if is_open else Covers.NO


class Policies:
    """Every policy document of an assembly."""

    def __init__(self, assembly: Assembly) -> None:
        """Read the policy documents of an assembly."""
        self._assembly = assembly
        self._attached: dict[tuple[str, str], list[str]] = {}

    @cached_property
    def statements(self) -> list[Statement]:
        """Every statement, wherever it stands."""
        return [
            statement
            for reader, logical_id, resource in self._assembly.resources()
            if (logical_id, reader.template.name) not in self._boundaries
            for statement in _statements_of(reader, logical_id, resource)
        ]

    @cached_property
    def _boundaries(self) -> set[tuple[str, str]]:
        """The managed policies that only bound what others allow."""
        bounding: set[tuple[str, str]] = set()
        attached: set[tuple[str, str]] = set()
        for reader, logical_id, resource in self._assembly.resources():
            for key, found in (("PermissionsBoundary", bounding), ("ManagedPolicyArns", attached)):
                for node in reader.get(resource, "Properties", key).nodes:
                    for item in reader.items(node).nodes:
                        for text in reader.texts(item):
                            found |= {(hole.name, hole.scope) for hole in text.holes}
            if resource["Type"] == "AWS::IAM::ManagedPolicy" and any(
                reader.get(resource, "Properties", key).nodes for key in _ATTACHED
            ):
                attached.add((logical_id, reader.template.name))
        return bounding - attached

    @cached_property
    def principals(self) -> dict[tuple[str, str], Principal]:
        """Roles, users and groups, by the name of their template and their logical id."""
        found: dict[tuple[str, str], Principal] = {}
        for reader, logical_id, resource in self._assembly.of_type(*_PRINCIPALS):
            key = (reader.template.name, logical_id)
            found[key] = Principal(reader.template, logical_id, resource["Type"], [], [], is_complete=True)
        own: dict[tuple[str, str], list[Statement]] = {}
        for statement in self.statements:
            own.setdefault((statement.template.name, statement.logical_id), []).append(statement)
        for key, principal in found.items():
            for statement in own.get(key, []):
                (principal.trust if statement.kind is PolicyKind.TRUST else principal.statements).append(statement)
        names = self._names(found)
        for reader, logical_id, resource in self._assembly.of_type(*_SEPARATE, "AWS::IAM::ManagedPolicy"):
            for name in self._holders(reader, resource):
                for principal in names.get(name, []):
                    principal.statements += own.get((reader.template.name, logical_id), [])
                    principal.is_complete = principal.is_complete and _is_readable(reader, resource)
        for reader, logical_id, resource in self._assembly.of_type(*_PRINCIPALS):
            self._add_managed(reader, resource, found[reader.template.name, logical_id], own)
        return found

    def _names(self, principals: dict[tuple[str, str], Principal]) -> dict[tuple[str, Text], list[Principal]]:
        found: dict[tuple[str, Text], list[Principal]] = {}
        for principal in principals.values():
            reader = self._assembly.reader(principal.template)
            for name in reader.texts({"Ref": principal.logical_id}):
                found.setdefault((principal.resource_type, name), []).append(principal)
        return found

    def _holders(self, reader: Reader, resource: dict[str, Any]) -> Iterator[tuple[str, Text]]:
        for key, kind in (*_ATTACHED.items(), *_NAMED.items()):
            for node in reader.get(resource, "Properties", key).nodes:
                for item in reader.items(node).nodes:
                    yield from ((kind, text) for text in reader.texts(item))

    def _add_managed(
        self,
        reader: Reader,
        resource: dict[str, Any],
        principal: Principal,
        own: dict[tuple[str, str], list[Statement]],
    ) -> None:
        properties = reader.get(resource, "Properties")
        principal.is_complete = principal.is_complete and properties.is_certain and _is_readable(reader, resource)
        for node in reader.get(resource, "Properties", "ManagedPolicyArns").nodes:
            items = reader.items(node)
            principal.is_complete = principal.is_complete and items.is_certain
            for item in items.nodes:
                for text in reader.texts(item):
                    found = [own[hole.scope, hole.name] for hole in text.holes if (hole.scope, hole.name) in own]
                    principal.statements += [statement for statements in found for statement in statements]
                    principal.is_complete = principal.is_complete and bool(found)

    @cached_property
    def _roles_by_name(self) -> dict[Text, Principal]:
        names = self._names(self.principals)
        return {name: found[0] for (kind, name), found in names.items() if kind == "AWS::IAM::Role"}

    def role_of(self, arn: Text) -> Principal | None:
        """The role that an ARN names, if a template has it."""
        parts = arn_parts(arn)
        if parts is None or parts[2].literal != "iam":
            return None
        name = parts[5].without_prefix("role/")
        return self._roles_by_name.get(name.split("/")[-1]) if name is not None else None

    @cached_property
    def granted_by_resources(self) -> list[Statement]:
        """What policies of buckets and keys allow."""
        return [item for item in self.statements if item.kind is PolicyKind.RESOURCE and item.allows]


def _is_readable(reader: Reader, resource: dict[str, Any]) -> bool:
    """Whether the policies of a resource are written out."""
    for key in ("PolicyDocument", "Policies"):
        for node in reader.get(resource, "Properties", key).nodes:
            for item in reader.items(node).nodes:
                inner = item if key == "PolicyDocument" else reader.get(item, "PolicyDocument").nodes
                documents = [item] if key == "PolicyDocument" else inner
                if not documents or any(_document(entry) is None for entry in documents):
                    return False
    return True


def _document(node: Node) -> dict[str, Any] | None:
    """A policy document, which may be JSON in a string."""
    node = structure_of(node)
    return node if isinstance(node, dict) and call_of(node) is None and "Fn::Transform" not in node else None


def _statements_of(reader: Reader, logical_id: str, resource: dict[str, Any]) -> Iterator[Statement]:
    for path, document in _documents("Properties", reader.get(resource, "Properties").nodes, reader, 0):
        kind = PolicyKind.IDENTITY if resource["Type"].startswith(_IDENTITY) else PolicyKind.RESOURCE
        if path.endswith("/AssumeRolePolicyDocument"):
            kind = PolicyKind.TRUST
        for found in reader.get(document, "Statement").nodes:
            for index, node in enumerate(reader.items(found).nodes):
                if isinstance(node, dict):
                    place = f"Resources/{logical_id}/{path}/Statement" + (
                        f"/{index}" if isinstance(found, list) else ""
                    )
                    yield _statement(reader, logical_id, place, kind, node)


def _documents(path: str, nodes: Sequence[Node], reader: Reader, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy document below some nodes."""
    for node in nodes:
        document = _document(node) if isinstance(node, dict) or path.endswith(("Policy", "Document")) else None
        if document is not None and "Statement" in document:
            yield path, document
        elif isinstance(node, dict) and depth < 8 and call_of(node) is None:
            for key, item in node.items():
                yield from _documents(f"{path}/{key}", reader.options(item), reader, depth + 1)
        elif isinstance(node, list) and depth < 8:
            for index, item in enumerate(node):
                yield from _documents(f"{path}/{index}", reader.options(item), reader, depth + 1)


def _statement(reader: Reader, logical_id: str, path: str, kind: PolicyKind, node: dict[str, Any]) -> Statement:
    resource = reader.resources[logical_id]
    actions, has_all_actions = _texts(reader, node, "Action")
    not_actions, has_all_not = _texts(reader, node, "NotAction")
    resources, has_all_resources = _texts(reader, node, "Resource")
    not_resources, has_all_others = _texts(reader, node, "NotResource")
    literal = [text.literal for text in actions]
    excluded = [text.literal for text in not_actions]
    conditions, has_all_conditions = _conditions(reader, node)
    effect = reader.text(node.get("Effect"))
    has_effect = effect is not None and effect.literal is not None
    return Statement(
        template=reader.template,
        logical_id=logical_id,
        resource_type=resource["Type"],
        path=path,
        kind=kind,
        allows=effect is not None and effect.literal == "Allow",
        actions=tuple(name for name in literal if name is not None),
        not_actions=tuple(name for name in excluded if name is not None),
        has_all_actions=has_effect and has_all_actions and has_all_not and None not in literal and None not in excluded,
        resources=resources,
        not_resources=not_resources,
        has_all_resources=has_all_resources and has_all_others,
        principals=tuple(_principals(reader, node.get("Principal"))),
        conditions=tuple(conditions),
        has_all_conditions=has_all_conditions,
    )


def _texts(reader: Reader, node: dict[str, Any], key: str) -> tuple[tuple[Text, ...], bool]:
    if key not in node:
        return (), True
    items = reader.items(node[key])
    found = [reader.texts(item) for item in items.nodes]
    return tuple(text for texts in found for text in texts), items.is_certain and all(found)


def _principals(reader: Reader, node: Node) -> Iterator[tuple[str, Text]]:
    for option in reader.options(node):
        if isinstance(option, dict) and call_of(option) is None:
            for kind, names in option.items():
                for item in reader.items(names).nodes:
                    yield from ((str(kind), text) for text in reader.texts(item))
        else:
            yield from (("*", text) for text in reader.texts(option))


def _conditions(reader: Reader, node: dict[str, Any]) -> tuple[list[Condition], bool]:
    found: list[Condition] = []
    readable = True
    options = reader.options(node["Condition"]) if "Condition" in node else [{}]
    for option in options:
        if not isinstance(option, dict) or call_of(option) or "Fn::Transform" in option:
            readable = False
            continue
        for operator, keys in option.items():
            for given in reader.options(keys):
                if not isinstance(given, dict) or call_of(given):
                    readable = False
                    continue
                for key, values in given.items():
                    items = reader.items(values)
                    texts = [reader.texts(item) for item in items.nodes]
                    flat = tuple(text for item in texts for text in item)
                    found.append(Condition(str(operator), str(key), flat, items.is_certain and all(texts)))
    return found, readable and len(options) == 1
