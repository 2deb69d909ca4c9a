"""The notifications of an import, as synthesized."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aws_cdk import Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from healthimaging_cdk import Datastore, DicomImport, ImportSource, Notify
from healthimaging_import.aws import Clients
from healthimaging_import.rules import Verdict
from healthimaging_import.signals import announce
from healthimaging_import.verdict import Counts

TOPIC, ROLE, RULE = "AWS::SNS::Topic", "AWS::IAM::Role", "AWS::Events::Rule"
ID = "0123456789abcdef0123456789abcdef"
REJECTED = {"counts": {"rejected": [{"numeric": [">", 0]}]}}
CONDITIONS = {
    Notify.FAILURES: {"outcome": ["FAILED", "UNKNOWN"]},
    Notify.REJECTIONS: {"$or": [{"outcome": ["FAILED", "UNKNOWN"]}, REJECTED]},
    Notify.OUTCOMES: {},
}


def rule_of(stack: Stack, synthesize: Any) -> dict[str, Any]:
    (found,) = (
        rule["Properties"]
        for rule in synthesize(stack).of_type(RULE)
        if rule["Properties"]["EventPattern"]["source"] == ["healthimaging-cdk"]
    )
    return dict(found)


def role_of(stack: Stack, synthesize: Any) -> dict[str, Any]:
    name = rule_of(stack, synthesize)["Targets"][0]["RoleArn"]["Fn::GetAtt"][0]
    return dict(synthesize(stack).resources[name]["Properties"])


def rights(role: dict[str, Any]) -> dict[str, Any]:
    (policy,) = role["Policies"]
    return {str(s["Action"]): s["Resource"] for s in policy["PolicyDocument"]["Statement"]}


def test_nothing_is_made_unless_asked_for(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    assert import_.notification_topic is None
    assert import_.node.try_find_child("Notifications") is None
    assert [] == synthesize(stack).of_type(TOPIC)


@pytest.mark.parametrize(("notify", "condition"), CONDITIONS.items())
def test_the_rule_waits_for_the_outcomes_that_are_asked_for(stack, synthesize, notify, condition):
    import_ = DicomImport(stack, "Import", notify=notify)
    assert {
        "source": ["healthimaging-cdk"],
        "detail-type": ["DICOM Import Judged"],
        "detail": {"import": [stack.resolve(import_.import_name)], **condition},
    } == rule_of(stack, synthesize)["EventPattern"]


def test_every_value_is_known_to_the_tests():
    assert set(CONDITIONS) == set(Notify)


def test_a_topic_alone_means_failures(stack, synthesize):
    topic = sns.Topic(stack, "Topic")
    import_ = DicomImport(stack, "Import", notification_topic=topic)
    assert topic is import_.notification_topic
    detail = rule_of(stack, synthesize)["EventPattern"]["detail"]
    assert {"import": [stack.resolve(import_.import_name)], "outcome": ["FAILED", "UNKNOWN"]} == detail
    synthesize(stack).only(TOPIC)


def test_the_topic_is_encrypted_as_what_else_is_made_and_takes_tls_only(stack, synthesize):
    import_ = DicomImport(stack, "Import", notify=Notify.FAILURES)
    found = synthesize(stack)
    key = stack.resolve(import_.encryption_key.key_arn)
    assert key == found.only(TOPIC)["Properties"]["KmsMasterKeyId"]
    policy = found.only("AWS::SNS::TopicPolicy")["Properties"]
    assert [stack.resolve(import_.notification_topic.topic_arn)] == policy["Topics"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert ("Deny", "*", {"Bool": {"aws:SecureTransport": "false"}}) == tuple(
        statement[name] for name in ("Effect", "Principal", "Condition")
    )


def test_without_a_customer_key_the_topic_has_the_one_that_aws_manages(stack, synthesize):
    DicomImport(stack, "Import", notify=Notify.FAILURES, customer_managed_key=False)
    assert "alias/aws/sns" in json.dumps(synthesize(stack).only(TOPIC)["Properties"]["KmsMasterKeyId"])
    assert ["sns:Publish"] == list(rights(role_of(stack, synthesize)))


def test_a_key_is_made_for_a_topic_though_nothing_else_is_made(stack, synthesize):
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "amzn-images")
    given = {
        "datastore": Datastore.from_datastore_id(stack, "Store", ID),
        "source": ImportSource.bucket(bucket, "dicom/"),
        "output_bucket": bucket,
    }
    assert DicomImport(stack, "Silent", **given).encryption_key is None
    import_ = DicomImport(stack, "Import", **given, notify=Notify.FAILURES)
    assert (
        stack.resolve(import_.encryption_key.key_arn) == synthesize(stack).only(TOPIC)["Properties"]["KmsMasterKeyId"]
    )


def test_eventbridge_of_this_account_publishes_by_a_role_with_that_right_alone(stack, synthesize):
    import_ = DicomImport(stack, "Import", notify=Notify.FAILURES)
    role = role_of(stack, synthesize)
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert {
        "Action": "sts:AssumeRole",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
    } == trust
    topic, key = (stack.resolve(arn) for arn in (import_.notification_topic.topic_arn, import_.encryption_key.key_arn))
    assert {"sns:Publish": topic, "['kms:Decrypt', 'kms:GenerateDataKey']": key} == rights(role)
    assert topic == rule_of(stack, synthesize)["Targets"][0]["Arn"]


def test_the_role_may_use_the_key_of_a_topic_of_the_user(stack, synthesize):
    key = kms.Key(stack, "Key")
    topic = sns.Topic(stack, "Topic", master_key=key)
    DicomImport(stack, "Import", notification_topic=topic)
    expected = stack.resolve({"sns:Publish": topic.topic_arn, "['kms:Decrypt', 'kms:GenerateDataKey']": key.key_arn})
    assert expected == rights(role_of(stack, synthesize))


def test_the_message_is_made_of_fields_that_the_event_has(stack, synthesize):
    DicomImport(stack, "Import", notify=Notify.OUTCOMES)
    transformer = rule_of(stack, synthesize)["Targets"][0]["InputTransformer"]
    sent: list[dict[str, Any]] = []

    class Bus:
        def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
            sent.extend(Entries)
            return {}

    announce(
        cast("Clients", SimpleNamespace(events=Bus())),
        import_name="Stack/Job",
        datastore_id="d",
        job_id="j",
        job_status="FAILED",
        verdict=Verdict.FAILED,
        counts=Counts(10, 6, 3, 1),
        seconds=None,
    )
    event = {"detail": json.loads(sent[0]["Detail"])}
    message = transformer["InputTemplate"]
    for name, path in transformer["InputPathsMap"].items():
        value: Any = event
        for part in path.removeprefix("$.").split("."):
            value = value[part]
        message = message.replace(f"<{name}>", str(value))
    assert [
        "DICOM import Stack/Job: FAILED",
        "10 files scanned, 6 imported, 3 rejected for customer errors, 1 for server errors",
        "Job j of data store d, status FAILED. Where its manifest and the reasons of rejection lie:",
        "aws medical-imaging get-dicom-import-job --datastore-id d --job-id j --query jobProperties.outputS3Uri",
    ] == [json.loads(line) for line in message.splitlines()]


def test_the_job_is_submitted_when_somebody_listens(stack, synthesize):
    import_ = DicomImport(stack, "Import", notify=Notify.FAILURES)
    waits_for = synthesize(stack).only("Custom::HealthImagingImport")["DependsOn"]
    made = [child for child in import_.node.find_child("Notifications").node.find_all() if Stack.is_construct(child)]
    names = [stack.get_logical_id(child) for child in made if hasattr(child, "cfn_resource_type")]
    assert 4 == len(names)
    assert set(names) <= set(waits_for)


def test_fails_a_value_that_there_is_not(stack):
    message = "notify must be one of Notify.FAILURES, Notify.REJECTIONS, Notify.OUTCOMES, got str 'failures'"
    with pytest.raises(ValueError, match=re.escape(message)):
        DicomImport(stack, "Import", notify="failures")


HERE = {"account": "111122223333", "region": "us-east-1"}


def topic_of(stack: Stack, *, region: str = "us-east-1", account: str = "111122223333", name: str = "on-call") -> Any:
    return sns.Topic.from_topic_arn(stack, "OnCall", f"arn:aws:sns:{region}:{account}:{name}")


def test_fails_a_fifo_topic_to_which_eventbridge_does_not_publish(stack):
    message = "DicomImport: notification_topic is a FIFO topic, which EventBridge does not support"
    for topic in (topic_of(stack, name="on-call.fifo"), sns.Topic(stack, "Own", fifo=True)):
        with pytest.raises(ValueError, match=message):
            DicomImport(stack, "Import", notification_topic=topic)


def test_fails_a_topic_of_another_region(app):
    stack = Stack(app, "Here", env=HERE)
    message = "DicomImport: notification_topic lies in Region eu-west-1 and the stack in us-east-1: use a topic of"
    with pytest.raises(ValueError, match=message):
        DicomImport(stack, "Import", notification_topic=topic_of(stack, region="eu-west-1"))


def test_a_topic_of_another_account_is_published_to_by_the_role(app, synthesize):
    stack = Stack(app, "Here", env=HERE)
    topic = topic_of(stack, account="444455556666")
    DicomImport(stack, "Import", notification_topic=topic)
    assert topic.topic_arn == rights(role_of(stack, synthesize))["sns:Publish"]


def test_where_synth_does_not_know_the_region_any_topic_passes(stack):
    assert DicomImport(stack, "Import", notification_topic=topic_of(stack, region="eu-west-1")).notification_topic
