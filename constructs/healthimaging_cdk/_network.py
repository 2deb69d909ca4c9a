"""Where the function of a stack runs, if it runs in a VPC: said by ImportNetwork, read when the function is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aws_cdk import Annotations, Stack, Stage
from constructs import Construct, IConstruct

if TYPE_CHECKING:
    from aws_cdk.aws_ec2 import ISecurityGroup, IVpc, SubnetSelection

    from healthimaging_cdk.health_imaging_endpoints import HealthImagingEndpoints

_ID = "HealthImagingImportNetwork"


@dataclass(frozen=True)
class Network:
    """A VPC, and what of it the function uses."""

    vpc: IVpc
    subnets: SubnetSelection | None
    security_groups: list[ISecurityGroup]
    endpoints: HealthImagingEndpoints | None
    needs: list[Construct]
    """What has to be there as long as the function is."""


class _Note(Construct):
    """Keeps the network in the tree, directly under the stack, where the engine of the stack stands too."""

    def __init__(self, stack: Stack, network: Network) -> None:
        super().__init__(stack, _ID)
        self.network = network


def set_network(stack: Stack, network: Network) -> None:
    """Say where the function of the stack runs."""
    _Note(stack, network)


def network_of(stack: Stack) -> Network | None:
    """Where the function of the stack runs; None stands for outside of any VPC."""
    found = stack.node.try_find_child(_ID)
    return found.network if isinstance(found, _Note) else None


def other_stacks(stack: Stack) -> Iterator[Stack]:
    """The other stacks of the app, nested ones left out."""

    def below(scope: IConstruct) -> Iterator[Stack]:
        if isinstance(scope, Stack):
            yield scope
        else:
            for child in scope.node.children:
                if isinstance(child, (Stack, Stage)):
                    yield from below(child)

    return (other for other in below(stack.node.root) if other.node.path != stack.node.path)


def warn_of_function_outside(stack: Stack, inside: Stack) -> None:
    """Warn that the function of one stack runs outside of any VPC, while that of another runs in one."""
    Annotations.of(stack).add_warning_v2(
        "healthimaging-cdk:functionOutsideNetwork",
        f"the function of healthimaging-cdk in this stack runs outside of any VPC, and that of {inside.node.path} in "
        "one: make an ImportNetwork here too, before the first import and before tags reach a data store, or "
        "acknowledge this warning",
    )
