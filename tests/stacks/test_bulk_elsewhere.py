"""Bulk imports from another account's bucket, under customer keys, and from a VPC without internet; IAM enforced."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, CfnOutput, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from botocore.exceptions import ClientError
from click.testing import CliRunner

from healthimaging_cdk import (
    BulkDicomImport,
    BulkPace,
    Datastore,
    HealthImagingEndpoints,
    ImportNetwork,
    ImportQuotas,
    ImportSource,
)
from healthimaging_cdk.bulk_import._bulk_options import BulkOptions
from healthimaging_cdk.cli._group import commands
from tests.deployment import P10_FILES, Account, eventually
from tests.stacks.test_network_deployed import let_through

pytestmark = pytest.mark.cloud

HERE, THERE = "111122223333", "444455556666"
QUICK: dict[str, Any] = {"quotas": ImportQuotas(files=1), "pace": BulkPace(starts_per_second=50)}
FILES = {"archive/ct/1.dcm": "CT_small.dcm", "archive/mr/1.dcm": "MR_small.dcm"}


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    given = BulkOptions.settings
    monkeypatch.setattr(BulkOptions, "settings", lambda options: {**given(options), "StepSeconds": 10})


def upload(account: Account, bucket: str) -> None:
    for key, name in FILES.items():
        account.s3.put_object(Bucket=bucket, Key=key, Body=(P10_FILES / name).read_bytes())


def run(account: Account, machine: str) -> dict[str, Any]:
    """An execution that has ended."""
    states = account.cloud.client("stepfunctions")
    execution = states.start_execution(stateMachineArn=machine, input="{}")["executionArn"]
    assert eventually(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING", 300)
    found: dict[str, Any] = states.describe_execution(executionArn=execution)
    return found


def files_of(ended: dict[str, Any]) -> dict[str, Any]:
    assert "SUCCEEDED" == ended["status"], ended
    found: dict[str, Any] = json.loads(ended["output"])["files"]
    return found


@pytest.mark.long
class TestAnotherAccount:
    """The source is a bucket of another account, under that account's key."""

    @staticmethod
    def app(key_arn: str) -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, "BulkOfOthers", env={"account": HERE, "region": "us-east-1"})
        key = kms.Key.from_key_arn(stack, "ImagesKey", key_arn)
        images = s3.Bucket.from_bucket_attributes(stack, "Images", bucket_name="bulk-of-others", encryption_key=key)
        source = ImportSource.bucket(images, "archive/", owner_account_id=THERE)
        archive = BulkDicomImport(stack, "Archive", source=source, **QUICK)
        CfnOutput(stack, "Machine", value=archive.state_machine_arn)
        CfnOutput(stack, "StoreId", value=archive.datastore.datastore_id)
        return app

    def test_what_the_outputs_say_is_enough_and_needed(self, account: Account) -> None:
        account.cloud.settings(job_seconds=0.2, files_per_job=5000)
        other = Account(account.cloud, THERE)
        keys = other.client("kms")
        key = keys.create_key()["KeyMetadata"]
        own = json.loads(keys.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"])
        other.s3.create_bucket(Bucket="bulk-of-others")
        encryption = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["Arn"]}
        other.s3.put_bucket_encryption(
            Bucket="bulk-of-others",
            ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": encryption}]},
        )
        upload(other, "bulk-of-others")
        deployed = account.deploy_one(self.app(key["Arn"]))
        assert "CREATE_COMPLETE" == deployed.status, deployed.reason
        of_bucket, of_key = (json.loads(deployed.output(f"Source{it}Policy")) for it in ("Bucket", "Key"))

        other.s3.put_bucket_policy(Bucket="bulk-of-others", Policy=json.dumps(of_bucket))
        assert "FAILED" == run(account, deployed.output("Machine"))["status"], "its key does not let anybody read"
        assert [] == account.image_sets(deployed.output("StoreId"))

        own["Statement"] += of_key["Statement"]
        keys.put_key_policy(KeyId=key["KeyId"], PolicyName="default", Policy=json.dumps(own))
        retried = CliRunner()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in account.cloud.environ().items():
                patch.setenv(name, value)
            started = retried.invoke(commands, ["retry", "BulkOfOthers"])
        assert 0 == started.exit_code, started.output
        states = account.cloud.client("stepfunctions")
        execution = started.stdout.splitlines()[0]
        assert eventually(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING", 300)
        assert 2 == files_of(states.describe_execution(executionArn=execution))["imported"]
        assert [1, 1] == [it["version"] for it in account.image_sets(deployed.output("StoreId"))]


class TestVpc:
    """The function is in a VPC without internet; what is created has a customer-managed key."""

    @staticmethod
    def app() -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, "BulkInVpc")
        isolated = ec2.SubnetConfiguration(name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        vpc = ec2.Vpc(stack, "Vpc", nat_gateways=0, subnet_configuration=[isolated])
        key = kms.Key(stack, "Key", enable_key_rotation=True)
        store = Datastore(stack, "Store", encryption_key=key, removal_policy=RemovalPolicy.DESTROY)
        images = s3.Bucket(stack, "Images", encryption=s3.BucketEncryption.KMS, encryption_key=kms.Key(stack, "Theirs"))
        endpoints = HealthImagingEndpoints(stack, "WayOut", vpc=vpc, datastores=[store], buckets=[images])
        ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
        archive = BulkDicomImport(
            stack,
            "Archive",
            datastore=store,
            source=ImportSource.bucket(images, "archive/"),
            encryption_key=key,
            **QUICK,
        )
        CfnOutput(stack, "Machine", value=archive.state_machine_arn)
        CfnOutput(stack, "StoreId", value=store.datastore_id)
        return app

    def test_every_call_finds_an_open_endpoint_and_every_key_lets_its_role(self, account: Account) -> None:
        account.cloud.settings(job_seconds=0.2, files_per_job=5000)
        deployed = account.deploy_one(self.app())
        assert "CREATE_COMPLETE" == deployed.status, deployed.reason
        upload(account, account.resource_id("BulkInVpc", "AWS::S3::Bucket", "Images"))
        account.cloud.clear()
        assert 2 == files_of(run(account, deployed.output("Machine")))["imported"]
        assert [1, 1] == [it["version"] for it in account.image_sets(deployed.output("StoreId"))]

        decisions = [it for it in account.cloud.decisions() if "assumed-role/BulkInVpc-ArchiveRole" in it["principal"]]
        assert [] == [it for it in decisions if it["decision"] == "denied"]
        assert any(it["action"].startswith("kms:") for it in decisions)
        vpc = account.resource_id("BulkInVpc", "AWS::EC2::VPC")
        endpoints = {
            it["ServiceName"].removeprefix("com.amazonaws.us-east-1."): it
            for it in account.cloud.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
            if it["VpcId"] == vpc
        }
        calls = {(it["action"], it["resource"]) for it in decisions}
        services = {action.partition(":")[0] for action, _ in calls}
        assert {"events", "medical-imaging", "s3"} <= services
        held_up = {
            (action, resource)
            for action, resource in calls
            if not action.startswith(("iam:", "kms:"))
            and not let_through(endpoints[action.partition(":")[0]], action, resource)
        }
        assert set() == held_up


def test_a_plan_from_a_laptop_needs_the_right_to_list_and_no_other(account, monkeypatch):
    account.s3.create_bucket(Bucket="bulk-planned-from-afar")
    upload(account, "bulk-planned-from-afar")
    bucket = "arn:aws:s3:::bulk-planned-from-afar"
    lists = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket}
    reads = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{bucket}/*"}

    def plan(name: str, right: dict[str, Any]) -> Any:
        credentials = account.session(name, right)
        for variable, value in {**account.cloud.environ(), **{it.upper(): v for it, v in credentials.items()}}.items():
            monkeypatch.setenv(variable, value)
        return CliRunner().invoke(commands, ["plan", "s3://bulk-planned-from-afar/archive/", "--files", "1"])

    planned = plan("may-list", lists)
    assert 0 == planned.exit_code, planned.output
    assert "2 for 2 files" in planned.stdout
    with pytest.raises(ClientError, match="AccessDenied"):
        account.cloud.client("s3", **account.session("may-list-only", lists)).get_object(
            Bucket="bulk-planned-from-afar", Key="archive/ct/1.dcm"
        )
    refused = plan("may-read", reads)
    assert 2 == refused.exit_code, refused.output
    assert "AccessDenied" in refused.output
