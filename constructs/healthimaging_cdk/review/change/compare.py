"""Two assemblies side by side: which template and which resource of one is which of the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from healthimaging_cdk.review.finding import Subject
from healthimaging_cdk.review.reading.assembly import Assembly
from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.resource import TemplateResource
from healthimaging_cdk.review.reading.template import Node, call_of
from healthimaging_cdk.review.reading.text import Hole, HoleKind, Text

ResourceKey = tuple[str, str]
"""The name of a template, and a logical id in it."""

_MAX_DEPTH = 24


@dataclass(frozen=True, eq=False)
class Placed(TemplateResource):
    """A resource of one of the two assemblies."""

    @property
    def stack(self) -> str:
        """The name of its template."""
        return self.template.name

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its properties as they are written."""
        found = self.resource.get("Properties")
        return found if isinstance(found, dict) else {}


@dataclass(eq=False)
class Side:
    """One of two assemblies. Names of the older one are those that the newer one has for them."""

    assembly: Assembly
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of templates that the other assembly has otherwise."""

    @cached_property
    def subject(self) -> Subject:
        """What rules and facts look at."""
        return Subject(self.assembly)

    @cached_property
    def resources(self) -> dict[ResourceKey, Placed]:
        """Every resource."""
        return {
            (self.name(reader.template.name), logical_id): Placed(reader, logical_id, resource)
            for reader, logical_id, resource in self.assembly.resources()
        }

    def name(self, template: str) -> str:
        """The name that the newer assembly has for a template."""
        return self.names.get(template, template)

    def canonical(self, reader: Reader, node: Node, depth: int = 0) -> Node:
        """A value so that equal values are equal, however they are written."""
        if depth > _MAX_DEPTH:
            return None
        if isinstance(node, bool):
            return str(node).lower()
        texts = reader.texts(node) if not isinstance(node, (dict, list)) or call_of(node) else []
        if texts:
            return tuple(self.shown(text) for text in texts)
        if isinstance(node, dict):
            if call_of(node):
                return None
            found = {str(key): self.canonical(reader, item, depth + 1) for key, item in node.items()}
            return {key: item for key, item in found.items() if item is not None}
        if isinstance(node, list):
            return [self.canonical(reader, item, depth + 1) for item in node]
        return None if node is None else (str(node),)

    def shown(self, text: Text) -> str:
        """A text with the holes of this assembly, by the names of the newer one."""
        return "".join(part if isinstance(part, str) else self._marked(part) for part in text.parts)

    def _marked(self, hole: Hole) -> str:
        return f"${{{hole.kind}|{self.name(hole.scope)}|{hole.name}|{hole.attribute}}}"


@dataclass(eq=False)
class Comparison:
    """An older and a newer assembly."""

    before: Side
    after: Side

    @classmethod
    def of(cls, before: Assembly, after: Assembly) -> Comparison:
        """Compare two assemblies: stacks are one by their name, or if either has one only."""
        old = [template.name for template in before.templates if template.parent is None]
        new = [template.name for template in after.templates if template.parent is None]
        roots = {old[0]: new[0]} if len(old) == len(new) == 1 and old != new else {}
        names = {}
        for template in before.templates:
            root, slash, rest = template.name.partition("/")
            if root in roots:
                names[template.name] = f"{roots[root]}{slash}{rest}"
        return cls(Side(before, names), Side(after))

    @cached_property
    def kept(self) -> dict[ResourceKey, tuple[Placed, Placed]]:
        """The resources that both have."""
        after = self.after.resources
        return {key: (old, after[key]) for key, old in self.before.resources.items() if key in after}

    @cached_property
    def removed(self) -> dict[ResourceKey, Placed]:
        """The resources that only the older one has."""
        return {key: old for key, old in self.before.resources.items() if key not in self.after.resources}

    @cached_property
    def added(self) -> dict[ResourceKey, Placed]:
        """The resources that only the newer one has."""
        return {key: new for key, new in self.after.resources.items() if key not in self.before.resources}

    def changed_properties(self, key: ResourceKey) -> list[str]:
        """The names of the properties that a kept resource has otherwise."""
        old, new = self.kept[key]
        names = dict.fromkeys((*old.properties, *new.properties))
        return [
            str(name)
            for name in names
            if self.before.canonical(old.reader, old.properties.get(name))
            != self.after.canonical(new.reader, new.properties.get(name))
        ]


def holes_in(reader: Reader, node: Node, depth: int = 0) -> Iterator[Hole]:
    """The resources whose names or attributes a value holds."""
    texts = reader.texts(node)
    if texts:
        yield from (hole for text in texts for hole in text.holes if hole.kind is HoleKind.RESOURCE)
    elif depth > _MAX_DEPTH or call_of(node):
        return
    elif isinstance(node, dict):
        for item in node.values():
            yield from holes_in(reader, item, depth + 1)
    elif isinstance(node, list):
        for item in node:
            yield from holes_in(reader, item, depth + 1)
