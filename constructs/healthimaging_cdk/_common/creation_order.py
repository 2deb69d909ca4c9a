"""Whether CloudFormation can create what was ordered: a resource must not wait for what waits for that resource."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import jsii
from aws_cdk import CfnResource, Stack
from constructs import Construct, IConstruct, IValidation


@jsii.implements(IValidation)
class CreationOrder:
    """Refuses a circle between the resources of a construct and what they were made to wait for.

    CDK asks after all aspects, when it has turned dependencies of constructs into those of resources. It only warns of
    circles itself. Within a stack alone: between stacks CDK raises an error of its own.
    """

    def __init__(self, construct: Construct, job: Construct) -> None:
        """Take the construct, and the resource in it that ``execute_after`` has wait."""
        self._construct = construct
        self._job = job
        self.is_ordered = False
        """Whether ``execute_after`` was called. Without that and without dependencies nothing is looked for."""

    def validate(self) -> list[str]:
        """Look for a circle, and name both sides."""
        whole = bool(self._construct.node.dependencies)
        if not whole and not self.is_ordered:
            return []
        graph = CreationGraph(Stack.of(self._construct))
        for scope, advice in (
            (self._job, "leave what needs results of the import out of execute_after and node.add_dependency"),
            (self._construct, "use execute_after, which has the job alone wait"),
        )[: 1 + whole]:
            circles = [graph.circle_through(resource.node.path) for resource in _resources(scope)]
            circle = min(filter(None, circles), key=len, default=None)
            if circle:
                name = f"{type(self._construct).__name__} {self._construct.node.path}"
                way = " > ".join(circle)
                return [f"{name}: {circle[0]} and {circle[1]} wait for each other ({way}): {advice}"]
        return []


class CreationGraph:
    """What the resources of a stack wait for, by their paths."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._resources = {it.node.path: it for it in _resources(stack) if it.stack.node.path == stack.node.path}
        self._paths = {str(stack.resolve(it.logical_id)): path for path, it in self._resources.items()}
        self._known: dict[str, list[str]] = {}

    def needs_of(self, start: str) -> set[str]:
        """The paths of all resources that a resource waits for, directly or not."""
        ways, seen = [start], set[str]()
        for path in ways:  # grows as it is read
            new = [it for it in self._waits_for(path) if it not in seen]
            seen.update(new)
            ways += new
        return seen

    def circle_through(self, start: str) -> list[str]:
        """The shortest way from a resource back to it, both ends included; empty if there is none."""
        if start not in self._resources:  # a nested stack's
            return []
        ways = [[start]]
        seen: set[str] = set()
        for way in ways:  # grows as it is read
            for path in self._waits_for(way[-1]):
                if path == start:
                    return [*way, start]
                if path not in seen:
                    seen.add(path)
                    ways.append([*way, path])
        return []

    def _waits_for(self, path: str) -> list[str]:
        if path not in self._known:
            resource = self._resources[path]
            ordered = [it.node.path for it in resource.obtain_dependencies() if CfnResource.is_cfn_resource(it)]
            # No public property has them all: those of jsii's structures cannot be read.
            properties = self._stack.resolve(resource._cfn_properties)  # noqa: SLF001 - as above
            referred = [self._paths[name] for name in _referred(properties) if name in self._paths]
            self._known[path] = [it for it in dict.fromkeys([*ordered, *referred]) if it in self._resources]
        return self._known[path]


def _resources(scope: IConstruct) -> Iterator[CfnResource]:
    return (cast("CfnResource", it) for it in scope.node.find_all() if CfnResource.is_cfn_resource(it))


def _referred(value: Any) -> Iterator[str]:  # noqa: ANN401 - whatever a template holds
    """The logical ids that a part of a template refers to, among other names."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in {"Ref", "Fn::GetAtt"}:
                target = inner if isinstance(inner, str) else inner[0]
                yield str(target).partition(".")[0]
            elif name == "Fn::Sub":
                text = inner if isinstance(inner, str) else inner[0]
                yield from re.findall(r"\$\{(\w+)", text)
            yield from _referred(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _referred(inner)


__all__ = ["CreationGraph", "CreationOrder"]
