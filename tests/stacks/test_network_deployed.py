"""An import from a VPC without internet: what is made in which order, and whether each call finds an open endpoint."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
from aws_cdk import App, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Datastore, DicomImport, HealthImagingEndpoints, ImportNetwork, ImportSource
from tests.deployment import P10_FILES, Account

pytestmark = pytest.mark.cloud

NAME = "InVpc"
ROLES = ("EngineFunctionRole", "JobRole")


def app(run_id: str, folder: Any) -> App:
    """An import from a bucket, and one of a local directory; the endpoints know the store and every bucket."""
    app = App(analytics_reporting=False)
    stack = Stack(app, NAME)
    isolated = ec2.SubnetConfiguration(name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
    vpc = ec2.Vpc(stack, "Vpc", nat_gateways=0, subnet_configuration=[isolated])
    store = Datastore(stack, "Store", removal_policy=RemovalPolicy.DESTROY)
    images = s3.Bucket(stack, "Images")
    # What nothing orders, the local cloud makes in alphabetical order: the function would come first.
    endpoints = HealthImagingEndpoints(stack, "WayOut", vpc=vpc, datastores=[store], buckets=[images])
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    source = ImportSource.bucket(images, "studies/")
    DicomImport(stack, "Import", datastore=store, source=source, run_id=run_id)
    DicomImport(stack, "Phantoms", datastore=store, source=ImportSource.directory(folder))
    return app


class Life:
    """A stack that was made, has imported, and was deleted."""

    def __init__(self, account: Account, folder: Any) -> None:
        account.cloud.clear()
        (folder / "mr.dcm").write_bytes((P10_FILES / "MR_small.dcm").read_bytes())
        first = account.deploy_one(app("1", folder))
        assert "CREATE_COMPLETE" == first.status, first.reason
        self.stack_id = account.stacks.describe(NAME)["StackId"]
        account.upload(account.resource_id(NAME, "AWS::S3::Bucket", "Images"), "studies/", "CT_small.dcm")
        self.deployed = account.deploy_one(app("2", folder))
        assert "UPDATE_COMPLETE" == self.deployed.status, self.deployed.reason
        resources = account.cloudformation.describe_stack_resources(StackName=NAME)["StackResources"]
        self.ids = {it["LogicalResourceId"]: it["PhysicalResourceId"] for it in resources}
        function = account.resource_id(NAME, "AWS::Lambda::Function")
        self.function = account.cloud.client("lambda").get_function_configuration(FunctionName=function)
        client = account.cloud.client("ec2")
        vpc = [{"Name": "vpc-id", "Values": [self.id_of("Vpc")]}]
        every = client.describe_vpc_endpoints()["VpcEndpoints"]  # the local cloud knows no filter here
        self.endpoints = {
            it["ServiceName"].removeprefix("com.amazonaws.us-east-1."): it
            for it in every
            if it["VpcId"] == self.id_of("Vpc")
        }
        self.subnets = {it["SubnetId"] for it in client.describe_subnets(Filters=vpc)["Subnets"]}
        groups = client.describe_security_groups(Filters=vpc)["SecurityGroups"]
        self.groups = {it["GroupId"]: it for it in groups}
        store = {"datastoreId": self.deployed.output("ImportDatastoreId")}
        self.image_sets = account.image_sets(store["datastoreId"])
        for image_set in self.image_sets:
            account.healthimaging.delete_image_set(**store, imageSetId=image_set["imageSetId"])
        self.destroyed = account.destroy(NAME)
        self.decisions = account.cloud.decisions()
        self.events = account.stacks.events(self.stack_id)

    def id_of(self, part: str) -> str:
        (found,) = [physical for logical, physical in self.ids.items() if re.match(f"{part}[0-9A-F]{{8}}$", logical)]
        return str(found)

    def when(self, kind: str, status: str, part: str = "") -> list[int]:
        """At which places among the events this happened."""
        return [
            index
            for index, it in enumerate(self.events)
            if (it["ResourceType"], it["ResourceStatus"]) == (kind, status) and part in it["LogicalResourceId"]
        ]


@pytest.fixture(scope="module")
def life(shared_account: Account, tmp_path_factory: pytest.TempPathFactory) -> Life:
    return Life(shared_account, tmp_path_factory.mktemp("phantoms"))


def test_it_imports_from_the_bucket_and_from_the_directory(life):
    assert "COMPLETED: 1 files scanned, 1 imported" in life.deployed.output("ImportSummary")
    assert "COMPLETED: 1 files scanned, 1 imported" in life.deployed.output("PhantomsSummary")
    assert 2 == len(life.image_sets)


def test_the_function_runs_in_the_isolated_subnets_with_a_group_that_the_endpoints_let_in(life):
    network = life.function["VpcConfig"]
    own, of_endpoints = life.id_of("NetworkSecurityGroup"), life.id_of("WayOutSecurityGroup")
    assert (life.id_of("Vpc"), life.subnets, [own]) == (
        network["VpcId"],
        set(network["SubnetIds"]),
        network["SecurityGroupIds"],
    )
    (out,) = life.groups[own]["IpPermissionsEgress"]
    assert (443, 443, []) == (out["FromPort"], out["ToPort"], life.groups[own]["IpPermissions"])
    allowed = life.groups[of_endpoints]["IpPermissions"]
    assert {own} == {pair["GroupId"] for rule in allowed for pair in rule["UserIdGroupPairs"]}


def test_there_is_an_endpoint_for_each_service(life):
    interfaces = {
        "cloudformation",
        "dicom-medical-imaging",
        "events",
        "medical-imaging",
        "runtime-medical-imaging",
        "states",
        "sts",
    }
    assert {*interfaces, "s3"} == set(life.endpoints)
    group = life.id_of("WayOutSecurityGroup")
    for name in interfaces:
        found = life.endpoints[name]
        assert (life.subnets, [group], True) == (
            set(found["SubnetIds"]),
            [it["GroupId"] for it in found["Groups"]],
            found["PrivateDnsEnabled"],
        )
    assert 2 == len(life.endpoints["s3"]["RouteTableIds"])


def test_what_the_function_needs_is_there_before_it_and_it_before_the_first_request(life):
    def first(kind: str, part: str = "") -> int:
        return life.when(kind, "CREATE_IN_PROGRESS", part)[0]

    function = first("AWS::Lambda::Function")
    assert max(life.when("AWS::EC2::VPCEndpoint", "CREATE_COMPLETE")) < function
    assert max(life.when("AWS::EC2::SecurityGroupIngress", "CREATE_COMPLETE")) < function
    assert max(life.when("AWS::EC2::SubnetRouteTableAssociation", "CREATE_COMPLETE")) < function
    assert life.when("AWS::IAM::Role", "CREATE_COMPLETE", "FunctionRole")[0] < function
    assert function < first("Custom::HealthImagingImport")


def test_everything_it_needs_outlives_the_last_request(life):
    assert "DELETE_COMPLETE" == life.destroyed.status
    last = max(life.when("Custom::HealthImagingImport", "DELETE_COMPLETE"))
    (function,) = life.when("AWS::Lambda::Function", "DELETE_COMPLETE")
    assert last < function
    for kind, part in (
        ("AWS::EC2::VPCEndpoint", ""),
        ("AWS::EC2::SecurityGroupIngress", ""),
        ("AWS::EC2::SecurityGroup", ""),
        ("AWS::EC2::Subnet", ""),
        ("AWS::IAM::Role", "FunctionRole"),
    ):
        assert function < min(life.when(kind, "DELETE_IN_PROGRESS", part)), kind


def let_through(endpoint: dict[str, Any], action: str, resource: str) -> bool:
    """What the policy of an endpoint says."""
    if "PolicyDocument" not in endpoint:
        return True  # AWS's own lets everything through
    for statement in json.loads(endpoint["PolicyDocument"])["Statement"]:
        actions, resources = (
            value if isinstance(value, list) else [value] for value in (statement["Action"], statement["Resource"])
        )
        assert "Allow" == statement["Effect"]
        assert "Condition" not in statement
        if any(fnmatchcase(action, it) for it in actions) and any(fnmatchcase(resource, it) for it in resources):
            return True
    return False


def test_every_call_of_the_function_finds_an_endpoint_that_lets_it_through(life):
    """The local cloud has no network in which a call could be held up: what was called is held against the policies."""
    calls = {
        (decision["action"], decision["resource"])
        for decision in life.decisions
        if any(f"assumed-role/{NAME}" in decision["principal"] and role in decision["principal"] for role in ROLES)
    }
    # A role is passed within a call of HealthImaging. Lambda looks at interfaces and writes the log from its own
    # network, and S3 and CloudWatch Logs ask KMS from theirs.
    elsewhere = ("iam:", "ec2:", "logs:", "kms:")
    calls = {(action, resource) for action, resource in calls if not action.startswith(elsewhere)}
    services = {action.partition(":")[0] for action, _ in calls}
    assert {"cloudformation", "events", "medical-imaging", "s3", "states", "sts"} == services
    held_up = {
        (action, resource)
        for action, resource in calls
        if not let_through(life.endpoints[action.partition(":")[0]], action, resource)
    }
    assert set() == held_up
    other = life.endpoints["medical-imaging"]
    assert not let_through(
        other, "medical-imaging:GetDatastore", "arn:aws:medical-imaging:us-east-1:111122223333:datastore/other"
    )
