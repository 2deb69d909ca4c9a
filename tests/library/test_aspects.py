"""What an app does to all of its resources reaches those of this library, and no feature flag breaks them."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk
import pytest
from aws_cdk import (
    App,
    AspectPriority,
    Aspects,
    CfnResource,
    IAspect,
    MissingRemovalPolicies,
    NestedStack,
    PermissionsBoundary,
    RemovalPolicies,
    Stack,
    Stage,
    Tags,
)
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import IConstruct
from jsii import implements

from healthimaging_cdk import Datastore, DicomImport, ImportSource, LosslessStorageFormat
from tests.judges.intrinsics import creation_order

pytestmark = pytest.mark.slow

ROLE = "AWS::IAM::Role"
BOUNDARY = "arn:aws:iam::111122223333:policy/edge"
REVISITS = "@aws-cdk/core:aspectStabilization"

Build = Callable[[Stack], object]


def late(stack: Stack) -> None:
    """The whole engine comes when tags are known, after all other aspects."""
    Datastore(stack, "Store")


def early_and_late(stack: Stack) -> None:
    DicomImport(stack, "Import")
    Datastore(stack, "Custom", lossless_storage_format=LosslessStorageFormat.HTJ2K)


def nested(stack: Stack) -> None:
    early_and_late(stack)
    late(NestedStack(stack, "Nested"))


@pytest.fixture(
    params=[
        pytest.param({REVISITS: False}, id="one round", marks=pytest.mark.long),
        pytest.param({REVISITS: True}, id="as many rounds as it takes"),
    ]
)
def app(request) -> App:
    return App(analytics_reporting=False, context=request.param)


@pytest.fixture(
    params=[*(pytest.param(it, marks=pytest.mark.long) for it in (late, early_and_late)), nested],
    ids=lambda build: build.__name__,
)
def build(request) -> Build:
    return request.param


def resources_of(app: App) -> list[dict[str, Any]]:
    """All resources of all templates of an app; each template can be made."""
    found: list[dict[str, Any]] = []
    for path in sorted(Path(app.synth().directory).rglob("*.template.json")):
        template = json.loads(path.read_text(encoding="utf-8"))
        creation_order(template)
        found += template["Resources"].values()
    return found


def of_type(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [resource["Properties"] for resource in found if resource["Type"] == kind]


def has_boundary(roles: list[dict[str, Any]]) -> list[bool]:
    return [role.get("PermissionsBoundary") == BOUNDARY for role in roles]


# -- permissions boundaries ------------------------------------------------------------------------------------------


def test_a_boundary_of_the_app_reaches_every_role(app, build):
    stack = Stack(app, "Stack")
    build(stack)
    policy = iam.ManagedPolicy.from_managed_policy_arn(stack, "Edge", BOUNDARY)
    iam.PermissionsBoundary.of(app).apply(policy)
    Tags.of(app).add("team", "radiology")
    roles = of_type(resources_of(app), ROLE)
    assert len(roles) >= 3
    assert [True] * len(roles) == has_boundary(roles)


def test_a_boundary_of_a_stack_reaches_every_role(app, build):
    stack = Stack(app, "Stack", permissions_boundary=PermissionsBoundary.from_arn(BOUNDARY))
    build(stack)
    Tags.of(app).add("team", "radiology")
    roles = of_type(resources_of(app), ROLE)
    assert [True] * len(roles) == has_boundary(roles)


def test_a_boundary_of_a_stage_reaches_every_role(app, build):
    stage = Stage(app, "Prod", permissions_boundary=PermissionsBoundary.from_arn(BOUNDARY))
    build(Stack(stage, "Stack"))
    Tags.of(stage).add("team", "radiology")
    roles = of_type(resources_of(app), ROLE)
    assert len(roles) >= 3
    assert [True] * len(roles) == has_boundary(roles)


# -- aspects that change things --------------------------------------------------------------------------------------


@implements(IAspect)
class HouseRules:
    def visit(self, node: IConstruct) -> None:
        if isinstance(node, s3.CfnBucket):
            node.object_lock_enabled = True
        if isinstance(node, iam.CfnRole):
            node.path = "/imaging/"
        if isinstance(node, lambda_.CfnFunction):
            node.reserved_concurrent_executions = 5
        if isinstance(node, logs.CfnLogGroup):
            node.retention_in_days = 7


@pytest.mark.parametrize("priority", [None, AspectPriority.MUTATING])
def test_an_aspect_changes_every_bucket_role_function_and_log_group(app, build, priority):
    build(Stack(app, "Stack"))
    Tags.of(app).add("team", "radiology")
    Aspects.of(app).add(HouseRules(), priority=priority)
    found = resources_of(app)
    for kind, name, expected in (
        ("AWS::S3::Bucket", "ObjectLockEnabled", True),
        (ROLE, "Path", "/imaging/"),
        ("AWS::Lambda::Function", "ReservedConcurrentExecutions", 5),
        ("AWS::Logs::LogGroup", "RetentionInDays", 7),
    ):
        made = of_type(found, kind)
        assert [expected] * len(made) == [properties.get(name) for properties in made]
    assert of_type(found, "AWS::Logs::LogGroup")


@pytest.mark.parametrize("kind", [ROLE, "AWS::S3::Bucket", "AWS::Lambda::Function", "AWS::Logs::LogGroup"])
def test_tags_of_the_app_reach_all_that_takes_tags(app, build, kind):
    build(Stack(app, "Stack"))
    Tags.of(app).add("team", "radiology")
    made = of_type(resources_of(app), kind)
    assert [[{"Key": "team", "Value": "radiology"}]] * len(made) == [properties["Tags"] for properties in made]


def test_a_tag_can_be_left_off_everything_else(app):
    stack = Stack(app, "Stack")
    Datastore(stack, "Store")
    Tags.of(stack).add("team", "radiology", include_resource_types=["AWS::HealthImaging::Datastore"])
    found = resources_of(app)
    assert [{"team": "radiology"}] == [p["Tags"] for p in of_type(found, "Custom::HealthImagingDatastoreTags")]
    assert [None] * 3 == [role.get("Tags") for role in of_type(found, ROLE)]


@pytest.mark.parametrize("policy", ["destroy", "retain"])
def test_a_removal_policy_of_the_stack_reaches_everything(app, build, policy):
    stack = Stack(app, "Stack")
    build(stack)
    Tags.of(app).add("team", "radiology")
    getattr(RemovalPolicies.of(stack), policy)()
    expected = {"destroy": "Delete", "retain": "Retain"}[policy]
    found = resources_of(app)
    assert {(expected, expected)} == {(r.get("DeletionPolicy"), r.get("UpdateReplacePolicy")) for r in found}


def test_a_removal_policy_for_want_of_another_leaves_what_is_retained(app, build):
    stack = Stack(app, "Stack")
    build(stack)
    Tags.of(app).add("team", "radiology")
    MissingRemovalPolicies.of(stack).destroy()
    for resource in resources_of(app):
        holds_data = resource["Type"] in {
            "AWS::HealthImaging::Datastore",
            "AWS::KMS::Key",
            "AWS::Logs::LogGroup",
            "AWS::S3::Bucket",
            "Custom::HealthImagingDatastore",
        }
        assert ("Retain" if holds_data else "Delete") == resource["DeletionPolicy"], resource["Type"]


@implements(IAspect)
class Reader:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def visit(self, node: IConstruct) -> None:
        if CfnResource.is_cfn_resource(node):
            self.seen.append(node.node.path)


def test_an_aspect_that_only_reads_sees_every_resource_once(app, build):
    reader = Reader()
    build(Stack(app, "Stack"))
    Tags.of(app).add("team", "radiology")
    Aspects.of(app).add(reader, priority=AspectPriority.READONLY)
    found = resources_of(app)
    assert len(found) == len(reader.seen) == len(set(reader.seen))


def test_an_aspect_of_the_app_stays_out_of_its_stages(app, build):
    reader = Reader()
    stage = Stage(app, "Prod")
    build(Stack(stage, "Stack"))
    Tags.of(stage).add("team", "radiology")
    Aspects.of(app).add(reader, priority=AspectPriority.READONLY)
    resources_of(app)
    assert [] == reader.seen


def test_aspects_come_to_each_resource_in_the_order_of_their_priorities(app, build):
    seen: dict[str, list[str]] = {}

    @implements(IAspect)
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def visit(self, node: IConstruct) -> None:
            if CfnResource.is_cfn_resource(node):
                seen.setdefault(node.node.path, []).append(self.name)

    stack = Stack(app, "Stack")
    build(stack)
    Tags.of(app).add("team", "radiology")
    Aspects.of(app).add(Named("third"), priority=AspectPriority.DEFAULT + 1)
    Aspects.of(stack).add(Named("second"))
    Aspects.of(app).add(Named("first"), priority=AspectPriority.MUTATING)
    assert len(resources_of(app)) == len(seen)
    assert {("first", "second", "third")} == {tuple(names) for names in seen.values()}


# -- feature flags ---------------------------------------------------------------------------------------------------


def recommended_flags() -> dict[str, Any]:
    """What `cdk init` writes into cdk.json."""
    (archive,) = Path(aws_cdk.__file__).parent.glob("_jsii/aws-cdk-lib@*.jsii.tgz")
    with tarfile.open(archive) as files:
        member = files.extractfile("package/recommended-feature-flags.json")
        assert member is not None
        return dict(json.load(member))


FLAGS = recommended_flags() | {REVISITS: True}


def everything(folder: Path, context: dict[str, Any], **env: str) -> dict[str, dict[str, Any]]:
    app = App(analytics_reporting=False, context=context)
    stack = Stack(app, "Stack", env=env or None)
    early_and_late(stack)
    DicomImport(stack, "Directory", source=ImportSource.directory(folder))
    Tags.of(stack).add("team", "radiology")
    template = app.synth().get_stack_artifact(stack.artifact_id).template
    creation_order(template)
    return dict(template["Resources"])


def rights(policy_document: dict[str, Any]) -> set[str]:
    """A policy as the set of its single rights, however CDK groups them into statements."""

    def each(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value]

    return {
        json.dumps([action, resource, statement.get("Condition"), statement["Effect"]], sort_keys=True)
        for statement in policy_document["Statement"]
        for action in each(statement["Action"])
        for resource in each(statement["Resource"])
    }


@pytest.fixture
def phantoms(tmp_path: Path) -> Path:
    (tmp_path / "one.dcm").write_bytes(b"DICM")
    return tmp_path


def bare(resources: dict[str, Any]) -> dict[str, Any]:
    """Without the digests in what names policies."""

    def text(value: object) -> str:
        return re.sub(r"(Request|ImportJob)([0-9A-F]{8})[0-9a-f]{16}", r"\1\2", json.dumps(value))

    return dict(json.loads(text(resources)))


def test_all_feature_flags_at_once_change_how_rights_are_grouped_and_nothing_else(phantoms):
    without, with_all = (bare(everything(phantoms, flags)) for flags in ({}, FLAGS))
    assert set(without) == set(with_all)
    for name, resource in without.items():
        other = with_all[name]
        for made in (resource, other):
            properties = made.get("Properties", {})
            if made["Type"] == "AWS::IAM::Policy":
                properties["Policies"] = [{"PolicyDocument": properties.pop("PolicyDocument")}]
                del properties["PolicyName"]  # it holds a digest of what is grouped in another way
        for one, two in zip(
            resource.get("Properties", {}).pop("Policies", []),
            other.get("Properties", {}).pop("Policies", []),
            strict=True,
        ):
            assert rights(one.pop("PolicyDocument")) == rights(two.pop("PolicyDocument"))
            assert one == two
        for one in (resource, other):
            one.get("Properties", {}).pop("Grants", None)  # the digest of what is grouped in another way
        assert resource == other


def test_no_feature_flag_makes_an_import_run_again(phantoms):
    place = {"account": "111122223333", "region": "us-east-1"}  # some flags write out what they then know

    def asked(context: dict[str, Any]) -> dict[str, Any]:
        made = everything(phantoms, context, **place)
        custom = {name: made[name]["Properties"] for name in made if made[name]["Type"].startswith("Custom::")}
        # It tells that policies are written anew, and is no part of what an import means.
        return {name: {**properties, "Grants": ""} for name, properties in custom.items()}

    assert asked({}) == asked(FLAGS)
