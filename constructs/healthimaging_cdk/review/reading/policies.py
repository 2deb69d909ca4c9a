"""The policy documents of an assembly: what each role may do altogether."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from healthimaging_cdk.review.reading.assembly import Assembly
from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.statements import PolicyKind, Statement, document_in, statements_of
from healthimaging_cdk.review.reading.template import Template
from healthimaging_cdk.review.reading.text import Covers, Text, arn_parts

_ATTACHED = {"Roles": "AWS::IAM::Role", "Users": "AWS::IAM::User", "Groups": "AWS::IAM::Group"}
_NAMED = {"RoleName": "AWS::IAM::Role", "UserName": "AWS::IAM::User", "GroupName": "AWS::IAM::Group"}
_PRINCIPALS = ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group")
_SEPARATE = ("AWS::IAM::Policy", "AWS::IAM::RolePolicy", "AWS::IAM::UserPolicy", "AWS::IAM::GroupPolicy")


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
            for statement in statements_of(reader, logical_id, resource)
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
                if not documents or any(document_in(entry) is None for entry in documents):
                    return False
    return True
