"""The statements of policy documents, wherever a template holds them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.template import Node, Template, call_of, structure_of
from healthimaging_cdk.review.reading.text import Covers, Text, arn_covers

HEALTHIMAGING = "medical-imaging.amazonaws.com"
"""The service principal of HealthImaging."""

_IDENTITY = ("AWS::IAM::", "AWS::SSO::", "AWS::Serverless::")


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


def document_in(node: Node) -> dict[str, Any] | None:
    """A policy document, which may be JSON in a string."""
    node = structure_of(node)
    return node if isinstance(node, dict) and call_of(node) is None and "Fn::Transform" not in node else None


def statements_of(reader: Reader, logical_id: str, resource: dict[str, Any]) -> Iterator[Statement]:
    """The statements of every policy document in a resource."""
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
        document = document_in(node) if isinstance(node, dict) or path.endswith(("Policy", "Document")) else None
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
