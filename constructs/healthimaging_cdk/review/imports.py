"""The data stores and the imports of an assembly, whatever makes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk.review.assembly import Assembly
from healthimaging_cdk.review.policies import Policies, Principal, Statement
from healthimaging_cdk.review.reader import Reader
from healthimaging_cdk.review.template import Node, Template, call_of, is_custom, normalized, references
from healthimaging_cdk.review.text import Hole, Text

STORE_TYPE = "AWS::HealthImaging::Datastore"

_CREATES = "medical-imaging:createdatastore"
_STARTS = "medical-imaging:startdicomimportjob"
_NOT_A_STORE = re.compile(
    "lookup|find|get|describe|resolve|empt|delet|remov|clean|tag|wait|import|copy|alias|guard|check|healthlake|fhir"
)
_MARKER = re.compile("[\U000f0000-\U000ffffd]")
_INTEGRATION = re.compile(r"^aws-sdk:([^:]*):(\w+)(\..*)?$")
_MAX_ROLES = 12
_SIDES = {"input": ("input", "source"), "output": ("output", "destination", "result", "target")}
"""What others call the two places of an import."""


class ImportKind(StrEnum):
    """What starts an import."""

    RESOURCE = "custom resource"
    STATE_MACHINE = "state machine"
    SCHEDULE = "schedule"


@dataclass(frozen=True, eq=False)
class Place:
    """A bucket and a prefix in it."""

    bucket: Text
    prefix: Text
    path: str
    """Where it is written, below the template's root."""


@dataclass(frozen=True, eq=False)
class ImportUse:
    """Something that starts an import job."""

    reader: Reader
    logical_id: str
    resource: dict[str, Any]
    kind: ImportKind
    role: Text | None = None
    source: Place | None = None
    output: Place | None = None

    @property
    def template(self) -> Template:
        """The template that it stands in."""
        return self.reader.template

    @property
    def is_own(self) -> bool:
        """Whether it is this library's: its function keeps to the service's rates by itself."""
        return bool(self.resource["Type"] == contract.ResourceType.IMPORT)


@dataclass(frozen=True, eq=False)
class Store:
    """A data store: CloudFormation's own, or one that a custom resource makes."""

    reader: Reader
    logical_id: str
    resource: dict[str, Any]

    @property
    def template(self) -> Template:
        """The template that it stands in."""
        return self.reader.template

    @property
    def is_native(self) -> bool:
        """Whether CloudFormation makes it."""
        return bool(self.resource["Type"] == STORE_TYPE)

    @property
    def is_own(self) -> bool:
        """Whether it is this library's custom resource."""
        return bool(self.resource["Type"] == contract.ResourceType.DATASTORE)

    @property
    def keys(self) -> list[Text]:
        """The key that it names, one for each branch of a condition."""
        found = []
        for properties in self.reader.get(self.resource, "Properties").nodes:
            for name, node in properties.items() if isinstance(properties, dict) else ():
                if name == "KmsKeyArn" or (not self.is_native and "key" in normalized(name)):
                    found += self.reader.texts(node)
        return found


@dataclass(frozen=True, eq=False)
class Integration:
    """A call of AWS's SDK in a state machine or a schedule."""

    reader: Reader
    logical_id: str
    path: str
    service: str
    operation: str
    arguments: dict[str, Any]


class Uses:
    """What an assembly does with HealthImaging."""

    def __init__(self, assembly: Assembly, policies: Policies) -> None:
        """Look at an assembly and its policies."""
        self._assembly = assembly
        self._policies = policies

    @cached_property
    def stores(self) -> list[Store]:
        """Every data store."""
        return [
            Store(reader, logical_id, resource)
            for reader, logical_id, resource in self._assembly.resources()
            if resource["Type"] == STORE_TYPE
            or (is_custom(resource["Type"]) and self._is_store(reader, logical_id, resource))
        ]

    @cached_property
    def imports(self) -> list[ImportUse]:
        """Everything that starts an import."""
        found = []
        for reader, logical_id, resource in self._assembly.resources():
            if is_custom(resource["Type"]):
                found += list(self._custom_imports(reader, logical_id, resource))
        for call in self.integrations:
            if normalized(call.service) == "medicalimaging" and call.operation.lower() == "startdicomimportjob":
                resource = call.reader.resources[call.logical_id]
                kind = ImportKind.SCHEDULE if "Scheduler" in resource["Type"] else ImportKind.STATE_MACHINE
                found.append(_import(call.reader, call.logical_id, kind, call.path, call.arguments))
        return found

    @cached_property
    def integrations(self) -> list[Integration]:
        """Every call of AWS's SDK that names a service for images."""
        found = []
        machines = ("AWS::StepFunctions::StateMachine", "AWS::Serverless::StateMachine")
        for reader, logical_id, resource in self._assembly.of_type(*machines):
            for key in ("DefinitionString", "Definition"):
                for node in reader.get(resource, "Properties", key).nodes:
                    substitutions = reader.get(resource, "Properties", "DefinitionSubstitutions").nodes
                    definition = _structure(reader, node, substitutions[0] if substitutions else {})
                    found += list(_tasks(reader, logical_id, f"Resources/{logical_id}/Properties/{key}", definition))
        for reader, logical_id, resource in self._assembly.of_type("AWS::Scheduler::Schedule"):
            for node in reader.get(resource, "Properties", "Target").nodes:
                arn = reader.text(node.get("Arn")) if isinstance(node, dict) else None
                call = arn.split(":::")[-1].literal if arn is not None else None
                match = _INTEGRATION.match(call or "")
                if match:
                    arguments = _structure(reader, node.get("Input"), {})
                    path = f"Resources/{logical_id}/Properties/Target"
                    given = arguments if isinstance(arguments, dict) else {}
                    found.append(Integration(reader, logical_id, path, match[1], match[2], given))
        return [call for call in found if "imag" in call.service.lower()]

    @cached_property
    def has_any(self) -> bool:
        """Whether the assembly uses HealthImaging at all."""
        if self.stores or self.imports:
            return True
        return any("imaging" in json.dumps(item.document, default=str).lower() for item in self._assembly.templates)

    def _is_store(self, reader: Reader, logical_id: str, resource: dict[str, Any]) -> bool:
        kind = resource["Type"]
        if kind == contract.ResourceType.DATASTORE:
            return True
        if kind in set(contract.ResourceType):
            return False
        names = {normalized(name) for name, _ in _properties(reader, resource)}
        if kind.startswith("Custom::AWS"):
            return any("createdatastore" in normalized(call) for call in _sdk_calls(reader, resource, "Create"))
        if names & {"datastoreid", "datastorearn", "inputs3uri", "dataaccessrolearn"}:
            return False
        name = normalized(kind.removeprefix("Custom::").replace("AWS::CloudFormation::CustomResource", logical_id))
        is_named = name.endswith(("datastore", "healthimagingstore", "medicalimagingstore"))
        is_named = is_named and not _NOT_A_STORE.search(name)
        reach = self._reach(reader, resource)
        if reach.is_known:
            has_part = "datastorename" in names or is_named or bool(_reads_id(reader, logical_id))
            return reach.may(_CREATES) and has_part
        return is_named

    def _custom_imports(self, reader: Reader, logical_id: str, resource: dict[str, Any]) -> Iterator[ImportUse]:
        kind = resource["Type"]
        path = f"Resources/{logical_id}/Properties"
        if kind.startswith("Custom::AWS"):
            for key in ("Create", "Update"):
                for call in _sdk_calls(reader, resource, key):
                    if normalized(call) == "startdicomimportjob":
                        for node in reader.get(resource, "Properties", key).nodes:
                            arguments = _structure(reader, node, {})
                            yield _import(reader, logical_id, ImportKind.RESOURCE, path, arguments)
                        return
            return
        if kind != contract.ResourceType.IMPORT and kind in set(contract.ResourceType):
            return
        names = {normalized(name) for name, _ in _properties(reader, resource)}
        is_import = kind == contract.ResourceType.IMPORT or bool(names & {"inputs3uri", "dataaccessrolearn"})
        if not is_import and names & {"datastoreid", "datastorearn"}:
            type_name = normalized(kind)
            is_named = "dicomimport" in type_name or "importjob" in type_name or "healthimagingimport" in type_name
            is_import = is_named or self._reach(reader, resource).may(_STARTS)
        if not is_import and any("store" in name for name in names):
            places = [_import(reader, logical_id, ImportKind.RESOURCE, path, resource.get("Properties"))]
            has_places = all(use.source is not None and use.output is not None for use in places)
            is_import = has_places and self._reach(reader, resource).may(_STARTS)
        if is_import:
            for node in reader.get(resource, "Properties").nodes:
                yield _import(reader, logical_id, ImportKind.RESOURCE, path, node)

    def _reach(self, reader: Reader, resource: dict[str, Any]) -> _Reach:
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
                principal = self._policies.principals.get((target.template.name, logical_id))
                if principal is not None and principal.resource_type == "AWS::IAM::Role":
                    roles.append(principal)
                    queue += [(target, list(item.resources)) for item in principal.allowing("lambda:InvokeFunction")]
                elif found.get("Type") == "AWS::Lambda::Function":
                    queue.append((target, target.get(found, "Properties", "Role").nodes))
                    code += [str(item) for item in target.get(found, "Properties", "Code", "ZipFile").nodes]
        return _Reach(roles, " ".join(code))


@dataclass(frozen=True, eq=False)
class _Reach:
    roles: list[Principal]
    code: str

    @property
    def is_known(self) -> bool:
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


def _reads_id(reader: Reader, logical_id: str) -> bool:
    """Whether a template reads the id or the ARN of a data store off a resource."""
    text = json.dumps(reader.template.document, default=str)
    return bool(re.search(rf'"{re.escape(logical_id)}(", "|\.)[Dd]ata[Ss]tore(Id|Arn)"', text))


def _properties(reader: Reader, resource: dict[str, Any]) -> Iterator[tuple[str, Node]]:
    """The properties of a resource and those one level below."""
    for properties in reader.get(resource, "Properties").nodes:
        for name, node in properties.items() if isinstance(properties, dict) else ():
            yield str(name), node
            if isinstance(node, dict):
                yield from ((str(inner), item) for inner, item in node.items())


def _sdk_calls(reader: Reader, resource: dict[str, Any], key: str) -> Iterator[str]:
    """The operations that CDK's AwsCustomResource calls."""
    for node in reader.get(resource, "Properties", key).nodes:
        call = _structure(reader, node, {})
        if isinstance(call, dict) and "imaging" in normalized(_literal(call.get("service"))):
            yield _literal(call.get("action"))


def _literal(node: Node) -> str:
    return (node.literal or "") if isinstance(node, Text) else str(node or "")


def _import(reader: Reader, logical_id: str, kind: ImportKind, path: str, arguments: Node) -> ImportUse:
    given: dict[str, tuple[str, Node]] = {}
    _collect(arguments, path, given)

    def text(name: str) -> Text | None:
        return reader.text(given[name][1]) if name in given else None

    def place(side: str) -> Place | None:
        names = [f"{side}s3uri", *(name for name in given if name.startswith(_SIDES[side]))]
        for name in dict.fromkeys(names):
            uri = text(name)
            rest = uri.without_prefix("s3://") if uri is not None else None
            if rest is not None:
                bucket, *prefix = rest.split("/", 1)
                return Place(bucket, prefix[0] if prefix else Text(), given[name][0])
        for word in _SIDES[side]:
            bucket_name = text(f"{word}bucket") or text(f"{word}bucketname")
            if bucket_name is None:
                continue
            name = f"{word}prefix"
            found = text(name)
            if name in given and found is None and reader.options(given[name][1]):
                return None
            return Place(bucket_name, found or Text(), given[name][0] if name in given else path)
        return None

    resource = reader.resources[logical_id]
    role = text("dataaccessrolearn") or text("dataaccessrole") or text("importrolearn")
    return ImportUse(reader, logical_id, resource, kind, role, place("input"), place("output"))


def _collect(node: Node, path: str, found: dict[str, tuple[str, Node]], depth: int = 0) -> None:
    """Properties by normalized name, also those of structures in them."""
    if isinstance(node, dict) and depth < 4:
        for key, item in node.items():
            name = normalized(str(key).removesuffix(".$"))
            found.setdefault(name, (f"{path}/{key}", item))
            if isinstance(item, dict) and call_of(item) is None:
                for inner, value in item.items():
                    found.setdefault(name + normalized(inner), (f"{path}/{key}/{inner}", value))
            _collect(item, f"{path}/{key}", found, depth + 1)


def _structure(reader: Reader, node: Node, substitutions: Node) -> Node:
    """What JSON in a string stands for, with its holes; or a structure as it is, with substitutions filled in."""
    given = (
        {str(key): reader.text(item) for key, item in substitutions.items()} if isinstance(substitutions, dict) else {}
    )
    text = reader.text(node)
    if text is None:
        return _filled(node, given, reader) if isinstance(node, dict) else None
    holes: list[Hole] = []
    shown = ""
    for part in text.parts:
        if isinstance(part, str):
            shown += part
        else:
            shown += chr(0xF0000 + len(holes))
            holes.append(part)
    try:
        return _unmarked(json.loads(shown), holes, given)
    except (ValueError, RecursionError):
        return None


def _unmarked(node: Node, holes: list[Hole], given: dict[str, Text | None]) -> Node:
    if isinstance(node, str):
        parts: list[str | Hole | Text] = []
        end = 0
        for found in _MARKER.finditer(node):
            index = ord(found[0]) - 0xF0000
            parts += [node[end : found.start()], holes[index] if index < len(holes) else found[0]]
            end = found.end()
        return _substitute(Text.of(*parts, node[end:]), given)
    if isinstance(node, dict):
        return {key: _unmarked(item, holes, given) for key, item in node.items()}
    return [_unmarked(item, holes, given) for item in node] if isinstance(node, list) else node


def _filled(node: Node, given: dict[str, Text | None], reader: Reader) -> Node:
    text = reader.text(node)
    if text is not None:
        return _substitute(text, given)
    if isinstance(node, dict):
        return {key: _filled(item, given, reader) for key, item in node.items()}
    return [_filled(item, given, reader) for item in node] if isinstance(node, list) else node


def _substitute(text: Text, given: dict[str, Text | None]) -> Text:
    """Fill the ``${Name}`` of a state machine's definition in."""
    parts: list[str | Hole | Text] = []
    for part in text.parts:
        if not isinstance(part, str):
            parts.append(part)
            continue
        for index, piece in enumerate(re.split(r"\$\{(\w+)\}", part)):
            value = given.get(piece) if index % 2 else None
            parts.append(piece if not index % 2 else f"${{{piece}}}" if value is None else value)
    return Text.of(*parts)


def _tasks(reader: Reader, logical_id: str, path: str, node: Node, depth: int = 0) -> Iterator[Integration]:
    """The SDK calls of a state machine's definition, also in its maps and branches."""
    if depth > 24:
        return
    if isinstance(node, list):
        for item in node:
            yield from _tasks(reader, logical_id, path, item, depth + 1)
    if not isinstance(node, dict):
        return
    resource = node.get("Resource")
    if isinstance(resource, Text):
        call = resource.split(":::")[-1].literal
        match = _INTEGRATION.match(call or "")
        if match:
            arguments = node.get("Parameters", node.get("Arguments"))
            given = arguments if isinstance(arguments, dict) else {}
            yield Integration(reader, logical_id, path, match[1], match[2], given)
    for item in node.values():
        yield from _tasks(reader, logical_id, path, item, depth + 1)
