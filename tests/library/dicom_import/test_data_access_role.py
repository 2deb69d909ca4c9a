"""The role that HealthImaging assumes."""

from __future__ import annotations

import pytest
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import DataAccessRole, Datastore, TrustConditions
from tests.library.properties import every_property

ROLE = "AWS::IAM::Role"
POLICY = "AWS::IAM::Policy"
SERVICE = "medical-imaging.amazonaws.com"


def test_a_data_access_role_with_minimal_properties(stack, synthesize):
    store, bucket = Datastore(stack, "Store"), s3.Bucket(stack, "Bucket")
    DataAccessRole(
        stack,
        "Role",
        datastore=store,
        input_bucket=bucket,
        input_prefix="in/",
        output_bucket=bucket,
        output_prefix="out/",
    )
    found = synthesize(stack)
    (trust,) = found.only(ROLE)["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert {"Service": SERVICE} == trust["Principal"]
    assert {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        "ArnLike": {"aws:SourceArn": stack.resolve(store.datastore_arn)},
    } == trust["Condition"]
    assert "RoleName" not in found.only(ROLE)["Properties"]
    arn = stack.resolve(bucket.bucket_arn)
    statements = found.only(POLICY)["Properties"]["PolicyDocument"]["Statement"]
    assert [
        ("Allow", "s3:ListBucket", arn),
        ("Allow", "s3:GetObject", {"Fn::Join": ["", [arn, "/in/*"]]}),
        ("Allow", "s3:PutObject", {"Fn::Join": ["", [arn, "/out/*"]]}),
        ("Deny", "s3:PutObject", {"Fn::Join": ["", [arn, "/out/*.healthimaging-cdk/*"]]}),
    ] == [(it["Effect"], it["Action"], it["Resource"]) for it in statements]


def test_a_data_access_role_with_all_properties(stack, synthesize):
    keys = [kms.Key(stack, name) for name in ("InputKey", "OutputKey")]
    buckets = [s3.Bucket(stack, key.node.id.removesuffix("Key"), encryption_key=key) for key in keys]
    given = every_property(
        DataAccessRole,
        datastore=Datastore(stack, "Store"),
        input_bucket=buckets[0],
        input_prefix="in/",
        output_bucket=buckets[1],
        output_prefix="out/",
        trust_conditions=TrustConditions.ACCOUNT,
        role_name="imaging",
    )
    DataAccessRole(stack, "Role", **given)
    found = synthesize(stack)
    role = found.only(ROLE)["Properties"]
    assert "imaging" == role["RoleName"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}} == trust["Condition"]
    statements = found.only(POLICY)["Properties"]["PolicyDocument"]["Statement"]
    assert [stack.resolve(bucket.bucket_arn) for bucket in buckets] == statements[0]["Resource"]
    on_keys = [(it["Action"], it["Resource"]) for it in statements if "kms:" in str(it["Action"])]
    assert [
        ("kms:Decrypt", stack.resolve(keys[0].key_arn)),
        (["kms:Decrypt", "kms:GenerateDataKey"], stack.resolve(keys[1].key_arn)),
    ] == on_keys


def test_fails_without_the_slash_at_the_end_of_a_prefix(stack):
    bucket = s3.Bucket(stack, "Bucket")
    given = {"datastore": Datastore(stack, "Store"), "input_bucket": bucket, "output_bucket": bucket}
    with pytest.raises(ValueError, match=r"input_prefix must end with '/', got 'in': .* \(at Stack/Role\)"):
        DataAccessRole(stack, "Role", input_prefix="in", output_prefix="out/", **given)
    assert stack.node.try_find_child("Role") is None
