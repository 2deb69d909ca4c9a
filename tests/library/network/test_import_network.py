"""The function of a stack in a VPC; test_network.py has its life with endpoints."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2

from healthimaging_cdk import DicomImport, HealthImagingEndpoints, ImportNetwork
from tests.library.network.vpcs import HERE, import_vpc
from tests.library.properties import every_property

FUNCTION = "AWS::Lambda::Function"


def test_an_import_network_with_minimal_properties(app, synthesize):
    stack = Stack(app, "Stack", env=HERE)
    network = ImportNetwork(stack, "Network", vpc=import_vpc(stack))
    DicomImport(stack, "Import")
    config = synthesize(stack).only(FUNCTION)["Properties"]["VpcConfig"]
    assert ["subnet-1", "subnet-2"] == config["SubnetIds"]
    assert [stack.resolve(group.security_group_id) for group in network.connections.security_groups] == (
        config["SecurityGroupIds"]
    )


def test_an_import_network_with_all_properties(app, synthesize):
    stack = Stack(app, "Stack", env=HERE)
    vpc = import_vpc(stack)
    given = every_property(
        ImportNetwork,
        vpc=vpc,
        vpc_subnets=ec2.SubnetSelection(availability_zones=["us-east-1b"]),
        security_groups=[ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-9")],
        endpoints=HealthImagingEndpoints(stack, "Endpoints", vpc=vpc),
    )
    ImportNetwork(stack, "Network", **given)
    DicomImport(stack, "Import")
    function = synthesize(stack).only(FUNCTION)
    assert {"SubnetIds": ["subnet-2"], "SecurityGroupIds": ["sg-9"]} == function["Properties"]["VpcConfig"]
    assert any(name.startswith("EndpointsHealthImaging") for name in function["DependsOn"])
