"""Several stores, imports, stacks, Regions and stages in one app: everything resolves, and nothing goes in circles."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import (
    App,
    CfnOutput,
    CliCredentialsStackSynthesizer,
    DefaultStackSynthesizer,
    LegacyStackSynthesizer,
    NestedStack,
    RemovalPolicy,
    Stack,
    Stage,
    Tags,
)
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import DataAccessRole, Datastore, DicomImport, IDatastore, ImportSource, LosslessStorageFormat
from tests.feature_flags import REFERENCES
from tests.judges.intrinsics import creation_order, references

pytestmark = pytest.mark.slow

ACCOUNT, OTHER_ACCOUNT = "111122223333", "444455556666"
REGION, OTHER_REGION = "us-east-1", "us-west-2"
DATASTORE_ID = "0123456789abcdef0123456789abcdef"
IMPORT = "Custom::HealthImagingImport"
ENGINE = ["AWS::Lambda::Function", "AWS::StepFunctions::StateMachine", "AWS::Logs::LogGroup"]

Templates = dict[str, dict[str, Any]]


def templates_of(app: App) -> Templates:
    """All templates of an app, nested ones and those of stages included, by their path; each can be made."""
    folder = Path(app.synth().directory)
    found = {
        path.relative_to(folder).as_posix().removesuffix(".template.json"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.template.json"))
    }
    for template in found.values():
        creation_order({"Resources": {}, **template})  # raises for a cycle and for a reference to nothing
    return found


def count(template: dict[str, Any]) -> Counter[str]:
    return Counter(resource["Type"] for resource in template["Resources"].values())


def only(template: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [resource for resource in template["Resources"].values() if resource["Type"] == kind]
    return dict(found)


def env(region: str = REGION, account: str = ACCOUNT) -> dict[str, str]:
    return {"account": account, "region": region}


def stores(scope: Stack) -> list[IDatastore]:
    """A store of each kind, all with a key of their stack."""
    key = kms.Key(scope, "StoresKey")
    custom = LosslessStorageFormat.HTJ2K
    emptied = {"auto_delete_image_sets": True, "removal_policy": RemovalPolicy.DESTROY}
    return [
        Datastore(scope, "Native", encryption_key=key),
        Datastore(scope, "Custom", encryption_key=key, lossless_storage_format=custom),
        Datastore(scope, "Emptied", **emptied),
        Datastore(scope, "CustomEmptied", lossless_storage_format=custom, **emptied),
    ]


def import_into_each(scope: Stack, given: list[IDatastore]) -> None:
    for number, store in enumerate(given):
        DicomImport(scope, f"Import{number}", datastore=store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.dcm").write_bytes(bytes(128) + b"DICM")
    return tmp_path


# -- one stack, several stacks ---------------------------------------------------------------------------------------


def test_many_stores_and_imports_in_one_stack_share_one_function(app, stack, folder):
    made = stores(stack)
    import_into_each(stack, made)
    DicomImport(stack, "Whole")
    DicomImport(stack, "Directory", datastore=made[0], source=ImportSource.directory(folder))
    Tags.of(stack).add("team", "radiology")
    found = count(templates_of(app)["Stack"])
    assert [1, 1, 1] == [found[kind] for kind in ENGINE]
    assert 6 == found[IMPORT]
    assert (5, 2) == (found["Custom::HealthImagingDatastoreTags"], found["Custom::HealthImagingDatastore"])


@pytest.mark.parametrize("strength", ["strong", "weak", "both"])
def test_two_stacks_import_into_the_stores_of_a_third(strength):
    app = App(analytics_reporting=False, post_cli_context={REFERENCES: strength})
    data = Stack(app, "Data")
    made = stores(data)
    for name in ("One", "Two"):
        import_into_each(Stack(app, name), made)
    found = templates_of(app)
    for name in ("One", "Two"):
        assert [1, 1, 1, 4] == [count(found[name])[kind] for kind in (*ENGINE, IMPORT)]
    assert 1 == count(found["Data"])["AWS::Lambda::Function"]  # for the stores that CloudFormation cannot make


def test_what_is_imported_into_gets_no_rights_and_no_order_from_what_imports():
    def data(*, used: bool) -> dict[str, Any]:
        app = App(analytics_reporting=False)
        stack = Stack(app, "Data")
        made = stores(stack)
        if used:
            import_into_each(Stack(app, "Work"), made)
        return templates_of(app)["Data"]["Resources"]

    assert data(used=False) == data(used=True)


def test_role_key_and_buckets_may_all_lie_in_stacks_of_their_own(app, folder):
    keys, buckets, roles, work = (Stack(app, name) for name in ("Keys", "Buckets", "Roles", "Work"))
    key = kms.Key(keys, "Key")
    store = Datastore(buckets, "Store", encryption_key=key)
    images, results = (s3.Bucket(buckets, name, encryption_key=key) for name in ("Images", "Results"))
    role = DataAccessRole(
        roles,
        "Role",
        datastore=store,
        input_bucket=images,
        input_prefix="dicom/",
        output_bucket=results,
        output_prefix="results/",
    )
    common = {"datastore": store, "output_bucket": results}
    DicomImport(work, "One", source=ImportSource.bucket(images, "dicom/"), data_access_role=role, **common)
    DicomImport(work, "Two", source=ImportSource.directory(folder, bucket=images), **common)
    DicomImport(work, "Three", encryption_key=key)
    found = templates_of(app)
    assert ["AWS::KMS::Key"] == list(count(found["Keys"]))
    assert {"AWS::S3::Bucket": 2, "AWS::HealthImaging::Datastore": 1} == count(found["Buckets"])
    assert {"AWS::IAM::Role": 1, "AWS::IAM::Policy": 1} == count(found["Roles"])


def test_the_key_of_another_stack_is_told_of_cloudwatch_logs_and_not_of_its_users(app):
    # A key policy that names anything of other stacks makes the stacks wait for each other.
    key = kms.Key(Stack(app, "Keys"), "Key")
    DicomImport(Stack(app, "Work"), "Import", encryption_key=key)
    found = templates_of(app)
    own, *others = only(found["Keys"], "AWS::KMS::Key")["Properties"]["KeyPolicy"]["Statement"]
    assert "kms:*" == own["Action"]  # the account's
    assert all(["Service"] == list(statement["Principal"]) for statement in others)
    assert {"AWS::Partition", "AWS::Region", "AWS::AccountId", "AWS::URLSuffix"} == set(references(others))
    log_key = only(found["Work"], "AWS::Logs::LogGroup")["Properties"]["KmsKeyId"]
    assert {"Fn::ImportValue", "Fn::GetStackOutput"} & set(log_key)  # of a strong or a weak reference


def test_a_later_stack_can_use_what_an_import_tells(app):
    import_ = DicomImport(Stack(app, "Work"), "Import")
    CfnOutput(Stack(app, "Later"), "Files", value=import_.number_of_imported_files)
    assert "Files" in templates_of(app)["Later"]["Outputs"]


# -- Regions and accounts --------------------------------------------------------------------------------------------


def test_one_app_imports_in_several_regions_and_accounts(app):
    for region in ("us-east-1", "us-west-2", "eu-west-1"):
        for account in (ACCOUNT, OTHER_ACCOUNT):
            DicomImport(Stack(app, f"{region}-{account}", env=env(region, account)), "Import")
    found = templates_of(app)
    assert 6 == len(found)
    assert [1] * 6 == [count(template)["AWS::Lambda::Function"] for template in found.values()]


@pytest.mark.parametrize("strength", ["strong", "weak"])
def test_the_source_may_lie_in_another_region(strength):
    app = App(analytics_reporting=False, post_cli_context={REFERENCES: strength})
    there = Stack(app, "There", env=env(OTHER_REGION), cross_region_references=True)
    here = Stack(app, "Here", env=env(), cross_region_references=True)
    images = s3.Bucket(there, "Images", encryption_key=kms.Key(there, "Key"))
    DicomImport(here, "Import", source=ImportSource.bucket(images, "dicom/"))
    found = templates_of(app)
    bucket = json.dumps(only(found["Here"], IMPORT)["Properties"]["InputBucket"])
    assert {"strong": "ExportsReader", "weak": OTHER_REGION}[strength] in bucket
    assert "kms:Decrypt" in json.dumps(found["Here"])
    # AWS asks for the owner of a bucket in another Region, though it is the same account.
    assert ACCOUNT == only(found["Here"], IMPORT)["Properties"]["InputOwnerAccountId"]
    assert [] == [name for name in found["Here"]["Outputs"] if "Policy" in name]
    roles = [it for it in found["Here"]["Resources"].values() if it["Type"] == "AWS::IAM::Role"]
    assert [] == [role for role in roles if "RoleName" in role["Properties"]]


@pytest.mark.parametrize(
    ("here", "bucket", "given", "expected"),
    [
        (env(), {"region": OTHER_REGION}, None, ACCOUNT),
        (env(), {"region": OTHER_REGION}, OTHER_ACCOUNT, OTHER_ACCOUNT),
        ({"region": REGION}, {"region": OTHER_REGION}, None, {"Ref": "AWS::AccountId"}),
        (env(), {"region": REGION}, None, None),
        (env(), {}, None, None),
        (None, {"region": OTHER_REGION}, None, None),
    ],
)
def test_the_owner_is_sent_for_a_bucket_that_is_known_to_lie_in_another_region(app, here, bucket, given, expected):
    stack = Stack(app, "Here", env=here)
    images = s3.Bucket.from_bucket_attributes(stack, "Images", bucket_name="images", **bucket)
    DicomImport(stack, "Import", source=ImportSource.bucket(images, "dicom/", owner_account_id=given))
    assert expected == only(templates_of(app)["Here"], IMPORT)["Properties"].get("InputOwnerAccountId")


def test_an_outcome_can_be_told_in_another_region(app):
    here = Stack(app, "Here", env=env(), cross_region_references=True)
    there = Stack(app, "There", env=env(OTHER_REGION), cross_region_references=True)
    import_ = DicomImport(here, "Import")
    CfnOutput(there, "Summary", value=import_.summary)
    assert "Summary" in templates_of(app)["There"]["Outputs"]


@pytest.mark.parametrize("cross_region_references", [True, False])
@pytest.mark.parametrize(
    ("region", "account", "lies_in"),
    [(OTHER_REGION, ACCOUNT, f"Region {OTHER_REGION}"), (REGION, OTHER_ACCOUNT, f"account {OTHER_ACCOUNT}")],
)
def test_fails_a_store_that_this_stack_cannot_import_into(app, region, account, lies_in, cross_region_references):
    there = Stack(app, "There", env=env(region, account), cross_region_references=cross_region_references)
    here = Stack(app, "Here", env=env(), cross_region_references=cross_region_references)
    with pytest.raises(ValueError, match=f"datastore is in {lies_in} and the stack in .*: import from a stack there"):
        DicomImport(here, "Import", datastore=Datastore(there, "Store"))
    assert [] == here.node.children


@pytest.mark.parametrize("construct", [Datastore, DicomImport])
def test_fails_a_key_of_another_region(app, construct):
    key = kms.Key(Stack(app, "There", env=env(OTHER_REGION), cross_region_references=True), "Key")
    here = Stack(app, "Here", env=env(), cross_region_references=True)
    message = f"encryption_key is in Region {OTHER_REGION} and the stack in {REGION}: use a key of the stack's Region"
    with pytest.raises(ValueError, match=message):
        construct(here, "It", encryption_key=key)
    assert [] == here.node.children


def test_fails_a_role_of_another_account(app):
    here = Stack(app, "Here", env=env())
    role = iam.Role.from_role_arn(here, "Role", f"arn:aws:iam::{OTHER_ACCOUNT}:role/import")
    with pytest.raises(ValueError, match=f"data_access_role is in account {OTHER_ACCOUNT} and the stack in {ACCOUNT}"):
        DicomImport(here, "Import", data_access_role=role)


def test_a_key_of_another_account_is_none_of_our_business(app):
    here = Stack(app, "Here", env=env())
    arn = f"arn:aws:kms:{REGION}:{OTHER_ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef"
    Datastore(here, "Store", encryption_key=kms.Key.from_key_arn(here, "Key", arn))
    assert arn == only(templates_of(app)["Here"], "AWS::HealthImaging::Datastore")["Properties"]["KmsKeyArn"]


def test_places_that_are_not_known_yet_pass(app):
    anywhere = Stack(app, "Anywhere")
    store = Datastore.from_datastore_arn(
        anywhere, "Store", f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/{DATASTORE_ID}"
    )
    key = kms.Key.from_key_arn(anywhere, "Key", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1")
    role = iam.Role.from_role_arn(anywhere, "Role", f"arn:aws:iam::{ACCOUNT}:role/import")
    DicomImport(anywhere, "Import", datastore=store, encryption_key=key, data_access_role=role)
    templates_of(app)


# -- nested stacks and stages ----------------------------------------------------------------------------------------


def test_a_nested_stack_imports_into_its_parents_stores(app):
    parent = Stack(app, "Parent")
    import_into_each(NestedStack(parent, "Nested"), stores(parent))
    found = templates_of(app)
    (nested,) = [template for name, template in found.items() if name.endswith(".nested")]
    assert [1, 1, 1, 4] == [count(nested)[kind] for kind in (*ENGINE, IMPORT)]


def test_a_parent_and_a_sibling_import_into_a_nested_stacks_stores(app):
    parent = Stack(app, "Parent")
    made = stores(NestedStack(parent, "Data"))
    import_into_each(NestedStack(parent, "Work"), made)
    import_into_each(parent, made)
    Tags.of(app).add("team", "radiology")
    found = templates_of(app)
    assert [4, 4] == sorted(count(template)[IMPORT] for template in found.values() if IMPORT in count(template))
    assert {1} == {count(template)["AWS::Lambda::Function"] for template in found.values()}


def test_a_nested_imports_function_asks_about_its_own_stack(app):
    # CloudFormation's requests name the nested stack, and a parent's rollback is the nested stack's rollback, too.
    DicomImport(NestedStack(Stack(app, "Parent"), "Nested"), "Import")
    (template,) = [template for name, template in templates_of(app).items() if name.endswith(".nested")]
    assert [{"Ref": "AWS::StackId"}] == [
        statement["Resource"]
        for policy in template["Resources"].values()
        if policy["Type"] == "AWS::IAM::Policy"
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "cloudformation:DescribeStacks"
    ]


def test_stages_differ_in_what_they_are_told_alone(app, folder):
    for name in ("Dev", "Prod"):
        stage = Stage(app, name, env=env())
        data = Stack(stage, "Data", stack_name="data")
        made = stores(data)
        work = Stack(stage, "Work", stack_name="work")
        import_into_each(work, made)
        DicomImport(work, "Directory", source=ImportSource.directory(folder))
        Tags.of(stage).add("team", "radiology")
    dev, prod = (
        {
            path.partition("/")[2].removeprefix(name)[:4]: text
            for path, text in templates_of(app).items()
            if name in path
        }
        for name in ("Dev", "Prod")
    )
    assert {"Data", "Work"} == set(dev)
    assert json.dumps(dev).replace("cdk deploy Dev/", "cdk deploy Prod/") == json.dumps(prod)


# -- how an app is bootstrapped --------------------------------------------------------------------------------------


def test_the_assets_are_those_of_a_custom_qualifier(app, folder):
    stack = Stack(app, "Stack", synthesizer=DefaultStackSynthesizer(qualifier="abc123", bucket_prefix="ours/"))
    DicomImport(stack, "Import", source=ImportSource.directory(folder))
    template = templates_of(app)["Stack"]
    properties = only(template, IMPORT)["Properties"]
    assert {"Fn::Sub": "cdk-abc123-assets-${AWS::AccountId}-${AWS::Region}"} == properties["AssetBucket"]
    assert properties["AssetKey"].startswith("ours/")
    assert "hnb659fds" not in json.dumps(template["Resources"])
    assert f"/{properties['AssetKey']}" in json.dumps(template)  # what may be read


def test_the_qualifier_may_come_from_the_context(folder):
    app = App(analytics_reporting=False, context={"@aws-cdk/core:bootstrapQualifier": "abc123"})
    DicomImport(Stack(app, "Stack"), "Import", source=ImportSource.directory(folder))
    assert "cdk-abc123-assets-" in json.dumps(only(templates_of(app)["Stack"], IMPORT))


@pytest.mark.parametrize("synthesizer", [LegacyStackSynthesizer, CliCredentialsStackSynthesizer])
def test_other_synthesizers_serve_as_well(app, folder, synthesizer):
    stack = Stack(app, "Stack", synthesizer=synthesizer())
    import_ = DicomImport(stack, "Import", source=ImportSource.directory(folder))
    template = templates_of(app)["Stack"]
    assert {"AssetBucket", "AssetKey"} <= set(only(template, IMPORT)["Properties"])
    assert import_.input_prefix.startswith("dicom/")


def test_an_authorizer_may_serve_stores_of_several_stacks(app):
    shared = Stack(app, "Shared")
    code = lambda_.Code.from_inline("def handle(event, context): pass")
    runtime = lambda_.Runtime.PYTHON_3_14
    authorizer = lambda_.Function(shared, "Authorizer", code=code, handler="index.handle", runtime=runtime)
    for name in ("One", "Two"):
        Datastore(Stack(app, name), "Store", lambda_authorizer=authorizer)
    assert 2 == count(templates_of(app)["Shared"])["AWS::Lambda::Permission"]
