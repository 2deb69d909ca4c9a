"""What is checked of a VPC and of the subnets that are selected in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aws_cdk import Stack, Token

from healthimaging_cdk._common.validation import Violations

if TYPE_CHECKING:
    from aws_cdk.aws_ec2 import ISubnet, IVpc, SubnetSelection

_SELECTION = ("availability_zones", "one_per_az", "subnet_filters", "subnet_group_name", "subnet_type", "subnets")


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
        violations.add(f"{argument} matches no subnet: select at least one, or omit it")
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


def check_what_the_vpc_tells(violations: Violations, vpc: IVpc, *, cidr: bool, route_tables: bool) -> None:
    """An imported VPC tells what it was given; CDK raises errors of its own where it is asked for more."""
    if cidr and not _knows_addresses(vpc):
        violations.add(
            "vpc does not tell its CIDR, by which everybody in it is let in: name who may connect in clients, or "
            "import it with vpc_cidr_block"
        )
    every = (*vpc.private_subnets, *vpc.isolated_subnets, *vpc.public_subnets) if route_tables else ()
    if route_tables and not any(_tells_route_table(subnet) for subnet in every):
        violations.add(
            "vpc does not tell its route tables, which lead to the endpoint of s3: leave_out=['s3'] if it has one, or "
            "import it with isolated_subnet_route_table_ids (or private_subnet_route_table_ids)"
        )


def _tells_route_table(subnet: ISubnet) -> bool:
    try:
        return bool(subnet.route_table.route_table_id)
    except RuntimeError:
        return False


def _knows_addresses(vpc: IVpc) -> bool:
    try:
        return bool(vpc.vpc_cidr_block)
    except RuntimeError:  # a VPC that was imported without them can be asked no other way
        return False


__all__ = ["check_vpc", "check_what_the_vpc_tells", "knows_its_id"]
