"""Where the function of a stack runs, if it runs in a VPC: said by ImportNetwork, read when the function is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aws_cdk import Stack
from constructs import Construct

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
