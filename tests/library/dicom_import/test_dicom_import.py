"""The import as an L3: what it makes, what it takes, what it refuses."""

import json
import math
import re
from pathlib import Path

import pytest
from aws_cdk import App, Duration, NestedStack, RemovalPolicy, Size, Stack, Stage, Token, assertions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from healthimaging_cdk import (
    BulkDicomImport,
    Completion,
    DataAccessRole,
    Datastore,
    DicomImport,
    ImportQuotas,
    ImportSource,
    ImportTolerance,
    MetadataMapping,
    Notify,
    OnEmpty,
    TrustConditions,
)
from healthimaging_cdk._common.runtime import contract
from stacks.data_stack import DataStack
from stacks.import_stack import ImportStack
from tests.feature_flags import REFERENCES
from tests.library.properties import every_property

IMPORT = "Custom::HealthImagingImport"
BUCKET = "AWS::S3::Bucket"
DATASTORE_ID = "0123456789abcdef0123456789abcdef"
STUDY = MetadataMapping(study_instance_uid="1.2.3", metadata_file_path="meta/study.json")


def bring_everything(stack: Stack) -> dict:
    store = Datastore.from_datastore_id(stack, "Store", DATASTORE_ID)
    return {
        "datastore": store,
        "source": ImportSource.bucket(s3.Bucket.from_bucket_name(stack, "In", "images"), "studies/"),
        "output_bucket": s3.Bucket.from_bucket_name(stack, "Out", "results"),
        "data_access_role": iam.Role.from_role_arn(stack, "Role", "arn:aws:iam::111122223333:role/import"),
    }


def test_a_dicom_import_with_minimal_properties(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    found = synthesize(stack)
    asked = found.only(IMPORT)["Properties"]
    assert ("dicom/", "results/", "skip", "wait", 3000) == tuple(
        asked[name] for name in ("InputPrefix", "OutputPrefix", "OnEmpty", "Completion", "WaitSeconds")
    )
    assert stack.resolve(import_.datastore.datastore_id) == asked["DatastoreId"]
    assert 4 == len(found.document["Outputs"])


def test_a_dicom_import_with_all_properties(stack, synthesize):
    images = s3.Bucket.from_bucket_name(stack, "Images", "images")
    topic = sns.Topic.from_topic_arn(stack, "Topic", "arn:aws:sns:us-east-1:111122223333:on-call")
    key = kms.Key(stack, "Key")
    given = every_property(
        DicomImport,
        datastore=Datastore.from_datastore_id(stack, "Store", DATASTORE_ID),
        source=ImportSource.bucket(images, "studies/"),
        output_bucket=None,  # results_expiration is for one that is created
        output_prefix="job-output/",
        data_access_role=iam.Role.from_role_arn(stack, "Role", "arn:aws:iam::111122223333:role/import"),
        trust_conditions=TrustConditions.ACCOUNT,
        encryption_key=key,
        customer_managed_key=True,
        job_name="nightly",
        run_id="7",
        metadata_mappings=[STUDY],
        on_empty=OnEmpty.FAIL,
        completion=Completion.DETACH,
        timeout=Duration.minutes(5),
        tolerance=ImportTolerance(rejected_files=3),
        quotas=ImportQuotas(files=9),
        notify=Notify.REJECTIONS,
        notification_topic=topic,
        results_expiration=Duration.days(30),
        access_logs_bucket=s3.Bucket.from_bucket_name(stack, "Logs", "access-logs"),
        outputs=False,
        removal_policy=RemovalPolicy.DESTROY,
    )
    DicomImport(stack, "Import", **given)
    found = synthesize(stack)
    expected = {
        "DatastoreId": DATASTORE_ID,
        "DataAccessRoleArn": "arn:aws:iam::111122223333:role/import",
        "InputBucket": "images",
        "InputPrefix": "studies/",
        "OutputPrefix": "job-output/",
        "JobName": "nightly",
        "RunId": "7",
        "MetadataMappings": [{"studyInstanceUID": "1.2.3", "metadataFilePath": "meta/study.json"}],
        "OnEmpty": "fail",
        "Completion": "detach",
        "WaitSeconds": 300,
        "MaxRejectedFiles": 3,
        "MaxFiles": 9,
        "Notify": "rejections",
        "NotificationTopicArn": topic.topic_arn,
    }
    asked = found.only(IMPORT)["Properties"]
    assert expected == {name: asked.get(name) for name in expected}
    bucket = found.only(BUCKET)
    assert "access-logs" == bucket["Properties"]["LoggingConfiguration"]["DestinationBucketName"]
    assert "Delete" == bucket["DeletionPolicy"]
    assert "Outputs" not in found.document


@pytest.mark.slow
def test_a_whole_import_is_a_small_template_with_one_function(stack, synthesize):
    DicomImport(stack, "Import")
    found = synthesize(stack)
    assert 19 == len(found.resources)
    assert 1 == len(found.of_type("AWS::Lambda::Function"))


@pytest.mark.slow
def test_a_second_import_brings_no_second_function_state_machine_or_log_group(stack, synthesize):
    DicomImport(stack, "One")
    DicomImport(stack, "Two")
    found = synthesize(stack)
    kinds = ["AWS::Lambda::Function", "AWS::StepFunctions::StateMachine", "AWS::Logs::LogGroup"]
    assert [1, 1, 1] == [len(found.of_type(kind)) for kind in kinds]
    assert [2, 4, 2] == [len(found.of_type(kind)) for kind in ("AWS::HealthImaging::Datastore", BUCKET, IMPORT)]


def test_with_everything_brought_only_the_job_and_what_serves_it_is_made(stack, synthesize):
    DicomImport(stack, "Import", **bring_everything(stack))
    expected = [
        "AWS::Events::Rule",  # for failed invocations and executions
        "AWS::IAM::Policy",  # what the job's role may do
        "AWS::IAM::Role",  # the function's
        "AWS::IAM::Role",  # the job's
        "AWS::IAM::Role",  # the state machine's
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Logs::LogGroup",
        "AWS::StepFunctions::StateMachine",
        IMPORT,
    ]
    assert expected == synthesize(stack).types()


@pytest.mark.slow
def test_what_is_brought_reaches_the_job(stack, synthesize):
    DicomImport(stack, "Import", **bring_everything(stack), output_prefix="out/", job_name="nightly", run_id="7")
    properties = synthesize(stack).only(IMPORT)["Properties"]
    expected = {
        "DatastoreId": DATASTORE_ID,
        "DataAccessRoleArn": "arn:aws:iam::111122223333:role/import",
        "InputBucket": "images",
        "InputPrefix": "studies/",
        "OutputBucket": "results",
        "OutputPrefix": "out/",
        "JobName": "nightly",
        "RunId": "7",
    }
    assert expected == {name: properties[name] for name in expected}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"on_empty": OnEmpty.FAIL}, {"OnEmpty": "fail"}),
        ({"completion": Completion.DETACH}, {"Completion": "detach"}),
        ({"tolerance": ImportTolerance(rejected_files=3)}, {"MaxRejectedFiles": 3}),
        ({"tolerance": ImportTolerance(rejected_percent=0.5)}, {"MaxRejectedPercent": 0.5}),
        (
            {"tolerance": ImportTolerance(non_primary_image_sets=False, warnings=False)},
            {"FailOnNonPrimary": True, "FailOnWarnings": True},
        ),
        ({"timeout": Duration.minutes(10)}, {"WaitSeconds": 600, "ServiceTimeout": "900"}),
        ({"quotas": ImportQuotas(files=9, total=Size.kibibytes(1))}, {"MaxFiles": 9, "MaxBytes": 1024}),
        (
            {"metadata_mappings": [STUDY]},
            {"MetadataMappings": [{"studyInstanceUID": "1.2.3", "metadataFilePath": "meta/study.json"}]},
        ),
    ],
)
def test_options_reach_the_job(stack, synthesize, options, expected):
    DicomImport(stack, "Import", **options)
    properties = synthesize(stack).only(IMPORT)["Properties"]
    assert expected == {name: properties[name] for name in expected}


@pytest.mark.slow
def test_members_that_are_not_given_are_not_sent(stack, synthesize):
    DicomImport(stack, "Import")
    absent = {"RunId", "JobName", "InputOwnerAccountId", "MetadataMappings", "AssetBucket", "MaxFiles"}
    assert set() == absent & set(synthesize(stack).only(IMPORT)["Properties"])


@pytest.mark.slow
def test_the_owner_of_a_source_in_another_account_is_sent(stack, synthesize):
    bucket = s3.Bucket.from_bucket_name(stack, "In", "images")
    DicomImport(stack, "Import", source=ImportSource.bucket(bucket, "a/", owner_account_id="444455556666"))
    assert "444455556666" == synthesize(stack).only(IMPORT)["Properties"]["InputOwnerAccountId"]


@pytest.mark.slow
def test_run_id_comes_from_the_context_if_the_code_has_none(synthesize):
    stack = Stack(App(context={"run_id": 7}), "Stack")
    DicomImport(stack, "Import")
    assert "7" == synthesize(stack).only(IMPORT)["Properties"]["RunId"]


@pytest.mark.parametrize("empty", ["", " "])
def test_fails_a_run_id_that_is_empty(stack, empty):
    with pytest.raises(ValueError, match="DicomImport: run_id is empty: omit it, or give a value"):
        DicomImport(stack, "Import", run_id=empty)
    assert [] == stack.node.children


def test_fails_a_run_id_of_the_command_line_that_is_empty():
    stack = Stack(App(context={"run_id": ""}), "Stack")
    message = r"run_id is empty in the CDK context \(-c run_id=\): omit -c run_id, or give a value"
    with pytest.raises(ValueError, match=message):
        DicomImport(stack, "Import")


@pytest.mark.slow
def test_an_empty_run_id_of_the_command_line_is_none_of_an_import_that_has_one(synthesize):
    stack = Stack(App(context={"run_id": ""}), "Stack")
    DicomImport(stack, "Import", run_id="1")
    assert "1" == synthesize(stack).only(IMPORT)["Properties"]["RunId"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a", "nightly/2026#1_b.c-D", "n" * 43])
def test_a_job_name_leaves_room_for_the_mark_of_the_attempt(stack, synthesize, name):
    DicomImport(stack, "Import", job_name=name)
    assert name == synthesize(stack).only(IMPORT)["Properties"]["JobName"]


@pytest.mark.parametrize(
    ("name", "got"),
    [("", "'' (0 characters)"), ("n" * 44, f"'{'n' * 36}... (44 characters)"), ("a b", "'a b' (3 characters)")],
)
def test_fails_a_job_name_that_leaves_none_or_has_other_characters(stack, name, got):
    message = f"job_name must be 1 to 43 characters of A-Z a-z 0-9 . _ / # -, got {got}: shorten it or replace other"
    with pytest.raises(ValueError, match=re.escape(message)):
        DicomImport(stack, "Import", job_name=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run_id", "expected"),
    [(None, "cdk deploy Prod/Stack -c run_id=ANY_NEW_VALUE"), ("1", "change run_id and cdk deploy Prod/Stack")],
)
def test_the_command_that_imports_later_names_the_stack_as_the_cli_does(app, synthesize, run_id, expected):
    stack = Stack(Stage(app, "Prod"), "Stack")
    DicomImport(stack, "Import", run_id=run_id)
    assert expected == synthesize(stack).only(IMPORT)["Properties"]["ImportAgain"]


@pytest.mark.slow
def test_everything_made_is_encrypted_with_one_rotating_key(stack, synthesize):
    DicomImport(stack, "Import")
    found = synthesize(stack)
    key = {"Fn::GetAtt": ["ImportKeyA2388A98", "Arn"]}
    assert found.only("AWS::KMS::Key")["Properties"]["EnableKeyRotation"]
    assert key == found.only("AWS::HealthImaging::Datastore")["Properties"]["KmsKeyArn"]
    rules = [
        bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"][0][
            "ServerSideEncryptionByDefault"
        ]
        for bucket in found.of_type(BUCKET)
    ]
    assert [{"KMSMasterKeyID": key, "SSEAlgorithm": "aws:kms"}] * 2 == rules


@pytest.mark.slow
def test_another_key_can_be_given(stack, synthesize):
    key = kms.Key(stack, "Mine")
    import_ = DicomImport(stack, "Import", encryption_key=key)
    assert key is import_.encryption_key
    assert 1 == len(synthesize(stack).of_type("AWS::KMS::Key"))


@pytest.mark.slow
def test_no_key_can_be_chosen(stack, synthesize):
    import_ = DicomImport(stack, "Import", customer_managed_key=False)
    found = synthesize(stack)
    assert (None, 0) == (import_.encryption_key, len(found.of_type("AWS::KMS::Key")))
    assert "kms:" not in json.dumps(found.document)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [RemovalPolicy.RETAIN, RemovalPolicy.DESTROY])
def test_what_holds_data_and_its_key_share_one_removal_policy(stack, synthesize, policy):
    DicomImport(stack, "Import", removal_policy=policy)
    found = synthesize(stack)
    kinds = ["AWS::KMS::Key", "AWS::HealthImaging::Datastore", BUCKET]
    policies = {
        r[name] for kind in kinds for r in found.of_type(kind) for name in ("DeletionPolicy", "UpdateReplacePolicy")
    }
    assert {"Retain" if policy == RemovalPolicy.RETAIN else "Delete"} == policies


def test_buckets_are_private_versioned_and_take_tls_only(stack, synthesize):
    DicomImport(stack, "Import")
    found = synthesize(stack)
    for bucket in found.of_type(BUCKET):
        assert [True] * 4 == list(bucket["Properties"]["PublicAccessBlockConfiguration"].values())
        assert {"Status": "Enabled"} == bucket["Properties"]["VersioningConfiguration"]
    for policy in found.of_type("AWS::S3::BucketPolicy"):
        statement, *_ = policy["Properties"]["PolicyDocument"]["Statement"]
        assert ("Deny", {"Bool": {"aws:SecureTransport": "false"}}) == (statement["Effect"], statement["Condition"])


@pytest.mark.slow
def test_results_do_not_expire_unless_asked(stack, synthesize):
    DicomImport(stack, "Import")
    rules = [
        rule
        for bucket in synthesize(stack).of_type(BUCKET)
        for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    ]
    assert [{"AbortIncompleteMultipartUpload", "Status"}] * 2 == [set(rule) for rule in rules]


@pytest.mark.slow
def test_expiring_results_leaves_records_alone(stack, synthesize):
    import_ = DicomImport(stack, "Import", results_expiration=Duration.days(30))
    rules = synthesize(stack).resources["ImportOutputBucket9A090094"]["Properties"]["LifecycleConfiguration"]["Rules"]
    (expiring,) = [rule for rule in rules if "ExpirationInDays" in rule]
    # The bucket is versioned: without it what expired would stay.
    assert {"NoncurrentDays": 7} == expiring["NoncurrentVersionExpiration"]
    prefix = stack.resolve(f"results/{import_.datastore.datastore_id}-DicomImport-")
    assert (30, prefix) == (expiring["ExpirationInDays"], expiring["Prefix"])


def test_the_function_itself_may_only_log_and_have_given_up_calls_told(stack, synthesize):
    DicomImport(stack, "Import", customer_managed_key=False)
    found = synthesize(stack)
    role = found.only("AWS::Lambda::Function")["Properties"]["Role"]["Fn::GetAtt"][0]
    assert {"logs:CreateLogStream", "logs:PutLogEvents", "events:PutEvents"} == found.actions_of(role)


def test_the_jobs_role_names_every_resource(stack, synthesize):
    DicomImport(stack, "Import")
    statements = synthesize(stack).statements_of("ImportJobRole4719840A")
    assert "*" not in [statement["Resource"] for statement in statements]
    (passing,) = [statement for statement in statements if statement["Action"] == "iam:PassRole"]
    assert {"StringEquals": {"iam:PassedToService": "medical-imaging.amazonaws.com"}} == passing["Condition"]
    assert {"Fn::GetAtt": ["ImportDataAccessRole2AD90292", "Arn"]} == passing["Resource"]


@pytest.mark.slow
def test_a_directory_adds_the_rights_to_unpack_it_and_nothing_else(stack, synthesize, tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"x")
    DicomImport(stack, "Plain")
    DicomImport(stack, "Unpacked", source=ImportSource.directory(tmp_path))
    found = synthesize(stack)
    roles = sorted(
        name for name, role in found.resources.items() if role["Type"] == "AWS::IAM::Role" and "JobRole" in name
    )
    plain, unpacked = (found.actions_of(name) for name in roles)
    assert {"s3:AbortMultipartUpload"} == unpacked - plain
    assert ".zip" in json.dumps(found.statements_of(roles[1]))


@pytest.mark.slow
def test_a_changed_file_of_a_directory_changes_the_input_prefix(tmp_path, synthesize):
    prefixes = []
    for content in (b"one", b"two", b"one"):
        (tmp_path / "a.dcm").write_bytes(content)
        stack = Stack(App(), "Stack")
        import_ = DicomImport(stack, "Import", source=ImportSource.directory(tmp_path, prefix="local/"))
        assert import_.input_prefix == synthesize(stack).only(IMPORT)["Properties"]["InputPrefix"]
        prefixes.append(import_.input_prefix)
    assert prefixes[0] == prefixes[2] != prefixes[1]
    assert all(prefix.startswith("local/") and prefix.endswith("/") for prefix in prefixes)


@pytest.mark.slow
def test_a_relative_directory_is_that_of_the_working_directory_wherever_it_is(tmp_path, monkeypatch, synthesize):
    templates = []
    for place in ("one", "another place"):
        (tmp_path / place / "phantoms").mkdir(parents=True)
        (tmp_path / place / "phantoms" / "a.dcm").write_bytes(b"one")
        monkeypatch.chdir(tmp_path / place)
        stack = Stack(App(), "Stack")
        DicomImport(stack, "Import", source=ImportSource.directory("phantoms"))
        templates.append(synthesize(stack).document)
    assert templates[0] == templates[1]


@pytest.mark.slow
def test_the_job_waits_for_policies_added_to_the_data_access_role(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    import_.data_access_role.add_to_policy(iam.PolicyStatement(actions=["s3:GetObject"], resources=["*"]))
    waits_for = synthesize(stack).only(IMPORT)["DependsOn"]
    assert "ImportDataAccessRoleDefaultPolicy" in "".join(waits_for)


def test_every_member_of_the_answer_is_an_attribute(stack):
    import_ = DicomImport(stack, "Import")
    attributes = {
        "JobId": import_.job_id,
        "JobStatus": import_.job_status,
        "SubmittedAt": import_.submitted_at,
        "DatastoreId": import_.datastore_id,
        "NumberOfScannedFiles": import_.number_of_scanned_files,
        "NumberOfImportedFiles": import_.number_of_imported_files,
        "NumberOfFilesWithCustomerError": import_.number_of_files_with_customer_error,
        "NumberOfFilesWithServerError": import_.number_of_files_with_server_error,
        "NumberOfGeneratedImageSets": import_.number_of_generated_image_sets,
        "NumberOfPrimaryImageSets": import_.number_of_primary_image_sets,
        "NumberOfNonPrimaryImageSets": import_.number_of_non_primary_image_sets,
        "Warnings": import_.warnings,
        "ManifestUri": import_.manifest_uri,
        "Summary": import_.summary,
        "NextStep": import_.next_step,
    }
    expected = {name: {"Fn::GetAtt": ["ImportJob8DEEC202", name]} for name in attributes}
    assert expected == stack.resolve(attributes)


def test_what_is_made_and_what_is_brought_are_attributes(stack):
    brought = bring_everything(stack)
    import_ = DicomImport(stack, "Import", **brought)
    assert (brought["datastore"], brought["output_bucket"], brought["data_access_role"]) == (
        import_.datastore,
        import_.output_bucket,
        import_.data_access_role,
    )
    assert ("images", "studies/", "results/") == (
        import_.input_bucket.bucket_name,
        import_.input_prefix,
        import_.output_prefix,
    )
    assert import_.encryption_key is None


@pytest.mark.long
def test_twenty_imports_fit_in_one_stack(stack, synthesize):
    for number in range(20):
        DicomImport(stack, f"Import{number}")
    found = synthesize(stack)
    assert 20 == len(found.of_type(IMPORT))
    assert len(found.resources) < 500
    # While rights change, a role has the old and the new policy: 10,240 characters together.
    for policy in found.of_type("AWS::IAM::Policy"):
        assert len(json.dumps(policy["Properties"]["PolicyDocument"])) < 5_120


@pytest.mark.slow
def test_it_works_in_a_nested_stack(app, synthesize):
    parent = Stack(app, "Parent")
    nested = NestedStack(parent, "Nested")
    DicomImport(nested, "Import")
    assert "cdk deploy Parent -c run_id=ANY_NEW_VALUE" == synthesize(nested).only(IMPORT)["Properties"]["ImportAgain"]


def data_and_import(*, with_import: bool) -> dict:
    app = App(analytics_reporting=False, post_cli_context={REFERENCES: "strong"})
    data = DataStack(app, "Data")
    if with_import:
        ImportStack(
            app, "Work", datastore=data.datastore, input_bucket=data.input_bucket, output_bucket=data.output_bucket
        )
    return dict(assertions.Template.from_stack(data).to_json())


@pytest.mark.slow
def test_the_stack_whose_store_bucket_and_key_are_used_gains_exports_and_tells_its_key_of_cloudwatch_logs():
    alone, used = data_and_import(with_import=False), data_and_import(with_import=True)
    added = {name: output for name, output in used["Outputs"].items() if name not in alone["Outputs"]}
    assert added
    assert all("Export" in output for output in added.values())
    (key,) = [resource for resource in used["Resources"].values() if resource["Type"] == "AWS::KMS::Key"]
    statements = key["Properties"]["KeyPolicy"]["Statement"]
    assert ["AWS", "Service", "Service"] == [kind for statement in statements for kind in statement["Principal"]]
    del statements[1:]
    assert alone["Resources"] == used["Resources"]


@pytest.mark.slow
def test_a_region_without_healthimaging_is_warned_of(app):
    stack = Stack(app, "Stack", env={"region": "eu-central-1"})
    DicomImport(stack, "Import")
    message = assertions.Match.string_like_regexp("HealthImaging was not known in eu-central-1")
    found = assertions.Annotations.from_stack(stack).find_warning("*", message)
    assert ["/Stack/Import"] == [warning.id for warning in found]


@pytest.mark.slow
@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-2", None])
def test_no_warning_where_healthimaging_is_or_may_be(app, region):
    stack = Stack(app, "Stack", env={"region": region} if region else None)
    DicomImport(stack, "Import")
    assert [] == assertions.Annotations.from_stack(stack).find_warning("*", assertions.Match.any_value())


def test_tokens_pass_every_check(stack, synthesize):
    token = Token.as_string({"Ref": "Parameter"})
    bucket = s3.Bucket.from_bucket_name(stack, "In", token)
    store = Datastore.from_datastore_id(stack, "Store", token)
    DicomImport(
        stack,
        "Import",
        datastore=store,
        source=ImportSource.bucket(bucket, token, owner_account_id=token),
        output_bucket=bucket,
        output_prefix=token,
        job_name=token,
        run_id=token,
        metadata_mappings=[MetadataMapping(token, token, token)],
    )
    assert {"Ref": "Parameter"} == synthesize(stack).only(IMPORT)["Properties"]["OutputPrefix"]


def test_fails_with_every_violation_in_one_message_and_leaves_nothing_behind(stack):
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
    before = len(stack.node.children)
    with pytest.raises(ValueError, match="DicomImport: ") as raised:
        DicomImport(
            stack,
            "Import",
            source=ImportSource.bucket(bucket, "studies/"),
            output_bucket=bucket,
            output_prefix="studies/results/",
            job_name="a b",
            timeout=Duration.hours(2),
            results_expiration=Duration.days(1),
            customer_managed_key=False,
            encryption_key=kms.Key.from_key_arn(stack, "K", "arn:aws:kms:us-east-1:111122223333:key/1"),
            metadata_mappings=[MetadataMapping("one", "meta.json")],
            quotas=ImportQuotas(files=0),
            tolerance=ImportTolerance(rejected_files=-1, rejected_percent=101),
        )
    message = str(raised.value)
    for part in (
        "output_prefix must lie outside the input prefix of the same bucket, got 'studies/results/' inside 'studies/'",
        "job_name must be 1 to 43 characters of A-Z a-z 0-9 . _ / # -, got 'a b' (3 characters): shorten it",
        "timeout must be 1 to 55 minutes in whole seconds, known at synth, got 7200 seconds",
        "results_expiration is for an output bucket that this import creates",
        "encryption_key and customer_managed_key=False exclude each other",
        "metadata_mappings[0].studyInstanceUID must match",
        "quotas must be at least 1 file",
        "tolerance.rejected_files must not be negative, got -1",
        "tolerance.rejected_percent must be 0 to 100, got 101",
    ):
        assert part in message
    assert before + 1 == len(stack.node.children)


@pytest.mark.parametrize("prefix", ["studies", "/studies/", "a//b/", "a*/"])
def test_fails_a_prefix_that_names_no_single_folder(stack, prefix):
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
    with pytest.raises(ValueError, match="ImportSource: prefix must"):
        ImportSource.bucket(bucket, prefix)
    with pytest.raises(ValueError, match="DicomImport: output_prefix must"):
        DicomImport(stack, "Import", output_prefix=prefix)


@pytest.mark.parametrize("owner", ["", "4444-5555-6666", "44445555666", "44445555666x"])
def test_fails_an_owner_that_is_no_account(stack, owner):
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
    with pytest.raises(ValueError, match=f"owner_account_id must be 12 digits without hyphens, got '{owner}'$"):
        ImportSource.bucket(bucket, "a/", owner_account_id=owner)


def test_fails_more_mappings_than_a_request_holds(stack):
    mappings = [MetadataMapping("1.2.3", "m" * 500)] * 300
    with pytest.raises(ValueError, match=r"metadata_mappings take .* bytes of the template"):
        DicomImport(stack, "Import", metadata_mappings=mappings)


def test_fails_an_empty_or_missing_directory(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no file"):
        ImportSource.directory(tmp_path / "empty")
    with pytest.raises(ValueError, match="path must be a directory"):
        ImportSource.directory(tmp_path / "missing")


@pytest.mark.slow
def test_the_data_access_role_is_limited_to_this_store_by_plain_conditions(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    trust = synthesize(stack).resources["ImportDataAccessRole2AD90292"]["Properties"]["AssumeRolePolicyDocument"]
    (statement,) = trust["Statement"]
    expected = {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        "ArnLike": {"aws:SourceArn": stack.resolve(import_.datastore.datastore_arn)},
    }
    assert expected == statement["Condition"]
    assert {"Service": "medical-imaging.amazonaws.com"} == statement["Principal"]


def role(stack: Stack, **options) -> DataAccessRole:
    defaults = {
        "datastore": Datastore.from_datastore_id(stack, "Store", DATASTORE_ID),
        "input_bucket": s3.Bucket.from_bucket_name(stack, "In", "images"),
        "input_prefix": "studies/",
        "output_bucket": s3.Bucket.from_bucket_name(stack, "Out", "results"),
        "output_prefix": "out/",
    }
    return DataAccessRole(stack, "Role", **{**defaults, **options})


def warnings_of(stack: Stack, name: str) -> list[str]:
    found = assertions.Annotations.from_stack(stack).find_warning(
        "*", assertions.Match.string_like_regexp(rf"healthimaging-cdk:{name}\b")
    )
    return [str(it.entry.data) for it in found]


@pytest.mark.slow
@pytest.mark.parametrize("construct", [DicomImport, BulkDicomImport])
def test_one_option_leaves_out_each_condition_of_the_trust(stack, synthesize, construct):
    construct(stack, "Import", trust_conditions=TrustConditions.ACCOUNT)
    (role,) = (
        it["Properties"]["AssumeRolePolicyDocument"]
        for it in synthesize(stack).of_type("AWS::IAM::Role")
        if "medical-imaging" in json.dumps(it)
    )
    assert {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}} == role["Statement"][0]["Condition"]
    assert [] == warnings_of(stack, "trustWithoutConditions")


def test_a_trust_without_conditions_is_warned_of_by_what_it_opens(stack, synthesize):
    role(stack, trust_conditions=TrustConditions.NONE)
    (statement,) = synthesize(stack).only("AWS::IAM::Role")["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert "Condition" not in statement
    (warning,) = warnings_of(stack, "trustWithoutConditions")
    assert "HealthImaging may assume this role for any account" in warning


def test_the_data_access_role_has_three_rights_a_denial_and_no_key_where_there_is_none(stack, synthesize):
    made = role(stack)
    found = synthesize(stack)
    statements = found.only("AWS::IAM::Policy")["Properties"]["PolicyDocument"]["Statement"]
    rights = [(it["Effect"], it["Action"], json.dumps(it["Resource"])) for it in statements]
    assert [
        ("Allow", "s3:ListBucket"),
        ("Allow", "s3:GetObject"),
        ("Allow", "s3:PutObject"),
        ("Deny", "s3:PutObject"),
    ] == [(effect, action) for effect, action, _ in rights]
    assert ":s3:::images/studies/*" in rights[1][2]
    assert ":s3:::results/out/*" in rights[2][2]
    # Also the records under a deeper prefix of an import that the role serves.
    assert ":s3:::results/out/*.healthimaging-cdk/*" in rights[3][2]
    assert made is made.grant_principal


def test_the_data_access_role_gets_what_each_buckets_key_needs(stack, synthesize):
    one, two = kms.Key(stack, "One"), kms.Key(stack, "Two")
    role(
        stack,
        input_bucket=s3.Bucket(stack, "A", encryption_key=one),
        output_bucket=s3.Bucket(stack, "B", encryption_key=two),
    )
    policy = synthesize(stack).only("AWS::IAM::Policy")["Properties"]
    keys = [s for s in policy["PolicyDocument"]["Statement"] if "kms" in json.dumps(s["Action"])]
    expected = [
        ("kms:Decrypt", stack.resolve(one.key_arn)),
        (["kms:Decrypt", "kms:GenerateDataKey"], stack.resolve(two.key_arn)),
    ]
    assert expected == [(statement["Action"], statement["Resource"]) for statement in keys]


def test_fails_a_data_access_role_for_half_a_folder(stack):
    with pytest.raises(
        ValueError, match="DataAccessRole: input_prefix must end with '/', got 'a': append a slash; output_prefix"
    ):
        role(stack, input_prefix="a", output_prefix="b")


@pytest.mark.slow
def test_a_new_version_of_the_handler_changes_nothing_of_the_job(stack, synthesize):
    DicomImport(stack, "Import")
    found = synthesize(stack)
    code = found.only("AWS::Lambda::Function")["Properties"]["Code"]["S3Key"]
    assert code not in json.dumps(found.only(IMPORT))


@pytest.mark.slow
def test_the_job_waits_for_what_answers_in_an_emergency(stack, synthesize):
    DicomImport(stack, "Import")
    found = synthesize(stack)
    waits_for = {found.resources[name]["Type"] for name in found.only(IMPORT)["DependsOn"]}
    assert "AWS::Lambda::EventInvokeConfig" in waits_for
    (permission,) = found.only("AWS::Lambda::EventInvokeConfig")["DependsOn"]
    assert found.only("AWS::Lambda::Permission") == found.resources[permission]
    ((rule, _),) = [found.only("AWS::Lambda::Permission")["Properties"]["SourceArn"]["Fn::GetAtt"]]
    assert found.only("AWS::Events::Rule") == found.resources[rule]


@pytest.mark.slow
def test_the_job_is_deleted_before_its_store_is_emptied(stack, synthesize):
    store = Datastore(stack, "Store", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY)
    DicomImport(stack, "Import", datastore=store)
    found = synthesize(stack)
    emptying = [name for name, r in found.resources.items() if r["Type"] == "Custom::HealthImagingImageSetDeletion"]
    assert set(emptying) <= set(found.only(IMPORT)["DependsOn"])


@pytest.mark.slow
def test_a_rule_of_that_name_is_not_taken_for_what_empties_the_store(stack, synthesize):
    store = Datastore(stack, "Store")
    store.on_image_set_deleting("ImageSetDeletion")
    DicomImport(stack, "Import", datastore=store)
    found = synthesize(stack)
    waits_for = found.only(IMPORT)["DependsOn"]
    assert [] == [name for name in waits_for if name.startswith("StoreImageSetDeletion")]


@pytest.mark.slow
def test_an_import_tells_what_it_did_as_outputs(stack, synthesize):
    DicomImport(stack, "Import")
    names = sorted(name.removeprefix("Import")[:-8] for name in synthesize(stack).document["Outputs"])
    assert ["DatastoreId", "JobId", "ManifestUri", "Summary"] == names


@pytest.mark.slow
def test_a_stack_with_more_imports_than_outputs_can_do_without(stack, synthesize):
    import_ = DicomImport(stack, "Import", outputs=False)
    assert "Outputs" not in synthesize(stack).document
    assert stack.resolve(import_.summary)


def test_fails_options_of_the_wrong_type_before_anything_is_made(stack):
    with pytest.raises(TypeError, match=r"on_empty must be one of OnEmpty\.SKIP, OnEmpty\.FAIL, got str 'fail'"):
        DicomImport(stack, "Import", on_empty="fail")
    assert [] == stack.node.children


def test_fails_a_store_of_another_region(app):
    stack = Stack(app, "Stack", env={"account": "111122223333", "region": "eu-west-1"})
    arn = f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{DATASTORE_ID}"
    with pytest.raises(ValueError, match="datastore is in Region us-east-1 and the stack in eu-west-1"):
        DicomImport(stack, "Import", datastore=Datastore.from_datastore_arn(stack, "Store", arn))


@pytest.mark.slow
def test_a_key_for_nothing_is_warned_of(stack):
    key = kms.Key(stack, "Key")
    DicomImport(stack, "Import", encryption_key=key, **bring_everything(stack))
    message = assertions.Match.string_like_regexp("encryption_key is for what this import creates")
    assertions.Annotations.from_stack(stack).has_warning("/Stack/Import", message)


LATER = {"Ref": "Parameter"}


@pytest.mark.parametrize(
    "options",
    [
        {"tolerance": lambda number: ImportTolerance(rejected_files=number)},
        {"tolerance": lambda number: ImportTolerance(rejected_percent=number)},
        {"quotas": lambda number: ImportQuotas(files=number)},
        {"quotas": lambda number: ImportQuotas(total=Size.gibibytes(number))},
        {"quotas": lambda number: ImportQuotas(file=Size.bytes(number))},
    ],
)
def test_fails_a_number_that_is_known_only_at_deploy(stack, options):
    ((name, make),) = options.items()
    with pytest.raises(ValueError, match="tolerance and quotas have to be known at synth, got a token"):
        DicomImport(stack, "Import", **{name: make(Token.as_number(LATER))})


def test_fails_a_timeout_that_is_known_only_at_deploy(stack):
    with pytest.raises(ValueError, match="in whole seconds, known at synth, got a token"):
        DicomImport(stack, "Import", timeout=Duration.minutes(Token.as_number(LATER)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": {"rejected_files": math.nan}}, "tolerance.rejected_files must be an int, got float nan"),
        ({"tolerance": {"rejected_files": math.inf}}, "tolerance.rejected_files must be an int, got float inf"),
        ({"tolerance": {"rejected_percent": math.nan}}, "tolerance.rejected_percent must be 0 to 100, got nan"),
        ({"quotas": {"files": math.nan}}, "quotas.files must be an int, got float nan"),
    ],
)
def test_fails_what_is_no_number_and_the_kernel_lives_on(stack, options, message):
    kinds = {"tolerance": ImportTolerance, "quotas": ImportQuotas}
    with pytest.raises(TypeError if "an int" in message else ValueError, match=message):
        DicomImport(stack, "Import", **{name: kinds[name](**given) for name, given in options.items()})
    assert [] == stack.node.children


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prefix": "studies"}, "prefix must end with '/', got 'studies'"),
        ({"prefix": 3}, "prefix must be a str"),
        ({"prefix": "x/", "input_bucket": "images"}, "input_bucket must be an IBucket"),
        ({"prefix": "x/", "path": "phantoms"}, "path must be a Path, got str 'phantoms': use ImportSource.directory"),
        ({"prefix": "x/", "owner_account_id": "not-an-account"}, "owner_account_id"),
        ({"prefix": "x/", "path": Path("absent")}, "path must be a directory, got 'absent'"),
    ],
)
def test_fails_a_source_that_is_made_by_its_constructor(stack, wrong, message):
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
    is_type = re.search("must be an? (str|IBucket|Path)", message)
    with pytest.raises(TypeError if is_type else ValueError, match=f"ImportSource: .*{message}"):
        ImportSource(**{"input_bucket": bucket, **wrong})


@pytest.mark.slow
def test_buckets_log_no_accesses_unless_asked(stack, synthesize):
    DicomImport(stack, "Import")
    assert [None, None] == [
        bucket["Properties"].get("LoggingConfiguration") for bucket in synthesize(stack).of_type(BUCKET)
    ]


@pytest.mark.slow
def test_buckets_made_here_log_accesses_to_the_bucket_that_is_given_and_may(stack, synthesize):
    logs = s3.Bucket(stack, "Logs", object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED)
    import_ = DicomImport(stack, "Import", access_logs_bucket=logs)
    found = synthesize(stack)
    log_id = stack.resolve(logs.bucket_name)["Ref"]
    logging = {
        "DestinationBucketName": {"Ref": log_id},
        "TargetObjectKeyFormat": {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}},
    }
    made = {name: item["Properties"] for name, item in found.resources.items() if item["Type"] == BUCKET}
    assert [None, logging, logging] == [made.pop(log_id).get("LoggingConfiguration")] + [
        properties["LoggingConfiguration"] for properties in made.values()
    ]
    (policy,) = [
        item["Properties"]["PolicyDocument"]["Statement"]
        for item in found.of_type("AWS::S3::BucketPolicy")
        if item["Properties"]["Bucket"] == {"Ref": log_id}
    ]
    expected = [
        {
            "Action": "s3:PutObject",
            "Condition": {
                "ArnLike": {"aws:SourceArn": stack.resolve(bucket.bucket_arn)},
                "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
            },
            "Effect": "Allow",
            "Principal": {"Service": "logging.s3.amazonaws.com"},
            "Resource": stack.resolve(logs.arn_for_objects("*")),
        }
        for bucket in (import_.input_bucket, import_.output_bucket)
    ]
    assert expected == policy


@pytest.mark.slow
def test_a_bucket_that_is_given_keeps_its_own_logging(stack, synthesize):
    images = s3.Bucket(stack, "Images")
    logs = s3.Bucket.from_bucket_name(stack, "Logs", "access-logs")
    DicomImport(stack, "Import", source=ImportSource.bucket(images), access_logs_bucket=logs)
    logging = [bucket.get("Properties", {}).get("LoggingConfiguration") for bucket in synthesize(stack).of_type(BUCKET)]
    assert [None, "access-logs"] == [given and given["DestinationBucketName"] for given in logging]


@pytest.mark.slow
def test_the_bucket_for_access_logs_may_lie_in_another_stack(app):
    logs = s3.Bucket(Stack(app, "Audit"), "Logs")
    DicomImport(Stack(app, "Images"), "Import", access_logs_bucket=logs)
    names = [stack.stack_name for stack in app.synth().stacks]
    assert ["Audit", "Images"] == names  # in the order they are deployed


def test_fails_for_access_logs_of_buckets_that_are_not_made_here(stack):
    logs = s3.Bucket.from_bucket_name(stack, "Logs", "access-logs")
    with pytest.raises(ValueError, match="access_logs_bucket is for buckets that this import creates"):
        DicomImport(stack, "Import", **bring_everything(stack), access_logs_bucket=logs)


def test_fails_for_an_access_log_bucket_with_a_key(stack):
    logs = s3.Bucket(stack, "Logs", encryption_key=kms.Key(stack, "Key"))
    with pytest.raises(ValueError, match="only under SSE-S3"):
        DicomImport(stack, "Import", access_logs_bucket=logs)


# -- the state machine -----------------------------------------------------------------------------------------------


def state_machine(found) -> dict:
    definition = found.only("AWS::StepFunctions::StateMachine")["Properties"]["DefinitionString"]
    return dict(json.loads(definition))


def test_an_execution_steps_and_waits_until_it_has_responded_and_nothing_is_left_to_poll(stack, synthesize):
    DicomImport(stack, "Import")
    machine = state_machine(synthesize(stack))
    states = machine["States"]
    assert "Step" == machine["StartAt"]
    assert {"Step", "Next?", "Wait", "Respond", "Good?", "Succeeded", "Failed"} == set(states)
    following = {(it["StringEquals"], it["Next"]) for it in states["Next?"]["Choices"]}
    assert ({("wait", "Wait"), ("respond", "Respond")}, "Good?") == (following, states["Next?"]["Default"])
    # After a response as well: a job may still be running.
    assert ["Next?", "Next?", "Step"] == [states[name]["Next"] for name in ("Step", "Respond", "Wait")]
    assert ["step", "respond"] == [states[name]["Parameters"]["Payload"]["step"] for name in ("Step", "Respond")]


@pytest.mark.slow
def test_a_failed_step_is_responded_for_and_a_failed_response_ends_the_execution(stack, synthesize):
    DicomImport(stack, "Import")
    states = state_machine(synthesize(stack))["States"]
    assert [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Respond"}] == states["Step"]["Catch"]
    assert "Catch" not in states["Respond"]
    assert states["Step"]["Retry"] == states["Respond"]["Retry"]
    assert contract.RESPONDED_FAILED == states["Failed"]["Error"]


# -- the rescue, and what tells of rights ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_call_that_waited_for_longer_than_any_request_is_given_up(stack, synthesize):
    DicomImport(stack, "Import", timeout=Duration.minutes(1))
    found = synthesize(stack)
    oldest = found.only("AWS::Lambda::EventInvokeConfig")["Properties"]["MaximumEventAgeInSeconds"]
    assert oldest < int(found.only(IMPORT)["Properties"]["ServiceTimeout"])


@pytest.mark.slow
def test_only_failures_of_this_function_and_state_machine_are_responded_for(stack, synthesize):
    DicomImport(stack, "Import")
    found = synthesize(stack)
    function, state_machine = (
        next(name for name, resource in found.resources.items() if resource["Type"] == kind)
        for kind in ("AWS::Lambda::Function", "AWS::StepFunctions::StateMachine")
    )
    pattern = found.only("AWS::Events::Rule")["Properties"]["EventPattern"]
    invocation, execution = pattern["detail"]["$or"]
    arn = {"Fn::GetAtt": [function, "Arn"]}
    assert [arn, {"Fn::Join": ["", [arn, ":$LATEST"]]}] == invocation["requestContext"]["functionArn"]
    assert [{"Fn::GetAtt": [state_machine, "Arn"]}] == execution["stateMachineArn"]


@pytest.mark.slow
def test_a_change_of_rights_is_told_to_the_function_and_nothing_else_is(synthesize):
    def grants(name: str, **options) -> str:
        stack = Stack(App(analytics_reporting=False), name, stack_name="Imaging")
        DicomImport(stack, "Import", **options)
        return synthesize(stack).only(IMPORT)["Properties"]["Grants"]

    plain = grants("Plain")
    assert re.fullmatch("[0-9a-f]{16}", plain)
    assert plain == grants("Same", job_name="other", run_id="7")
    assert plain != grants("OtherRights", customer_managed_key=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": Duration.millis(90_500)}, "in whole seconds, known at synth, got 90.5 seconds"),
        (
            {"results_expiration": Duration.hours(5)},
            "must be whole days, 1 at least, got 0.208333 days",
        ),
        ({"results_expiration": Duration.days(0)}, "results_expiration must be whole days, 1 at least, got 0 days"),
    ],
)
def test_fails_durations_that_are_not_whole(stack, options, message):
    with pytest.raises(ValueError, match=message):
        DicomImport(stack, "Import", **options)


@pytest.mark.parametrize("there", [{"account": "444455556666"}, {"region": "eu-west-1"}])
def test_fails_an_access_log_bucket_of_another_place(app, there):
    stack = Stack(app, "Stack", env={"account": "111122223333", "region": "us-east-1"})
    logs = s3.Bucket.from_bucket_attributes(stack, "Logs", bucket_name="logs", **there)
    with pytest.raises(ValueError, match="S3 writes access logs into a bucket of the same account and Region"):
        DicomImport(stack, "Import", access_logs_bucket=logs)
