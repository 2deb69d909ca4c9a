"""Every example is deployed on the local cloud, imports, and does what its README says."""

from __future__ import annotations

import pytest
from aws_cdk import Stage

from tests.deployment import Account, Deployed, eventually
from tests.examples_apps import EXAMPLES, build

pytestmark = [pytest.mark.cloud, pytest.mark.long]

HERE, THERE = "111122223333", "444455556666"
BUCKET = "AWS::S3::Bucket"


def first(account: Account, name: str, **context: str) -> Deployed:
    """Deploy an example of one stack for the first time."""
    deployed = account.deploy_one(build(name, **context))
    assert "CREATE_COMPLETE" == deployed.status, deployed.reason
    return deployed


def again(account: Account, name: str, **context: str) -> Deployed:
    """Deploy it once more, with another run_id, as its README says."""
    deployed = account.deploy_one(build(name, run_id="first", **context))
    assert "UPDATE_COMPLETE" == deployed.status, deployed.reason
    return deployed


def test_minimal(account):
    assert "nothing to import" in first(account, "minimal").output("Summary")
    account.upload(account.resource_id("Minimal", BUCKET, "InputBucket"), "dicom/", "CT_small.dcm")
    assert "1 files scanned, 1 imported" in again(account, "minimal").output("Summary")


def test_existing_store_and_buckets(account):
    key = account.cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    store = account.healthimaging.create_datastore(datastoreName="existing", kmsKeyArn=key)["datastoreId"]
    for bucket in ("amzn-images", "amzn-results"):
        account.s3.create_bucket(Bucket=bucket)
    account.upload("amzn-images", "studies/", "CT_small.dcm", "MR_small.dcm")
    deployed = first(account, "existing-store-and-buckets", key_arn=key, datastore_id=store)
    assert "2 files scanned, 2 imported" in deployed.output("Summary")
    assert 2 == len(account.image_sets(store))


def test_another_account(account):
    other = Account(account.cloud, THERE)
    images = other.deploy(build("another-account"))["Images"]
    assert "CREATE_COMPLETE" == images.status, images.reason
    other.upload(f"images-{THERE}-us-east-1", "studies/", "CT_small.dcm")
    key_arn = images.output("KeyArn")
    allowed = other.deploy(build("another-account", images_key_arn=key_arn))["Images"]
    assert "UPDATE_COMPLETE" == allowed.status, allowed.reason
    imported = account.deploy(build("another-account", images_key_arn=key_arn))["Imaging"]
    assert "CREATE_COMPLETE" == imported.status, imported.reason
    assert "1 files scanned, 1 imported" in imported.output("Summary")


def test_private_network(account):
    first(account, "private-network")
    account.upload(account.resource_id("PrivateNetwork", BUCKET, "Images"), "dicom/", "CT_small.dcm")
    assert "1 files scanned, 1 imported" in again(account, "private-network").output("Summary")


def test_several_imports(account):
    first(account, "several-imports")
    bucket = account.resource_id("SeveralImports", BUCKET, "Images")
    account.upload(bucket, "ct/", "CT_small.dcm")
    account.upload(bucket, "mr/", "MR_small.dcm")
    deployed = again(account, "several-imports")
    assert "1 files scanned, 1 imported" in deployed.output("CTSummary")
    assert "1 files scanned, 1 imported" in deployed.output("MRSummary")
    assert "nothing to import" in deployed.output("USSummary")
    order = [call["clientToken"] for call in account.cloud.calls("StartDICOMImportJob")]
    assert 2 == len(order)


def test_pipeline(account):
    stages = [stage for stage in build("pipeline").node.children if isinstance(stage, Stage)]
    assert ["Test", "Production"] == [stage.node.id for stage in stages]
    stage = stages[0]
    deployed = account.deploy(stage)
    assert {"Test-Data": "CREATE_COMPLETE", "Test-Import": "CREATE_COMPLETE"} == {
        name: stack.status for name, stack in deployed.items()
    }


def test_development_store_is_torn_down_to_nothing(account):
    deployed = first(account, "development-store")
    assert "2 files scanned, 2 imported" in deployed.output("Summary")
    store = deployed.output("DatastoreId")
    bucket = account.resource_id("DevelopmentStore", BUCKET)
    log_group = account.resource_id("DevelopmentStore", "AWS::Logs::LogGroup")
    destroyed = account.destroy("DevelopmentStore")
    assert "DELETE_COMPLETE" == destroyed.status, destroyed.reason
    assert bucket not in [it["Name"] for it in account.s3.list_buckets()["Buckets"]]
    assert store not in [it["datastoreId"] for it in account.healthimaging.list_datastores()["datastoreSummaries"]]
    groups = account.cloud.client("logs").describe_log_groups()["logGroups"]
    assert log_group not in [group["logGroupName"] for group in groups]


def test_notifications(account):
    first(account, "notifications")
    account.upload(account.resource_id("Notifications", BUCKET, "InputBucket"), "dicom/", "CT_small.dcm", "notes.txt")
    assert "2 files scanned, 1 imported, 1 rejected" in again(account, "notifications").output("Summary")
    topic = account.resource_id("Notifications", "AWS::SNS::Topic", "People")
    subscriptions = account.cloud.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [("email", "imaging@example.com")] == [(it["Protocol"], it["Endpoint"]) for it in subscriptions]
    assert '"step": "published"' in account.log_lines()


def test_bulk_archive(account):
    deployed = first(account, "bulk-archive")
    bucket = account.resource_id("BulkArchive", BUCKET, "Images")
    account.upload(bucket, "archive/one/", "CT_small.dcm")
    account.upload(bucket, "archive/two/", "MR_small.dcm", "notes.txt")
    states = account.cloud.client("stepfunctions")
    machine = deployed.output("StateMachineArn")
    execution = states.start_execution(stateMachineArn=machine, input="{}")["executionArn"]
    assert eventually(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING", 1800)
    store = account.resource_id("BulkArchive", "AWS::HealthImaging::Datastore")
    assert 2 == len(account.image_sets(store)), states.describe_execution(executionArn=execution)


def test_every_example_is_deployed_here():
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert [] == [name for name in EXAMPLES if not any(test.startswith(name) for test in tested)]
