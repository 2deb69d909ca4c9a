"""Data stores on the local cloud: what only the API can make, what must not change, and emptying on request."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aws_cdk import App, CfnElement, CfnOutput, RemovalPolicy, Stack, Tags
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from healthimaging_cdk import Datastore, DicomImport, LosslessStorageFormat
from tests.deployment import Account, eventually

pytestmark = [pytest.mark.cloud, pytest.mark.long]

CUSTOM = "Custom::HealthImagingDatastore"
JPEG = LosslessStorageFormat.JPEG_2000_LOSSLESS


def app(name: str, tags: dict[str, str] | None = None, **options: Any) -> App:
    app = App(analytics_reporting=False)
    stack = Stack(app, name)
    store = Datastore(stack, "Store", **options)
    CfnOutput(stack, "Arn", value=store.datastore_arn)
    CfnOutput(stack, "Status", value=store.datastore_status)
    for key, value in (tags or {}).items():
        Tags.of(stack).add(key, value)
    return app


def live(account: Account, datastore_id: str) -> dict[str, Any]:
    found: dict[str, Any] = account.healthimaging.get_datastore(datastoreId=datastore_id)["datastoreProperties"]
    return found


def test_a_storage_format_and_an_authorizer_are_those_of_the_live_store(account):
    app = App(analytics_reporting=False)
    stack = Stack(app, "Formatted")
    code = lambda_.Code.from_inline("def handle(event, context): pass")
    authorizer = lambda_.Function(
        stack, "Authorizer", code=code, handler="index.handle", runtime=lambda_.Runtime.PYTHON_3_14
    )
    Datastore(stack, "Store", datastore_name="formatted", lossless_storage_format=JPEG, lambda_authorizer=authorizer)
    assert "CREATE_COMPLETE" == account.deploy_one(app).status
    store = live(account, account.resource_id("Formatted", CUSTOM))
    assert ("ACTIVE", "formatted", "JPEG_2000_LOSSLESS") == (
        store["datastoreStatus"],
        store["datastoreName"],
        store["losslessStorageFormat"],
    )
    assert ":function:" in store["lambdaAuthorizerArn"]


def test_such_a_store_is_tagged_in_place_as_any_other(account):
    first = account.deploy_one(app("FormattedTags", {"team": "a"}, lossless_storage_format=JPEG))
    assert "ACTIVE" == first.outputs["Status"]
    store = account.resource_id("FormattedTags", CUSTOM)
    second = account.deploy_one(app("FormattedTags", {"team": "b"}, lossless_storage_format=JPEG))
    assert store == account.resource_id("FormattedTags", CUSTOM)
    assert "b" == account.tags(second.outputs["Arn"])["team"]


def test_fails_a_change_that_would_replace_such_a_store(account):
    account.deploy_one(app("Fixed", datastore_name="one", lossless_storage_format=JPEG))
    store = account.resource_id("Fixed", CUSTOM)
    changed = account.deploy_one(app("Fixed", datastore_name="two", lossless_storage_format=JPEG))
    assert "UPDATE_ROLLBACK_COMPLETE" == changed.status
    assert "datastoreName of a data store cannot be changed" in changed.reason
    assert store == account.resource_id("Fixed", CUSTOM)
    assert "one" == live(account, store)["datastoreName"]


def test_such_a_store_is_retained_when_its_stack_is_deleted(account):
    account.deploy_one(app("FormattedGone", lossless_storage_format=JPEG))
    store = account.resource_id("FormattedGone", CUSTOM)
    assert "DELETE_COMPLETE" == account.destroy("FormattedGone").status
    assert "ACTIVE" == live(account, store)["datastoreStatus"]


def test_such_a_store_is_deleted_if_asked(account):
    account.deploy_one(app("Disposable", lossless_storage_format=JPEG, removal_policy=RemovalPolicy.DESTROY))
    store = account.resource_id("Disposable", CUSTOM)
    assert "DELETE_COMPLETE" == account.destroy("Disposable").status
    stores = [item["datastoreId"] for item in account.healthimaging.list_datastores()["datastoreSummaries"]]
    assert store not in stores


def filled_store(account: Account, name: str, **options: Any) -> tuple[str, str]:
    """A store that is destroyed with its stack and holds an image set; answers its id and ARN."""

    def build(run_id: str) -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, name)
        store = Datastore(stack, "Store", removal_policy=RemovalPolicy.DESTROY, **options)
        CfnOutput(stack, "Arn", value=store.datastore_arn)
        DicomImport(stack, "Import", datastore=store, run_id=run_id)
        return app

    account.deploy_one(build("1"))
    account.upload(
        account.resource_id(name, "AWS::S3::Bucket", "InputBucket"), "dicom/", "CT_small.dcm", "MR_small.dcm"
    )
    deployed = account.deploy_one(build("2"))
    assert 2 == len(account.image_sets(deployed.output("ImportDatastoreId")))
    return deployed.output("ImportDatastoreId"), deployed.outputs["Arn"]


def test_a_store_that_may_be_emptied_goes_with_its_stack(account):
    store, _ = filled_store(account, "Emptied", auto_delete_image_sets=True)
    assert "DELETE_COMPLETE" == account.destroy("Emptied").status
    stores = [item["datastoreId"] for item in account.healthimaging.list_datastores()["datastoreSummaries"]]
    assert store not in stores
    assert 2 == len([call for call in account.cloud.calls("DeleteImageSet") if call["status"] == 200])


def test_fails_to_delete_a_store_that_may_not_be_emptied(account):
    store, _ = filled_store(account, "KeptStore")
    assert "DELETE_FAILED" == account.destroy("KeptStore").status
    assert 2 == len(account.image_sets(store))


def test_nothing_is_deleted_once_the_mark_was_taken_from_the_live_store(account):
    store, arn = filled_store(account, "Unmarked", auto_delete_image_sets=True)
    account.healthimaging.untag_resource(resourceArn=arn, tagKeys=["healthimaging-cdk:auto-delete-image-sets"])
    account.destroy("Unmarked")
    assert 2 == len(account.image_sets(store))


def test_a_locked_image_set_does_not_keep_the_others_from_going_and_is_named(account):
    def build(run_id: str) -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, "Locked")
        store = Datastore(stack, "Store", removal_policy=RemovalPolicy.DESTROY, auto_delete_image_sets=True)
        # Image sets are counted before any is deleted: one takes ten seconds at most.
        deletion = store.node.find_child("ImageSetDeletion")
        deletion.resource.node.default_child.add_property_override("WaitSeconds", 40)
        DicomImport(stack, "Import", datastore=store, run_id=run_id)
        return app

    account.deploy_one(build("1"))
    bucket = account.resource_id("Locked", "AWS::S3::Bucket", "InputBucket")
    account.upload(bucket, "dicom/", "CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")
    store = account.deploy_one(build("2")).output("ImportDatastoreId")
    image_sets = [it["imageSetId"] for it in account.image_sets(store)]
    assert 3 == len(image_sets)
    locked = image_sets[0]  # the first that is asked for
    account.cloud.inject("DeleteImageSet", "ConflictException", resource=locked, times=1000)
    failed = account.destroy("Locked")
    assert "DELETE_FAILED" == failed.status
    assert f"1 image sets of data store {store} are locked by other requests: {locked}" in failed.reason
    assert [locked] == [it["imageSetId"] for it in account.image_sets(store)]
    account.cloud.clear()
    assert "DELETE_COMPLETE" == account.destroy("Locked").status


@pytest.mark.parametrize(("name", "options"), [("Lost", {}), ("FormattedLost", {"lossless_storage_format": JPEG})])
def test_tags_of_a_store_that_was_deleted_by_hand_are_rolled_back_to(account, name, options):
    deployed = account.deploy_one(app(name, {"team": "a"}, **options))
    assert "CREATE_COMPLETE" == deployed.status
    store = deployed.outputs["Arn"].rpartition("/")[2]
    account.healthimaging.delete_datastore(datastoreId=store)
    stores = account.healthimaging.list_datastores
    assert eventually(lambda: store not in [it["datastoreId"] for it in stores()["datastoreSummaries"]])
    changed = account.deploy_one(app(name, {"team": "b"}, **options))
    assert "UPDATE_ROLLBACK_COMPLETE" == changed.status
    assert "ResourceNotFoundException" in changed.reason


def test_taking_the_option_back_deletes_nothing(account):
    def build(**options: Any) -> App:
        app = App(analytics_reporting=False)
        Datastore(Stack(app, "TakenBack"), "Store", removal_policy=RemovalPolicy.DESTROY, **options)
        return app

    account.deploy_one(build(auto_delete_image_sets=True))
    store = account.resource_id("TakenBack", "AWS::HealthImaging::Datastore")
    arn = live(account, store)["datastoreArn"]
    assert "healthimaging-cdk:auto-delete-image-sets" in account.tags(arn)
    assert "UPDATE_COMPLETE" == account.deploy_one(build()).status
    assert "healthimaging-cdk:auto-delete-image-sets" not in account.tags(arn)
    assert [] == account.cloud.calls("DeleteImageSet")


def test_throttled_deletions_are_paced_and_go_on(account):
    account.cloud.inject("DeleteImageSet", "ThrottlingException", times=1)
    filled_store(account, "Paced", auto_delete_image_sets=True)
    assert "DELETE_COMPLETE" == account.destroy("Paced").status


def at(scope_id: str, team: str) -> App:
    """A tagged store that is emptied with its stack, in a scope of its own, always under one logical id."""
    app = App(analytics_reporting=False)
    stack = Stack(app, "MovedInTree")
    store = Datastore(
        Construct(stack, scope_id), "Store", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY
    )
    cast("CfnElement", store.node.default_child).override_logical_id("Store")
    Tags.of(store).add("team", team)
    Tags.of(store).add(f"only-{team}", "1")
    CfnOutput(stack, "Arn", value=store.datastore_arn)
    return app


def test_a_store_that_is_moved_in_the_tree_keeps_its_tags_and_its_opt_in_tag(account):
    first = account.deploy_one(at("Here", "a"))
    moved = account.deploy_one(at("There", "b"))
    assert ("UPDATE_COMPLETE", first.outputs["Arn"]) == (moved.status, moved.outputs["Arn"])
    tags = account.tags(moved.outputs["Arn"])
    assert ("b", "true") == (tags["team"], tags["healthimaging-cdk:auto-delete-image-sets"])
    assert ["only-b"] == [key for key in tags if key.startswith("only-")]
