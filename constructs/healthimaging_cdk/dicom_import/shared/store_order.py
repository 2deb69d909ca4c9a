"""The order of the data stores that the imports of a stack create.

HealthImaging takes 0.085 CreateDatastore calls a second, and CloudFormation may give up on stores that it creates at
once (https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/573).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import cast

import jsii
from aws_cdk import CfnResource, Stack
from constructs import Construct, IValidation

from healthimaging_cdk._common.creation_order import CreationGraph

_ID = "HealthImagingImportStores"


class _Stores(Construct):
    """Keeps the stores in the tree, directly under their stack."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack, _ID)
        self.created: list[CfnResource] = []
        self.node.add_validation(_Chain(self))


@jsii.implements(IValidation)
class _Chain:
    """Has each store wait for the one before. Asked after all aspects, when it is known what waits for what."""

    def __init__(self, stores: _Stores) -> None:
        self._stores = stores

    def validate(self) -> list[str]:
        """Chain the stores, and find nothing wrong."""
        created = {store.node.path: store for store in self._stores.created}
        if len(created) > 1:
            graph = CreationGraph(Stack.of(self._stores))
            needs = {path: graph.needs_of(path) & created.keys() for path in created}
            for before, after in pairwise(_in_order(needs)):
                created[after].add_resource_dependency(created[before])
        return []


def _in_order(needs: Mapping[str, AbstractSet[str]]) -> list[str]:
    """Put each after what it waits for, else in the order of the code; circles, which are refused, are left out."""
    ordered: list[str] = []
    while ready := next((path for path in needs if path not in ordered and needs[path] <= set(ordered)), None):
        ordered.append(ready)
    return ordered


def create_one_by_one(store: Construct) -> None:
    """Create a store after those that earlier imports of its stack create."""
    stack = Stack.of(store)
    found = stack.node.try_find_child(_ID)
    stores = found if isinstance(found, _Stores) else _Stores(stack)
    stores.created.append(cast("CfnResource", store.node.default_child))


__all__ = ["create_one_by_one"]
