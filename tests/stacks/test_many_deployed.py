"""Several stacks on the local cloud: a nested one, and a store whose imports lie in stacks of their own."""

from __future__ import annotations

import pytest
from aws_cdk import App, CfnOutput, CfnResource, NestedStack, Stack, Tags
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Datastore, DicomImport, ImportSource, LosslessStorageFormat

pytestmark = [pytest.mark.cloud, pytest.mark.long]


def parent_and_nested(name: str, bucket: str, *, breaks: bool = False) -> App:
    app = App(analytics_reporting=False)
    parent = Stack(app, name)
    source = ImportSource.bucket(s3.Bucket.from_bucket_name(parent, "Images", bucket), "dicom/")
    nested = NestedStack(parent, "Nested")
    import_ = DicomImport(nested, "Import", datastore=Datastore(parent, "Store"), source=source)
    CfnOutput(parent, "Told", value=import_.summary)
    if breaks:
        broken = CfnResource(parent, "Broken", type="AWS::SQS::Queue", properties={"DelaySeconds": "many"})
        broken.node.add_dependency(import_)
    return app


@pytest.fixture
def bucket(account):
    account.s3.create_bucket(Bucket="nested-images")
    account.upload("nested-images", "dicom/", "CT_small.dcm")
    return "nested-images"


def test_an_import_in_a_nested_stack_imports_and_goes_with_its_parent(account, bucket):
    deployed = account.deploy_one(parent_and_nested("Parent", bucket))
    assert ("CREATE_COMPLETE", True) == (deployed.status, "1 imported" in deployed.outputs["Told"])
    store = account.resource_id("Parent", "AWS::HealthImaging::Datastore")
    assert 1 == len(account.image_sets(store))
    assert "DELETE_COMPLETE" == account.destroy("Parent").status
    assert 1 == account.jobs_started()


def test_fails_a_parent_whose_nested_import_was_good_without_another_job(account, bucket):
    deployed = account.deploy_one(parent_and_nested("BrokenParent", bucket, breaks=True))
    assert "ROLLBACK_COMPLETE" == deployed.status
    assert 1 == account.jobs_started()


def test_imports_of_two_stacks_into_one_store_run_by_functions_of_their_own(account):
    app = App(analytics_reporting=False)
    data = Stack(app, "SharedData")
    images = s3.Bucket(data, "Images")
    store = Datastore(data, "Store", lossless_storage_format=LosslessStorageFormat.HTJ2K)
    for name in ("First", "Second"):
        work = Stack(app, f"{name}Work")
        DicomImport(work, "Import", datastore=store, source=ImportSource.bucket(images, f"{name.lower()}/"))
    Tags.of(app).add("team", "radiology")
    deployed = account.deploy(app)
    assert {"CREATE_COMPLETE"} == {stack.status for stack in deployed.values()}
    first, second = (deployed[f"{name}Work"] for name in ("First", "Second"))
    assert first.output("DatastoreId") == second.output("DatastoreId")
    assert all("nothing to import" in work.output("Summary") for work in (first, second))
