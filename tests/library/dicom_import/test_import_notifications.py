"""The notifications of an import: what the function is told, and what it may do, as synthesized."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from healthimaging_cdk import Completion, Datastore, DicomImport, ImportSource, Notify, OnEmpty
from healthimaging_cdk._common.runtime import contract

IMPORT, TOPIC = "Custom::HealthImagingImport", "AWS::SNS::Topic"
ID = "0123456789abcdef0123456789abcdef"
HERE = {"account": "111122223333", "region": "us-east-1"}
ON_KEY = "['kms:Decrypt', 'kms:GenerateDataKey']"


def told(stack: Stack, synthesize: Any) -> dict[str, Any]:
    properties = synthesize(stack).only(IMPORT)["Properties"]
    return {name: properties[name] for name in ("NotificationTopicArn", "Notify") if name in properties}


def rights(import_: DicomImport, synthesize: Any) -> dict[str, Any]:
    """The resource of each right of the provider role, by its actions."""
    stack = Stack.of(import_)
    role = stack.resolve(import_.request_role.role_arn)["Fn::GetAtt"][0]
    return {str(it["Action"]): it["Resource"] for it in synthesize(stack).statements_of(role)}


def bring_all_but_the_topic(stack: Stack) -> dict[str, Any]:
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "amzn-images")
    return {
        "datastore": Datastore.from_datastore_id(stack, "Store", ID),
        "source": ImportSource.bucket(bucket, "dicom/"),
        "output_bucket": bucket,
    }


@pytest.mark.slow
def test_nothing_is_created_or_allowed_unless_asked_for(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    with pytest.raises(ValueError, match=r"there is no notification_topic: pass it, or notify \(at Stack/Import\)"):
        _ = import_.notification_topic
    assert import_.node.try_find_child("Notifications") is None
    assert [] == synthesize(stack).of_type(TOPIC)
    assert {} == told(stack, synthesize)
    assert "sns:Publish" not in rights(import_, synthesize)


@pytest.mark.slow
@pytest.mark.parametrize("notify", Notify)
def test_the_function_is_told_the_topic_and_which_verdicts_it_gets(stack, synthesize, notify):
    import_ = DicomImport(stack, "Import", notify=notify)
    topic = stack.resolve(import_.notification_topic.topic_arn)
    assert {"NotificationTopicArn": topic, "Notify": notify.value} == told(stack, synthesize)


@pytest.mark.parametrize("name", ["Notify", "OnEmpty", "Completion"])
def test_the_public_enumerations_have_the_values_that_the_function_knows(name):
    public = {"Notify": Notify, "OnEmpty": OnEmpty, "Completion": Completion}[name]
    assert {it.name: it.value for it in getattr(contract, name)} == {it.name: it.value for it in public}


@pytest.mark.slow
def test_a_topic_alone_means_failures(stack, synthesize):
    topic = sns.Topic(stack, "Topic")
    import_ = DicomImport(stack, "Import", notification_topic=topic)
    assert topic is import_.notification_topic
    expected = {"NotificationTopicArn": stack.resolve(topic.topic_arn), "Notify": "failures"}
    assert expected == told(stack, synthesize)
    synthesize(stack).only(TOPIC)


@pytest.mark.slow
def test_people_are_told_what_the_function_publishes_and_nothing_that_an_event_says(stack, synthesize):
    import_ = DicomImport(stack, "Import", notify=Notify.OUTCOMES)
    found = synthesize(stack)
    topic = stack.resolve(import_.notification_topic.topic_arn)
    targets = [target for rule in found.of_type("AWS::Events::Rule") for target in rule["Properties"]["Targets"]]
    assert topic not in [target["Arn"] for target in targets]
    assert "events.amazonaws.com" not in json.dumps(found.of_type("AWS::IAM::Role"))
    publishers = [it for it in found.of_type("AWS::IAM::Policy") if "sns:Publish" in json.dumps(it)]
    role = stack.resolve(import_.request_role.role_arn)["Fn::GetAtt"][0]
    assert [[{"Ref": role}]] == [policy["Properties"]["Roles"] for policy in publishers]


@pytest.mark.slow
def test_the_topic_is_encrypted_as_what_else_is_created_and_takes_tls_only(stack, synthesize):
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


@pytest.mark.slow
def test_without_a_customer_key_the_topic_has_the_one_that_aws_manages(stack, synthesize):
    import_ = DicomImport(stack, "Import", notify=Notify.FAILURES, customer_managed_key=False)
    assert "alias/aws/sns" in json.dumps(synthesize(stack).only(TOPIC)["Properties"]["KmsMasterKeyId"])
    assert "kms:" not in json.dumps(list(rights(import_, synthesize)))


@pytest.mark.slow
def test_a_key_is_created_for_a_topic_though_nothing_else_is_created(stack, synthesize):
    given = bring_all_but_the_topic(stack)
    assert DicomImport(stack, "Silent", **given).encryption_key is None
    import_ = DicomImport(stack, "Import", **given, notify=Notify.FAILURES)
    key = stack.resolve(import_.encryption_key.key_arn)
    assert key == synthesize(stack).only(TOPIC)["Properties"]["KmsMasterKeyId"]
    allowed = rights(import_, synthesize)
    assert (stack.resolve(import_.notification_topic.topic_arn), key) == (allowed["sns:Publish"], allowed[ON_KEY])


def test_the_provider_role_may_use_the_key_of_a_topic_of_the_user(stack, synthesize):
    key = kms.Key(stack, "Key")
    topic = sns.Topic(stack, "Topic", master_key=key)
    import_ = DicomImport(stack, "Import", **bring_all_but_the_topic(stack), notification_topic=topic)
    allowed = rights(import_, synthesize)
    assert stack.resolve([topic.topic_arn, key.key_arn]) == [allowed["sns:Publish"], allowed[ON_KEY]]


def test_the_job_is_submitted_when_the_topic_and_its_policy_are_there(stack, synthesize):
    DicomImport(stack, "Import", notify=Notify.FAILURES)
    found = synthesize(stack)
    waits_for = {found.resources[name]["Type"] for name in found.only(IMPORT)["DependsOn"]}
    assert {TOPIC, "AWS::SNS::TopicPolicy"} <= waits_for


@pytest.mark.slow
def test_the_job_does_not_wait_for_who_subscribes_to_a_topic_of_the_user(stack, synthesize):
    topic = sns.Topic(stack, "Topic")
    import_ = DicomImport(stack, "Import", notification_topic=topic)
    sns.Subscription(
        topic, "Pager", topic=topic, protocol=sns.SubscriptionProtocol.HTTPS, endpoint=f"https://x/{import_.job_id}"
    )
    found = synthesize(stack)
    assert "AWS::SNS::Subscription" not in {found.resources[name]["Type"] for name in found.only(IMPORT)["DependsOn"]}


def test_fails_a_value_that_there_is_not(stack):
    message = "notify must be one of Notify.FAILURES, Notify.REJECTIONS, Notify.OUTCOMES, got str 'failures'"
    with pytest.raises(TypeError, match=re.escape(message)):
        DicomImport(stack, "Import", notify="failures")


def topic_of(stack: Stack, *, region: str = "us-east-1", account: str = "111122223333", name: str = "on-call") -> Any:
    return sns.Topic.from_topic_arn(stack, "OnCall", f"arn:aws:sns:{region}:{account}:{name}")


def test_fails_a_fifo_topic(stack):
    message = "DicomImport: notification_topic is a FIFO topic, .*: use a standard topic"
    for topic in (topic_of(stack, name="on-call.fifo"), sns.Topic(stack, "Own", fifo=True)):
        with pytest.raises(ValueError, match=message):
            DicomImport(stack, "Import", notification_topic=topic)


def test_fails_a_topic_of_another_region(app):
    stack = Stack(app, "Here", env=HERE)
    message = "DicomImport: notification_topic is in Region eu-west-1 and the stack in us-east-1: use a topic of"
    with pytest.raises(ValueError, match=message):
        DicomImport(stack, "Import", notification_topic=topic_of(stack, region="eu-west-1"))


@pytest.mark.slow
def test_a_topic_of_another_account_is_published_to_by_the_provider_role(app, synthesize):
    stack = Stack(app, "Here", env=HERE)
    topic = topic_of(stack, account="444455556666")
    import_ = DicomImport(stack, "Import", notification_topic=topic)
    assert topic.topic_arn == rights(import_, synthesize)["sns:Publish"]


def test_where_synth_does_not_know_the_region_any_topic_passes(stack):
    assert DicomImport(stack, "Import", notification_topic=topic_of(stack, region="eu-west-1")).notification_topic
