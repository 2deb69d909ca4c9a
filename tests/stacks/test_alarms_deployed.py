"""Alarms and a dashboard, whose metrics come from the log lines of real imports: from a file to who is on call."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from aws_cdk import App, Duration, Stack
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs

from healthimaging_cdk import DicomImport, ImportAlarms, ImportDashboard
from tests.deployment import Account, eventually

pytestmark = pytest.mark.cloud

NAMESPACE = "HealthImagingCdk"


def app(name: str, run_id: str, **options: Any) -> App:
    """An import whose alarms reach a queue by a topic that lets nobody in but whom it names."""
    app = App(analytics_reporting=False)
    stack = Stack(app, name)
    topic, inbox = sns.Topic(stack, "OnCall", enforce_ssl=True), sqs.Queue(stack, "Inbox")
    topic.add_subscription(subscriptions.SqsSubscription(inbox, raw_message_delivery=True))
    import_ = DicomImport(stack, "Import", run_id=run_id)
    dead = sqs.Queue(stack, "Dead")
    alarms = ImportAlarms(stack, "Alarms", import_, dead_letter_queue=dead, notification_topic=topic, **options)
    ImportDashboard(stack, "Dashboard", imports=[import_], alarms=[alarms], dashboard_name=name)
    return app


class Watch:
    """A stack with alarms, and what they say."""

    def __init__(self, account: Account, name: str, **options: Any) -> None:
        self.account, self.name, self.options = account, name, options
        self.cloudwatch = account.cloud.client("cloudwatch")
        self.deploy("nothing")
        self.bucket = account.resource_id(name, "AWS::S3::Bucket", "InputBucket")
        self.inbox = account.resource_id(name, "AWS::SQS::Queue", "Inbox")

    def deploy(self, run_id: str) -> str:
        return self.account.deploy_one(app(self.name, run_id, **self.options)).status

    @property
    def alarms(self) -> dict[str, dict[str, Any]]:
        """By what they are called in the code."""
        prefix = f"{self.name}-Alarms"
        found = self.cloudwatch.describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
        return {it["AlarmName"].removeprefix(prefix).partition("-")[0][:-8]: it for it in found}

    @property
    def states(self) -> dict[str, str]:
        return {name: alarm["StateValue"] for name, alarm in self.alarms.items()}

    def told(self) -> set[tuple[str, str]]:
        """Which alarm told that it went into which state, since this was asked last."""
        queue, found = self.account.cloud.client("sqs"), set()
        while messages := queue.receive_message(QueueUrl=self.inbox, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                body = json.loads(message["Body"])
                name = body["AlarmName"].removeprefix(f"{self.name}-Alarms").partition("-")[0][:-8]
                found.add((name, body["NewStateValue"]))
                queue.delete_message(QueueUrl=self.inbox, ReceiptHandle=message["ReceiptHandle"])
        return found

    def put(self, metric: str, value: float, *, import_name: str = "", hours_ago: float = 0) -> None:
        import_name = import_name or self.alarms["FailedImports"]["Dimensions"][0]["Value"]
        datum = {
            "MetricName": metric,
            "Dimensions": [{"Name": "Import", "Value": import_name}],
            "Timestamp": time.time() - hours_ago * 3600,
            "Value": value,
        }
        self.cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=[datum])


@pytest.fixture(scope="module")
def quiet(shared_account: Account) -> Watch:
    """Nothing was ever imported."""
    shared_account.cloud.clear()
    return Watch(shared_account, "Watched", rejected_percent=30, no_success_for=Duration.hours(2))


def test_the_alarms_are_there_and_only_the_one_of_silence_rings_before_the_first_import(quiet):
    expected = {
        "FailedImports": ("OK", None, 3, 1),
        "RejectedFiles": ("OK", 3600, 1, None),
        "NoSuccessfulImport": ("ALARM", 3600, 2, None),
        "DeadLetters": ("INSUFFICIENT_DATA", None, 1, None),
    }
    found = quiet.alarms
    periods = {
        name: next((it["MetricStat"]["Period"] for it in alarm.get("Metrics", ()) if "MetricStat" in it), None)
        for name, alarm in found.items()
    }
    assert expected == {
        name: (alarm["StateValue"], periods[name], alarm["EvaluationPeriods"], alarm.get("DatapointsToAlarm"))
        for name, alarm in found.items()
    }


def test_no_alarm_minds_what_another_import_does(quiet):
    before = quiet.states
    for metric in ("FilesScanned", "FilesRejected", "ImportsFailed", "ImportsSucceeded"):
        quiet.put(metric, 1, import_name="Another/Import")
    assert before == quiet.states


def test_the_dashboard_shows_the_alarms_by_their_live_arns(quiet):
    body = json.loads(quiet.cloudwatch.get_dashboard(DashboardName="Watched")["DashboardBody"])
    (shown,) = [it["properties"]["alarms"] for it in body["widgets"] if it["type"] == "alarm"]
    assert {alarm["AlarmArn"] for alarm in quiet.alarms.values()} == set(shown)


def test_a_queue_that_holds_messages_rings(quiet):
    dimensions = quiet.alarms["DeadLetters"]["Dimensions"]
    assert quiet.account.resource_id("Watched", "AWS::SQS::Queue", "Dead").endswith(f"/{dimensions[0]['Value']}")
    datum = {"MetricName": "ApproximateNumberOfMessagesVisible", "Dimensions": dimensions, "Value": 1}
    quiet.cloudwatch.put_metric_data(Namespace="AWS/SQS", MetricData=[datum])  # as SQS itself does
    assert ("DeadLetters", "ALARM") in quiet.told()


def test_an_import_ends_the_silence_and_its_rejected_files_ring(account, quiet):
    account.upload(quiet.bucket, "dicom/", "CT_small.dcm", "notes.txt")
    quiet.told()
    assert "UPDATE_COMPLETE" == quiet.deploy("half")
    assert eventually(lambda: quiet.states["RejectedFiles"] == "ALARM")
    assert ("OK", "OK") == (quiet.states["NoSuccessfulImport"], quiet.states["FailedImports"])
    assert {("RejectedFiles", "ALARM"), ("NoSuccessfulImport", "OK")} == quiet.told()

    quiet.put("FilesScanned", 2)  # one of four is less than 30 percent
    assert "OK" == quiet.states["RejectedFiles"]
    assert set() == quiet.told()

    known = quiet.cloudwatch.list_metrics(Namespace=NAMESPACE)["Metrics"]
    written = {(it["MetricName"], *(part for one in it["Dimensions"] for part in one.values())) for it in known}
    body = json.loads(quiet.cloudwatch.get_dashboard(DashboardName="Watched")["DashboardBody"])
    shown = {
        tuple(metric[1:4])
        for widget in body["widgets"]
        for metric in widget["properties"].get("metrics", ())
        if metric[0] == NAMESPACE
    }
    assert {"Duration", "FilesImported", "FilesRejected", "FilesScanned", "ImageSetsGenerated"} < {
        it[0] for it in shown
    }
    assert set() == shown - written


def test_an_import_that_imports_nothing_rings(account, quiet):
    account.s3.delete_object(Bucket=quiet.bucket, Key="dicom/CT_small.dcm")
    account.upload(quiet.bucket, "dicom/", "notes.txt")
    quiet.told()
    assert "UPDATE_ROLLBACK_COMPLETE" == quiet.deploy("none")
    assert eventually(lambda: quiet.states["FailedImports"] == "ALARM")
    assert ("FailedImports", "ALARM") in quiet.told()


def test_silence_is_counted_in_hours(account):
    watch = Watch(account, "Silence", no_success_for=Duration.hours(2))
    for hours_ago, state in ((2.5, "ALARM"), (1.5, "OK")):
        watch.put("ImportsSucceeded", 1, hours_ago=hours_ago)
        assert state == watch.states["NoSuccessfulImport"]
