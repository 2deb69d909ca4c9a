"""Experiments about keys of logs and topics, and about where interface endpoints are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import WaiterError

from healthimaging_cdk._verify import templates
from healthimaging_cdk._verify.experiment import NOTED, Experiment
from healthimaging_cdk._verify.lab import Lab

_DELIVERY_SECONDS = 60
_SOURCE = "healthimaging-cdk.verify"
_ENDPOINTS = ("medical-imaging", "runtime-medical-imaging", "dicom-medical-imaging")


def _log_group_key(lab: Lab) -> Mapping[str, str]:
    answers = {}
    for number, (name, pattern) in enumerate({"its own log groups": "*", "another log group": "another"}.items()):
        log_groups = {
            "Fn::Sub": f"arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:{pattern}"
        }
        condition = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": log_groups}}
        actions = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        service = f"logs.{lab.region}.amazonaws.com"
        resources = {
            "Key": templates.key([templates.let_service_use_key(service, actions, condition)]),
            "Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"KmsKeyId": templates.get("Key", "Arn")}},
        }
        try:
            lab.deploy(f"log-key-{number}", templates.template(resources))
            seen = "created"
        except WaiterError:
            seen = "refused"
        answers[f"a log group whose key's policy names {name}"] = seen
    return answers


def _encrypted_topic(lab: Lab) -> Mapping[str, str]:
    use = templates.let_service_use_key("events.amazonaws.com", ["kms:GenerateDataKey*", "kms:Decrypt"])
    keys = {"lets EventBridge use it": [use], "does not name EventBridge": []}
    return {
        f"an event to a topic whose key {name}": _deliver(lab, f"topic-{number}", statements)
        for number, (name, statements) in enumerate(keys.items())
    }


def _deliver(lab: Lab, stack: str, statements: list[dict[str, Any]]) -> str:
    outputs = lab.deploy(stack, _rule_to_topic_to_queue(stack, statements))
    sent = lab.client("events").put_events(
        Entries=[{"Source": _SOURCE, "DetailType": stack, "Detail": json.dumps({"stack": stack})}]
    )
    if sent["FailedEntryCount"]:
        return "not sent"

    def arrived() -> bool | None:
        return (
            True
            if lab.client("sqs").receive_message(QueueUrl=outputs["Queue"], WaitTimeSeconds=1).get("Messages")
            else None
        )

    try:
        lab.wait_for(arrived, "the event", _DELIVERY_SECONDS if lab.pause >= 1 else 3.0)
    except TimeoutError:
        return "lost"
    return "delivered"


def _rule_to_topic_to_queue(detail_type: str, statements: list[dict[str, Any]]) -> dict[str, Any]:
    publish = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": {"Ref": "Topic"},
    }
    return templates.template(
        {
            "Key": templates.key(statements),
            "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"KmsMasterKeyId": templates.get("Key", "Arn")}},
            "TopicPolicy": {
                "Type": "AWS::SNS::TopicPolicy",
                "Properties": {"Topics": [{"Ref": "Topic"}], "PolicyDocument": templates.document([publish])},
            },
            "Queue": {"Type": "AWS::SQS::Queue"},
            "QueuePolicy": templates.queue_policy("Queue", "sns.amazonaws.com"),
            "Subscription": {
                "Type": "AWS::SNS::Subscription",
                "DependsOn": ["QueuePolicy"],
                "Properties": {
                    "Protocol": "sqs",
                    "TopicArn": {"Ref": "Topic"},
                    "Endpoint": templates.get("Queue", "Arn"),
                },
            },
            "Rule": {
                "Type": "AWS::Events::Rule",
                "DependsOn": ["TopicPolicy", "Subscription"],
                "Properties": {
                    "EventPattern": {"source": [_SOURCE], "detail-type": [detail_type]},
                    "Targets": [{"Id": "Topic", "Arn": {"Ref": "Topic"}}],
                },
            },
        },
        {"Queue": {"Ref": "Queue"}},
    )


def _endpoint_zones(lab: Lab) -> Mapping[str, str]:
    ec2 = lab.client("ec2")
    zones = {zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]}
    answers = {}
    for endpoint in _ENDPOINTS:
        name = f"com.amazonaws.{lab.region}.{endpoint}"
        found = ec2.describe_vpc_endpoint_services(Filters=[{"Name": "service-name", "Values": [name]}])[
            "ServiceDetails"
        ]
        missing = sorted(zones - {zone for service in found for zone in service.get("AvailabilityZones", [])})
        answers[f"zones without {endpoint}"] = (", ".join(missing) or "none") if found else "no such endpoint here"
    return answers


EXPERIMENTS = (
    Experiment(
        "log-group-key",
        "What CloudWatch Logs asks a log group's key.",
        {
            "a log group whose key's policy names its own log groups": "created",
            "a log group whose key's policy names another log group": "refused",
        },
        4, 0.1, _log_group_key,
    ),
    Experiment(
        "encrypted-topic",
        "Whether EventBridge delivers to an encrypted topic.",
        {
            "an event to a topic whose key lets EventBridge use it": "delivered",
            "an event to a topic whose key does not name EventBridge": "lost",
        },
        5, 0.1, _encrypted_topic,
    ),
    Experiment(
        "endpoint-zones",
        "Which Availability Zones have the interface endpoints.",
        {f"zones without {endpoint}": NOTED for endpoint in _ENDPOINTS},
        1, 0.0, _endpoint_zones,
    ),
)  # fmt: skip
