"""Keys that are given by an alias: IAM takes the ARN of an alias for that of no key, so policies must not name it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import CfnParameter, RemovalPolicy, Stack, Tags
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from healthimaging_cdk import Datastore, DicomImport, ImportSource, LosslessStorageFormat

pytestmark = pytest.mark.slow

ALIAS = "alias/imaging"
ALIAS_ARN = f"arn:aws:kms:us-east-1:111122223333:{ALIAS}"


@pytest.fixture
def stack(app):
    return Stack(app, "Imaging", env={"account": "111122223333", "region": "us-east-1"})


def statements(found) -> list[dict[str, Any]]:
    """All statements of identities."""
    documents = [
        policy["PolicyDocument"]
        for role in found.of_type("AWS::IAM::Role")
        for policy in role["Properties"].get("Policies", [])
    ]
    documents += [policy["Properties"]["PolicyDocument"] for policy in found.of_type("AWS::IAM::Policy")]
    return [statement for document in documents for statement in document["Statement"]]


def on_keys(found) -> list[dict[str, Any]]:
    """Those on keys, but for the log's, which is never given an alias for a key."""
    on_any = [statement for statement in statements(found) if "kms:" in json.dumps(statement["Action"])]
    return [statement for statement in on_any if "kms:ViaService" not in json.dumps(statement)]


def made(stack: Stack) -> kms.IKey:
    return kms.Alias(stack, "Alias", alias_name=ALIAS, target_key=kms.Key(stack, "Key"))


def with_its_key(stack: Stack) -> kms.IKey:
    return kms.Alias.from_alias_attributes(stack, "Alias", alias_name=ALIAS, alias_target_key=kms.Key(stack, "Key"))


def named(stack: Stack) -> kms.IKey:
    return kms.Alias.from_alias_name(stack, "Alias", ALIAS)


def by_arn(stack: Stack) -> kms.IKey:
    return kms.Key.from_key_arn(stack, "Alias", ALIAS_ARN)


def store_of_ours(stack: Stack, key: kms.IKey) -> None:
    role = iam.Role(stack, "Grantee", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    Datastore(stack, "Store", encryption_key=key).grant_read(role).assert_success()


def store_by_our_function(stack: Stack, key: kms.IKey) -> None:
    store = Datastore(
        stack,
        "Store",
        encryption_key=key,
        lossless_storage_format=LosslessStorageFormat.HTJ2K,
        auto_delete_image_sets=True,
        removal_policy=RemovalPolicy.DESTROY,
    )
    Tags.of(store).add("team", "radiology")


def whole_import(stack: Stack, key: kms.IKey) -> None:
    DicomImport(stack, "Import", encryption_key=key)


def import_from_what_is_there(stack: Stack, key: kms.IKey) -> None:
    images, results = (s3.Bucket(stack, name, encryption_key=key) for name in ("Images", "Results"))
    topic = sns.Topic(stack, "Topic", master_key=key)
    source = ImportSource.bucket(images, "studies/")
    DicomImport(stack, "Import", source=source, output_bucket=results, notification_topic=topic)


USES = [store_of_ours, store_by_our_function, whole_import, import_from_what_is_there]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("alias", [made, with_its_key])
def test_the_key_behind_an_alias_is_named(stack, synthesize, alias, use):
    use(stack, alias(stack))
    found = synthesize(stack)
    ((key_id, _),) = [
        (name, it) for name, it in found.resources.items() if it["Type"] == "AWS::KMS::Key" and name.startswith("Key")
    ]
    arn = {"Fn::GetAtt": [key_id, "Arn"]}
    rules = [rule for rule in on_keys(found) if rule["Resource"] == arn]
    assert [None] * len(rules) == [rule.get("Condition") for rule in rules]
    assert rules
    assert ALIAS not in json.dumps(statements(found))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("alias", [named, by_arn])
def test_without_its_key_an_alias_stands_for_what_bears_it(stack, synthesize, alias, use):
    use(stack, alias(stack))
    rules = [rule for rule in on_keys(synthesize(stack)) if "Condition" in rule]
    bears = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": ALIAS}}
    assert [bears] * len(rules) == [rule["Condition"] for rule in rules]
    assert {"arn:aws:kms:us-east-1:111122223333:key/*"} == {text(rule["Resource"]) for rule in rules}
    assert ALIAS_ARN not in {text(rule["Resource"]) for rule in on_keys(synthesize(stack))}


def text(value: Any) -> str:
    if isinstance(value, dict) and "Fn::Join" in value:
        return "".join(text(item) for item in value["Fn::Join"][1])
    return "aws" if value == {"Ref": "AWS::Partition"} else str(value)


@pytest.mark.long
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("alias", [made, with_its_key, named, by_arn])
def test_an_alias_is_granted_as_often_as_a_key(stack, app, synthesize, alias, use):
    use(stack, alias(stack))
    other = Stack(app, "Other")
    use(other, kms.Key(other, "Key"))
    assert len(on_keys(synthesize(other))) == len(on_keys(synthesize(stack)))


@pytest.mark.parametrize("alias", [made, named])
def test_resources_have_the_alias_as_it_was_given(stack, synthesize, alias):
    Datastore(stack, "Store", encryption_key=alias(stack))
    found = synthesize(stack)
    given = text(found.only("AWS::HealthImaging::Datastore")["Properties"]["KmsKeyArn"])
    # With the feature flag aliasNameRef it is a reference to the alias.
    assert ALIAS_ARN == given.replace("{'Ref': 'Alias325C5727'}", ALIAS)


def test_an_alias_may_be_known_at_deploy_alone(stack, synthesize):
    name = CfnParameter(stack, "Name").value_as_string
    store_of_ours(stack, kms.Alias.from_alias_name(stack, "Alias", name))
    (rule,) = on_keys(synthesize(stack))
    assert {"kms:ResourceAliases": {"Ref": "Name"}} == rule["Condition"]["ForAnyValue:StringEquals"]
    assert "arn:aws:kms:us-east-1:111122223333:key/*" == text(rule["Resource"])


def test_a_key_and_its_alias_are_one_key(stack, synthesize):
    key = kms.Key(stack, "Key")
    results = s3.Bucket(stack, "Results", encryption_key=kms.Alias(stack, "Alias", alias_name=ALIAS, target_key=key))
    import_ = DicomImport(stack, "Import", encryption_key=key, output_bucket=results)
    found = synthesize(stack)
    for role in (import_.data_access_role, import_.request_role):
        rules = found.statements_of(stack.resolve(role.role_arn)["Fn::GetAtt"][0])
        assert 1 == len([rule for rule in rules if "kms:Decrypt" in rule["Action"]])
