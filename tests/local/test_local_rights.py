"""What rights are asked for while a job runs, what a bucket's policy forbids, and who may publish."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.deployment import eventually
from tests.local.test_local_cloud import Scene, allow, document, refusal
from tests.local.test_local_cloud import scene as scene  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.cloud


def ended(scene: Scene, job_id: str) -> dict[str, Any]:
    assert eventually(lambda: job_of(scene, job_id)["jobStatus"] in ("COMPLETED", "FAILED"))
    return job_of(scene, job_id)


def job_of(scene: Scene, job_id: str) -> dict[str, Any]:
    return dict(scene.imaging.get_dicom_import_job(datastoreId=scene.store, jobId=job_id)["jobProperties"])


def session(scene: Scene, name: str, *statements: dict[str, Any]) -> dict[str, str]:
    """The credentials of a session of a new role."""
    administrator = f"arn:aws:iam::{scene.cloud.account}:root"
    trust = {"Effect": "Allow", "Principal": {"AWS": administrator}, "Action": "sts:AssumeRole"}
    role = scene.make_role(name, trust)
    if statements:
        scene.iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(*statements))
    keys = scene.cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    return {
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": keys["SecretAccessKey"],
        "aws_session_token": keys["SessionToken"],
    }


@pytest.mark.parametrize("lost", ["policy", "role"])
def test_fails_when_the_role_loses_its_rights_while_the_job_runs(scene: Scene, lost: str) -> None:
    scene.cloud.settings(job_seconds=4)
    job_id = scene.start()
    assert eventually(lambda: job_of(scene, job_id)["jobStatus"] == "IN_PROGRESS")  # it reads the files later
    scene.iam.delete_role_policy(RoleName=f"{scene.name}-role", PolicyName="s3")
    if lost == "role":
        scene.iam.delete_role(RoleName=f"{scene.name}-role")
    job = ended(scene, job_id)
    assert ("FAILED", True) == (job["jobStatus"], job["message"].startswith("AccessDenied"))


def test_fails_when_the_right_to_write_is_lost_after_the_files_were_read(scene: Scene) -> None:
    scene.cloud.settings(job_seconds=6)
    job_id = scene.start()
    while not scene.imaging.search_image_sets(datastoreId=scene.store)["imageSetsMetadataSummaries"]:
        time.sleep(0.02)  # the good file is the last one
    scene.iam.delete_role_policy(RoleName=f"{scene.name}-role", PolicyName="s3")
    job = ended(scene, job_id)
    assert ("FAILED", True) == (job["jobStatus"], "s3:PutObject" in job["message"])
    assert "Contents" not in scene.s3.list_objects_v2(Bucket=scene.results)


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_fails_for_an_object_in_an_archive_class(scene: Scene, storage_class: str) -> None:
    scene.s3.put_object(Bucket=scene.source, Key="in/old.dcm", Body=b"x", StorageClass=storage_class)
    listed = scene.s3.list_objects_v2(Bucket=scene.source)["Contents"]
    assert {storage_class, "STANDARD"} == {item["StorageClass"] for item in listed}
    with pytest.raises(ClientError) as caught:
        scene.s3.get_object(Bucket=scene.source, Key="in/old.dcm")
    assert ("InvalidObjectState", 403) == (
        refusal(caught)[0],
        caught.value.response["ResponseMetadata"]["HTTPStatusCode"],
    )
    job = scene.run()
    assert ("FAILED", True) == (job["jobStatus"], job["message"].startswith("InvalidObjectState"))


@pytest.mark.patch("bucket_policies_deny_the_root")
@pytest.mark.parametrize("operator", ["ArnNotEquals", "StringNotEquals"])
def test_a_bucket_policy_keeps_everybody_but_one_role_from_a_prefix(scene: Scene, operator: str) -> None:
    puts = allow("s3:PutObject", f"arn:aws:s3:::{scene.results}/*")
    named = session(scene, f"{scene.name}-named", puts)
    other = session(scene, f"{scene.name}-other", puts)
    user = scene.user(f"{scene.name}-u", puts)
    role = f"arn:aws:iam::{scene.cloud.account}:role/{scene.name}-named"
    deny = {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{scene.results}/records/*",
        "Condition": {operator: {"aws:PrincipalArn": role}},
    }
    scene.s3.put_bucket_policy(Bucket=scene.results, Policy=document(deny))
    scene.cloud.client("s3", **named).put_object(Bucket=scene.results, Key="records/a", Body=b"x")
    root = {"aws_access_key_id": scene.cloud.account}
    for keys in (other, user, root, {}):
        client = scene.cloud.client("s3", **keys)
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=scene.results, Key="records/a", Body=b"y")
        assert ("AccessDenied", True) == (refusal(caught)[0], "explicit deny" in refusal(caught)[1])
        client.put_object(Bucket=scene.results, Key="elsewhere", Body=b"y")
    assert b"x" == scene.s3.get_object(Bucket=scene.results, Key="records/a")["Body"].read()


def test_the_root_can_always_take_a_bucket_policy_back(scene: Scene) -> None:
    resources = [f"arn:aws:s3:::{scene.results}", f"arn:aws:s3:::{scene.results}/*"]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": resources}
    scene.s3.put_bucket_policy(Bucket=scene.results, Policy=document(deny))
    with pytest.raises(ClientError, match="AccessDenied"):
        scene.s3.list_objects_v2(Bucket=scene.results)
    scene.s3.get_bucket_policy(Bucket=scene.results)
    scene.s3.delete_bucket_policy(Bucket=scene.results)
    scene.s3.list_objects_v2(Bucket=scene.results)


def test_a_topic_takes_what_a_roles_policy_allows_and_delivers_to_a_queue(scene: Scene) -> None:
    sns, sqs = scene.cloud.client("sns"), scene.cloud.client("sqs")
    topic = sns.create_topic(Name=scene.name)["TopicArn"]
    url = sqs.create_queue(QueueName=scene.name)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    lets_in = allow("sqs:SendMessage", queue, ArnEquals={"aws:SourceArn": topic})
    policy = document({**lets_in, "Principal": {"Service": "sns.amazonaws.com"}})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    without = session(scene, f"{scene.name}-without")
    other = session(scene, f"{scene.name}-other", allow("sns:Publish", f"{topic}-2"))
    for keys in (without, other):
        with pytest.raises(ClientError, match=r"(?i)not authorized to perform: sns:publish"):
            scene.cloud.client("sns", **keys).publish(TopicArn=topic, Message="no")
    allowed = session(scene, f"{scene.name}-allowed", allow("sns:Publish", topic))
    scene.cloud.client("sns", **allowed).publish(TopicArn=topic, Subject="Import", Message="yes")
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=3, MaxNumberOfMessages=10)["Messages"]
    assert ("Import", "yes") == tuple(json.loads(message["Body"])[name] for name in ("Subject", "Message"))


def test_whoever_may_put_events_reaches_the_rules(scene: Scene) -> None:
    sqs, events = scene.cloud.client("sqs"), scene.cloud.client("events")
    url = sqs.create_queue(QueueName=scene.name)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=scene.name, EventPattern=json.dumps({"source": ["healthimaging-cdk"]}))
    events.put_targets(Rule=scene.name, Targets=[{"Id": "queue", "Arn": queue}])
    entry = {"Source": "healthimaging-cdk", "DetailType": "made up", "Detail": "{}"}
    without = scene.cloud.client("events", **session(scene, f"{scene.name}-without"))
    with pytest.raises(ClientError, match="events:PutEvents"):
        without.put_events(Entries=[entry])
    bus = f"arn:aws:events:{scene.cloud.region}:{scene.cloud.account}:event-bus/default"
    anybody = scene.cloud.client("events", **session(scene, f"{scene.name}-any", allow("events:PutEvents", bus)))
    assert 0 == anybody.put_events(Entries=[entry])["FailedEntryCount"]
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=3, MaxNumberOfMessages=10)["Messages"]
    assert "made up" == json.loads(message["Body"])["detail-type"]


@pytest.mark.patch("put_events_knows_its_source")
def test_a_policy_can_limit_the_source_of_events(scene: Scene) -> None:
    bus = f"arn:aws:events:{scene.cloud.region}:{scene.cloud.account}:event-bus/default"
    limited = allow("events:PutEvents", bus, StringEquals={"events:source": "ours"})
    events = scene.cloud.client("events", **session(scene, f"{scene.name}-limited", limited))
    entry = {"DetailType": "made up", "Detail": "{}"}
    assert 0 == events.put_events(Entries=[{"Source": "ours", **entry}])["FailedEntryCount"]
    with pytest.raises(ClientError, match="events:PutEvents"):
        events.put_events(Entries=[{"Source": "theirs", **entry}])


def test_an_error_can_be_injected_for_one_resource(scene: Scene) -> None:
    scene.run()
    (found,) = scene.imaging.search_image_sets(datastoreId=scene.store)["imageSetsMetadataSummaries"]
    ids = {"datastoreId": scene.store, "imageSetId": found["imageSetId"]}
    scene.cloud.inject("DeleteImageSet", "ConflictException", message="locked", resource="f" * 32)
    scene.cloud.inject("DeleteImageSet", "ConflictException", message="locked", resource=ids["imageSetId"])
    with pytest.raises(ClientError, match="locked"):
        scene.imaging.delete_image_set(**ids)
    scene.imaging.delete_image_set(**ids)
    (left,) = scene.cloud.control("GET", "inject")["injections"]
    assert "f" * 32 == left["resource"]
    scene.cloud.inject("PutObject", "AccessDenied", service="s3", resource="records/b")
    scene.s3.put_object(Bucket=scene.results, Key="records/a", Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        scene.s3.put_object(Bucket=scene.results, Key="records/b", Body=b"x")
