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
        job = getattr(construct, "_resource", None)
        if job is None:
            return node
        # jsii's own object under a second name. A constructor would make another, or have jsii hand this one out.
        named = _JobsDependencies.__new__(_JobsDependencies)
        vars(named).update(vars(node), _job=job)
        return named


class _JobsDependencies(Node):
    _job: Construct

    def add_dependency(self, *deps: IDependable) -> None:
        """Order the job after the dependencies."""
        self._job.node.add_dependency(*deps)
