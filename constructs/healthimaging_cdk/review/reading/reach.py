"""What the function behind a custom resource may do, as far as it can be followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from healthimaging_cdk.review.reading.policies import Policies, Principal
from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.statements import Statement
from healthimaging_cdk.review.reading.template import Node, normalized, references
from healthimaging_cdk.review.reading.text import Hole, Text

_MAX_ROLES = 12


@dataclass(frozen=True, eq=False)
class Reach:
    """The roles of such a function, and its code as far as the template shows it."""

    roles: list[Principal]
    code: str

    @property
    def is_known(self) -> bool:
        """Whether all that the roles may do is in the templates."""
        return bool(self.roles) and all(role.is_complete for role in self.roles)

    def may(self, action: str) -> bool:
        """Whether an action is allowed by name, or called in code that the template shows."""
        operation = action.rpartition(":")[2]
        if operation in normalized(self.code):
            return True
        return any(_names(item, action) for role in self.roles for item in role.statements if item.allows)


def _names(statement: Statement, action: str) -> bool:
    return statement.may(action) and any(
        pattern.lower().startswith("medical-imaging:") for pattern in statement.actions
    )


def _targets(reader: Reader, node: Node) -> Iterator[tuple[Reader, str]]:
    """The resources that a value names, in whatever template they stand."""
    if isinstance(node, list) and all(isinstance(item, Text) for item in node):
        texts = node
    else:
        for name in references(node):
            if name in reader.resources:
                yield reader, name
        texts = [text for value in _leaves(node) for text in reader.texts(value)]
    for text in texts:
        for hole in text.holes:
            yield from _resource(reader, hole)


def _resource(reader: Reader, hole: Hole) -> Iterator[tuple[Reader, str]]:
    for template in reader.siblings:
        if template.template.name == hole.scope and hole.name in template.resources:
            yield template, hole.name


def _leaves(node: Node) -> Iterator[Node]:
    """The values of properties, one level down."""
    if isinstance(node, dict):
        yield from node.values()
    elif isinstance(node, list):
        yield from node


def reach_of(policies: Policies, reader: Reader, resource: dict[str, Any]) -> Reach:
    """What the function behind a custom resource may do, as far as it can be followed."""
    seen: set[tuple[str, str]] = set()
    roles: list[Principal] = []
    code: list[str] = []
    queue = [(reader, node) for node in (resource.get("Properties"),)]
    while queue and len(roles) < _MAX_ROLES:
        source, node = queue.pop(0)
        for target, logical_id in _targets(source, node):
            if (target.template.name, logical_id) in seen:
                continue
            seen.add((target.template.name, logical_id))
            found = target.resources.get(logical_id, {})
            principal = policies.principals.get((target.template.name, logical_id))
            if principal is not None and principal.resource_type == "AWS::IAM::Role":
                roles.append(principal)
                queue += [(target, list(item.resources)) for item in principal.allowing("lambda:InvokeFunction")]
            elif found.get("Type") == "AWS::Lambda::Function":
                queue.append((target, target.get(found, "Properties", "Role").nodes))
                code += [str(item) for item in target.get(found, "Properties", "Code", "ZipFile").nodes]
    return Reach(roles, " ".join(code))
