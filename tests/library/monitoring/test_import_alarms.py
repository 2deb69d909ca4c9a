"""The alarms of an import, as synthesized."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aws_cdk import Duration, Stack, Token
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from healthimaging_cdk import DicomImport, ImportAlarms, Notify
from tests.library.properties import every_property

ALARM = "AWS::CloudWatch::Alarm"
HOUR = 3600
DAYS_7 = 7 * 24 * HOUR


@pytest.fixture
def import_(stack: Stack) -> DicomImport:
    return DicomImport(stack, "Import")


def properties(synthesize: Any, alarm: Any) -> dict[str, Any]:
    stack = Stack.of(alarm)
    return dict(synthesize(stack).resources[stack.get_logical_id(alarm.node.default_child)]["Properties"])


def asked(found: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: found.get(name) for name in names}


def metrics(found: dict[str, Any]) -> dict[str, tuple[str, str, int]]:
    """The metrics of an expression: their names, statistics and periods."""
    stats = {metric["Id"]: metric["MetricStat"] for metric in found["Metrics"] if "MetricStat" in metric}
    return {name: (stat["Metric"]["MetricName"], stat["Stat"], stat["Period"]) for name, stat in stats.items()}


def expression(found: dict[str, Any]) -> str:
    (text,) = (metric["Expression"] for metric in found["Metrics"] if metric["ReturnData"])
    return str(text)


def test_import_alarms_with_minimal_properties(stack, import_, synthesize):
    alarms = ImportAlarms(stack, "Alarms", import_)
    assert [alarms.failed_imports, alarms.rejected_files] == alarms.alarms
    assert 2 == len(synthesize(stack).of_type(ALARM))


def test_import_alarms_with_all_properties(stack, import_, synthesize):
    given = every_property(
        ImportAlarms,
        import_=import_,
        rejected_percent=1.5,
        no_success_for=Duration.hours(26),
        dead_letter_queue=sqs.Queue(stack, "Queue"),
        notification_topic=sns.Topic(stack, "Topic"),
    )
    alarms = ImportAlarms(stack, "Alarms", **given)
    assert 4 == len(alarms.alarms)
    assert 1.5 == properties(synthesize, alarms.rejected_files)["Threshold"]
    told = [alarm["Properties"]["AlarmActions"] for alarm in synthesize(stack).of_type(ALARM)]
    assert [[stack.resolve(given["notification_topic"].topic_arn)]] * 4 == told


def test_there_are_two_alarms_unless_more_is_asked_for(stack, import_, synthesize):
    alarms = ImportAlarms(stack, "Alarms", import_)
    assert [alarms.failed_imports, alarms.rejected_files] == alarms.alarms
    assert (None, None) == (alarms.no_successful_import, alarms.dead_letters)
    assert [None, None] == [alarm["Properties"].get("AlarmActions") for alarm in synthesize(stack).of_type(ALARM)]


def test_one_failed_job_rings_and_silence_does_not(stack, import_, synthesize):
    found = properties(synthesize, ImportAlarms(stack, "Alarms", import_).failed_imports)
    assert stack.resolve(import_.import_name) in found.pop("AlarmDescription")
    assert {
        "Namespace": "HealthImagingCdk",
        "MetricName": "ImportsFailed",
        "Dimensions": [{"Name": "Import", "Value": stack.resolve(import_.import_name)}],
        "Statistic": "Sum",
        "Period": 300,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 1,
        "TreatMissingData": "notBreaching",
    } == found


@pytest.mark.parametrize(("given", "percent"), [({}, 0), ({"rejected_percent": 2.5}, 2.5)])
def test_more_rejected_files_than_may_be_ring(stack, import_, synthesize, given, percent):
    found = properties(synthesize, ImportAlarms(stack, "Alarms", import_, **given).rejected_files)
    ids = {name: metric for metric, (name, _, _) in metrics(found).items()}
    assert f"100 * {ids['FilesRejected']} / {ids['FilesScanned']}" == expression(found)
    assert {("FilesRejected", "Sum", HOUR), ("FilesScanned", "Sum", HOUR)} == set(metrics(found).values())
    assert f"more than {percent:g} %" in found["AlarmDescription"]
    assert {
        "Threshold": percent,
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "TreatMissingData": "notBreaching",
    } == asked(found, "Threshold", "ComparisonOperator", "EvaluationPeriods", "TreatMissingData")


@pytest.mark.parametrize("patience", [Duration.hours(1), Duration.days(1), Duration.minutes(120), Duration.days(7)])
def test_no_success_for_too_long_rings_as_does_no_data(stack, import_, synthesize, patience):
    found = properties(synthesize, ImportAlarms(stack, "Alarms", import_, no_success_for=patience).no_successful_import)
    ((name, metric),) = metrics(found).items()
    assert (f"FILL({name}, 0)", ("ImportsSucceeded", "Sum", HOUR)) == (expression(found), metric)
    assert patience.to_hours() == found["EvaluationPeriods"]
    assert found["EvaluationPeriods"] * HOUR <= DAYS_7
    assert {"Threshold": 1, "ComparisonOperator": "LessThanThreshold", "TreatMissingData": "breaching"} == asked(
        found, "Threshold", "ComparisonOperator", "TreatMissingData"
    )


def test_a_message_in_the_dead_letter_queue_rings_until_it_is_gone(stack, import_, synthesize):
    queue = sqs.Queue(stack, "Queue")
    found = properties(synthesize, ImportAlarms(stack, "Alarms", import_, dead_letter_queue=queue).dead_letters)
    del found["AlarmDescription"]
    assert {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateNumberOfMessagesVisible",
        "Dimensions": [{"Name": "QueueName", "Value": stack.resolve(queue.queue_name)}],
        "Statistic": "Maximum",
        "Period": 300,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "TreatMissingData": "ignore",
    } == found


def test_a_topic_hears_of_every_alarm_and_of_the_end_of_those_that_last(stack, import_, synthesize):
    topic = sns.Topic(stack, "Topic")
    alarms = ImportAlarms(
        stack,
        "Alarms",
        import_,
        no_success_for=Duration.days(1),
        dead_letter_queue=sqs.Queue(stack, "Queue"),
        notification_topic=topic,
    )
    told = [stack.resolve(topic.topic_arn)]
    found = [asked(properties(synthesize, alarm), "AlarmActions", "OKActions") for alarm in alarms.alarms]
    moment, lasting = {"AlarmActions": told, "OKActions": None}, {"AlarmActions": told, "OKActions": told}
    assert [moment, moment, lasting, lasting] == found


@pytest.mark.slow
def test_cloudwatch_may_publish_and_use_the_key_for_alarms_of_this_account(stack, synthesize):
    import_ = DicomImport(stack, "Import", notify=Notify.FAILURES)
    ImportAlarms(stack, "Alarms", import_, notification_topic=import_.notification_topic)
    found = synthesize(stack)
    policies = [
        found.only("AWS::SNS::TopicPolicy")["Properties"]["PolicyDocument"],
        found.only("AWS::KMS::Key")["Properties"]["KeyPolicy"],
    ]
    let_in = [
        statement
        for policy in policies
        for statement in policy["Statement"]
        if statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    ]
    assert ["sns:Publish", ["kms:Decrypt", "kms:GenerateDataKey*"]] == [statement["Action"] for statement in let_in]
    alarms = stack.format_arn(service="cloudwatch", resource="alarm:*")
    expected = {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        "ArnLike": {"aws:SourceArn": stack.resolve(alarms)},
    }
    assert [expected, expected] == [statement["Condition"] for statement in let_in]


@pytest.mark.parametrize("percent", [-0.1, 100, 250, float("nan"), float("inf"), float("-inf")])
def test_fails_a_percentage_that_never_or_always_rings(stack, import_, percent):
    message = f"ImportAlarms: rejected_percent must be 0 to below 100, known at synth, got {percent}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)} \\(at Stack/Alarms\\)$"):
        ImportAlarms(stack, "Alarms", import_, rejected_percent=percent)


def test_fails_a_percentage_that_synth_does_not_know(stack, import_):
    with pytest.raises(
        ValueError, match=r"rejected_percent must be 0 to below 100, known at synth, got a token \(at Stack/Alarms\)$"
    ):
        ImportAlarms(stack, "Alarms", import_, rejected_percent=Token.as_number({"Ref": "Percent"}))


@pytest.mark.parametrize(
    ("patience", "given"),
    [
        (Duration.minutes(30), "0.5 hours"),
        (Duration.minutes(90), "1.5 hours"),
        (Duration.millis(5_400_000), "1.5 hours"),
        (Duration.hours(169), "169 hours"),
        (Duration.hours(Token.as_number({"Ref": "Hours"})), "a token"),
    ],
)
def test_fails_a_patience_that_no_alarm_has(stack, import_, patience, given):
    message = (
        f"ImportAlarms: no_success_for must be whole hours, 1 hour to 7 days, known at synth, got {given}: a "
        "CloudWatch alarm looks back 7 days at most, and for longer a schedule of your own has to look at the metric"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)} \\(at Stack/Alarms\\)$"):
        ImportAlarms(stack, "Alarms", import_, no_success_for=patience)


def test_fails_a_topic_whose_key_cloudwatch_cannot_use(stack, import_):
    key = kms.Alias.from_alias_name(stack, "Key", "alias/aws/sns")
    message = (
        "ImportAlarms: notification_topic is encrypted with alias/aws/sns, which CloudWatch alarms cannot use: encrypt "
        "it with a customer-managed key"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)} \\(at Stack/Alarms\\)$"):
        ImportAlarms(stack, "Alarms", import_, notification_topic=sns.Topic(stack, "Topic", master_key=key))


def test_fails_with_everything_that_is_wrong_at_once(stack, import_):
    with pytest.raises(ValueError, match=r"rejected_percent .*; no_success_for "):
        ImportAlarms(stack, "Alarms", import_, rejected_percent=100, no_success_for=Duration.minutes(1))


def test_fails_a_topic_of_another_region(app):
    stack = Stack(app, "Here", env={"account": "111122223333", "region": "us-east-1"})
    topic = sns.Topic.from_topic_arn(stack, "OnCall", "arn:aws:sns:eu-west-1:111122223333:on-call")
    message = "ImportAlarms: notification_topic is in Region eu-west-1 and the stack in us-east-1: use a topic of"
    with pytest.raises(ValueError, match=message):
        ImportAlarms(stack, "Alarms", DicomImport(stack, "Import"), notification_topic=topic)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["444455556666:on-call", "111122223333:on-call.fifo"])
def test_a_topic_of_another_account_and_a_fifo_topic_are_told(app, synthesize, name):
    stack = Stack(app, "Here", env={"account": "111122223333", "region": "us-east-1"})
    topic = sns.Topic.from_topic_arn(stack, "OnCall", f"arn:aws:sns:us-east-1:{name}")
    ImportAlarms(stack, "Alarms", DicomImport(stack, "Import"), notification_topic=topic)
    alarms = synthesize(stack).of_type("AWS::CloudWatch::Alarm")
    assert [[topic.topic_arn]] * 2 == [alarm["Properties"]["AlarmActions"] for alarm in alarms]
