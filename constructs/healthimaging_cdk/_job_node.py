"""Lets ``import_.node.add_dependency(x)`` order the job, and not the buckets and the store it is about."""

from __future__ import annotations

from typing import Any

from constructs import Construct, IDependable, Node


class JobNode:
    """The node of an import, except that a dependency is the job's alone.

    What fills the import's own input bucket depends on that bucket; if the bucket waited for it in turn, the template
    would hold a cycle. A descriptor without a setter is used because jsii takes a property for an override.
    """

    def __get__(self, construct: Any, _owner: type) -> Any:  # noqa: ANN401 - stands in for jsii's Construct.node
        if construct is None:
            return self
        node: Node = Construct.node.fget(construct)  # type: ignore[attr-defined]
        job = getattr(construct, "_job", None)
        return _JobsDependencies(node, job) if job is not None else node


class _JobsDependencies:
    def __init__(self, node: Node, job: Construct) -> None:
        self._node = node
        self._job = job

    def add_dependency(self, *dependencies: IDependable) -> None:
        """Order the job after the dependencies."""
        self._job.node.add_dependency(*dependencies)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - as below
        if name in ("_node", "_job"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._node, name, value)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the node has
        return getattr(self._node, name)
