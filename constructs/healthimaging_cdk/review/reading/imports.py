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
from healthimaging_cdk.review.reading.assembly import Assembly
from healthimaging_cdk.review.reading.definitions import Integration, integrations_of, structure_in
from healthimaging_cdk.review.reading.policies import Policies
from healthimaging_cdk.review.reading.reach import reach_of
from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.resource import TemplateResource
from healthimaging_cdk.review.reading.template import Node, call_of, is_custom, normalized
from healthimaging_cdk.review.reading.text import Text

STORE_TYPE = "AWS::HealthImaging::Datastore"

_CREATES = "medical-imaging:createdatastore"
_STARTS = "medical-imaging:startdicomimportjob"
_NOT_A_STORE = re.compile(
    "lookup|find|get|describe|resolve|empt|delet|remov|clean|tag|wait|import|copy|alias|guard|check|healthlake|fhir"
)
_SIDES = {"input": ("input", "source"), "output": ("output", "destination", "result", "target")}
"""What others call the two places of an import."""


class ImportKind(StrEnum):
    """What starts an import."""

    RESOURCE = "custom resource"
    BULK = "bulk import"
    """A run of this library's BulkDicomImport that a deploy starts."""
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
class ImportUse(TemplateResource):
    """Something that starts an import job."""

    kind: ImportKind
    role: Text | None = None
    source: Place | None = None
    output: Place | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is this library's: its function keeps to the service's rates by itself."""
        return self.type in {contract.ResourceType.IMPORT, contract.ResourceType.BULK_START}


@dataclass(frozen=True, eq=False)
class Store(TemplateResource):
    """A data store: CloudFormation's own, or one that a custom resource makes."""

    @property
    def is_native(self) -> bool:
        """Whether CloudFormation makes it."""
        return self.type == STORE_TYPE

    @property
    def is_own(self) -> bool:
        """Whether it is this library's custom resource."""
        return self.type == contract.ResourceType.DATASTORE

    @property
    def keys(self) -> list[Text]:
        """The key that it names, one for each branch of a condition."""
        found = []
        for properties in self.reader.get(self.resource, "Properties").nodes:
            for name, node in properties.items() if isinstance(properties, dict) else ():
                if name == "KmsKeyArn" or (not self.is_native and "key" in normalized(name)):
                    found += self.reader.texts(node)
        return found


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
        return [call for call in integrations_of(self._assembly) if "imag" in call.service.lower()]

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
        reach = reach_of(self._policies, reader, resource)
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
                            arguments = structure_in(reader, node, {})
                            yield _import(reader, logical_id, ImportKind.RESOURCE, path, arguments)
                        return
            return
        if kind == contract.ResourceType.BULK_START:
            yield _import(reader, logical_id, ImportKind.BULK, path, resource.get("Properties"))
            return
        if kind != contract.ResourceType.IMPORT and kind in set(contract.ResourceType):
            return
        names = {normalized(name) for name, _ in _properties(reader, resource)}
        is_import = kind == contract.ResourceType.IMPORT or bool(names & {"inputs3uri", "dataaccessrolearn"})
        if not is_import and names & {"datastoreid", "datastorearn"}:
            type_name = normalized(kind)
            is_named = "dicomimport" in type_name or "importjob" in type_name or "healthimagingimport" in type_name
            is_import = is_named or reach_of(self._policies, reader, resource).may(_STARTS)
        if not is_import and any("store" in name for name in names):
            places = [_import(reader, logical_id, ImportKind.RESOURCE, path, resource.get("Properties"))]
            has_places = all(use.source is not None and use.output is not None for use in places)
            is_import = has_places and reach_of(self._policies, reader, resource).may(_STARTS)
        if is_import:
            for node in reader.get(resource, "Properties").nodes:
                yield _import(reader, logical_id, ImportKind.RESOURCE, path, node)


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
        call = structure_in(reader, node, {})
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
