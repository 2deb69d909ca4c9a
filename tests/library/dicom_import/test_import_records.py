"""The records of an import in its output bucket: who may write them, and what expires them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from aws_cdk import (
    Annotations,
    App,
    Aspects,
    CfnResource,
    Duration,
    IAspect,
    NestedStack,
    Stack,
    assertions,
)
from aws_cdk import aws_s3 as s3
from constructs import IConstruct
from jsii import implements

from healthimaging_cdk import DicomImport, ImportSource

pytestmark = pytest.mark.slow

EXPIRES = datetime(2027, 1, 1, tzinfo=UTC)
HERE = {"account": "111122223333", "region": "us-east-1"}


def denials(template: Any, bucket: str | None = None) -> list[dict[str, Any]]:
    """What bucket policies deny to write."""
    return [
        statement
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::S3::BucketPolicy" and bucket in {None, resource["Properties"]["Bucket"]["Ref"]}
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "s3:PutObject"
    ]


def text(value: Any) -> Any:
    if isinstance(value, list):
        return [text(item) for item in value]
    if isinstance(value, dict) and "Fn::Join" in value:
        return "".join(str(text(item)) for item in value["Fn::Join"][1])
    if isinstance(value, dict):
        return {"AWS::Partition": "aws"}.get(value.get("Ref", ""), str(value.get("Ref") or value["Fn::GetAtt"][0]))
    return value


def writers(statement: dict[str, Any]) -> list[str]:
    found = text(statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"])
    return found if isinstance(found, list) else [found]


def test_nobody_but_the_provider_role_may_write_records_into_a_bucket_that_is_created(stack, synthesize):
    import_ = DicomImport(stack, "Import", output_prefix="out/")
    found = synthesize(stack)
    (statement,) = denials(found.document)
    role = stack.resolve(import_.request_role.role_arn)
    assert {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:PutObject",
        "Resource": stack.resolve(import_.output_bucket.arn_for_objects("out/.healthimaging-cdk/*")),
        "Condition": {"ArnNotLike": {"aws:PrincipalArn": [role]}},
    } == statement
    (policy,) = [
        name
        for name, it in found.resources.items()
        if it["Type"] == "AWS::S3::BucketPolicy" and statement in it["Properties"]["PolicyDocument"]["Statement"]
    ]
    assert policy in found.only("Custom::HealthImagingImport")["DependsOn"]


def test_a_bucket_of_the_user_keeps_its_policy(stack, synthesize):
    DicomImport(stack, "Import", output_bucket=s3.Bucket(stack, "Mine", enforce_ssl=True))
    assert [] == denials(synthesize(stack).document)


@pytest.mark.parametrize("prefix", ["results/", "other/"])
def test_a_second_import_into_the_bucket_is_let_through(stack, synthesize, prefix):
    first = DicomImport(stack, "First")
    second = DicomImport(stack, "Second", output_bucket=first.output_bucket, output_prefix=prefix)
    found = synthesize(stack)
    first_bucket = stack.resolve(first.output_bucket.bucket_name)["Ref"]
    (statement,) = denials(found.document, first_bucket)
    roles = [stack.resolve(it.request_role.role_arn)["Fn::GetAtt"][0] for it in (first, second)]
    assert roles == writers(statement)
    folders = {f"{first_bucket}/{it}.healthimaging-cdk/*" for it in ("results/", prefix)}
    resources = text(statement["Resource"])
    assert folders == set(resources if isinstance(resources, list) else [resources])
    (policy,) = (
        name
        for name, it in found.resources.items()
        if statement in it["Properties"].get("PolicyDocument", {}).get("Statement", [])
    )
    assert [True, True] == [policy in it["DependsOn"] for it in found.of_type("Custom::HealthImagingImport")]


@pytest.mark.parametrize("env", [None, HERE], ids=["anywhere", "somewhere"])
def test_an_import_in_another_stack_is_let_through_by_the_name_of_its_role(app, env):
    data, imports = Stack(app, "Data", env=env), Stack(app, "Imports", env=env)
    first = DicomImport(data, "First")
    DicomImport(imports, "Second", output_bucket=first.output_bucket, output_prefix="second/")
    assembly = app.synth()
    there, here = (assembly.get_stack_artifact(it.artifact_id).template for it in (data, imports))
    (statement,) = denials(there)
    (role,) = [
        it["Properties"]["RoleName"]
        for it in here["Resources"].values()
        if it["Type"] == "AWS::IAM::Role" and "RoleName" in it["Properties"]
    ]
    account = HERE["account"] if env else "AWS::AccountId"
    expected = [f"arn:aws:iam::{account}:role/{path}{text(role)}" for path in ("", "*/")]
    assert expected == writers(statement)[1:]
    assert ["Data"] == [stack.stack_name for stack in imports.dependencies]


def test_an_import_in_a_nested_stack_may_share_the_bucket_of_its_parent_and_the_other_way_round(app):
    parent = Stack(app, "Parent")
    nested = NestedStack(parent, "Nested")
    first = DicomImport(parent, "First")
    DicomImport(nested, "Second", output_bucket=first.output_bucket)
    (statement,) = denials(assertions.Template.from_stack(parent).to_json())
    assert 3 == len(writers(statement))
    app = App(analytics_reporting=False)
    parent = Stack(app, "Parent")
    first = DicomImport(NestedStack(parent, "Nested"), "First")
    DicomImport(parent, "Second", output_bucket=first.output_bucket)
    (statement,) = denials(assertions.Template.from_stack(Stack.of(first)).to_json())
    assert 3 == len(writers(statement))


def test_a_role_with_a_fixed_name_for_a_foreign_source_is_let_through_by_its_arn(stack, synthesize):
    theirs = s3.Bucket.from_bucket_name(stack, "Theirs", "theirs")
    source = ImportSource.bucket(theirs, "in/", owner_account_id="444455556666")
    import_ = DicomImport(stack, "Import", source=source)
    (statement,) = denials(synthesize(stack).document)
    assert [stack.resolve(import_.request_role.role_arn)["Fn::GetAtt"][0]] == writers(statement)


# -- lifecycle rules -------------------------------------------------------------------------------------------------


def warnings(stack: Stack) -> list[str]:
    """The paths of the constructs that are warned about."""
    message = assertions.Match.string_like_regexp(
        r"expires .*\.healthimaging-cdk/, where this import keeps its records"
    )
    return [it.id for it in assertions.Annotations.from_stack(stack).find_warning("*", message)]


EXPIRING = [
    {},
    {"prefix": "results/"},
    {"prefix": "res"},
    {"prefix": "results/.healthimaging-cdk/"},
    {"prefix": "results/.healthimaging-cdk/manifests/"},
]
HARMLESS = [
    {"prefix": "results/0123"},
    {"prefix": "dicom/"},
    {"enabled": False},
    {"tag_filters": {"temporary": "yes"}},
]


@pytest.mark.parametrize("rule", EXPIRING, ids=str)
def test_a_rule_of_the_users_bucket_that_expires_records_is_warned_of(stack, rule):
    bucket = s3.Bucket(stack, "Mine", lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(30), **rule)])
    DicomImport(stack, "Import", output_bucket=bucket)
    assert ["/Stack/Import"] == warnings(stack)


@pytest.mark.parametrize("rule", HARMLESS, ids=str)
def test_a_rule_that_leaves_records_alone_is_not_warned_of(stack, rule):
    bucket = s3.Bucket(stack, "Mine", lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(30), **rule)])
    DicomImport(stack, "Import", output_bucket=bucket)
    assert [] == warnings(stack)


def test_what_expires_other_versions_or_uploads_or_results_is_not_warned_of(stack):
    import_ = DicomImport(stack, "Import", results_expiration=Duration.days(30))
    import_.output_bucket.add_lifecycle_rule(noncurrent_version_expiration=Duration.days(7))
    assert [] == warnings(stack)


def test_a_rule_that_is_added_later_is_warned_of_in_the_bucket_that_is_created_too(stack):
    import_ = DicomImport(stack, "Import")
    import_.output_bucket.add_lifecycle_rule(expiration=Duration.days(30))
    assert ["/Stack/Import"] == warnings(stack)


@implements(IAspect)
class ExpireEverything:
    def visit(self, node: IConstruct) -> None:
        if CfnResource.is_cfn_resource(node) and node.cfn_resource_type == "AWS::S3::Bucket":
            rule = s3.CfnBucket.RuleProperty(status="Enabled", expiration_date=EXPIRES)
            node.lifecycle_configuration = s3.CfnBucket.LifecycleConfigurationProperty(rules=[rule])


def test_a_rule_of_an_aspect_is_warned_of(stack):
    DicomImport(stack, "Import")
    Aspects.of(stack).add(ExpireEverything())
    assert ["/Stack/Import"] == warnings(stack)


def test_the_lifecycle_of_an_l1_is_read(stack):
    rules = [{"status": "Enabled", "expirationInDays": 3}]
    cfn = s3.CfnBucket(stack, "Plain", lifecycle_configuration={"rules": rules})
    DicomImport(stack, "Import", output_bucket=s3.Bucket.from_cfn_bucket(cfn))
    assert ["/Stack/Import"] == warnings(stack)


def test_a_bucket_that_is_only_named_is_not_judged(stack):
    DicomImport(stack, "Import", output_bucket=s3.Bucket.from_bucket_name(stack, "Named", "results"))
    assert [] == warnings(stack)


def test_the_warning_of_expiring_records_can_be_acknowledged(stack):
    import_ = DicomImport(stack, "Import")
    import_.output_bucket.add_lifecycle_rule(expiration=Duration.days(30))
    Annotations.of(import_).acknowledge_warning("healthimaging-cdk:recordsExpire")
    assert [] == warnings(stack)
