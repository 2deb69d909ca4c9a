"""Alarms and a dashboard on the local cloud, whose metrics come from the log lines of a real import."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs

from healthimaging_cdk import DicomImport, ImportAlarms, ImportDashboard
from tests.deployment import Account

pytestmark = pytest.mark.cloud

NAME = "Watched"


def app(run_id: str) -> App:
    app = App(analytics_reporting=False)
    stack = Stack(app, NAME)
    topic, inbox = sns.Topic(stack, "OnCall"), sqs.Queue(stack, "Inbox")
    topic.add_subscription(subscriptions.SqsSubscription(inbox, raw_message_delivery=True))
    import_ = DicomImport(stack, "Import", run_id=run_id)
    alarms = ImportAlarms(
        stack,
        "Alarms",
        import_,
        rejected_percent=30,
        no_success_for=Duration.hours(2),
        dead_letter_queue=sqs.Queue(stack, "Dead"),
        notification_topic=topic,
    )
    ImportDashboard(stack, "Dashboard", imports=[import_], alarms=[alarms], dashboard_name="imports")
    return app


def test_it(account):
    deployed = account.deploy_one(app("1"))
    print(deployed)
    cw = account.cloud.client("cloudwatch")
    print(json.dumps(cw.describe_alarms()["MetricAlarms"], default=str, indent=1))
    print(json.dumps(json.loads(cw.get_dashboard(DashboardName="imports")["DashboardBody"]))[:3000])
    account.upload(account.resource_id(NAME, "AWS::S3::Bucket", "InputBucket"), "dicom/", "CT_small.dcm", "notes.txt")
    deployed = account.deploy_one(app("2"))
    print(deployed)
    print([(a["AlarmName"], a["StateValue"], a["StateReason"]) for a in cw.describe_alarms()["MetricAlarms"]])
    q = account.cloud.client("sqs")
    print(q.receive_message(QueueUrl=account.resource_id(NAME, "AWS::SQS::Queue", "Inbox"), MaxNumberOfMessages=10))
