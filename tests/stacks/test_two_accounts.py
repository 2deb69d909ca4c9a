"""A source bucket in another account, whose owner allows what the import says: two accounts of the local cloud."""

from __future__ import annotations

import json
from typing import Any

import jsii
import pytest
from aws_cdk import App, Aspects, IAspect, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from botocore.exceptions import ClientError
from constructs import IConstruct

from healthimaging_cdk import DicomImport, ImportSource
from tests.deployment import Account, Deployed, eventually

pytestmark = pytest.mark.cloud

HERE, THERE = "111122223333", "444455556666"
NAME, BUCKET = "TwoAccounts", "images-of-another-account"
HINT = "the input bucket has to belong to account {}, which has to allow what the outputs SourceBucketPolicy and"


def app(run_id: str, *, owner: str = THERE, name: str = NAME) -> App:
    """An import from a bucket that is elsewhere."""
    app = App(analytics_reporting=False)
    stack = Stack(app, name, env={"account": HERE, "region": "us-east-1"})
    images = s3.Bucket.from_bucket_name(stack, "Images", BUCKET)
    source = ImportSource.bucket(images, "studies/", owner_account_id=owner)
    DicomImport(stack, "Import", source=source, run_id=run_id)
    return app


@jsii.implements(IAspect)
class UnderPath:
    """What a landing zone does to roles."""

    def visit(self, node: IConstruct) -> None:
        if isinstance(node, iam.CfnRole):
            node.add_property_override("Path", "/delegated/")


def policy_at_synth(app: App) -> dict[str, Any]:
    """The output in the template, in which only the partition is left to fill in."""
    (stack,) = app.synth().stacks
    (value,) = [it["Value"] for name, it in stack.template["Outputs"].items() if "SourceBucketPolicy" in name]
    text = "".join("aws" if part == {"Ref": "AWS::Partition"} else part for part in value["Fn::Join"][1])
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.fixture(scope="module")
def other(shared_account: Account) -> Account:
    return Account(shared_account.cloud, THERE)


@pytest.fixture(scope="module")
def policy(other: Account) -> dict[str, Any]:
    """What the other account attaches before anything is deployed."""
    other.s3.create_bucket(Bucket=BUCKET)
    other.upload(BUCKET, "studies/", "CT_small.dcm", "MR_small.dcm")
    other.upload(BUCKET, "others/", "JPEG2000.dcm")
    return policy_at_synth(app("1"))


@pytest.fixture(scope="module")
def imported(shared_account: Account, other: Account, policy: dict[str, Any]) -> Deployed:
    """The first deploy, with the policy there."""
    attach(other, policy)
    return shared_account.deploy_one(app("1"))


def attach(other: Account, policy: dict[str, Any]) -> None:
    other.s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))


def test_what_the_other_account_attached_before_the_first_deploy_is_enough(account, imported, policy):
    assert "CREATE_COMPLETE" == imported.status, imported.reason
    assert "COMPLETED: 2 files scanned, 2 imported" in imported.output("Summary")
    assert 2 == len(account.image_sets(imported.output("DatastoreId")))
    assert policy == json.loads(imported.output("SourceBucketPolicy"))


def job_status(account: Account, role: str, datastore_id: str, results: str) -> str:
    """How a job ends that HealthImaging runs with the data-access role, whoever started it."""
    started = account.healthimaging.start_dicom_import_job(
        datastoreId=datastore_id,
        dataAccessRoleArn=role,
        inputS3Uri=f"s3://{BUCKET}/studies/",
        inputOwnerAccountId=THERE,
        outputS3Uri=f"s3://{results}/results/",
    )

    def status() -> str:
        return str(account.job(datastore_id, started["jobId"])["jobStatus"])

    assert eventually(lambda: status() in ("COMPLETED", "FAILED"))
    return status()


def without(policy: dict[str, Any], number: int) -> dict[str, Any]:
    return {**policy, "Statement": [it for index, it in enumerate(policy["Statement"]) if index != number]}


@pytest.mark.usefixtures("policy")
def test_roles_that_an_aspect_puts_under_a_path_are_let_in(account, other):
    def delegated() -> App:
        made = app("1", name="Delegated")
        Aspects.of(made).add(UnderPath())
        return made

    attach(other, policy_at_synth(delegated()))
    deployed = account.deploy_one(delegated())
    assert "CREATE_COMPLETE" == deployed.status, deployed.reason
    role = account.cloud.client("iam").get_role(
        RoleName=account.resource_id("Delegated", "AWS::IAM::Role", "ImportDataAccessRole")
    )["Role"]
    assert ":role/delegated/" in role["Arn"]
    assert "2 imported" in deployed.output("Summary")


def test_fails_a_job_that_the_policy_does_not_let_list_and_read(account, other, imported, policy):
    role = policy["Statement"][0]["Condition"]["ArnEquals"]["aws:PrincipalArn"][0]
    place = role, imported.output("DatastoreId"), account.resource_id(NAME, "AWS::S3::Bucket", "OutputBucket")
    for missing in (0, 1):
        attach(other, without(policy, missing))
        assert "FAILED" == job_status(account, *place)
    attach(other, without(policy, 2))
    assert "COMPLETED" == job_status(account, *place)


@pytest.mark.usefixtures("imported")
def test_fails_without_the_right_to_look_and_names_who_has_to_allow_it(account, other, policy):
    attach(other, without(policy, 2))
    refused = account.deploy_one(app("2"))
    assert ("UPDATE_ROLLBACK_COMPLETE", 0) == (refused.status, account.jobs_started())
    assert HINT.format(THERE) in refused.reason


@pytest.mark.usefixtures("imported")
def test_fails_with_the_id_of_an_account_that_does_not_own_the_bucket(account, other, policy):
    attach(other, policy)
    refused = account.deploy_one(app("1", owner="777788889999"))
    assert ("UPDATE_ROLLBACK_COMPLETE", 0) == (refused.status, account.jobs_started())
    assert HINT.format("777788889999") in refused.reason


@pytest.mark.usefixtures("imported")
def test_the_policy_lets_no_other_role_of_the_importing_account_in(account, other, policy):
    attach(other, policy)
    reads = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    client = account.cloud.client("s3", **account.session("may-read-every-bucket", reads))
    for call in (
        lambda: client.list_objects_v2(Bucket=BUCKET, Prefix="studies/"),
        lambda: client.get_object(Bucket=BUCKET, Key="studies/CT_small.dcm"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    attach(other, {"Statement": [{**statement, "Condition": {}} for statement in policy["Statement"]]})
    assert 2 == client.list_objects_v2(Bucket=BUCKET, Prefix="studies/")["KeyCount"]


def test_both_accounts_can_be_in_one_app(account, other):
    def app(run_id: str) -> App:
        app = App(analytics_reporting=False)
        theirs = Stack(app, "Theirs", env={"account": THERE, "region": "us-east-1"})
        stack = Stack(app, "Ours", env={"account": HERE, "region": "us-east-1"})
        images = s3.Bucket(theirs, "Images", bucket_name="images-of-the-same-app")
        source = ImportSource.bucket(images, "studies/", owner_account_id=THERE)
        import_ = DicomImport(stack, "Import", source=source, run_id=run_id)
        stack.add_dependency(theirs)
        for statement in import_.source_bucket_policy.to_json()["Statement"]:
            images.add_to_resource_policy(iam.PolicyStatement.from_json(statement))
        return app

    assert ["CREATE_COMPLETE"] == [it.status for it in other.deploy(app("1")).values()]
    assert "nothing to import" in account.deploy_one(app("1")).output("Summary")
    other.upload("images-of-the-same-app", "studies/", "CT_small.dcm")
    deployed = account.deploy_one(app("2"))
    assert "COMPLETED: 1 files scanned, 1 imported" in deployed.output("Summary")
