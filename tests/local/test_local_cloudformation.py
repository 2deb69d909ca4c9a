"""CloudFormation, Lambda and Step Functions of the local cloud, where we added to them or mended them."""

from __future__ import annotations

import io
import json
import time
import zipfile
from typing import Any

import pytest

from healthimaging_local import Cloud
from tests.conftest import ROOT
from tests.deployment import eventually

pytestmark = pytest.mark.cloud

STORE = "AWS::HealthImaging::Datastore"
IAM = ["CAPABILITY_NAMED_IAM"]


def settled(cloud: Cloud, name: str) -> dict[str, Any]:
    """The stack once its operation ended; by its id, so that a deleted one is found too."""
    client = cloud.client("cloudformation")

    def stack() -> dict[str, Any]:
        found: dict[str, Any] = client.describe_stacks(StackName=name)["Stacks"][0]
        return found

    assert eventually(lambda: not stack()["StackStatus"].endswith("IN_PROGRESS"))
    return stack()


def template(**resources: Any) -> str:
    outputs = {f"{name}Id": {"Value": {"Ref": name}} for name in resources}
    return json.dumps({"Resources": resources, "Outputs": outputs})


def store(**more: Any) -> dict[str, Any]:
    properties = more.pop("properties", {"DatastoreName": "one"})
    return {"Type": STORE, "Properties": properties, **more}


def create(cloud: Cloud, name: str, body: str) -> dict[str, Any]:
    answer = cloud.client("cloudformation").create_stack(StackName=name, TemplateBody=body, Capabilities=IAM)
    return settled(cloud, answer["StackId"])


def update(cloud: Cloud, stack: dict[str, Any], body: str) -> dict[str, Any]:
    cloud.client("cloudformation").update_stack(StackName=stack["StackId"], TemplateBody=body, Capabilities=IAM)
    return settled(cloud, stack["StackId"])


def delete(cloud: Cloud, stack: dict[str, Any]) -> dict[str, Any]:
    cloud.client("cloudformation").delete_stack(StackName=stack["StackId"])
    return settled(cloud, stack["StackId"])


def output(stack: dict[str, Any], name: str = "StoreId") -> str:
    return next(str(item["OutputValue"]) for item in stack["Outputs"] if item["OutputKey"] == name)


def stores(cloud: Cloud) -> set[str]:
    pages = cloud.client("medical-imaging").get_paginator("list_datastores").paginate()
    return {item["datastoreId"] for page in pages for item in page["datastoreSummaries"]}


def test_a_stack_makes_and_deletes_a_data_store(cloud: Cloud) -> None:
    properties = {"DatastoreName": "one", "Tags": {"team": "a"}}
    document = json.loads(template(Store=store(properties=properties)))
    document["Outputs"] = {
        name: {"Value": {"Fn::GetAtt": ["Store", name]}}
        for name in ("DatastoreId", "DatastoreArn", "DatastoreStatus", "CreatedAt", "UpdatedAt")
    } | {"StoreId": {"Value": {"Ref": "Store"}}}
    stack = create(cloud, "makes", json.dumps(document))
    identifier = output(stack)
    arn = output(stack, "DatastoreArn")
    assert (identifier, "ACTIVE", {"team": "a"}) == (
        output(stack, "DatastoreId"),
        output(stack, "DatastoreStatus"),
        cloud.client("medical-imaging").list_tags_for_resource(resourceArn=arn)["tags"],
    )
    assert identifier in stores(cloud)
    assert "DELETE_COMPLETE" == delete(cloud, stack)["StackStatus"]
    assert identifier not in stores(cloud)


@pytest.mark.parametrize(
    "change",
    [
        {"DatastoreName": "two"},
        {"DatastoreName": "one", "Tags": {"a": "b"}},
        {"DatastoreName": "one", "KmsKeyArn": "arn:aws:kms:us-east-1:111122223333:alias/x"},
    ],
)
def test_any_change_replaces_a_data_store(cloud: Cloud, change: dict[str, Any]) -> None:
    kms = cloud.client("kms")
    if "KmsKeyArn" in change:
        kms.create_alias(AliasName="alias/x", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    stack = create(cloud, f"replaces-{len(json.dumps(change))}", template(Store=store()))
    first = output(stack)
    stack = update(cloud, stack, template(Store=store(properties=change)))
    second = output(stack)
    assert ("UPDATE_COMPLETE", True) == (stack["StackStatus"], first != second)
    assert {second} == stores(cloud) & {first, second}
    delete(cloud, stack)


def test_a_replaced_data_store_can_be_retained(cloud: Cloud) -> None:
    stack = create(cloud, "retains", template(Store=store(UpdateReplacePolicy="Retain")))
    first = output(stack)
    changed = store(properties={"DatastoreName": "two"}, UpdateReplacePolicy="Retain", DeletionPolicy="Retain")
    stack = update(cloud, stack, template(Store=changed))
    second = output(stack)
    delete(cloud, stack)
    assert {first, second} == stores(cloud) & {first, second}


def test_fails_to_create_a_data_store_that_the_model_forbids(cloud: Cloud) -> None:
    stack = create(cloud, "forbidden", template(Store=store(properties={"DatastoreName": "with space"})))
    assert "ROLLBACK_COMPLETE" == stack["StackStatus"]


def test_deleting_what_is_gone_is_fine(cloud: Cloud) -> None:
    stack = create(cloud, "gone", template(Store=store()))
    cloud.client("medical-imaging").delete_datastore(datastoreId=output(stack))
    assert "DELETE_COMPLETE" == delete(cloud, stack)["StackStatus"]


def import_one(cloud: Cloud, name: str, datastore_id: str, content: bytes) -> None:
    s3, iam, imaging = cloud.client("s3"), cloud.client("iam"), cloud.client("medical-imaging")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="in/ct.dcm", Body=content)
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "medical-imaging.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    grant = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [grant]})
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy)
    imaging.start_dicom_import_job(
        datastoreId=datastore_id,
        dataAccessRoleArn=role,
        inputS3Uri=f"s3://{name}/in/",
        outputS3Uri=f"s3://{name}/out/",
    )

    def statuses() -> set[str]:
        return {job["jobStatus"] for job in imaging.list_dicom_import_jobs(datastoreId=datastore_id)["jobSummaries"]}

    assert eventually(lambda: {"COMPLETED"} == statuses())


def test_fails_to_delete_a_store_with_image_sets_and_keeps_what_it_depends_on(cloud: Cloud, sample: Any) -> None:
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "needed"}}
    other = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "not-needed"}}
    stack = create(cloud, "holds", template(Needed=topic, Other=other, Store=store(DependsOn="Needed")))
    datastore_id = output(stack)
    import_one(cloud, "holds-images", datastore_id, sample("CT_small.dcm"))
    assert "DELETE_FAILED" == delete(cloud, stack)["StackStatus"]
    topics = [item["TopicArn"].rsplit(":", 1)[1] for item in cloud.client("sns").list_topics()["Topics"]]
    assert (True, False) == ("needed" in topics, "not-needed" in topics)

    imaging = cloud.client("medical-imaging")
    for found in imaging.search_image_sets(datastoreId=datastore_id)["imageSetsMetadataSummaries"]:
        imaging.delete_image_set(datastoreId=datastore_id, imageSetId=found["imageSetId"])
    assert "DELETE_COMPLETE" == delete(cloud, stack)["StackStatus"]
    assert datastore_id not in stores(cloud)


def test_a_rolled_back_create_keeps_what_a_full_bucket_depends_on(cloud: Cloud) -> None:
    """The bucket is filled while the stack waits for a signal that never comes."""
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "rolled-back"}}
    bucket = {"Type": "AWS::S3::Bucket", "DependsOn": "Needed", "Properties": {"BucketName": "filled-on-the-way"}}
    wait = {"Type": "AWS::CloudFormation::WaitConditionHandle", "DependsOn": "Bucket"}
    never = {"Handle": {"Ref": "Handle"}, "Timeout": "2", "Count": 1}
    condition = {"Type": "AWS::CloudFormation::WaitCondition", "DependsOn": "Bucket", "Properties": never}
    body = template(Needed=topic, Bucket=bucket, Handle=wait, Condition=condition)
    client, s3 = cloud.client("cloudformation"), cloud.client("s3")
    stack_id = client.create_stack(StackName="rolls-back", TemplateBody=body)["StackId"]
    while not any(item["Name"] == "filled-on-the-way" for item in s3.list_buckets()["Buckets"]):
        time.sleep(0.02)
    s3.put_object(Bucket="filled-on-the-way", Key="something", Body=b"x")
    assert "ROLLBACK_FAILED" == settled(cloud, stack_id)["StackStatus"]
    topics = [item["TopicArn"].rsplit(":", 1)[1] for item in cloud.client("sns").list_topics()["Topics"]]
    assert "rolled-back" in topics


def test_a_replaced_store_with_image_sets_stays_behind_as_an_orphan(cloud: Cloud, sample: Any) -> None:
    stack = create(cloud, "orphans", template(Store=store()))
    first = output(stack)
    import_one(cloud, "orphans-images", first, sample("CT_small.dcm"))
    stack = update(cloud, stack, template(Store=store(properties={"DatastoreName": "two"})))
    second = output(stack)
    assert ("UPDATE_COMPLETE", {first, second}) == (stack["StackStatus"], stores(cloud) & {first, second})


@pytest.mark.patch("objects_take_the_managed_key")
def test_an_object_may_ask_for_the_key_that_aws_manages(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="managed-key")
    s3.put_object(Bucket="managed-key", Key="one", Body=b"x", ServerSideEncryption="aws:kms")
    assert "aws:kms" == s3.head_object(Bucket="managed-key", Key="one")["ServerSideEncryption"]


@pytest.mark.patch("buckets_have_the_tags_of_their_template")
def test_a_bucket_has_the_tags_of_its_template_and_loses_them_with_it(cloud: Cloud) -> None:
    tags = [{"Key": "purpose", "Value": "test"}]
    stack = create(cloud, "bucket-tags", template(Bucket={"Type": "AWS::S3::Bucket", "Properties": {"Tags": tags}}))
    name, s3 = output(stack, "BucketId"), cloud.client("s3")
    assert tags == s3.get_bucket_tagging(Bucket=name)["TagSet"]
    update(cloud, stack, template(Bucket={"Type": "AWS::S3::Bucket"}))
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchTagSet"):
        s3.get_bucket_tagging(Bucket=name)


@pytest.mark.patch("deletes_fail_as_on_aws")
def test_fails_to_delete_a_bucket_that_is_not_empty(cloud: Cloud) -> None:
    stack = create(cloud, "bucket", template(Bucket={"Type": "AWS::S3::Bucket"}))
    name, s3 = output(stack, "BucketId"), cloud.client("s3")
    s3.put_object(Bucket=name, Key="something", Body=b"x")
    assert "DELETE_FAILED" == delete(cloud, stack)["StackStatus"]
    s3.delete_object(Bucket=name, Key="something")
    assert "DELETE_COMPLETE" == delete(cloud, stack)["StackStatus"]


FUNCTION = """
import json, os, sys, boto3, botocore
def handler(event, context):
    model = boto3.client("medical-imaging").meta.service_model
    members = model.operation_model("StartDICOMImportJob").input_shape.members
    caller = boto3.client("sts").get_caller_identity()["Arn"]
    return {"boto3": boto3.__version__, "path": sys.path, "members": sorted(members), "caller": caller}
"""


def function(cloud: Cloud, name: str) -> str:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("index.py", FUNCTION)
    iam = cloud.client("iam")
    statement = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    answer = cloud.client("lambda").create_function(
        FunctionName=name,
        Role=iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"],
        Runtime="python3.13",
        Handler="index.handler",
        Code={"ZipFile": archive.getvalue()},
        Timeout=30,
    )
    return str(answer["FunctionArn"])


@pytest.mark.patch("workers_use_the_runtime_sdk")
def test_a_function_gets_the_boto3_of_a_lambda_runtime_and_nothing_of_the_checkout(cloud: Cloud) -> None:
    function(cloud, "runtime")
    answer = cloud.client("lambda").invoke(FunctionName="runtime", Payload=b"{}")
    found = json.load(answer["Payload"])
    assert ("1.40.4", False) == (found["boto3"], "importConfiguration" in found["members"])
    assert [] == [path for path in found["path"] if path.startswith((str(ROOT / "local"), str(ROOT / "lambda")))]
    assert found["caller"].startswith(f"arn:aws:sts::{cloud.account}:assumed-role/runtime/")


def test_waits_of_step_functions_are_scaled(cloud: Cloud) -> None:
    iam, states = cloud.client("iam"), cloud.client("stepfunctions")
    statement = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName="waits", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    definition = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 620, "End": True}}}
    machine = states.create_state_machine(name="waits", definition=json.dumps(definition), roleArn=role)
    execution = states.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"]
    assert eventually(lambda: states.describe_execution(executionArn=execution)["status"] != "RUNNING", 600)
