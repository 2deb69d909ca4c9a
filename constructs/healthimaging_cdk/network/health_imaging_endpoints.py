"""The VPC endpoints that reach HealthImaging, and what an import needs besides, without the internet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import aws_cdk as cdk
from aws_cdk import Stack, Token
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk.aws_s3 import IBucket
from constructs import Construct, IConstruct

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.messages import message
from healthimaging_cdk._common.validation import Violations, differing_places
from healthimaging_cdk.datastore.datastore import Datastore, IDatastore
from healthimaging_cdk.network._endpoint_policies import (
    check_datastores,
    healthimaging_statements,
    import_statements,
    response_statement,
    through,
)
from healthimaging_cdk.network._vpc import check_vpc, check_what_the_vpc_tells, knows_its_id

_HEALTHIMAGING = {
    "medical-imaging": "HealthImaging",
    "runtime-medical-imaging": "Runtime",
    "dicom-medical-imaging": "Dicom",
}
_FOR_IMPORTS = {"cloudformation": "CloudFormation", "events": "Events", "states": "StepFunctions", "sts": "Sts"}
_SNS = "sns"
_S3 = "s3"
_NOTE = "HealthImagingEndpointsOfAllVpcs"


class HealthImagingEndpoints(Construct):
    """The endpoints of a VPC for HealthImaging: three interface endpoints, Amazon S3, and what imports need besides.

    HealthImaging has an endpoint for data stores and import jobs (``medical-imaging``), one for image sets
    (``runtime-medical-imaging``) and one for DICOMweb (``dicom-medical-imaging``). The function of this library also
    calls ``cloudformation``, ``events``, ``states`` and ``sts``, for an import with notifications ``sns``, and S3
    through a gateway endpoint, which also carries its responses to CloudFormation.

    What passes is limited by endpoint policies: to the given data stores with their image sets, to the given buckets
    (and the bucket that takes responses to CloudFormation), and to the few actions that an import needs of the other
    services. An endpoint policy grants nothing: callers need their own rights as before.

    Private DNS is on, as HealthImaging demands: the VPC needs DNS support and DNS host names. A VPC takes one endpoint
    with private DNS for a service, so ``leave_out`` what it has already. Everybody in the VPC goes through these
    endpoints then; where others need more of a service, widen the policy of ``interface_endpoints["sts"]``. An
    endpoint reaches its own Region alone, a policy takes 20,480 characters: about 100 data stores or buckets.

    Example:
        >>> endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=[store], buckets=[images])
        >>> endpoints.allow_bucket(results)
        >>> endpoints.allow_publish(topic)
        >>> endpoints.allow_s3("s3:GetObject", "arn:aws:s3:::shared-models/*")
        >>> endpoints.reaches(store)
        True

    See:
        https://docs.aws.amazon.com/healthimaging/latest/devguide/vpc-interface-endpoints.html
    """

    @check_types
    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection | None = None,
        datastores: Sequence[IDatastore] | None = None,
        buckets: Sequence[IBucket] | None = None,
        for_imports: bool = True,
        leave_out: Sequence[str] = (),
        clients: Sequence[ec2.IConnectable] | None = None,
        lookup_supported_azs: bool = False,
    ) -> None:
        """Make the endpoints.

        Args:
            scope: the parent construct.
            construct_id: the id in the scope.
            vpc: the VPC, in the account and Region of the data stores and of the stack. An imported one has to tell
                its route tables for the endpoint of S3, and its ``vpc_cidr_block`` unless ``clients`` are given.
            subnets: where the interface endpoints get their addresses, one subnet in an Availability Zone; unless
                given, the private subnets if there are any, else the isolated ones.
            datastores: the data stores that can be reached; unless given, all of this account and Region, which also
                allows to make and to list data stores.
            buckets: the buckets that can be reached through the endpoint of S3, also by others in the VPC; unless
                given, all of this account. An import that goes through these endpoints adds by itself the buckets
                that it makes in this stack, and of others no more than it needs: reading the asset of a local
                directory, listing a source bucket of another account, results and records in an output bucket of one.
            for_imports: whether to create the endpoints that only the function of this library needs
                (``cloudformation``, ``events``, ``states``, ``sts``). The one for ``sns`` is created with the first
                import that has notifications and goes through these endpoints. Default: True.
            leave_out: services to create no endpoint for, by their names above, for instance because the VPC has one;
                none unless given. Its endpoint policy then has to allow what an import needs (docs/network.md).
            clients: who can reach the interface endpoints on port 443; unless given, everybody in the VPC, which is
                its primary CIDR. The function of an :class:`ImportNetwork` with these endpoints always can.
            lookup_supported_azs: whether the CDK CLI looks up in which Availability Zones each service has endpoints,
                and leaves the subnets of others out; the answers are kept in cdk.context.json. It needs a stack and
                subnets whose environment and zones are known. Default: False, an endpoint in each of the subnets.

        Raises:
            ValueError: a service in leave_out is none of these, nothing is left to make, a list is empty or too long,
                the VPC or a data store lies elsewhere, the VPC does not tell what is needed of it, or has an endpoint
                of this app for one of the services.
        """
        violations = Violations("HealthImagingEndpoints", scope, construct_id)
        stack = Stack.of(scope)
        wanted = {**_HEALTHIMAGING, **(_FOR_IMPORTS if for_imports else {})}
        known = [*_HEALTHIMAGING, *_FOR_IMPORTS, _SNS, _S3]
        unknown = [
            f"{service!r} (did you mean {service.lower()!r}?)" if service.lower() in known else repr(service)
            for service in leave_out
            if service not in known
        ]
        if unknown:
            violations.add(f"leave_out takes {', '.join(known)}, got {', '.join(unknown)}")
        if {*wanted, _S3} <= set(leave_out):
            violations.add("leave_out names every endpoint: make no HealthImagingEndpoints instead")
        for name, given in (("datastores", datastores), ("buckets", buckets), ("clients", clients)):
            if given is not None and not given:
                violations.add(f"{name} is empty, which lets nobody through: omit it, or name at least one")
        theirs = "endpoints are made by the account that owns the VPC and shares it: make them there"
        check_vpc(violations, vpc, stack, subnets=("subnets", subnets), why_not_shared=theirs)
        check_what_the_vpc_tells(violations, vpc, cidr=clients is None, route_tables=_S3 not in leave_out)
        check_datastores(violations, datastores or (), stack)
        _check_environment(violations, stack, needed=lookup_supported_azs)
        made = {*wanted, _S3} - set(leave_out)
        note = _Note.of(scope)
        for path, other_vpc, made_there in note.made:
            twice = made & made_there
            if twice and _same_vpc(vpc, other_vpc):
                violations.add(
                    f"{path} makes endpoints for {', '.join(sorted(twice))} in the same VPC, which takes one for a "
                    "service: name them in leave_out, or use those"
                )
        violations.raise_any()
        super().__init__(scope, construct_id)
        self._vpc = vpc
        self._subnets = subnets
        self._lookup_supported_azs = lookup_supported_azs
        self._may_make_sns = _SNS not in leave_out
        self._made = made
        self._datastores = None if "medical-imaging" in leave_out else datastores
        self._serves_imports = for_imports
        self._security_group = self._make_group(vpc, clients)
        self._interface_endpoints = {
            service: self._make_interface(service, name) for service, name in wanted.items() if service not in leave_out
        }
        self._s3_endpoint = None if _S3 in leave_out else self._make_gateway(vpc, to_every_bucket=buckets is None)
        for bucket in buckets or ():
            self.allow_bucket(bucket)
        self._names_buckets = self._s3_endpoint is not None and buckets is not None
        for service in _HEALTHIMAGING:
            self._allow(service, *healthimaging_statements(stack, datastores))
        for service, statement in import_statements(stack).items():
            self._allow(service, statement)
        note.made.append((self.node.path, vpc, made))

    @property
    def security_group(self) -> ec2.ISecurityGroup:
        """The security group of the interface endpoints."""
        return self._security_group

    @property
    def connections(self) -> ec2.Connections:
        """Lets further clients in: ``endpoints.connections.allow_default_port_from(client)``."""
        return ec2.Connections(security_groups=[self._security_group], default_port=ec2.Port.HTTPS)

    @property
    def interface_endpoints(self) -> Mapping[str, ec2.InterfaceVpcEndpoint]:
        """The interface endpoints that are made here, by the name of their service."""
        return self._interface_endpoints

    @property
    def s3_endpoint(self) -> ec2.GatewayVpcEndpoint:
        """The gateway endpoint of Amazon S3.

        Raises:
            ValueError: it is left out (``leave_out``).
        """
        if self._s3_endpoint is None:
            problem = "there is no s3_endpoint, since leave_out names s3: take s3 out of it, or use your own endpoint"
            raise ValueError(message("HealthImagingEndpoints", [problem], self.node.path))
        return self._s3_endpoint

    @property
    def vpc(self) -> ec2.IVpc:
        """The VPC."""
        return self._vpc

    @property
    def serves_imports(self) -> bool:
        """Whether what only imports need was asked for (``for_imports``)."""
        return self._serves_imports

    def reaches(self, datastore: IDatastore | None) -> bool:
        """Whether calls about a data store can pass, as far as synth knows; None stands for one yet to be made."""
        named = self._datastores
        return named is None or (datastore is not None and any(_may_be_one(datastore, one) for one in named))

    @property
    def names_buckets(self) -> bool:
        """Whether the endpoint of Amazon S3 is made here and lets only named buckets be reached."""
        return self._names_buckets

    @check_types
    def allow_bucket(self, bucket: IBucket) -> None:
        """Let a further bucket be reached through the endpoint of S3, if it is made here."""
        self.allow_s3("s3:*", bucket.bucket_arn, bucket.arn_for_objects("*"))

    def allow_s3(self, action: str, *resource_arns: str) -> None:
        """Let one action pass through the endpoint of S3, if it is made here.

        Args:
            action: for example ``s3:GetObject``.
            resource_arns: the ARNs of buckets or objects.
        """
        if self._s3_endpoint is not None:
            self._s3_endpoint.add_to_policy(through(action, list(resource_arns)))

    @check_types
    def allow_publish(self, topic: cdk.aws_sns.ITopic) -> None:
        """Let notifications pass to a topic, by the endpoint of Amazon SNS.

        An import with notifications that goes through these endpoints calls this by itself. The endpoint is created
        when it is first needed, unless ``leave_out`` names it or other endpoints of this app have it in the same VPC.

        Args:
            topic: the topic, in the Region of the endpoints.
        """
        stack = Stack.of(self)
        others = (made for _, vpc, made in _Note.of(self).made if _same_vpc(self._vpc, vpc))
        if not self._may_make_sns or (_SNS not in self._made and any(_SNS in made for made in others)):
            return
        if _SNS not in self._interface_endpoints:
            self._made.add(_SNS)
            self._interface_endpoints[_SNS] = self._make_interface(_SNS, "Sns")
            # Not this topic: its stack depends on that of the endpoints.
            self._allow(_SNS, through("sns:Publish", [stack.format_arn(service="sns", resource="*")]))
        if "account" in differing_places(topic.env, stack):
            self._allow(_SNS, through("sns:Publish", [topic.topic_arn]))

    def _make_group(self, vpc: ec2.IVpc, clients: Sequence[ec2.IConnectable] | None) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=vpc,
            description="VPC endpoints of HealthImaging and of what imports need",
            allow_all_outbound=False,
        )
        if clients is None:
            group.add_ingress_rule(ec2.Peer.ipv4(vpc.vpc_cidr_block), ec2.Port.HTTPS, "everybody in the VPC")
        for client in clients or ():
            group.connections.allow_from(client, ec2.Port.HTTPS)
        return group

    def _make_interface(self, service: str, name: str) -> ec2.InterfaceVpcEndpoint:
        return ec2.InterfaceVpcEndpoint(
            self,
            name,
            vpc=self._vpc,
            subnets=self._subnets,
            service=ec2.InterfaceVpcEndpointAwsService(service),
            security_groups=[self._security_group],
            open=False,  # the group says who may connect
            private_dns_enabled=True,
            lookup_supported_azs=self._lookup_supported_azs,
        )

    def _make_gateway(self, vpc: ec2.IVpc, *, to_every_bucket: bool) -> ec2.GatewayVpcEndpoint:
        stack = Stack.of(self)
        endpoint = ec2.GatewayVpcEndpoint(self, "S3", vpc=vpc, service=ec2.GatewayVpcEndpointAwsService.S3)
        if to_every_bucket:
            endpoint.add_to_policy(through("s3:*", ["*"], {"StringEquals": {"aws:ResourceAccount": stack.account}}))
        endpoint.add_to_policy(response_statement(stack))
        return endpoint

    def _allow(self, service: str, *statements: iam.PolicyStatement) -> None:
        if service in self._interface_endpoints:
            for statement in statements:
                self._interface_endpoints[service].add_to_policy(statement)


def _check_environment(violations: Violations, stack: Stack, *, needed: bool) -> None:
    if needed and (Token.is_unresolved(stack.account) or Token.is_unresolved(stack.region)):
        violations.add(
            "lookup_supported_azs needs a stack with account and Region: give the stack an env, or select subnets in "
            "the Availability Zones that have the endpoints"
        )


class _Note(Construct):
    """Keeps in the tree of an app where it makes endpoints: whose, in which VPC, for which services."""

    def __init__(self, root: IConstruct) -> None:
        super().__init__(cast("Construct", root), _NOTE)
        self.made: list[tuple[str, ec2.IVpc, set[str]]] = []

    @staticmethod
    def of(scope: Construct) -> _Note:
        """The note of the scope's app, made when first asked for."""
        found = scope.node.root.node.try_find_child(_NOTE)
        return found if isinstance(found, _Note) else _Note(scope.node.root)


def _same_vpc(one: ec2.IVpc, other: ec2.IVpc) -> bool:
    if one.node.path == other.node.path:
        return True
    return knows_its_id(one) and one.vpc_id == other.vpc_id and not differing_places(one.env, other.env)


def _may_be_one(one: IDatastore, other: IDatastore) -> bool:
    if one.node.path == other.node.path:
        return True
    if Token.is_unresolved(one.datastore_id) or Token.is_unresolved(other.datastore_id):
        # A store that is only named may be one that is made.
        return not (isinstance(one, Datastore) and isinstance(other, Datastore))
    return one.datastore_id == other.datastore_id


__all__ = ["HealthImagingEndpoints"]
