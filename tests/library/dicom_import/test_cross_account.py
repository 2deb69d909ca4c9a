"""A source bucket, and keys, in other accounts; a data store that the app only names."""

import json
import re

import pytest
from aws_cdk import App, Aws, NestedStack, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from healthimaging_cdk import DataAccessRole, Datastore, DicomImport, ImportSource
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

HERE, THERE = "111122223333", "444455556666"
KEY = f"arn:aws:kms:us-east-1:{THERE}:key/01234567-89ab-cdef-0123-456789abcdef"
IMPORT = "Custom::HealthImagingImport"
ROLE = "AWS::IAM::Role"


@pytest.fixture
def stack(app):
    return Stack(app, "Imaging", env={"account": HERE, "region": "us-east-1"})


def source(stack: Stack, *, key: bool = False, prefix: str = "studies/", owner: str = THERE) -> ImportSource:
    encryption_key = kms.Key.from_key_arn(stack, "TheirKey", KEY) if key else None
    bucket = s3.Bucket.from_bucket_attributes(stack, "Theirs", bucket_name="theirs", encryption_key=encryption_key)
    return ImportSource.bucket(bucket, prefix, owner_account_id=owner)


def text(value) -> str:
    if isinstance(value, dict) and "Fn::Join" in value:
        return "".join(text(item) for item in value["Fn::Join"][1])
    return "aws" if value == {"Ref": "AWS::Partition"} else str(value)


def outputs(found) -> dict[str, str]:
    """By their names without the digest that CDK appends."""
    return {name[:-8].removeprefix("Import"): text(it["Value"]) for name, it in found.document["Outputs"].items()}


def output(found, name: str) -> dict:
    return json.loads(outputs(found)[name])


def role_names(found) -> list[str]:
    names = [role["Properties"].get("RoleName") for role in found.of_type(ROLE)]
    return sorted(text(name) for name in names if name)


def role(found, purpose: str) -> str:
    (name,) = [name for name in role_names(found) if f"-{purpose}-" in name]
    return f"arn:aws:iam::{HERE}:role/{name}"


def statement(arn: str, action: str, resource: str, **conditions) -> dict:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{HERE}:root"},
        "Action": action,
        "Resource": resource,
        "Condition": {"ArnEquals": {"aws:PrincipalArn": [arn, arn.replace("role/", "role/*/")]}, **conditions},
    }


def test_the_policy_for_the_other_account_is_an_output(stack, synthesize):
    DicomImport(stack, "Import", source=source(stack))
    found = synthesize(stack)
    reader, lister = role(found, "DataAccess"), role(found, "Request")
    expected = [
        statement(reader, "s3:ListBucket", "arn:aws:s3:::theirs"),
        statement(reader, "s3:GetObject", "arn:aws:s3:::theirs/studies/*"),
        statement(lister, "s3:ListBucket", "arn:aws:s3:::theirs", StringEquals={"s3:prefix": "studies/"}),
    ]
    assert {"Statement": expected, "Version": "2012-10-17"} == output(found, "SourceBucketPolicy")
    assert "SourceKeyPolicy" not in outputs(found)


def test_the_policies_are_outputs_also_where_nothing_else_is(stack, synthesize):
    DicomImport(stack, "Import", source=source(stack, key=True), outputs=False)
    assert {"SourceBucketPolicy", "SourceKeyPolicy"} == set(outputs(synthesize(stack)))


def test_the_policy_names_the_roles_that_do_it(stack, synthesize):
    import_ = DicomImport(stack, "Import", source=source(stack))
    found = synthesize(stack)
    for given, purpose in ((import_.data_access_role, "DataAccess"), (import_.request_role, "Request")):
        logical_id = stack.resolve(given.role_arn)["Fn::GetAtt"][0]
        name = text(found.resources[logical_id]["Properties"]["RoleName"])
        assert f"arn:aws:iam::{HERE}:role/{name}" == role(found, purpose)


def test_what_the_policy_allows_the_roles_may_do_themselves(stack, synthesize):
    import_ = DicomImport(stack, "Import", source=source(stack, key=True))
    found = synthesize(stack)
    reader, lister = (
        found.actions_of(stack.resolve(role.role_arn)["Fn::GetAtt"][0])
        for role in (import_.data_access_role, import_.request_role)
    )
    assert set() == {"s3:ListBucket", "s3:GetObject", "kms:Decrypt"} - reader
    assert "s3:ListBucket" in lister


def test_the_names_of_the_roles_need_no_deploy_and_fit(synthesize):
    app = App(analytics_reporting=False)
    stack = Stack(app, "A" * 100, env={"account": HERE, "region": "ap-southeast-2"})
    DicomImport(stack, "Import" * 9, source=source(stack))
    names = role_names(synthesize(stack))
    assert 2 == len(names)
    assert all(len(name) <= 64 and name.endswith("-ap-southeast-2") for name in names)


def test_two_imports_and_two_stacks_have_roles_of_different_names(app, synthesize):
    stacks = [Stack(app, name, env={"account": HERE, "region": "us-east-1"}) for name in ("One", "Two")]
    for stack in stacks:
        theirs = source(stack)
        DicomImport(stack, "First", source=theirs)
        DicomImport(stack, "Second", source=theirs)
    names = [name for stack in stacks for name in role_names(synthesize(stack))]
    assert (8, 8) == (len(names), len(set(names)))


def test_imports_of_one_name_in_two_scopes_have_roles_of_different_names(stack, synthesize):
    theirs = source(stack)
    for name in ("Radiology", "Cardiology"):
        DicomImport(Construct(stack, name), "Import", source=theirs)
    names = role_names(synthesize(stack))
    assert (4, 4) == (len(names), len(set(names)))


def test_a_nested_stack_has_names_too(stack, synthesize):
    nested = NestedStack(stack, "Nested")
    DicomImport(nested, "Import", source=source(nested))
    names = role_names(synthesize(nested))
    assert 2 == len(names)
    # The name of the stack that is deployed: that of a nested one is not known before.
    assert all(name.startswith("Imaging-Import-") for name in names)


def test_the_statements_for_the_source_buckets_key_are_an_output(stack, synthesize):
    DicomImport(stack, "Import", source=source(stack, key=True))
    found = synthesize(stack)
    expected = [statement(role(found, "DataAccess"), "kms:Decrypt", "*")]
    assert {"Statement": expected, "Version": "2012-10-17"} == output(found, "SourceKeyPolicy")


def test_a_whole_bucket_is_listed_without_a_prefix(stack, synthesize):
    DicomImport(stack, "Import", source=source(stack, prefix=""))
    found = synthesize(stack)
    listing = output(found, "SourceBucketPolicy")["Statement"][2]
    assert statement(role(found, "Request"), "s3:ListBucket", "arn:aws:s3:::theirs") == listing


def test_a_role_that_is_brought_is_named_as_it_is(stack, synthesize):
    own = iam.Role.from_role_arn(stack, "Own", f"arn:aws:iam::{HERE}:role/path/own")
    DicomImport(stack, "Import", source=source(stack), data_access_role=own)
    first = output(synthesize(stack), "SourceBucketPolicy")["Statement"][0]
    assert {"aws:PrincipalArn": f"arn:aws:iam::{HERE}:role/path/own"} == first["Condition"]["ArnEquals"]


@pytest.mark.parametrize("owner", [None, HERE])
def test_a_source_in_the_own_account_changes_nothing(stack, synthesize, owner):
    DicomImport(stack, "Import", source=source(stack, key=True, owner=owner))
    found = synthesize(stack)
    assert [] == role_names(found)
    assert {"DatastoreId", "JobId", "ManifestUri", "Summary"} == set(outputs(found))


def test_the_owner_is_sent(stack, synthesize):
    DicomImport(stack, "Import", source=source(stack))
    assert THERE == synthesize(stack).only(IMPORT)["Properties"]["InputOwnerAccountId"]


def test_the_other_side_can_be_a_stack_of_the_same_app(app, stack):
    theirs = Stack(app, "Theirs", env={"account": THERE, "region": "us-east-1"})
    bucket = s3.Bucket(theirs, "Images", bucket_name="images")
    import_ = DicomImport(stack, "Import", source=ImportSource.bucket(bucket, "dicom/", owner_account_id=THERE))
    for allowed in import_.source_bucket_policy.to_json()["Statement"]:
        bucket.add_to_resource_policy(iam.PolicyStatement.from_json(allowed))
    stack.add_dependency(theirs, "the bucket's policy")
    template = app.synth().get_stack_by_name("Theirs").template
    (policy,) = [it for it in template["Resources"].values() if it["Type"] == "AWS::S3::BucketPolicy"]
    allowed = policy["Properties"]["PolicyDocument"]["Statement"]
    assert ["s3:ListBucket", "s3:GetObject", "s3:ListBucket"] == [rule["Action"] for rule in allowed]


def test_keys_of_another_account_are_in_the_roles_own_policies(stack, synthesize):
    key = kms.Key.from_key_arn(stack, "Key", KEY)
    results = s3.Bucket.from_bucket_attributes(stack, "Results", bucket_name="results", encryption_key=key)
    import_ = DicomImport(stack, "Import", output_bucket=results)
    found = synthesize(stack)
    for given in (import_.data_access_role, import_.request_role):
        rules = found.statements_of(stack.resolve(given.role_arn)["Fn::GetAtt"][0])
        (rule,) = [rule for rule in rules if rule["Resource"] == KEY]
        assert ["kms:Decrypt", "kms:GenerateDataKey"] == rule["Action"]


def test_a_store_that_is_only_named_is_trusted_by_the_account_and_region_of_its_arn(app, synthesize):
    stack = Stack(app, "Anywhere")
    arn = f"arn:aws:medical-imaging:eu-west-1:{THERE}:datastore/{'0' * 32}"
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
    DataAccessRole(
        stack,
        "Role",
        datastore=Datastore.from_datastore_arn(stack, "Store", arn),
        input_bucket=bucket,
        input_prefix="in/",
        output_bucket=bucket,
        output_prefix="out/",
        role_name="import",
    )
    properties = synthesize(stack).only(ROLE)["Properties"]
    (trust,) = properties["AssumeRolePolicyDocument"]["Statement"]
    assert {"StringEquals": {"aws:SourceAccount": THERE}, "ArnLike": {"aws:SourceArn": arn}} == trust["Condition"]
    assert "import" == properties["RoleName"]


def role_for(stack: Stack, store_arn: str) -> DataAccessRole:
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
    return DataAccessRole(
        stack,
        "Role",
        datastore=Datastore.from_datastore_arn(stack, "Store", store_arn),
        input_bucket=bucket,
        input_prefix="in/",
        output_bucket=bucket,
        output_prefix="out/",
    )


def test_a_role_serves_the_stores_of_every_region(stack):
    role_for(stack, f"arn:aws:medical-imaging:eu-west-1:{HERE}:datastore/{'0' * 32}")


def test_fails_a_data_access_role_for_the_store_of_another_account(stack):
    message = f"datastore is in account {THERE} and the stack in {HERE}: make the role in a stack there"
    with pytest.raises(ValueError, match=message):
        role_for(stack, f"arn:aws:medical-imaging:us-east-1:{THERE}:datastore/{'0' * 32}")


def known_source(stack: Stack, account: str, owner: str | None = None) -> ImportSource:
    bucket = s3.Bucket.from_bucket_attributes(stack, "Known", bucket_name="theirs", account=account)
    return ImportSource.bucket(bucket, "studies/", owner_account_id=owner)


@pytest.mark.parametrize("env", [{"account": HERE, "region": "us-east-1"}, None])
def test_a_bucket_whose_account_is_known_needs_no_owner(synthesize, env):
    documents = []
    for owner in (None, THERE):
        stack = Stack(App(analytics_reporting=False), "Imaging", env=env)
        DicomImport(stack, "Import", source=known_source(stack, THERE, owner))
        found = synthesize(stack)
        assert THERE == found.only(IMPORT)["Properties"]["InputOwnerAccountId"]
        assert 2 == len([role for role in found.of_type(ROLE) if "RoleName" in role["Properties"]])
        assert "SourceBucketPolicy" in outputs(found)
        documents.append(found.document)
    assert documents[0] == documents[1]


def test_a_bucket_of_a_stack_in_another_account_needs_no_owner(app, stack, synthesize):
    theirs = Stack(app, "Theirs", env={"account": THERE, "region": "us-east-1"})
    bucket = s3.Bucket(theirs, "Images", bucket_name="images")
    DicomImport(stack, "Import", source=ImportSource.bucket(bucket, "dicom/"))
    assert THERE == synthesize(stack).only(IMPORT)["Properties"]["InputOwnerAccountId"]


@pytest.mark.parametrize("account", [HERE, Aws.ACCOUNT_ID], ids=["digits", "token"])
def test_a_bucket_known_to_be_in_the_own_account_has_no_owner(stack, synthesize, account):
    DicomImport(stack, "Import", source=known_source(stack, account))
    found = synthesize(stack)
    assert "InputOwnerAccountId" not in found.only(IMPORT)["Properties"]
    assert [] == role_names(found)


def test_a_directory_has_no_owner_wherever_its_bucket_lies(stack, synthesize, tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"DICM")
    bucket = s3.Bucket.from_bucket_attributes(stack, "Known", bucket_name="theirs", account=THERE)
    DicomImport(stack, "Import", source=ImportSource.directory(tmp_path, bucket=bucket))
    assert "InputOwnerAccountId" not in synthesize(stack).only(IMPORT)["Properties"]


def test_fails_an_owner_that_the_account_of_the_bucket_contradicts(stack):
    message = f"owner_account_id is {HERE} and the bucket is in account {THERE}: omit owner_account_id"
    with pytest.raises(ValueError, match=f"ImportSource: {message}"):
        known_source(stack, THERE, HERE)


def test_fails_an_owner_of_a_bucket_that_is_made_in_another_account(stack):
    message = f"owner_account_id is {THERE} and the bucket is in account {HERE}"
    with pytest.raises(ValueError, match=message):
        ImportSource.bucket(s3.Bucket(stack, "Own"), "studies/", owner_account_id=THERE)


def test_with_partition_literals_the_outputs_are_plain_json(synthesize):
    app = App(analytics_reporting=False, context={"@aws-cdk/core:enablePartitionLiterals": True})
    stack = Stack(app, "Imaging", env={"account": HERE, "region": "us-east-1"})
    DicomImport(stack, "Import", source=source(stack, key=True))
    policies = {name: it["Value"] for name, it in synthesize(stack).document["Outputs"].items() if "Source" in name}
    assert 2 == len(policies)
    assert all(json.loads(policy)["Statement"] for policy in policies.values())


def test_the_loop_of_the_document_adds_the_statements_to_their_bucket_and_their_key(app, stack, synthesize):
    page = (ROOT / "docs" / "cross-account.md").read_text(encoding="utf-8")
    (loop,) = [example for example in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "for " in example]
    their_stack = Stack(app, "Theirs", env={"account": THERE, "region": "us-east-1"})
    their_key = kms.Key(their_stack, "Key")
    their_bucket = s3.Bucket(their_stack, "Images", bucket_name="theirs", encryption_key=their_key)
    import_ = DicomImport(stack, "Import", source=source(stack, key=True))
    names = {"stack": stack, "their_stack": their_stack, "their_key": their_key, "their_bucket": their_bucket}
    exec(compile(loop, "cross-account.md", "exec"), {**names, "import_": import_, "iam": iam})  # ours
    theirs = synthesize(their_stack)
    bucket = theirs.only("AWS::S3::BucketPolicy")["Properties"]["PolicyDocument"]["Statement"]
    key = theirs.only("AWS::KMS::Key")["Properties"]["KeyPolicy"]["Statement"]
    assert ["s3:ListBucket", "s3:GetObject", "s3:ListBucket"] == [statement["Action"] for statement in bucket]
    assert "kms:Decrypt" == key[-1]["Action"]
    assert f":iam::{HERE}:root" in text(bucket[0]["Principal"]["AWS"])
    assert [their_stack.node.path] == [before.node.path for before in stack.dependencies]
