"""The CloudFormation templates of the experiments, as small as each question allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_SERVICE = "medical-imaging.amazonaws.com"
_SOURCE_ACCOUNT = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
TRUST_BOTH = "both"


def template(resources: Mapping[str, Any], outputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Put resources and the values of outputs into a template."""
    document: dict[str, Any] = {"Resources": dict(resources)}
    if outputs:
        document["Outputs"] = {name: {"Value": value} for name, value in outputs.items()}
    return document


def bench() -> dict[str, Any]:
    """What most experiments share: see :attr:`healthimaging_cdk._verify.lab.Lab.bench`."""
    resources = {
        "Store": store(),
        "Input": bucket(),
        "Output": bucket(),
        "Role": data_access_role(get("Store", "DatastoreArn"), get("Input", "Arn"), get("Output", "Arn")),
        "Queue": {"Type": "AWS::SQS::Queue"},
        "QueuePolicy": queue_policy("Queue", "events.amazonaws.com"),
        "Rule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "EventPattern": {
                    "source": ["aws.medical-imaging"],
                    "detail": {"datastoreId": [{"Ref": "Store"}]},
                },
                "Targets": [{"Id": "Queue", "Arn": get("Queue", "Arn")}],
            },
        },
    }
    return template(
        resources,
        {
            "DatastoreId": {"Ref": "Store"},
            "DatastoreArn": get("Store", "DatastoreArn"),
            "InputBucket": {"Ref": "Input"},
            "OutputBucket": {"Ref": "Output"},
            "RoleArn": get("Role", "Arn"),
            "QueueUrl": {"Ref": "Queue"},
        },
    )


def get(resource: str, attribute: str) -> dict[str, Any]:
    """Write ``Fn::GetAtt``."""
    return {"Fn::GetAtt": [resource, attribute]}


def store() -> dict[str, Any]:
    """A data store that goes with its stack."""
    return {"Type": "AWS::HealthImaging::Datastore", "DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete"}


def bucket(key: str = "") -> dict[str, Any]:
    """A private bucket that goes with its stack; with a KMS key of the template, if one is named."""
    properties: dict[str, Any] = {
        "PublicAccessBlockConfiguration": dict.fromkeys(
            ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
        )
    }
    if key:
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": get(key, "Arn")}
        rules = [{"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": default}]
        properties["BucketEncryption"] = {"ServerSideEncryptionConfiguration": rules}
    return {"Type": "AWS::S3::Bucket", "Properties": properties}


def data_access_role(
    datastore_arn: Any,  # noqa: ANN401 - a text or an intrinsic
    input_arn: Any,  # noqa: ANN401 - as above
    output_arn: Any,  # noqa: ANN401 - as above
    *,
    without: Iterable[str] = (),
    trust: str = TRUST_BOTH,
    key_arn: Any = None,  # noqa: ANN401 - as above
) -> dict[str, Any]:
    """Write a data access role.

    Args:
        datastore_arn: the data store.
        input_arn: the input bucket.
        output_arn: the output bucket.
        without: rights to leave out: ``list input``, ``list output``, ``get``, ``put``, ``decrypt``, ``generate``.
        trust: the conditions of its trust policy: ``both``, ``account``, ``arn``, ``none``, ``wrong account``.
        key_arn: the KMS key of the buckets. Default: no rights on a key.
    """
    rights = {
        "list input": ("s3:ListBucket", input_arn),
        "list output": ("s3:ListBucket", output_arn),
        "get": ("s3:GetObject", {"Fn::Join": ["", [input_arn, "/*"]]}),
        "put": ("s3:PutObject", {"Fn::Join": ["", [output_arn, "/*"]]}),
    }
    if key_arn is not None:
        rights |= {"decrypt": ("kms:Decrypt", key_arn), "generate": ("kms:GenerateDataKey", key_arn)}
    skipped = set(without)
    statements = [
        {"Effect": "Allow", "Action": action, "Resource": resource}
        for name, (action, resource) in rights.items()
        if name not in skipped
    ]
    conditions: dict[str, dict[str, Any]] = {
        "both": {**_SOURCE_ACCOUNT, "ArnEquals": {"aws:SourceArn": datastore_arn}},
        "account": _SOURCE_ACCOUNT,
        "arn": {"ArnEquals": {"aws:SourceArn": datastore_arn}},
        "none": {},
        "wrong account": {"StringEquals": {"aws:SourceAccount": "000000000000"}},
    }
    policies = [{"PolicyName": "data", "PolicyDocument": document(statements)}]
    return role(_SERVICE, policies, conditions[trust])


def role(service: str, policies: list[dict[str, Any]], condition: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write a role that a service assumes."""
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if condition:
        statement["Condition"] = dict(condition)
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {"AssumeRolePolicyDocument": document([statement]), "Policies": policies},
    }


def document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    """Write a policy document."""
    return {"Version": "2012-10-17", "Statement": statements}


def queue_policy(queue: str, service: str) -> dict[str, Any]:
    """Let a service of the same account send messages to a queue."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sqs:SendMessage",
        "Resource": get(queue, "Arn"),
        "Condition": _SOURCE_ACCOUNT,
    }
    properties = {"Queues": [{"Ref": queue}], "PolicyDocument": document([statement])}
    return {"Type": "AWS::SQS::QueuePolicy", "Properties": properties}


def key(statements: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    """A KMS key that its account administers, deleted seven days after its stack."""
    administer = {
        "Effect": "Allow",
        "Principal": {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}},
        "Action": "kms:*",
        "Resource": "*",
    }
    return {
        "Type": "AWS::KMS::Key",
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        "Properties": {"PendingWindowInDays": 7, "KeyPolicy": document([administer, *statements])},
    }


def let_service_use_key(service: str, actions: list[str], condition: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write the statement of a key policy that lets a service use the key."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": actions, "Resource": "*"}
    return {**statement, "Condition": dict(condition)} if condition else statement
