"""CloudWatch of the local cloud: metric math, missing data, and the topics that alarms tell."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from healthimaging_local import Cloud

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
    for _ in range(400):
        found = client.describe_stacks(StackName=made)["Stacks"][0]
        if not found["StackStatus"].endswith("IN_PROGRESS"):
            return str(found["StackStatus"])
        time.sleep(0.025)
    raise AssertionError("the stack did not settle")


def state(cloud: Cloud, name: str, *values: float) -> str:
    """The state of the alarm after the values came."""
    client = cloud.client("cloudwatch")
    for value in values:
        client.put_metric_data(Namespace="Local", MetricData=[{"MetricName": name, "Value": value}])
    (alarm,) = client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return str(alarm["StateValue"])


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


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("breaching", "ALARM"), ("notBreaching", "OK"), ("missing", "INSUFFICIENT_DATA"), ("ignore", "INSUFFICIENT_DATA")],
)
def test_missing_data_is_treated_as_asked(cloud: Cloud, missing: str, expected: str) -> None:
    stack(cloud, f"missing-{missing}", "x", TreatMissingData=missing)
    assert expected == state(cloud, f"missing-{missing}")


@pytest.mark.parametrize("let_in", [True, False])
def test_an_alarm_tells_a_topic_only_if_its_policy_lets_cloudwatch_in(cloud: Cloud, *, let_in: bool) -> None:
    name = f"topic-{let_in}".lower()
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
    stack(cloud, name, "x", AlarmActions=[topic])
    assert "ALARM" == state(cloud, name, 11)
    assert let_in == ("Messages" in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10))
