"""What is written in strings: calls of AWS's SDK in state machines and schedules, and other JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from healthimaging_cdk.review.reading.assembly import Assembly
from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.template import Node
from healthimaging_cdk.review.reading.text import Hole, Text

_MARKER = re.compile("[\U000f0000-\U000ffffd]")
_INTEGRATION = re.compile(r"^aws-sdk:([^:]*):(\w+)(\..*)?$")


@dataclass(frozen=True, eq=False)
class Integration:
    """A call of AWS's SDK in a state machine or a schedule."""

    reader: Reader
    logical_id: str
    path: str
    service: str
    operation: str
    arguments: dict[str, Any]


def integrations_of(assembly: Assembly) -> list[Integration]:
    """Every call of AWS's SDK in an assembly's state machines and schedules."""
    found = []
    machines = ("AWS::StepFunctions::StateMachine", "AWS::Serverless::StateMachine")
    for reader, logical_id, resource in assembly.of_type(*machines):
        for key in ("DefinitionString", "Definition"):
            for node in reader.get(resource, "Properties", key).nodes:
                substitutions = reader.get(resource, "Properties", "DefinitionSubstitutions").nodes
                definition = structure_in(reader, node, substitutions[0] if substitutions else {})
                found += list(_tasks(reader, logical_id, f"Resources/{logical_id}/Properties/{key}", definition))
    for reader, logical_id, resource in assembly.of_type("AWS::Scheduler::Schedule"):
        for node in reader.get(resource, "Properties", "Target").nodes:
            arn = reader.text(node.get("Arn")) if isinstance(node, dict) else None
            call = arn.split(":::")[-1].literal if arn is not None else None
            match = _INTEGRATION.match(call or "")
            if match:
                arguments = structure_in(reader, node.get("Input"), {})
                path = f"Resources/{logical_id}/Properties/Target"
                given = arguments if isinstance(arguments, dict) else {}
                found.append(Integration(reader, logical_id, path, match[1], match[2], given))
    return found


def structure_in(reader: Reader, node: Node, substitutions: Node) -> Node:
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
