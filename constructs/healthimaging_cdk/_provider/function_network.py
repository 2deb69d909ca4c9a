"""Where the function of a stack runs, if it runs in a VPC: set by ImportNetwork, read when the function is created."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from aws_cdk import Annotations, Stack
from constructs import Construct, IConstruct

if TYPE_CHECKING:
    from aws_cdk.aws_ec2 import ISecurityGroup, IVpc, SubnetSelection
    from aws_cdk.aws_s3 import IBucket
    from aws_cdk.aws_sns import ITopic


class FunctionEndpoints(Protocol):
    """What an import asks of the endpoints that the function goes through. HealthImagingEndpoints has it."""

    @property
    def names_buckets(self) -> bool:
        """Whether the endpoint of Amazon S3 lets only named buckets be reached."""
        ...

    def reaches(self, datastore: Any) -> bool:  # noqa: ANN401 - data stores are made of what is here
        """Whether calls about a data store can pass, as far as synth knows. None is one that is yet to be created."""
        ...

    def allow_bucket(self, bucket: IBucket) -> None:
        """Let a further bucket be reached."""
        ...

    def allow_s3(self, action: str, *resource_arns: str) -> None:
        """Let one action on Amazon S3 pass."""
        ...

    def allow_publish(self, topic: ITopic) -> None:
        """Let notifications pass to a topic."""
        ...


@dataclass(frozen=True)
class FunctionNetwork:
    """A VPC, and what of it the function uses."""

    vpc: IVpc
    subnets: SubnetSelection | None
    security_groups: list[ISecurityGroup]
    endpoints: FunctionEndpoints | None
    endpoints_are_here: bool
    """Whether the endpoints are in the stack of the function."""
    needs: list[Construct]
    """What has to be there as long as the function is."""

    def vpc_config(self) -> dict[str, Any]:
        """What ``AWS::Lambda::Function`` says of the VPC."""
        given: Any = self.subnets or {}
        selection = given if isinstance(given, dict) else vars(given)["_values"]
        if set(selection) == {"subnets"}:
            # What the VPC selects has Availability Zones, which a subnet that is given need not have.
            subnet_ids = [subnet.subnet_id for subnet in selection["subnets"]]
        else:
            subnet_ids = self.vpc.select_subnets(**selection).subnet_ids
        groups = [group.security_group_id for group in self.security_groups]
        return {"subnetIds": subnet_ids, "securityGroupIds": groups}


_NETWORKS: WeakKeyDictionary[Stack, FunctionNetwork] = WeakKeyDictionary()


def set_network(stack: Stack, network: FunctionNetwork) -> None:
    """Say where the function of the stack runs."""
    _NETWORKS[stack] = network


def network_of(stack: Stack) -> FunctionNetwork | None:
    """Where the function of the stack runs; None stands for outside of any VPC."""
    return _NETWORKS.get(stack)


def stack_with_network(stack: Stack) -> Stack | None:
    """Another stack of the app whose function runs in a VPC."""
    return next((other for other in other_stacks(stack) if network_of(other)), None) if _NETWORKS else None


def other_stacks(stack: Stack) -> Iterator[Stack]:
    """The other stacks of the app, nested ones left out."""

    def below(scope: IConstruct) -> Iterator[Stack]:
        if isinstance(scope, Stack):
            yield scope
        else:
            for child in scope.node.children:
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


__all__ = [
    "FunctionEndpoints",
    "FunctionNetwork",
    "network_of",
    "other_stacks",
    "set_network",
    "stack_with_network",
    "warn_of_function_outside",
]
