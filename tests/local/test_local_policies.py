"""What IAM takes as a policy, and whom a policy means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.deployment import eventually
from tests.local.test_local_cloud import Scene, allow, document, refusal
from tests.local.test_local_cloud import scene as scene  # noqa: PLC0414 - a fixture
from tests.local.test_local_machines import function

pytestmark = pytest.mark.cloud

ROOT = {"AWS": "arn:aws:iam::111122223333:root"}
TRUST = {"Effect": "Allow", "Principal": ROOT, "Action": "sts:AssumeRole"}


def long(characters: int) -> str:
    """A policy of about so many characters."""
    return document(allow("s3:GetObject", f"arn:aws:s3:::bucket/{'k' * (characters - 120)}"))


@pytest.mark.patch("policies_have_iams_characters_and_lengths")
@pytest.mark.parametrize("key", ["検査/2026/*", "Ā*"])
def test_fails_for_a_policy_with_a_character_above_u00ff(scene: Scene, key: str) -> None:
    scene.make_role(f"{scene.name}-r", TRUST)
    right = allow("s3:GetObject", f"arn:aws:s3:::bucket/{key}")
    text = json.dumps({"Version": "2012-10-17", "Statement": [right]}, ensure_ascii=False)
    with pytest.raises(ClientError) as caught:
        scene.iam.put_role_policy(RoleName=f"{scene.name}-r", PolicyName="p", PolicyDocument=text)
    assert "ValidationError" == refusal(caught)[0]
    scene.iam.put_role_policy(RoleName=f"{scene.name}-r", PolicyName="p", PolicyDocument=text.replace(key, "für/*"))


@pytest.mark.patch("policies_have_iams_characters_and_lengths")
def test_fails_for_more_than_10240_characters_of_inline_policies(scene: Scene) -> None:
    scene.make_role(f"{scene.name}-r", TRUST)
    scene.iam.put_role_policy(RoleName=f"{scene.name}-r", PolicyName="one", PolicyDocument=long(6000))
    with pytest.raises(ClientError) as caught:
        scene.iam.put_role_policy(RoleName=f"{scene.name}-r", PolicyName="two", PolicyDocument=long(5000))
    assert "LimitExceeded" == refusal(caught)[0]
    scene.iam.put_role_policy(RoleName=f"{scene.name}-r", PolicyName="one", PolicyDocument=long(10000))
    spaced = json.dumps(json.loads(long(4000)), indent=1000)
    scene.iam.put_role_policy(RoleName=f"{scene.name}-r", PolicyName="one", PolicyDocument=spaced)


@pytest.mark.patch("policies_have_iams_characters_and_lengths")
@pytest.mark.parametrize(
    "policy", [allow("s3:GetObject", "arn:aws:s3:::b/検査/*"), allow("s3:GetObject", f"arn:aws:s3:::b/{'k' * 10300}")]
)
def test_fails_a_stack_with_a_policy_that_iam_refuses(scene: Scene, policy: dict[str, Any]) -> None:
    role = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": json.loads(document(TRUST)),
            "Policies": [{"PolicyName": "p", "PolicyDocument": json.loads(document(policy))}],
        },
    }
    client = scene.cloud.client("cloudformation")
    client.create_stack(
        StackName=scene.name, TemplateBody=json.dumps({"Resources": {"R": role}}), Capabilities=["CAPABILITY_IAM"]
    )

    def status() -> str:
        return str(client.describe_stacks(StackName=scene.name)["Stacks"][0]["StackStatus"])

    assert eventually(lambda: not status().endswith("IN_PROGRESS"))
    assert "ROLLBACK_COMPLETE" == status()


@pytest.mark.patch("a_principal_is_a_role_with_its_path")
@pytest.mark.parametrize(("path", "allowed"), [("/delegated/", True), ("/", False)])
def test_a_policy_means_the_role_with_its_path(scene: Scene, path: str, *, allowed: bool) -> None:
    name = f"{scene.name}-r"
    scene.iam.create_role(RoleName=name, Path="/delegated/", AssumeRolePolicyDocument=document(TRUST))
    named = f"arn:aws:iam::{scene.cloud.account}:role{path}{name}"
    statement = {**allow("s3:GetObject", f"arn:aws:s3:::{scene.source}/*"), "Principal": {"AWS": named}}
    scene.s3.put_bucket_policy(Bucket=scene.source, Policy=document(statement))
    keys = scene.cloud.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{scene.cloud.account}:role/delegated/{name}", RoleSessionName="test"
    )["Credentials"]
    client = scene.cloud.client(
        "s3",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    if allowed:
        client.get_object(Bucket=scene.source, Key="in/bad.dcm")
        return
    with pytest.raises(ClientError):
        client.get_object(Bucket=scene.source, Key="in/bad.dcm")


@pytest.mark.patch("trust_conditions_are_asked_wherever_a_role_is_assumed")
def test_the_conditions_of_a_trust_policy_decide(scene: Scene) -> None:
    """A user whom the trust policy names needs no identity policy, but the external id."""
    keys = scene.user(f"{scene.name}-user")
    user = f"arn:aws:iam::{scene.cloud.account}:user/{scene.name}-user"
    condition = {"StringEquals": {"sts:ExternalId": "agreed"}}
    trust = {"Effect": "Allow", "Principal": {"AWS": user}, "Action": "sts:AssumeRole", "Condition": condition}
    role = scene.make_role(f"{scene.name}-r", trust)
    sts = scene.cloud.client("sts", **keys)
    sts.assume_role(RoleArn=role, RoleSessionName="test", ExternalId="agreed")
    for more in ({}, {"ExternalId": "other"}):
        with pytest.raises(ClientError) as caught:
            sts.assume_role(RoleArn=role, RoleSessionName="test", **more)
        assert "AccessDenied" == refusal(caught)[0]


@pytest.mark.patch("functions_need_a_role_that_trusts_them")
def test_fails_to_make_a_function_with_a_role_that_does_not_trust_lambda(scene: Scene) -> None:
    function(scene, "def handler(event, context): pass\n")
    scene.iam.update_assume_role_policy(RoleName=f"{scene.name}-function", PolicyDocument=document(TRUST))
    with pytest.raises(ClientError) as caught:
        scene.cloud.client("lambda").create_function(
            FunctionName=f"{scene.name}-two",
            Runtime="python3.13",
            Handler="index.handler",
            Role=f"arn:aws:iam::{scene.cloud.account}:role/{scene.name}-function",
            Code={"ZipFile": b"PK\x05\x06" + b"\0" * 18},
        )
    assert "cannot be assumed by Lambda" in refusal(caught)[1]
