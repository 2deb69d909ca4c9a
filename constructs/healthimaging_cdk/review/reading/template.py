"""One template, and what its parts are. Nothing here raises, whatever the template holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

Node = Any
"""A part of a template as JSON has it."""

PLACEHOLDER = re.compile(r"\$\{(!?)([^}]*)\}")
MAX_DEPTH = 24


class Found(NamedTuple):
    """What stands at a place of a template."""

    nodes: list[Node]
    """One for each branch of ``Fn::If``; none where nothing stands there."""
    is_certain: bool
    """Whether no condition, macro or unknown function decides what stands there."""

    @property
    def is_absent(self) -> bool:
        """Whether certainly nothing stands there."""
        return not self.nodes and self.is_certain


def normalized(name: object) -> str:
    """A name without its letter case and punctuation: ``InputS3Uri`` and ``input_s3_uri`` are one."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def call_of(node: Node) -> str | None:
    """The intrinsic function that a node calls."""
    if isinstance(node, dict) and len(node) == 1:
        (name,) = node
        if isinstance(name, str) and (name in ("Ref", "Condition") or name.startswith("Fn::")):
            return name
    return None


def structure_of(node: Node) -> Node:
    """What a value is that may be JSON in a string, or in the string of a ``Fn::Sub``; None for JSON that is broken."""
    text, variables = node, None
    if call_of(node) == "Fn::Sub":
        text = node["Fn::Sub"]
        if isinstance(text, list) and len(text) == 2:
            text, variables = text
    if not isinstance(text, str):
        return node
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if text is node else _with_sub(found, variables)


def _with_sub(node: Node, variables: Node) -> Node:
    if isinstance(node, str) and "${" in node:
        return {"Fn::Sub": node if variables is None else [node, variables]}
    if isinstance(node, dict):
        return {key: _with_sub(item, variables) for key, item in node.items()}
    return [_with_sub(item, variables) for item in node] if isinstance(node, list) else node


@dataclass(eq=False)
class Template:
    """A template of an assembly: of a stack, or of a stack in a stack."""

    name: str
    """The name of its stack; for a nested stack, that of its parent and its logical id there."""
    document: Mapping[str, Any]
    region: str | None = None
    account: str | None = None
    file: str = ""
    """The template's file in the assembly; empty where there is none."""
    parent: Template | None = None
    parent_resource: str = ""
    """The logical id of the nested stack in its parent."""
    construct_paths: Mapping[str, str] = field(default_factory=dict)
    """Construct paths by logical id, as far as the assembly says."""
    acknowledged: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Reasons by acknowledged id, by construct path."""

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the template; empty where there is none."""
        found = self.document.get(name)
        return found if isinstance(found, dict) else {}

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """Resources by logical id, without those whose condition is known to be false."""
        found = {}
        for logical_id, resource in self.section("Resources").items():
            if isinstance(resource, dict) and isinstance(resource.get("Type"), str):
                found[str(logical_id)] = resource
        return found

    def of_type(self, *types: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The resources of some types."""
        for logical_id, resource in self.resources.items():
            if resource["Type"] in types:
                yield logical_id, resource


def is_custom(resource_type: str) -> bool:
    """Whether a resource is made by somebody's function."""
    return resource_type.startswith("Custom::") or resource_type == "AWS::CloudFormation::CustomResource"


def all_references(node: Node, depth: int = 0) -> Iterator[tuple[str, str]]:
    """What a value names: parameters and resources, conditions, dynamic references."""
    if depth > 4 * MAX_DEPTH:
        return
    if isinstance(node, str):
        yield from (("dynamic", found) for found in re.findall(r"\{\{resolve:[^}]*\}\}", node))
    elif isinstance(node, list):
        for item in node:
            yield from all_references(item, depth + 1)
    elif isinstance(node, dict):
        for key, item in node.items():
            if key in {"Ref", "Condition"} and isinstance(item, str):
                yield ("condition" if key == "Condition" else "name", item)
            elif key == "Fn::GetAtt":
                name = item[0] if isinstance(item, list) and item else item
                yield ("name", str(name).split(".", maxsplit=1)[0])
            elif key == "Fn::If" and isinstance(item, list) and item and isinstance(item[0], str):
                yield ("condition", item[0])
                yield from all_references(item[1:], depth + 1)
            elif key == "Fn::Sub":
                text = item[0] if isinstance(item, list) and item else item
                for escaped, found in PLACEHOLDER.findall(text) if isinstance(text, str) else ():
                    if not escaped:
                        yield ("name", found.split(".", maxsplit=1)[0].strip())
                yield from all_references(item, depth + 1)
            else:
                yield from all_references(item, depth + 1)


def references(node: Node) -> set[str]:
    """The logical ids and parameters that a value names."""
    return {name for kind, name in all_references(node) if kind == "name"}
