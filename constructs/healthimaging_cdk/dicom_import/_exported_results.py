"""Results of an import that are exported to another stack, where the next import could not change them."""

from __future__ import annotations

import json

import jsii
from aws_cdk import Annotations, CfnElement, Stack
from constructs import Construct, IValidation

from healthimaging_cdk._common.runtime import contract

_EXPORTS = "Exports"
"""Where CDK keeps the exports of a stack that strong references have made."""
_LASTING = {contract.ImportAttribute.DATASTORE_ID.value}
"""What only another data store changes."""


@jsii.implements(IValidation)
class ExportedResults:
    """Warns of strong references to what each import changes. Asked when CDK has made the exports."""

    def __init__(self, construct: Construct, resource: CfnElement) -> None:
        self._construct = construct
        self._resource = resource

    def validate(self) -> list[str]:
        """Warn, and find nothing wrong."""
        stack = Stack.of(self._construct)
        exports = stack.node.try_find_child(_EXPORTS)
        if exports is None:
            return []
        logical_id = stack.resolve(self._resource.logical_id)
        found = [_attribute(child.node.id, logical_id) for child in exports.node.children]
        names = sorted({name for name in found if name and name not in _LASTING})
        if names:
            Annotations.of(self._construct).add_warning_v2(
                "healthimaging-cdk:exportedResults",
                f"{', '.join(names)} of this import is exported to another stack, and CloudFormation refuses to change "
                "an export in use: the next import would run, and its deploy would fail. Hand it over by a parameter "
                "of SSM or by a weak reference (docs/deploys.md), or acknowledge this warning",
            )
        return []


def _attribute(export: str, logical_id: str) -> str:
    """The attribute that an export is for, if it is one of the resource."""
    try:
        target = json.loads(export.removeprefix("Output"))["Fn::GetAtt"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(target[1]) if target[0] == logical_id else ""


__all__ = ["ExportedResults"]
