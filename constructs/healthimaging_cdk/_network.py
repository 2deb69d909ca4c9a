"""Where the function of a stack runs, if it runs in a VPC: said by ImportNetwork, read when the function is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aws_cdk import Annotations, Stack, Token
from constructs import Construct, IConstruct

from healthimaging_cdk._validation import Violations

if TYPE_CHECKING:
    from aws_cdk.aws_ec2 import ISecurityGroup, ISubnet, IVpc, SubnetSelection

    from healthimaging_cdk.health_imaging_endpoints import HealthImagingEndpoints

_ID = "HealthImagingImportNetwork"
_SELECTION = ("availability_zones", "one_per_az", "subnet_filters", "subnet_group_name", "subnet_type", "subnets")


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


def check_vpc(
    violations: Violations,
    vpc: IVpc,
    stack: Stack,
    *,
    subnets: tuple[str, SubnetSelection | None],
    why_not_public: str = "",
    why_not_shared: str = "",
) -> None:
    """Check that a VPC lies where the stack does, and has the selected subnets.

    Args:
        violations: takes what is wrong.
        vpc: the VPC.
        stack: the stack that uses it.
        subnets: the argument's name, and what was selected.
        why_not_public: what to say of public subnets, where there must be none.
        why_not_shared: what to say of a VPC that another account shares, where it must not be one.
    """
    violations.check_place(
        "vpc",
        vpc,
        stack,
        # Who shares a VPC lets others put network interfaces into it, and makes its endpoints itself.
        account=why_not_shared,
        region="use a VPC of the stack's Region",
    )
    argument, selection = subnets
    try:
        found, is_known = _select(vpc, selection)
    except RuntimeError as error:  # whatever CDK throws
        violations.add(f"{argument} matches no subnet that the VPC is known to have ({error}): select others")
        return
    if is_known and not found:
        violations.add(f"{argument} matches no subnet: select at least one, or leave it away")
    if why_not_public and not {subnet.node.path for subnet in found}.isdisjoint(
        subnet.node.path for subnet in vpc.public_subnets
    ):
        violations.add(f"{argument} has public subnets, {why_not_public}: select private or isolated ones")


def _select(vpc: IVpc, selection: SubnetSelection | None) -> tuple[Sequence[ISubnet], bool]:
    """The selected subnets, and whether the VPC has been looked up if it has to be."""
    if isinstance(selection, dict):  # as jsii takes every struct
        wanted = dict(selection)
    else:
        wanted = {} if selection is None else {name: getattr(selection, name) for name in _SELECTION}
    if wanted.get("subnets") is not None:
        return wanted["subnets"], True  # to ask CDK takes an Availability Zone, which these need not have
    found = vpc.select_subnets(**wanted)
    return found.subnets, not found.is_pending_lookup


def knows_its_id(vpc: IVpc) -> bool:
    """Whether the id of a VPC is known: neither a token, nor what CDK calls every VPC that is yet to be looked up."""
    return not Token.is_unresolved(vpc.vpc_id) and vpc.vpc_id != "vpc-12345"


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
