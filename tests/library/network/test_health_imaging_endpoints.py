"""The endpoints of a VPC; test_network.py has what passes through them."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Datastore, HealthImagingEndpoints
from tests.library.network.vpcs import HERE, import_vpc
from tests.library.properties import every_property

ENDPOINT = "AWS::EC2::VPCEndpoint"


def test_health_imaging_endpoints_with_minimal_properties(app, synthesize):
    stack = Stack(app, "Stack", env=HERE)
    HealthImagingEndpoints(stack, "Endpoints", vpc=import_vpc(stack))
    found = [endpoint["Properties"] for endpoint in synthesize(stack).of_type(ENDPOINT)]
    assert {"Gateway": 1, "Interface": 7} == {
        kind: len([it for it in found if it.get("VpcEndpointType") == kind]) for kind in ("Gateway", "Interface")
    }
    assert {("subnet-1", "subnet-2")} == {tuple(it["SubnetIds"]) for it in found if "SubnetIds" in it}


def test_health_imaging_endpoints_with_all_properties(app, synthesize):
    stack = Stack(app, "Stack", env=HERE)
    store = Datastore(stack, "Store")
    given = every_property(
        HealthImagingEndpoints,
        vpc=import_vpc(stack),
        subnets=ec2.SubnetSelection(availability_zones=["us-east-1a"]),
        datastores=[store],
        buckets=[s3.Bucket.from_bucket_name(stack, "Images", "images")],
        for_imports=False,
        leave_out=["dicom-medical-imaging"],
        clients=[ec2.SecurityGroup.from_security_group_id(stack, "Clients", "sg-9", allow_all_outbound=False)],
        lookup_supported_azs=False,
    )
    endpoints = HealthImagingEndpoints(stack, "Endpoints", **given)
    found = [endpoint["Properties"] for endpoint in synthesize(stack).of_type(ENDPOINT)]
    assert 3 == len(found)
    assert {("subnet-1",)} == {tuple(it["SubnetIds"]) for it in found if "SubnetIds" in it}
    (gateway,) = [it for it in found if it["VpcEndpointType"] == "Gateway"]
    assert ":s3:::images" in str(gateway["PolicyDocument"])
    assert endpoints.reaches(store)
