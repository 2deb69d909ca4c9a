"""What roles may do: policies that are replaced and not changed, so that a running job keeps its rights."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aws_cdk import App, RemovalPolicy, Stack, Tags
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import (
    DataAccessRole,
    Datastore,
    DicomImport,
    ImportSource,
    LosslessStorageFormat,
    Notify,
    TrustConditions,
)
from tests.feature_flags import REFERENCES

pytestmark = pytest.mark.slow

IMPORT, POLICY, ROLE = "Custom::HealthImagingImport", "AWS::IAM::Policy", "AWS::IAM::Role"
PROVIDER = "ImportJobRole4719840A"
DATA_ACCESS = "ImportDataAccessRole2AD90292"


def whole_import(**options: Any) -> Stack:
    stack = Stack(App(analytics_reporting=False), "Stack")
    DicomImport(stack, "Import", **options)
    return stack


def policies_of(found: Any) -> dict[str, dict[str, Any]]:
    """Each role's policy resource, with its logical id."""
    return {
        resource["Properties"]["Roles"][0]["Ref"]: {"id": name, **resource["Properties"]}
        for name, resource in found.resources.items()
        if resource["Type"] == POLICY
    }


def test_the_rights_of_both_roles_are_policies_of_their_own(synthesize):
    found = synthesize(whole_import())
    assert {PROVIDER, DATA_ACCESS} == set(policies_of(found))
    for role in (PROVIDER, DATA_ACCESS):
        assert "Policies" not in found.resources[role]["Properties"]


def test_they_are_named_after_what_they_allow(synthesize):
    for policy in policies_of(synthesize(whole_import())).values():
        (digest,) = re.findall("[0-9a-f]{16}$", policy["id"])
        assert policy["PolicyName"].endswith(f"-{digest}")
        assert re.fullmatch(r"[\w+=,.@-]{1,128}", policy["PolicyName"])


def differing(one: Any, two: Any) -> set[str]:
    """The roles whose policy is another resource with another name."""
    first, second = policies_of(one), policies_of(two)
    assert set(first) == set(second)
    same = {role for role in first if first[role] == second[role]}
    for role in set(first) - same:
        assert first[role]["id"] != second[role]["id"]
        assert first[role]["PolicyName"] != second[role]["PolicyName"]
    return set(first) - same


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"job_name": "other", "run_id": "7"}, set()),
        ({"output_prefix": "elsewhere/"}, {PROVIDER, DATA_ACCESS}),
        ({"customer_managed_key": False}, {PROVIDER, DATA_ACCESS}),
        ({"notify": Notify.FAILURES}, {PROVIDER}),
        ({"trust_conditions": TrustConditions.NONE}, set()),
    ],
)
def test_another_right_is_another_policy_and_nothing_else_is(synthesize, options, expected):
    one, two = synthesize(whole_import()), synthesize(whole_import(**options))
    assert expected == differing(one, two)
    grants = [found.only(IMPORT)["Properties"]["Grants"] for found in (one, two)]
    assert bool(expected) == (grants[0] != grants[1])


def test_another_source_changes_the_data_access_roles_policy_alone_and_the_import_is_told(synthesize):
    found = []
    for prefix in ("2026-11-27/", "2026-11-28/"):
        stack = Stack(App(analytics_reporting=False), "Stack")
        bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
        DicomImport(stack, "Import", source=ImportSource.bucket(bucket, prefix))
        found.append(synthesize(stack))
    assert {DATA_ACCESS} == differing(*found)
    assert found[0].only(IMPORT)["Properties"]["Grants"] != found[1].only(IMPORT)["Properties"]["Grants"]


def test_the_job_waits_for_both_policies(synthesize):
    found = synthesize(whole_import())
    assert {policy["id"] for policy in policies_of(found).values()} <= set(found.only(IMPORT)["DependsOn"])


def role_of_the_user(scope: Stack, store: Any, bucket: s3.IBucket, prefix: str = "in/") -> DataAccessRole:
    places = {"input_bucket": bucket, "output_bucket": bucket, "input_prefix": prefix, "output_prefix": "out/"}
    return DataAccessRole(scope, "Role", datastore=store, **places)


def import_with_a_role(prefix: str = "in/", *, add: bool = False) -> Stack:
    stack = Stack(App(analytics_reporting=False), "Stack")
    bucket = s3.Bucket(stack, "Bucket")
    store = Datastore(stack, "Store")
    role = role_of_the_user(stack, store, bucket, prefix)
    source = ImportSource.bucket(bucket, "in/")
    DicomImport(stack, "Import", datastore=store, source=source, data_access_role=role)
    if add:
        role.add_to_policy(iam.PolicyStatement(actions=["s3:GetObjectTagging"], resources=["*"]))
    return stack


def test_a_data_access_role_of_the_user_is_waited_for_and_told_of_as_well(synthesize):
    one, two = synthesize(import_with_a_role()), synthesize(import_with_a_role("wider/in/"))
    (role,) = differing(one, two)
    assert policies_of(one)[role]["id"] in one.only(IMPORT)["DependsOn"]
    assert one.only(IMPORT)["Properties"]["Grants"] != two.only(IMPORT)["Properties"]["Grants"]


def test_statements_can_still_be_added_to_a_data_access_role(synthesize):
    stack = import_with_a_role(add=True)
    found = synthesize(stack)
    (added,) = [name for name, it in found.resources.items() if it["Type"] == POLICY and "DefaultPolicy" in name]
    assert "s3:GetObjectTagging" == found.resources[added]["Properties"]["PolicyDocument"]["Statement"][0]["Action"]
    assert added in found.only(IMPORT)["DependsOn"]
    assert {"s3:GetObject", "s3:GetObjectTagging"} <= found.actions_of(
        found.only(IMPORT)["Properties"]["DataAccessRoleArn"]["Fn::GetAtt"][0]
    )


def test_a_role_in_another_stack_is_told_of_too():
    def grants(prefix: str) -> str:
        app = App(analytics_reporting=False)
        data, imports = Stack(app, "Data"), Stack(app, "Imports")
        bucket, store = s3.Bucket(data, "Bucket"), Datastore(data, "Store")
        role = role_of_the_user(data, store, bucket, prefix)
        source = ImportSource.bucket(bucket, "in/")
        DicomImport(imports, "Import", datastore=store, source=source, data_access_role=role, output_bucket=bucket)
        resources = app.synth().get_stack_by_name("Imports").template["Resources"].values()
        (found,) = [it for it in resources if it["Type"] == IMPORT]
        return str(found["Properties"]["Grants"])

    assert grants("in/") == grants("in/")
    assert grants("in/") != grants("")


def test_the_bucket_of_another_stack_is_another_right():
    # The logical ids are the same: the digest is that of the template and not of what synth has in between.
    def ids(owner: str) -> set[str]:
        app = App(analytics_reporting=False, post_cli_context={REFERENCES: "strong"})
        buckets = {name: s3.Bucket(Stack(app, name), "Bucket") for name in ("One", "Two")}
        imports = Stack(app, "Imports")
        DicomImport(imports, "Import", source=ImportSource.bucket(buckets[owner], "in/"))
        resources = app.synth().get_stack_by_name("Imports").template["Resources"]
        return {name for name, it in resources.items() if it["Type"] == POLICY}

    assert ids("One") & ids("Two") == set()


def test_every_custom_resource_waits_for_its_policy(stack, synthesize):
    store = Datastore(
        stack,
        "Store",
        lossless_storage_format=LosslessStorageFormat.HTJ2K,
        auto_delete_image_sets=True,
        removal_policy=RemovalPolicy.DESTROY,
    )
    Tags.of(store).add("team", "radiology")
    found = synthesize(stack)
    customs = [it for it in found.resources.values() if it["Type"].startswith("Custom::")]
    assert 3 == len(customs)
    policies = policies_of(found)
    for custom in customs:
        role = custom["Properties"]["RoleArn"]["Fn::GetAtt"][0]
        assert policies[role]["id"] in custom["DependsOn"]
        assert re.fullmatch("[0-9a-f]{16}", custom["Properties"]["Grants"])


def test_where_roles_are_created_elsewhere_their_policies_are_not_synthesized(synthesize):
    # With this feature flag CDK's own errors about such roles end synth.
    flags = {"@aws-cdk/core:annotationsInValidationReport": False}
    stack = Stack(App(analytics_reporting=False, post_cli_context=flags), "Stack")
    iam.Role.customize_roles(stack)
    DicomImport(stack, "Import")
    assert {ROLE, POLICY}.isdisjoint(synthesize(stack).types())
