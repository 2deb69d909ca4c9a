"""Notifications on the local cloud: whether people are told of a failed import, and only of that one."""

from __future__ import annotations

import json
import time

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs

from healthimaging_cdk import Completion, Datastore, DicomImport, ImportSource, Notify
from tests.deployment import Account

pytestmark = pytest.mark.cloud


def received(account: Account, count: int, stack: str = "Notified") -> list[str]:
    """The messages of the topic that lie in the queue, once there are as many as there should be."""
    client = account.cloud.client("sqs")
    url = account.resource_id(stack, "AWS::SQS::Queue", "People")
    found: list[str] = []
    deadline = time.monotonic() + 20
    while len(found) < count and time.monotonic() < deadline:
        messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        found += [json.loads(message["Body"])["Message"] for message in messages]
        time.sleep(0.05)
    time.sleep(1)  # what came too much is to be seen as well
    return found + [message["Body"] for message in client.receive_message(QueueUrl=url).get("Messages", [])]


def test_a_failed_import_that_nobody_waits_for_tells_the_topic(account):
    def app(run_id: str) -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, "Notified")
        people = sqs.Queue(stack, "People")
        images = s3.Bucket.from_bucket_name(stack, "Bucket", "notified-images")
        store = Datastore(stack, "Store")
        topic = None
        for name in ("Bad", "Good"):
            import_ = DicomImport(
                stack,
                name,
                datastore=store,
                source=ImportSource.bucket(images, f"{name}/"),
                completion=Completion.SUBMIT,
                run_id=run_id,
                notify=Notify.FAILURES,
                notification_topic=topic,
            )
            topic = import_.notification_topic
        topic.add_subscription(subscriptions.SqsSubscription(people))
        return app

    account.s3.create_bucket(Bucket="notified-images")
    assert "CREATE_COMPLETE" == account.deploy_one(app("nothing")).status
    account.upload("notified-images", "Good/", "CT_small.dcm", "notes.txt")
    account.upload("notified-images", "Bad/", "notes.txt")
    deployed = account.deploy_one(app("files"))
    assert "UPDATE_COMPLETE" == deployed.status, deployed.reason

    (message,) = received(account, 1)
    first, counts, job, command = message.replace('"', "").splitlines()
    assert first.startswith("DICOM import Notified/Bad")
    assert first.endswith(": FAILED")
    assert "1 files scanned, 0 imported, 1 rejected for customer errors, 0 for server errors" == counts
    assert (
        f"Job {deployed.output('BadJobId')} of data store {deployed.output('BadDatastoreId')}, status COMPLETED" in job
    )
    assert f"--job-id {deployed.output('BadJobId')} " in command


def test_a_job_that_is_lost_sight_of_tells_the_topic(account):
    app = App(analytics_reporting=False)
    stack = Stack(app, "LostSight")
    import_ = DicomImport(
        stack,
        "Lost",
        source=ImportSource.bucket(s3.Bucket.from_bucket_name(stack, "Bucket", "lost-images"), "images/"),
        completion=Completion.SUBMIT,
        notify=Notify.FAILURES,
    )
    import_.notification_topic.add_subscription(subscriptions.SqsSubscription(sqs.Queue(stack, "People")))
    account.s3.create_bucket(Bucket="lost-images")
    account.upload("lost-images", "images/", "CT_small.dcm")
    account.cloud.settings(job_seconds=60)
    deployed = account.deploy_one(app)
    assert "CREATE_COMPLETE" == deployed.status, deployed.reason
    states = account.cloud.client("stepfunctions")
    machine = account.resource_id("LostSight", "AWS::StepFunctions::StateMachine")
    # CloudFormation is answered first, then the job has its follower.
    deadline, followers = time.monotonic() + 20, []
    while not followers and time.monotonic() < deadline:
        running = states.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]
        followers = [one["executionArn"] for one in running if one["name"].endswith("-follow")]
    states.stop_execution(executionArn=followers[0])

    (message,) = received(account, 1, "LostSight")
    first, _, job, _ = message.replace('"', "").splitlines()
    assert first.endswith(": UNKNOWN")
    assert f"Job {deployed.output('JobId')} of data store {deployed.output('DatastoreId')}, status UNKNOWN" in job
