"""Every statement of every policy, by AWS's service authorization reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.judges import policies
from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.findings import Finding, unanswered
from tests.judges.intrinsics import Resolver

pytestmark = pytest.mark.judges

_STORE = "arn:aws:medical-imaging:us-east-1:111122223333:datastore/0123456789abcdef0123456789abcdef"
_HEALTHIMAGING = {"Service": "medical-imaging.amazonaws.com"}
_ACCOUNT = {"StringEquals": {"aws:SourceAccount": "111122223333"}}


@pytest.mark.parametrize("example", CATALOGUE)
def test_every_policy_names_actions_resources_and_conditions_that_exist_and_fit(
    example: str, iam_findings: dict[str, list[Finding]]
) -> None:
    assert [] == unanswered(iam_findings[example], ACKNOWLEDGED)


def test_the_judge_reads_policies_of_every_kind(templates: dict[str, list[Template]]) -> None:
    (template,) = templates["one line"]
    kinds = {policy.kind for policy in policies.policies(template, [template])}
    assert set() == {"bucket", "identity", "key", "trust"} - kinds


@pytest.mark.parametrize("name", ["another account", "bring your own"])
def test_the_policies_for_the_owner_of_a_source_bucket_are_judged_too(
    templates: dict[str, list[Template]], name: str
) -> None:
    (template,) = templates[name]
    resolver = Resolver(template, [template])
    outputs = {
        kind: json.loads(resolver.resolve(output["Value"]))
        for key, output in template.document["Outputs"].items()
        for kind in ("BucketPolicy", "KeyPolicy")
        if f"Source{kind}" in key
    }
    assert {"BucketPolicy", "KeyPolicy"} == set(outputs)
    for output, document in outputs.items():
        kind = "AWS::S3::BucketPolicy" if output == "BucketPolicy" else "AWS::KMS::Key"
        member = "KeyPolicy" if output == "KeyPolicy" else "PolicyDocument"
        assert [] == _judge({"Type": kind, "Properties": {member: document}})


IDENTITY: dict[str, dict[str, Any]] = {
    "wildcard action *": {"Action": "*"},
    "wildcard action medical-imaging:*": {"Action": "medical-imaging:*"},
    "wildcard action medical-imaging:Get*": {"Action": ["medical-imaging:Get*"]},
    "unknown action medical-imaging:StartImportJob": {"Action": "medical-imaging:StartImportJob"},
    "unknown action medicalimaging:GetDatastore": {"Action": "medicalimaging:GetDatastore"},
    "medical-imaging:GetDatastore on *": {"Resource": "*"},
    "medical-imaging:GetDatastore on any resource": {"Resource": _STORE.replace("0123456789abcdef", "") + "*"},
    "medical-imaging:GetDatastore on the wrong resource": {"Resource": "arn:aws:s3:::images"},
    "s3:ListBucket on the wrong resource": {"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::images/*"},
    "s3:GetObject on the wrong resource": {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::images"},
    "s3:GetObject on any resource": {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::images*"},
    "unbounded PassRole": {"Action": "iam:PassRole", "Resource": "arn:aws:iam::111122223333:role/healthimaging"},
    "unknown service principal healthimaging.amazonaws.com": {
        "Action": "iam:PassRole",
        "Resource": "arn:aws:iam::111122223333:role/healthimaging",
        "Condition": {"StringEquals": {"iam:PassedToService": "healthimaging.amazonaws.com"}},
    },
    "unknown condition key iam:PassToService": {
        "Action": "iam:PassRole",
        "Resource": "arn:aws:iam::111122223333:role/healthimaging",
        "Condition": {
            "StringEquals": {
                "iam:PassedToService": "medical-imaging.amazonaws.com",
                "iam:PassToService": "medical-imaging.amazonaws.com",
            }
        },
    },
    "unknown condition key aws:SourceAcount": {"Condition": {"StringEquals": {"aws:SourceAcount": "111122223333"}}},
    "unknown condition key s3:prefix": {"Condition": {"StringEquals": {"s3:prefix": "dicom/"}}},
    "unknown operator StringIs": {"Condition": {"StringIs": {"aws:SourceAccount": "111122223333"}}},
    "ArnLike on aws:SourceAccount": {"Condition": {"ArnLike": {"aws:SourceAccount": "111122223333"}}},
    "inverted element": {"NotAction": "s3:GetObject"},
}

TRUST: dict[str, dict[str, Any]] = {
    "unknown service principal medicalimaging.amazonaws.com": {
        "Principal": {"Service": "medicalimaging.amazonaws.com"}
    },
    "unknown service principal medical-imaging.aws.com": {"Principal": {"Service": "medical-imaging.aws.com"}},
    "medical-imaging.amazonaws.com for any account": {"Condition": {"ArnLike": {"aws:SourceArn": _STORE}}},
    "StringEqualsIfExists in a trust policy": {
        "Condition": _ACCOUNT | {"StringEqualsIfExists": {"aws:SourceOrgID": "o-1234567890"}}
    },
    "unknown condition key aws:SourceAcount": {
        "Condition": {"StringEquals": {"aws:SourceAccount": "111122223333", "aws:SourceAcount": "111122223333"}}
    },
    "action iam:PassRole in a trust policy": {"Action": "iam:PassRole"},
    "unknown action sts:AssumeRoles": {"Action": "sts:AssumeRoles"},
    "any principal": {"Principal": {"AWS": "*"}},
    "a whole account as principal": {"Principal": {"AWS": "arn:aws:iam::111122223333:root"}},
    "unknown principal": {"Principal": {"AWS": "arn:aws:iam::111122223333:role/*"}},
}


@pytest.mark.parametrize("objection", IDENTITY)
def test_fails_for_a_defective_statement(objection: str) -> None:
    good = {"Effect": "Allow", "Action": "medical-imaging:GetDatastore", "Resource": _STORE}
    assert [] == _judge(_role(identity=good))
    assert [objection] == _judge(_role(identity=good | IDENTITY[objection]))


@pytest.mark.parametrize("objection", TRUST)
def test_fails_for_a_defective_trust(objection: str) -> None:
    good = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": _HEALTHIMAGING, "Condition": _ACCOUNT}
    assert [] == _judge(_role(trust=good))
    assert [objection] == _judge(_role(trust=good | TRUST[objection]))


def test_fails_for_a_bucket_policy_that_lets_anybody_in() -> None:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::images/*"}
    policy = {"Type": "AWS::S3::BucketPolicy", "Properties": {"PolicyDocument": {"Statement": [statement]}}}
    assert ["any principal"] == _judge(policy)


_LOGS = {"Service": "logs.us-east-1.amazonaws.com"}
_LOG_GROUPS = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": "arn:aws:logs:us-east-1:111122223333:log-group:*"}}
KEY: dict[str, dict[str, Any]] = {
    "unknown service principal logs.nowhere.amazonaws.com": {"Principal": {"Service": "logs.nowhere.amazonaws.com"}},
    "unknown service principal kms.us-east-1.amazonaws.com": {"Principal": {"Service": "kms.us-east-1.amazonaws.com"}},
    "unknown service principal logs.us-east-1": {"Principal": {"Service": "logs.us-east-1"}},
    "unknown condition key kms:EncryptionContext:aws:logs:arn": {"Action": "kms:DescribeKey"},
    "ArnLike on kms:EncryptionContext:store": {"Condition": {"ArnLike": {"kms:EncryptionContext:store": _STORE}}},
    "wildcard action kms:Encrypt*": {"Action": "kms:Encrypt*"},
}


@pytest.mark.parametrize("objection", KEY)
def test_fails_for_a_defective_policy_of_a_key(objection: str) -> None:
    good = {"Effect": "Allow", "Principal": _LOGS, "Action": "kms:Encrypt", "Resource": "*", "Condition": _LOG_GROUPS}
    assert [] == _judge(_key(good))
    assert objection in _judge(_key(good | KEY[objection]))


def _key(statement: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Statement": [statement]}}}


FUNCTION: dict[str, dict[str, Any]] = {
    "a service for any account": {"SourceArn": None},
    "unknown service principal event.amazonaws.com": {"Principal": "event.amazonaws.com"},
    "unknown action lambda:InvokeFunctions": {"Action": "lambda:InvokeFunctions"},
    "wildcard action lambda:*": {"Action": "lambda:*"},
    "any principal": {"Principal": "*"},
}


@pytest.mark.parametrize("objection", FUNCTION)
def test_fails_for_a_defective_permission_of_a_function(objection: str) -> None:
    good = {
        "Action": "lambda:InvokeFunction",
        "FunctionName": "arn:aws:lambda:us-east-1:111122223333:function:import",
        "Principal": "events.amazonaws.com",
        "SourceArn": "arn:aws:events:us-east-1:111122223333:rule/lost",
    }
    assert [] == _judge({"Type": "AWS::Lambda::Permission", "Properties": good})
    assert [objection] == _judge({"Type": "AWS::Lambda::Permission", "Properties": good | FUNCTION[objection]})


ENDPOINT: dict[str, dict[str, Any]] = {
    "wildcard action *": {"Action": "*"},
    "wildcard action medical-imaging:* on *": {"Resource": "*"},
    "wildcard action medical-imaging:Get*": {"Action": "medical-imaging:Get*"},
    "unknown action medical-imaging:StartImportJob": {"Action": "medical-imaging:StartImportJob"},
    "s3:GetObject on any resource": {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::images*"},
}


@pytest.mark.parametrize("objection", ENDPOINT)
def test_fails_for_a_defective_policy_of_an_endpoint(objection: str) -> None:
    good = {"Effect": "Allow", "Principal": "*", "Action": "medical-imaging:*", "Resource": [_STORE]}
    assert [] == _judge(_endpoint(good))
    assert [objection] == _judge(_endpoint(good | ENDPOINT[objection]))


def _endpoint(statement: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "AWS::EC2::VPCEndpoint", "Properties": {"PolicyDocument": {"Statement": [statement]}}}


def test_what_is_denied_may_be_denied_everywhere() -> None:
    statement = {"Effect": "Deny", "Action": "ec2:CreateNetworkInterface", "Resource": "*"}
    condition = {"Null": {"lambda:SourceFunctionArn": "false"}}
    assert [] == _judge(_role(identity=statement | {"Condition": condition}))


def test_fails_for_a_managed_policy() -> None:
    role = _role()
    role["Properties"]["ManagedPolicyArns"] = ["arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"]
    assert ["managed policy"] == _judge(role)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:GetObject", "arn:aws:s3:::images/*"),
        ("s3:GetObject", "arn:aws:s3:::images/dicom/2026/*"),
        ("logs:PutLogEvents", "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/import:*"),
        ("medical-imaging:GetImageSet", f"{_STORE}/imageset/*"),
        ("medical-imaging:StartDICOMImportJob", _STORE),
    ],
)
def test_a_wildcard_for_the_parts_of_one_named_resource_is_good(action: str, resource: str) -> None:
    assert [] == _judge(_role(identity={"Effect": "Allow", "Action": action, "Resource": resource}))


def _role(*, identity: dict[str, Any] | None = None, trust: dict[str, Any] | None = None) -> dict[str, Any]:
    lambdas = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    properties: dict[str, Any] = {"AssumeRolePolicyDocument": {"Statement": [trust or lambdas]}}
    if identity:
        properties["Policies"] = [{"PolicyName": "Policy", "PolicyDocument": {"Statement": [identity]}}]
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def _judge(resource: dict[str, Any]) -> list[str]:
    template = Template("seeded", Path("Seeded.template.json"), {"Resources": {"Seeded": resource}})
    return [finding.rule for finding in policies.judge(template, [template])]
