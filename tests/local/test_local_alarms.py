"""CloudWatch of the local cloud: metric math, missing data, and the topics that alarms tell."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from healthimaging_local import Cloud
from tests.deployment import eventually

pytestmark = pytest.mark.cloud


def stack(cloud: Cloud, name: str, expression: str, **properties: Any) -> str:
    """A stack with one alarm of an expression over the metric ``name``; answers its status."""
    stat = {"Metric": {"Namespace": "Local", "MetricName": name}, "Period": "60", "Stat": "Sum"}
    alarm = {
        "AlarmName": name,
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "Threshold": 10,
        "Metrics": [
            {"Id": "result", "Expression": expression},
            {"Id": "x", "MetricStat": stat, "ReturnData": "false"},
        ],
        **properties,
    }
    body = json.dumps({"Resources": {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm}}})
    client = cloud.client("cloudformation")
    made = client.create_stack(StackName=name, TemplateBody=body)["StackId"]

    def status() -> str:
        return str(client.describe_stacks(StackName=made)["Stacks"][0]["StackStatus"])

    assert eventually(lambda: not status().endswith("IN_PROGRESS"))
    return status()


def state(cloud: Cloud, name: str, *values: float) -> str:
    """The state of the alarm after the values came."""
    client = cloud.client("cloudwatch")
    for value in values:
        client.put_metric_data(Namespace="Local", MetricData=[{"MetricName": name, "Value": value}])
    (alarm,) = client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return str(alarm["StateValue"])


@pytest.mark.patch("alarms_take_metric_math")
@pytest.mark.parametrize(
    ("expression", "value", "expected"),
    [
        ("x * 2 + 1", 5, "ALARM"),
        ("x * 2", 5, "OK"),
        ("100 - x / 2", 200, "OK"),
        ("FILL(x, 11)", None, "ALARM"),
        ("FILL(x, 11)", 1, "OK"),
        ("x", None, "INSUFFICIENT_DATA"),
        ("1 / (x - x)", 5, "INSUFFICIENT_DATA"),
    ],
)
def test_an_expression_is_computed(cloud: Cloud, expression: str, value: float | None, expected: str) -> None:
    name = f"math-{expression.encode().hex()}-{value}"
    assert "CREATE_COMPLETE" == stack(cloud, name, expression)
    assert expected == state(cloud, name, *(() if value is None else (value,)))


def test_fails_an_alarm_of_an_expression_that_cannot_be_computed(cloud: Cloud) -> None:
    assert "ROLLBACK_COMPLETE" == stack(cloud, "unknown", "ANOMALY_DETECTION_BAND(x, 2)")


@pytest.mark.patch("alarms_look_at_each_period")
@pytest.mark.parametrize(
    ("missing", "expected"),
    [("breaching", "ALARM"), ("notBreaching", "OK"), ("missing", "INSUFFICIENT_DATA"), ("ignore", "INSUFFICIENT_DATA")],
)
def test_missing_data_is_treated_as_asked(cloud: Cloud, missing: str, expected: str) -> None:
    stack(cloud, f"missing-{missing}", "x", TreatMissingData=missing)
    assert expected == state(cloud, f"missing-{missing}")


def key_for(cloud: Cloud, *, let_in: bool) -> str:
    """A key that lets CloudWatch in, or only its own account."""
    principals = [{"AWS": f"arn:aws:iam::{cloud.account}:root"}]
    principals += [{"Service": "cloudwatch.amazonaws.com"}] if let_in else []
    statements = [{"Effect": "Allow", "Principal": it, "Action": "kms:*", "Resource": "*"} for it in principals]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    return str(cloud.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"])


@pytest.mark.patch("topics_decide_about_alarms")
@pytest.mark.patch("alarms_need_the_key_of_their_topic")
@pytest.mark.parametrize(("let_in", "key_lets_in"), [(True, None), (False, None), (True, True), (True, False)])
def test_an_alarm_tells_a_topic_only_if_its_policy_and_its_key_let_cloudwatch_in(
    cloud: Cloud, *, let_in: bool, key_lets_in: bool | None
) -> None:
    name = f"topic-{let_in}-{key_lets_in}".lower()
    sns, sqs = cloud.client("sns"), cloud.client("sqs")
    topic = sns.create_topic(Name=name)["TopicArn"]
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sends = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({"Statement": [sends]})})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
        "Condition": {"StringEquals": {"aws:SourceAccount": cloud.account if let_in else "444455556666"}},
    }
    sns.set_topic_attributes(
        TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps({"Statement": [statement]})
    )
    if key_lets_in is not None:
        key = key_for(cloud, let_in=key_lets_in)
        sns.set_topic_attributes(TopicArn=topic, AttributeName="KmsMasterKeyId", AttributeValue=key)
    stack(cloud, name, "x", AlarmActions=[topic])
    assert "ALARM" == state(cloud, name, 11)
    assert (let_in and key_lets_in is not False) == (
        "Messages" in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    )


@pytest.mark.patch("log_lines_are_metrics")
def test_a_log_line_in_the_embedded_metric_format_is_a_metric(cloud: Cloud) -> None:
    logs, now = cloud.client("logs"), int(time.time() * 1000)
    logs.create_log_group(logGroupName="embedded")
    logs.create_log_stream(logGroupName="embedded", logStreamName="stream")
    metrics = {"Namespace": "Embedded", "Dimensions": [[]], "Metrics": [{"Name": "Files", "Unit": "Count"}]}
    line = json.dumps({"_aws": {"Timestamp": now, "CloudWatchMetrics": [metrics]}, "Files": 7})
    events = [{"timestamp": now, "message": line}, {"timestamp": now, "message": "no metric"}]
    logs.put_log_events(logGroupName="embedded", logStreamName="stream", logEvents=events)
    found = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="Embedded",
        MetricName="Files",
        StartTime=now / 1000 - 300,
        EndTime=now / 1000 + 300,
        Period=3600,
        Statistics=["Sum"],
    )
    assert [7] == [it["Sum"] for it in found["Datapoints"]]
