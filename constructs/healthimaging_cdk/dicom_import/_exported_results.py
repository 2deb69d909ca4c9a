"""Results of an import that are exported to other stacks, where the next import could not change them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsii
from aws_cdk import Annotations, CfnElement, CfnOutput, Stack
from constructs import Construct, IValidation

from healthimaging_cdk._common.environment import ask_once
from healthimaging_cdk._common.runtime import contract

_EXPORTS = "Exports"
"""Where CDK keeps the exports of a stack that strong references have made."""
_LASTING = {contract.ImportAttribute.DATASTORE_ID.value}
"""What only another data store changes."""


@jsii.implements(IValidation)
class ExportedResults:
    """Warns of exports of what each import changes, made by name or by a reference. Asked when CDK has made them."""

    def __init__(self, construct: Construct, resource: CfnElement) -> None:
        self._construct = construct
        self._resource = resource

    def validate(self) -> list[str]:
        """Warn, and find nothing wrong."""
        stack = Stack.of(self._construct)
        logical_id = stack.resolve(self._resource.logical_id)
        names, outputs = set[str](), list[str]()
        for output in _exports_of(stack):
            # In its own stack a reference is what it refers to, whatever stands for it in the stack of the output.
            found = set(_attributes(stack.resolve(output.value), logical_id)) - _LASTING
            names |= found
            is_named = f"/{_EXPORTS}/" not in output.node.path
            outputs += [output.node.path] if found and is_named else []
        if names:
            where = f"exported by {', '.join(sorted(outputs))}" if outputs else "exported to another stack"
            way = "an output without export_name, " if outputs else ""
            Annotations.of(self._construct).add_warning_v2(
                "healthimaging-cdk:exportedResults",
                f"{', '.join(sorted(names))} of this import is {where}, and CloudFormation refuses to change an export "
                f"in use: the next import would run, and its deploy would fail. Hand it over by {way}a parameter of "
                "SSM or by a weak reference (docs/deploys.md), or acknowledge this warning",
            )
        return []


@ask_once
def _exports_of(stack: Stack) -> list[CfnOutput]:
    """The exports of a stack and of those that it is nested in: asked when all of them are there."""
    if stack.nested_stack_parent is not None:
        return _exports_of(stack.nested_stack_parent)
    outputs = (it for it in stack.node.find_all() if isinstance(it, CfnOutput))
    return [it for it in outputs if it.export_name is not None]


def _attributes(value: Any, logical_id: str) -> Iterator[str]:  # noqa: ANN401 - a part of a template
    """The attributes of a resource that a value holds, at any depth."""
    if isinstance(value, dict):
        target = value.get("Fn::GetAtt")
        if isinstance(target, list) and target[0] == logical_id:
            yield str(target[1])
        for inner in value.values():
            yield from _attributes(inner, logical_id)
    elif isinstance(value, list):
        for inner in value:
            yield from _attributes(inner, logical_id)


__all__ = ["ExportedResults"]
