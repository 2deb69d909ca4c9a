"""The VPC that the function of this library runs in."""

from __future__ import annotations

from collections.abc import Sequence

import jsii
from aws_cdk import Annotations, Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct, IValidation

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.validation import Violations
from healthimaging_cdk._provider.function_network import (
    FunctionNetwork,
    network_of,
    other_stacks,
    set_network,
    warn_of_function_outside,
)
from healthimaging_cdk._provider.provider import Provider
from healthimaging_cdk.network._vpc import check_vpc, knows_its_id
from healthimaging_cdk.network.health_imaging_endpoints import HealthImagingEndpoints


class ImportNetwork(Construct):
    """Puts the function that serves a stack's imports, tags and data stores into a VPC.

    There is one such function in a stack, so this is said once, in the stack of the imports, before anything that needs
    it. Nested stacks have a function and a network of their own. Without an ImportNetwork the function runs outside of
    any VPC. Synth warns of a network whose stack has no function.

    From a VPC without internet egress the function reaches AWS only through endpoints: see
    :class:`HealthImagingEndpoints`. If they are given here, the function is made after them and deleted before them.

    Lambda takes the network interfaces back some time after the function has left: the deletion of a stack, of a
    subnet or of a security group can wait for that for up to some 40 minutes.

    Example:
        >>> network = ImportNetwork(stack, "Network", vpc=vpc)

    See:
        https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
    """

    @check_types
    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        vpc: ec2.IVpc,
        vpc_subnets: ec2.SubnetSelection | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        endpoints: HealthImagingEndpoints | None = None,
    ) -> None:
        """Put the function of the scope's stack into a VPC.

        Args:
            scope: the parent construct; its stack is the one whose function is meant.
            construct_id: the id in the scope.
            vpc: the VPC, of the stack's account and Region.
            vpc_subnets: the function's subnets, none of them public; unless given, the private ones if there are any,
                else the isolated ones.
            security_groups: the function's security groups, which must let it reach the endpoints and Amazon S3 on
                port 443; without them one is made that lets nothing in and only port 443 out. It names no
                destination: a gateway endpoint for S3 has public addresses, whose prefix list is not known at synth.
                Where the subnets have no other way out, these are the only ones to be reached.
            endpoints: the endpoints that the function goes through, to be made before it; their security group lets
                the function in. Unless given, whoever made the VPC has seen to that.

        Raises:
            ValueError: the stack has its function or its network already, the VPC lies elsewhere or has no such
                subnets, one of them is public, security_groups is empty, or the endpoints lie in another VPC or are
                not for imports.
        """
        violations = Violations("ImportNetwork", scope, construct_id)
        stack = Stack.of(scope)
        if security_groups is not None and not security_groups:
            violations.add("security_groups is empty: omit it, and one is made")
        if network_of(stack) is not None:
            violations.add("the stack has a network already: its imports share one function, say once where it runs")
        elif Provider.exists_for(stack):
            violations.add(
                "the stack has its function already: make the network before the first import, and before data stores "
                "that the function makes or empties (endpoints cannot name those: omit datastores)"
            )
        if (
            endpoints is not None
            and all(map(knows_its_id, (endpoints.vpc, vpc)))
            and endpoints.vpc.vpc_id != vpc.vpc_id
        ):
            violations.add(f"endpoints are in VPC {endpoints.vpc.vpc_id}, got vpc {vpc.vpc_id}: use endpoints of that")
        if endpoints is not None and not endpoints.serves_imports:
            violations.add(
                "endpoints are made with for_imports=False, and the function needs them: omit it, and name in "
                "leave_out what the VPC has already"
            )
        check_vpc(
            violations,
            vpc,
            stack,
            subnets=("vpc_subnets", vpc_subnets),
            why_not_public="where a function has no public address and no way out",
        )
        violations.raise_any()
        super().__init__(scope, construct_id)
        groups = list(security_groups) if security_groups else [self._make_group(vpc)]
        self._connections = ec2.Connections(security_groups=groups)
        if endpoints is not None:
            for group in groups:
                # Remote: in this stack, which depends on that of the endpoints and not the other way round.
                endpoints.security_group.add_ingress_rule(
                    group, ec2.Port.HTTPS, "the function of healthimaging-cdk", remote_rule=True
                )
        # There is no way to AWS without them, neither for the first request nor for the last.
        needs: list[Construct] = [self] if endpoints is None else [self, endpoints]
        set_network(
            stack,
            FunctionNetwork(
                vpc=vpc,
                subnets=vpc_subnets,
                security_groups=groups,
                endpoints=endpoints,
                endpoints_are_here=endpoints is not None and Stack.of(endpoints) == stack,
                needs=needs,
            ),
        )
        for other in other_stacks(stack):
            if Provider.exists_for(other) and network_of(other) is None:
                warn_of_function_outside(other, stack)
        self.node.add_validation(_Use(self))

    def _make_group(self, vpc: ec2.IVpc) -> ec2.ISecurityGroup:
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=vpc,
            description="The function of healthimaging-cdk",
            allow_all_outbound=False,
        )
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "AWS endpoints, and Amazon S3 by its gateway")
        return group

    @property
    def connections(self) -> ec2.Connections:
        """What the function may connect to, by its security groups."""
        return self._connections


@jsii.implements(IValidation)
class _Use:
    """Warns of a network that no function runs in. Asked after all aspects, the last of which may make a function."""

    def __init__(self, network: ImportNetwork) -> None:
        self._network = network

    def validate(self) -> list[str]:
        """Warn, and find nothing wrong."""
        stack = Stack.of(self._network)
        if not Provider.exists_for(stack):
            Annotations.of(self._network).add_warning_v2(
                "healthimaging-cdk:networkWithoutFunction",
                f"no function of healthimaging-cdk runs in this network, as {stack.node.path} has none: put the "
                "ImportNetwork into the stack of the imports, before them, or acknowledge this warning",
            )
        return []


__all__ = ["ImportNetwork"]
