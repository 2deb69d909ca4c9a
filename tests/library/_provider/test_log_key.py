"""The customer-managed key of the function's log: which it is, and what its policy gains."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from aws_cdk import App, NestedStack, RemovalPolicy, Stack, Tags
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Datastore, DicomImport, ImportSource, LosslessStorageFormat, Notify
from stacks.data_stack import DataStack
from stacks.import_stack import ImportStack
from tests.feature_flags import RECOMMENDED, REFERENCES
from tests.judges.intrinsics import creation_order
from tests.library._provider.test_many import Templates, env, only, templates_of

pytestmark = pytest.mark.slow

KEY, LOG_GROUP = "AWS::KMS::Key", "AWS::Logs::LogGroup"
DATASTORE_ID = "0123456789abcdef0123456789abcdef"
KEY_ARN = "arn:aws:kms:us-east-1:111122223333:key/01234567-89ab-cdef-0123-456789abcdef"


def log_key(template: dict[str, Any]) -> Any:
    return only(template, LOG_GROUP)["Properties"].get("KmsKeyId")


def gained(template: dict[str, Any]) -> list[int]:
    """How many statements each key's policy has besides the account's own."""
    keys = [made for made in template["Resources"].values() if made["Type"] == KEY]
    return [len(key["Properties"]["KeyPolicy"]["Statement"]) - 1 for key in keys]


def in_one_stack(stack: Stack, app: App) -> dict[str, Any]:
    return templates_of(app)[stack.stack_name]


def test_the_key_of_an_import_encrypts_the_log(stack, app):
    import_ = DicomImport(stack, "Import")
    assert stack.resolve(import_.encryption_key.key_arn) == log_key(in_one_stack(stack, app))


def test_cloudwatch_logs_may_use_the_key_for_log_groups_of_the_account(app):
    stack = Stack(app, "Work", env=env())
    DicomImport(stack, "Import")
    _, *found = only(templates_of(app)["Work"], KEY)["Properties"]["KeyPolicy"]["Statement"]
    principal = {"Service": {"Fn::Join": ["", ["logs.us-east-1.", {"Ref": "AWS::URLSuffix"}]]}}
    log_groups = ["arn:", {"Ref": "AWS::Partition"}, ":logs:us-east-1:111122223333:log-group:*"]
    use = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": [
            "kms:Decrypt",
            "kms:Encrypt",
            "kms:GenerateDataKey",
            "kms:GenerateDataKeyPair",
            "kms:GenerateDataKeyPairWithoutPlaintext",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
        ],
        "Resource": "*",
        "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": {"Fn::Join": ["", log_groups]}}},
    }
    look = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "kms:DescribeKey",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": "111122223333"}},
    }
    if RECOMMENDED == json.loads(os.environ.get("CDK_CONTEXT_JSON", "{}")):  # the feature flag enablePartitionLiterals
        literal = "arn:aws:logs:us-east-1:111122223333:log-group:*"
        use["Condition"] = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": literal}}
    assert [use, look] == sorted(found, key=lambda it: "ArnLike" not in it["Condition"])


def test_the_function_may_use_the_key_by_way_of_cloudwatch_logs_alone(app):
    stack = Stack(app, "Work", env=env())
    import_ = DicomImport(stack, "Import")
    (role,) = [
        made["Properties"]
        for made in templates_of(app)["Work"]["Resources"].values()
        if made["Type"] == "AWS::IAM::Role" and made["Properties"]["Description"].startswith("Runs the function")
    ]
    (policy,) = role["Policies"]
    service = {"Fn::Join": ["", ["logs.us-east-1.", {"Ref": "AWS::URLSuffix"}]]}
    assert {
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
        "Resource": stack.resolve(import_.encryption_key.key_arn),
        "Condition": {"StringEquals": {"kms:ViaService": service}},
    } == policy["PolicyDocument"]["Statement"][-1]


def test_imports_with_one_key_add_their_statements_once(stack, app):
    key = kms.Key(stack, "Key")
    for name in ("One", "Two"):
        DicomImport(stack, name, encryption_key=key)
    assert [2] == gained(in_one_stack(stack, app))


def test_the_first_of_two_imports_gives_its_key_and_both_keys_let_cloudwatch_logs_in(stack, app):
    keys = [kms.Key(stack, name) for name in ("FirstKey", "SecondKey")]
    for name, key in zip(("First", "Second"), keys, strict=True):
        DicomImport(stack, name, encryption_key=key)
    found = in_one_stack(stack, app)
    assert stack.resolve(keys[0].key_arn) == log_key(found)
    assert [2, 2] == gained(found)


def test_a_later_import_changes_nothing_about_the_log():
    def log_group(*names: str) -> dict[str, Any]:
        app = App(analytics_reporting=False)
        stack = Stack(app, "Work")
        for name in names:
            DicomImport(stack, name)
        return only(templates_of(app)["Work"], LOG_GROUP)

    assert log_group("One") == log_group("One", "Two")


def test_an_import_without_a_key_leaves_the_log_to_the_next(stack, app):
    DicomImport(stack, "None", customer_managed_key=False)
    import_ = DicomImport(stack, "Import")
    assert stack.resolve(import_.encryption_key.key_arn) == log_key(in_one_stack(stack, app))


def test_the_key_of_the_store_goes_before_that_of_what_is_made_beside_it(stack, app):
    key = kms.Key(stack, "Key")
    store = Datastore(stack, "Store", encryption_key=key)
    DicomImport(stack, "Import", datastore=store, notify=Notify.FAILURES)
    found = in_one_stack(stack, app)
    assert stack.resolve(key.key_arn) == log_key(found)
    assert [0, 2] == sorted(gained(found))


def test_the_key_of_an_output_bucket_is_fit_where_there_is_no_other(stack, app):
    key = kms.Key(stack, "Key")
    DicomImport(
        stack,
        "Import",
        datastore=Datastore.from_datastore_id(stack, "Store", DATASTORE_ID),
        source=ImportSource.bucket(s3.Bucket.from_bucket_name(stack, "In", "images"), "dicom/"),
        output_bucket=s3.Bucket(stack, "Out", encryption_key=key),
    )
    assert stack.resolve(key.key_arn) == log_key(in_one_stack(stack, app))


def tagged(store: Datastore) -> None:
    Tags.of(store).add("team", "radiology")


@pytest.mark.parametrize("uses", ["tags", "beyond CloudFormation", "emptied"])
def test_a_store_that_the_function_serves_gives_its_key_too(stack, app, uses):
    options = {
        "beyond CloudFormation": {"lossless_storage_format": LosslessStorageFormat.HTJ2K},
        "emptied": {"auto_delete_image_sets": True, "removal_policy": RemovalPolicy.DESTROY},
    }
    key = kms.Key(stack, "Key")
    store = Datastore(stack, "Store", encryption_key=key, **options.get(uses, {}))
    if uses == "tags":
        tagged(store)
    assert stack.resolve(key.key_arn) == log_key(in_one_stack(stack, app))


def test_a_store_that_no_function_serves_leaves_its_key_alone(stack, app):
    Datastore(stack, "Store", encryption_key=kms.Key(stack, "Key"))
    assert [0] == gained(in_one_stack(stack, app))


def test_tags_that_come_after_an_import_leave_it_the_log(stack, app):
    store = Datastore(stack, "Store", encryption_key=kms.Key(stack, "Key"))
    import_ = DicomImport(stack, "Import")
    tagged(store)
    found = in_one_stack(stack, app)
    assert stack.resolve(import_.encryption_key.key_arn) == log_key(found)
    assert [2, 2] == gained(found)


# -- Keys that are not fit -------------------------------------------------------------------------------------------


def unfit(stack: Stack, why: str) -> dict[str, Any]:
    made = {
        "only referred to": lambda: {"encryption_key": kms.Key.from_key_arn(stack, "Key", KEY_ARN)},
        "an alias": lambda: {
            "encryption_key": kms.Alias(
                stack,
                "Key",
                alias_name="alias/images",
                target_key=kms.Key.from_key_arn(stack, "Target", KEY_ARN),
                removal_policy=RemovalPolicy.RETAIN,
            )
        },
        "gone with its stack": lambda: {"encryption_key": kms.Key(stack, "Key", removal_policy=RemovalPolicy.DESTROY)},
        "gone if the first deploy fails": lambda: {
            "encryption_key": kms.Key(stack, "Key", removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
        },
        "made here and gone with its stack": lambda: {"removal_policy": RemovalPolicy.DESTROY},
        "of AWS": lambda: {"customer_managed_key": False},
    }
    return made[why]()


@pytest.mark.parametrize(
    "why",
    [
        "only referred to",
        "an alias",
        "gone with its stack",
        "gone if the first deploy fails",
        "made here and gone with its stack",
        "of AWS",
    ],
)
def test_a_key_that_is_not_fit_is_left_alone_and_so_is_the_log(stack, app, why):
    DicomImport(stack, "Import", **unfit(stack, why))
    found = in_one_stack(stack, app)
    assert log_key(found) is None
    assert not any(gained(found))
    assert "kms:ViaService" not in json.dumps(found)


@pytest.mark.parametrize(("region", "account"), [("us-west-2", "111122223333"), ("us-east-1", "444455556666")])
def test_a_key_that_lies_elsewhere_is_left_alone(app, region, account):
    there = Stack(app, "There", env=env(region, account), cross_region_references=True)
    here = Stack(app, "Here", env=env(), cross_region_references=True)
    results = s3.Bucket(there, "Results", bucket_name="results", encryption_key=kms.Key(there, "Key"))
    DicomImport(here, "Import", customer_managed_key=False, output_bucket=results)
    found = templates_of(app)
    assert log_key(found["Here"]) is None
    assert "logs." not in json.dumps(found["There"])


# -- Stacks ----------------------------------------------------------------------------------------------------------


def test_the_ready_made_app_encrypts_the_log_with_the_key_of_its_data():
    app = App(analytics_reporting=False, post_cli_context={REFERENCES: "strong"})
    data = DataStack(app, "Data")
    ImportStack(app, "Work", datastore=data.datastore, input_bucket=data.input_bucket, output_bucket=data.output_bucket)
    found: Templates = templates_of(app)
    assert {"Fn::ImportValue": "Data:ExportsOutputFnGetAttKey961B73FDArn5A860C43"} == log_key(found["Work"])
    assert [2] == gained(found["Data"])
    assert "Fn::ImportValue" not in json.dumps(found["Data"])


def test_a_nested_stack_uses_the_key_of_its_parent(app):
    parent = Stack(app, "Parent")
    key = kms.Key(parent, "Key")
    DicomImport(NestedStack(parent, "Nested"), "Import", encryption_key=key)
    found = templates_of(app)
    (nested,) = [template for name, template in found.items() if name != "Parent"]
    assert "Ref" in log_key(nested)
    assert [2] == gained(found["Parent"])


def test_a_parent_uses_the_key_of_a_nested_stack(app):
    parent = Stack(app, "Parent")
    key = kms.Key(NestedStack(parent, "Nested"), "Key")
    DicomImport(parent, "Import", encryption_key=key)
    assert "Outputs.ParentNestedKey" in json.dumps(log_key(templates_of(app)["Parent"]))


def test_the_log_group_waits_for_its_key_and_the_key_for_nothing(stack, app):
    DicomImport(stack, "Import")
    found = in_one_stack(stack, app)
    order = creation_order(found)
    kinds = [found["Resources"][name]["Type"] for name in order]
    assert kinds.index(KEY) < kinds.index(LOG_GROUP) < kinds.index("AWS::Lambda::Function")


def test_the_key_behind_an_alias_encrypts_the_log(stack, app):
    key = kms.Key(stack, "Key")
    DicomImport(stack, "Import", encryption_key=key.add_alias("imaging"))
    assert {"Fn::GetAtt": [stack.get_logical_id(key.node.default_child), "Arn"]} == log_key(in_one_stack(stack, app))
