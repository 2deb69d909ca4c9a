"""EC2 and Lambda of the local cloud, as far as a function in a VPC needs what was added to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from healthimaging_local import Cloud
from tests.deployment import eventually

pytestmark = pytest.mark.cloud

INTERFACES = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:UnassignPrivateIpAddresses",
]


def create(cloud: Cloud, name: str, actions: list[str], resource: str = "*") -> dict[str, Any]:
    """A VPC with a function in it, whose role has these rights; and a rule for its group in a resource of its own."""
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    allowed = {"Effect": "Allow", "Action": actions or ["logs:PutLogEvents"], "Resource": resource}
    resources = {
        "Vpc": ("AWS::EC2::VPC", {"CidrBlock": "10.9.0.0/16"}),
        "Subnet": ("AWS::EC2::Subnet", {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.9.1.0/24"}),
        "Group": ("AWS::EC2::SecurityGroup", {"GroupDescription": "group", "VpcId": {"Ref": "Vpc"}}),
        "Rule": (
            "AWS::EC2::SecurityGroupIngress",
            {
                "GroupId": {"Ref": "Group"},
                "IpProtocol": "tcp",
                "FromPort": 443,
                "ToPort": 443,
                "CidrIp": {"Fn::GetAtt": ["Vpc", "CidrBlock"]},
            },
        ),
        "Role": (
            "AWS::IAM::Role",
            {
                "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
                "Policies": [{"PolicyName": "network", "PolicyDocument": {"Statement": [allowed]}}],
            },
        ),
        "Function": (
            "AWS::Lambda::Function",
            {
                "Code": {"ZipFile": "def handler(event, context): pass"},
                "Handler": "index.handler",
                "Runtime": "python3.13",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "VpcConfig": {"SubnetIds": [{"Ref": "Subnet"}], "SecurityGroupIds": [{"Ref": "Group"}]},
            },
        ),
    }
    template = {
        "Resources": {key: {"Type": kind, "Properties": value} for key, (kind, value) in resources.items()},
        "Outputs": {key: {"Value": {"Ref": key}} for key in resources},
    }
    client = cloud.client("cloudformation")
    made = client.create_stack(StackName=name, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"])

    def stack() -> dict[str, Any]:
        found: dict[str, Any] = client.describe_stacks(StackName=made["StackId"])["Stacks"][0]
        return found

    assert eventually(lambda: not stack()["StackStatus"].endswith("IN_PROGRESS"))
    return stack()


@pytest.mark.patch("security_groups_take_further_rules")
@pytest.mark.patch("vpcs_have_their_block")
@pytest.mark.patch("functions_have_their_network")
def test_a_function_is_in_its_vpc_and_a_rule_of_its_own_in_its_group(cloud: Cloud) -> None:
    stack = create(cloud, "with-rights", INTERFACES)
    assert "CREATE_COMPLETE" == stack["StackStatus"]
    ids = {it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]}
    network = cloud.client("lambda").get_function_configuration(FunctionName=ids["Function"])["VpcConfig"]
    assert (ids["Vpc"], [ids["Subnet"]], [ids["Group"]]) == (
        network["VpcId"],
        network["SubnetIds"],
        network["SecurityGroupIds"],
    )
    ec2 = cloud.client("ec2")
    (group,) = ec2.describe_security_groups(GroupIds=[ids["Group"]])["SecurityGroups"]
    assert ["10.9.0.0/16"] == [it["CidrIp"] for rule in group["IpPermissions"] for it in rule["IpRanges"]]


def test_fails_a_function_in_a_vpc_whose_role_names_the_resources(cloud: Cloud) -> None:
    stack = create(cloud, "named-resources", INTERFACES, "arn:aws:ec2:*:*:network-interface/*")
    assert "ROLLBACK_COMPLETE" == stack["StackStatus"]


@pytest.mark.parametrize("missing", INTERFACES)
def test_fails_a_function_in_a_vpc_whose_role_lacks_a_right(cloud: Cloud, missing: str) -> None:
    name = missing.replace(":", "-")
    stack = create(cloud, name, [action for action in INTERFACES if action != missing])
    events = cloud.client("cloudformation").describe_stack_events(StackName=stack["StackId"])["StackEvents"]
    reasons = " ".join(event.get("ResourceStatusReason", "") for event in events)
    assert f"role does not have permissions to call {missing.partition(':')[2]} on EC2" in reasons


@pytest.mark.patch("endpoints_are_told_in_full")
def test_an_endpoint_is_described_with_its_policy_groups_and_private_dns(cloud: Cloud) -> None:
    policy = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}]}
    endpoint = {
        "VpcId": {"Ref": "Vpc"},
        "VpcEndpointType": "Interface",
        "ServiceName": "com.amazonaws.us-east-1.kms",
        "SecurityGroupIds": [{"Ref": "Group"}],
        "PolicyDocument": policy,
        "PrivateDnsEnabled": True,
    }
    resources = {
        "Vpc": ("AWS::EC2::VPC", {"CidrBlock": "10.8.0.0/16"}),
        "Group": ("AWS::EC2::SecurityGroup", {"GroupDescription": "group", "VpcId": {"Ref": "Vpc"}}),
        "Endpoint": ("AWS::EC2::VPCEndpoint", endpoint),
    }
    template = {"Resources": {key: {"Type": kind, "Properties": it} for key, (kind, it) in resources.items()}}
    client, ec2 = cloud.client("cloudformation"), cloud.client("ec2")
    client.create_stack(StackName="endpoint", TemplateBody=json.dumps(template))
    client.get_waiter("stack_create_complete").wait(StackName="endpoint", WaiterConfig={"Delay": 1})
    ids = {
        it["LogicalResourceId"]: it["PhysicalResourceId"]
        for it in client.describe_stack_resources(StackName="endpoint")["StackResources"]
    }
    (found,) = [it for it in ec2.describe_vpc_endpoints()["VpcEndpoints"] if it["VpcEndpointId"] == ids["Endpoint"]]
    assert (policy, True) == (json.loads(found["PolicyDocument"]), found["PrivateDnsEnabled"])
    assert [ids["Group"]] == [it["GroupId"] for it in found["Groups"]]
