"""The whole way on the local cloud, IAM enforced: CloudFormation, Lambda, Step Functions, S3 and HealthImaging."""

from __future__ import annotations

import json
import re

import pydicom
import pytest
from aws_cdk import App, Duration, Stack, Tags
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import (
    DataAccessRole,
    Datastore,
    DicomImport,
    ImportQuotas,
    ImportSource,
    MetadataMapping,
    OnEmpty,
)
from stacks.data_stack import DataStack
from stacks.import_stack import ImportStack
from tests.deployment import P10_FILES, Account, Deployed

pytestmark = pytest.mark.cloud

IMPORT = "Custom::HealthImagingImport"
STORE = "AWS::HealthImaging::Datastore"


def make_app() -> App:
    return App(analytics_reporting=False)


def one_line(name: str, **options) -> App:
    """An app of one stack that holds nothing but an import."""
    app = make_app()
    DicomImport(Stack(app, name), "Import", **options)
    return app


def deploy_with_files(account: Account, name: str, *files: str, **options) -> Deployed:
    """The usual first day: deploy, upload, deploy with another run_id."""
    assert "CREATE_COMPLETE" == account.deploy_one(one_line(name, **options)).status
    account.upload(account.resource_id(name, "AWS::S3::Bucket", "InputBucket"), "dicom/", *files)
    return account.deploy_one(one_line(name, **{**options, "run_id": "first"}))


def test_the_first_deploy_with_an_empty_bucket_succeeds_and_says_what_to_do(account):
    deployed = account.deploy_one(one_line("Empty"))
    assert "CREATE_COMPLETE" == deployed.status
    assert "none" == deployed.output("JobId")
    assert "nothing to import" in deployed.output("Summary")
    assert "cdk deploy Empty -c run_id=ANY_NEW_VALUE" in deployed.output("Summary")
    assert 0 == account.jobs_started()
    assert '"step": "refused", "reason": "NOTHING_TO_IMPORT"' in account.log_lines()


def test_fails_an_empty_bucket_if_asked(account):
    deployed = account.deploy_one(one_line("EmptyFails", on_empty=OnEmpty.FAIL))
    assert "ROLLBACK_COMPLETE" == deployed.status
    assert "nothing to import: no file is under the input prefix of bucket emptyfails-" in deployed.reason


def test_uploaded_files_are_image_sets_after_the_next_deploy(account):
    deployed = deploy_with_files(account, "Usual", "CT_small.dcm", "MR_small.dcm")
    assert "UPDATE_COMPLETE" == deployed.status
    assert "COMPLETED: 2 files scanned, 2 imported, 0 rejected" in deployed.output("Summary")
    assert 2 == len(account.image_sets(deployed.output("DatastoreId")))
    bucket, _, key = deployed.output("ManifestUri").removeprefix("s3://").partition("/")
    assert b'"numberOfImportedFiles"' in account.s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_a_deploy_without_a_change_of_meaning_starts_no_job(account):
    first = deploy_with_files(account, "Again", "CT_small.dcm")
    changed = {"timeout": Duration.minutes(7), "job_name": "renamed", "quotas": ImportQuotas(files=10)}
    second = account.deploy_one(one_line("Again", run_id="first", **changed))
    assert "UPDATE_COMPLETE" == second.status
    assert first.outputs == second.outputs
    assert 1 == account.jobs_started()


def test_another_run_id_starts_another_job(account):
    first = deploy_with_files(account, "Rerun", "CT_small.dcm")
    second = account.deploy_one(one_line("Rerun", run_id="second"))
    assert first.output("JobId") != second.output("JobId")
    assert 2 == account.jobs_started()
    assert [2] == [image_set["version"] for image_set in account.image_sets(second.output("DatastoreId"))]


@pytest.mark.long
def test_going_back_to_an_earlier_run_id_imports_again(account):
    first = deploy_with_files(account, "Back", "CT_small.dcm")
    second = account.deploy_one(one_line("Back", run_id="second"))
    back = account.deploy_one(one_line("Back", run_id="first"))
    assert 3 == len({it.output("JobId") for it in (first, second, back)})
    assert 3 == account.jobs_started()


def test_bad_files_among_good_ones_are_counted(account):
    deployed = deploy_with_files(account, "Mixed", "CT_small.dcm", "no_meta.dcm", "notes.txt")
    assert "UPDATE_COMPLETE" == deployed.status
    assert "3 files scanned, 1 imported, 2 rejected (2 customer errors" in deployed.output("Summary")


def test_fails_a_job_that_imported_nothing_though_it_completed(account):
    deployed = deploy_with_files(account, "AllBad", "no_meta.dcm", "notes.txt")
    assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
    assert "ended with COMPLETED but it imported nothing: 2 files scanned, 0 imported, 2 rejected" in deployed.reason
    assert "most frequent: ValidationException: The file is not a DICOM P10 file" in deployed.reason
    assert "missing (2)" in deployed.reason
    assert "notes.txt" not in deployed.reason


def test_a_failed_import_can_be_tried_again_with_the_same_run_id(account):
    failed = deploy_with_files(account, "Mended", "notes.txt")
    assert "UPDATE_ROLLBACK_COMPLETE" == failed.status
    account.upload(account.resource_id("Mended", "AWS::S3::Bucket", "InputBucket"), "dicom/", "CT_small.dcm")
    mended = account.deploy_one(one_line("Mended", run_id="first"))
    assert "UPDATE_COMPLETE" == mended.status
    tokens = [call["clientToken"] for call in account.cloud.calls("StartDICOMImportJob")]
    assert 2 == len(set(tokens))


def test_fails_more_files_than_a_job_takes_before_one_starts(account):
    deployed = deploy_with_files(account, "TooMany", "CT_small.dcm", "MR_small.dcm", quotas=ImportQuotas(files=1))
    assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
    assert "no job was started: at least 2 files are under the input prefix, one import job takes 1" in deployed.reason
    assert 0 == account.jobs_started()


@pytest.mark.long
def test_fails_archived_objects_before_a_job_starts(account):
    name = "Archived"
    account.deploy_one(one_line(name))
    bucket = account.resource_id(name, "AWS::S3::Bucket", "InputBucket")
    account.upload(bucket, "dicom/", "CT_small.dcm", "MR_small.dcm")
    body = (P10_FILES / "JPEG2000.dcm").read_bytes()
    account.s3.put_object(Bucket=bucket, Key="dicom/old.dcm", Body=body, StorageClass="DEEP_ARCHIVE")
    deployed = account.deploy_one(one_line(name, run_id="1"))
    assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
    assert "no job was started: 1 of 3 objects under the input prefix are in the storage class" in deployed.reason
    assert "aws s3api restore-object" in deployed.reason
    assert 0 == account.jobs_started()
    account.s3.delete_object(Bucket=bucket, Key="dicom/old.dcm")
    assert "UPDATE_COMPLETE" == account.deploy_one(one_line(name, run_id="1")).status


@pytest.mark.long
def test_two_imports_in_one_stack_share_the_function_and_nothing_else(account):
    def app(run_id: str) -> App:
        app = make_app()
        stack = Stack(app, "Two")
        for name in ("First", "Second"):
            DicomImport(stack, name, run_id=run_id)
        return app

    account.deploy_one(app("1"))
    account.upload(account.resource_id("Two", "AWS::S3::Bucket", "FirstInputBucket"), "dicom/", "CT_small.dcm")
    account.upload(account.resource_id("Two", "AWS::S3::Bucket", "SecondInputBucket"), "dicom/", "MR_small.dcm")
    deployed = account.deploy_one(app("2"))
    assert "UPDATE_COMPLETE" == deployed.status
    stores = [deployed.output(f"{name}DatastoreId") for name in ("First", "Second")]
    assert [1, 1] == [len(account.image_sets(store)) for store in stores]
    account.resource_id("Two", "AWS::Lambda::Function")


def test_everything_can_be_brought(account):
    def app(*, with_import: bool) -> App:
        app = make_app()
        stack = Stack(app, "Brought")
        bucket = s3.Bucket(stack, "Bucket")
        results = s3.Bucket(stack, "Results")
        store = Datastore(stack, "Store", datastore_name="mine")
        role = DataAccessRole(
            stack,
            "Role",
            datastore=store,
            input_bucket=bucket,
            input_prefix="studies/",
            output_bucket=results,
            output_prefix="out/",
        )
        if with_import:
            DicomImport(
                stack,
                "Import",
                datastore=store,
                source=ImportSource.bucket(bucket, "studies/"),
                output_bucket=results,
                output_prefix="out/",
                data_access_role=role,
                job_name="nightly",
            )
        return app

    account.deploy_one(app(with_import=False))
    account.upload(account.resource_id("Brought", "AWS::S3::Bucket", "Bucket"), "studies/", "CT_small.dcm")
    account.upload(account.resource_id("Brought", "AWS::S3::Bucket", "Bucket"), "studies-old/", "MR_small.dcm")
    deployed = account.deploy_one(app(with_import=True))
    assert "UPDATE_COMPLETE" == deployed.status
    assert "1 files scanned, 1 imported" in deployed.output("Summary")
    (job,) = account.jobs(deployed.output("DatastoreId"))
    assert re.fullmatch("nightly-[0-9a-f]{20}", job["jobName"])


@pytest.mark.long
@pytest.mark.parametrize("part", ["store", "source", "output"])
def test_each_part_alone_can_be_brought(account, part):
    name = f"Brought{part.title()}"

    def app(run_id: str) -> App:
        app = make_app()
        stack = Stack(app, name)
        brought = {
            "store": lambda: {"datastore": Datastore(stack, "Mine")},
            "source": lambda: {"source": ImportSource.bucket(s3.Bucket(stack, "MyInputBucket"), "dicom/")},
            "output": lambda: {"output_bucket": s3.Bucket(stack, "Mine")},
        }
        DicomImport(stack, "Import", run_id=run_id, **brought[part]())
        return app

    account.deploy_one(app("1"))
    account.upload(account.resource_id(name, "AWS::S3::Bucket", "InputBucket"), "dicom/", "CT_small.dcm")
    deployed = account.deploy_one(app("2"))
    assert ("UPDATE_COMPLETE", 1) == (deployed.status, len(account.image_sets(deployed.output("DatastoreId"))))


@pytest.mark.long
def test_data_and_import_in_two_stacks_and_a_failed_import_leaves_the_data_alone(account):
    def app() -> App:
        app = make_app()
        data = DataStack(app, "Data")
        ImportStack(
            app, "Work", datastore=data.datastore, input_bucket=data.input_bucket, output_bucket=data.output_bucket
        )
        return app

    deployed = account.deploy(app())
    assert ["CREATE_COMPLETE"] * 2 == [stack.status for stack in deployed.values()]
    bucket = deployed["Data"].output("InputBucketName")
    account.destroy("Work")
    account.upload(bucket, "dicom/", "notes.txt")
    again = account.deploy(app())
    assert ["NO_CHANGES", "ROLLBACK_COMPLETE"] == [again["Data"].status, again["Work"].status]
    account.destroy("Work")
    account.upload(bucket, "dicom/", "CT_small.dcm")
    good = account.deploy(app())["Work"]
    assert "2 files scanned, 1 imported, 1 rejected" in good.output("Summary")


def log_group(account: Account, stack: str) -> dict[str, str]:
    name = account.resource_id(stack, "AWS::Logs::LogGroup")
    (found,) = account.cloud.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return found


def test_the_log_is_encrypted_with_the_key_of_the_data_in_another_stack(account):
    app = make_app()
    data = DataStack(app, "Kept")
    ImportStack(
        app, "Logged", datastore=data.datastore, input_bucket=data.input_bucket, output_bucket=data.output_bucket
    )
    assert ["CREATE_COMPLETE"] * 2 == [stack.status for stack in account.deploy(app).values()]
    key = account.resource_id("Kept", "AWS::KMS::Key")
    assert log_group(account, "Logged")["kmsKeyId"].endswith(f":key/{key}")
    policy = json.loads(account.cloud.client("kms").get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    assert {"Service": "logs.us-east-1.amazonaws.com"} in [item["Principal"] for item in policy["Statement"]]


@pytest.mark.long
def test_a_log_without_a_key_gets_that_of_a_later_import_in_place(account):
    def app(*, with_key: bool) -> App:
        app = make_app()
        stack = Stack(app, "Late")
        DicomImport(stack, "First", customer_managed_key=False)
        if with_key:
            DicomImport(stack, "Second")
        return app

    account.deploy_one(app(with_key=False))
    before = log_group(account, "Late")
    assert "UPDATE_COMPLETE" == account.deploy_one(app(with_key=True)).status
    key = account.resource_id("Late", "AWS::KMS::Key")
    after = log_group(account, "Late")
    assert (before["logGroupName"], True) == (after["logGroupName"], after["kmsKeyId"].endswith(f":key/{key}"))


def deny(import_: DicomImport, *actions: str) -> None:
    """Take a right away from our own function's role."""
    role = import_.node.find_child("Job").node.find_child("Role")
    role.add_to_policy(iam.PolicyStatement(effect=iam.Effect.DENY, actions=list(actions), resources=["*"]))
    import_.execute_after(role)


@pytest.mark.parametrize("action", ["medical-imaging:StartDICOMImportJob", "iam:PassRole", "s3:ListBucket"])
def test_fails_a_refused_permission_with_the_reason(account, action):
    name = "Denied" + action.split(":")[1]

    def app(*, denied: bool) -> App:
        app = make_app()
        import_ = DicomImport(Stack(app, name), "Import", run_id=str(denied))
        if denied:
            deny(import_, action)
        return app

    account.deploy_one(app(denied=False))
    account.upload(account.resource_id(name, "AWS::S3::Bucket", "InputBucket"), "dicom/", "CT_small.dcm")
    deployed = account.deploy_one(app(denied=True))
    assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
    assert "a permission is missing" in deployed.reason
    assert action.split(":")[1] in deployed.reason
    assert 0 == account.jobs_started()


def test_fails_a_data_access_role_that_may_not_read(account):
    def app(*, denied: bool) -> App:
        app = make_app()
        import_ = DicomImport(Stack(app, "DeniedRead"), "Import", run_id=str(denied))
        if denied:
            import_.data_access_role.add_to_policy(
                iam.PolicyStatement(effect=iam.Effect.DENY, actions=["s3:GetObject"], resources=["*"])
            )
        return app

    account.deploy_one(app(denied=False))
    account.upload(account.resource_id("DeniedRead", "AWS::S3::Bucket", "InputBucket"), "dicom/", "CT_small.dcm")
    deployed = account.deploy_one(app(denied=True))
    assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
    assert 1 == account.jobs_started()


def test_a_directory_is_unpacked_and_imported_and_changed_files_import_again(account, tmp_path):
    folder = tmp_path / "phantoms"
    (folder / "nested").mkdir(parents=True)
    (folder / "nested" / "ct.dcm").write_bytes((P10_FILES / "CT_small.dcm").read_bytes())

    def app() -> App:
        return one_line("Directory", source=ImportSource.directory(folder))

    first = account.deploy_one(app())
    assert "COMPLETED: 1 files scanned, 1 imported" in first.output("Summary")
    assert "NO_CHANGES" == account.deploy_one(app()).status
    (folder / "mr.dcm").write_bytes((P10_FILES / "MR_small.dcm").read_bytes())
    second = account.deploy_one(app())
    assert "COMPLETED: 2 files scanned, 2 imported" in second.output("Summary")
    bucket = account.resource_id("Directory", "AWS::S3::Bucket", "InputBucket")
    assert 3 == account.s3.list_objects_v2(Bucket=bucket, Prefix="dicom/")["KeyCount"]


def test_dicom_json_metadata_is_imported_by_a_runtime_whose_boto3_does_not_know_it(account):
    study = str(pydicom.dcmread(P10_FILES / "CT_small.dcm").StudyInstanceUID)
    mappings = [MetadataMapping(study_instance_uid=study, metadata_file_path="meta/ct.json")]
    name = "Metadata"
    account.deploy_one(one_line(name))
    bucket = account.resource_id(name, "AWS::S3::Bucket", "InputBucket")
    account.upload(bucket, "dicom/", "CT_small.dcm")
    description = b'{"00081030": {"vr": "LO", "Value": ["described by JSON"]}}'
    account.s3.put_object(Bucket=bucket, Key="dicom/meta/ct.json", Body=description)
    deployed = account.deploy_one(one_line(name, metadata_mappings=mappings))
    assert "UPDATE_COMPLETE" == deployed.status, deployed.reason
    (image_set,) = account.image_sets(deployed.output("DatastoreId"))
    assert "described by JSON" == image_set["DICOMTags"]["DICOMStudyDescription"]


@pytest.mark.long
def test_tags_reach_the_store_in_place_on_every_change(account):
    def app(tags: dict[str, str]) -> App:
        app = make_app()
        Datastore(Stack(app, "Tagged"), "Store")
        for key, value in tags.items():
            Tags.of(app).add(key, value)
        return app

    def state() -> tuple[str, dict[str, str]]:
        store = account.resource_id("Tagged", STORE)
        arn = account.healthimaging.get_datastore(datastoreId=store)["datastoreProperties"]["datastoreArn"]
        return store, {key: value for key, value in account.tags(arn).items() if not key.startswith("aws:")}

    account.deploy_one(app({}))
    store, tags = state()
    assert {} == tags
    for wanted in ({"team": "a", "cost": "7"}, {"team": "b"}, {}):
        assert "UPDATE_COMPLETE" == account.deploy_one(app(wanted)).status
        assert (store, wanted) == state()


def test_a_retained_store_keeps_its_tags_when_the_stack_is_deleted(account):
    app = make_app()
    Datastore(Stack(app, "Gone"), "Store")
    Tags.of(app).add("team", "radiology")
    account.deploy_one(app)
    store = account.resource_id("Gone", STORE)
    arn = account.healthimaging.get_datastore(datastoreId=store)["datastoreProperties"]["datastoreArn"]
    assert "DELETE_COMPLETE" == account.destroy("Gone").status
    assert "radiology" == account.tags(arn)["team"]


def test_destroy_keeps_the_data_and_can_be_done_after_anything(account):
    deployed = deploy_with_files(account, "Destroyed", "CT_small.dcm")
    bucket = account.resource_id("Destroyed", "AWS::S3::Bucket", "InputBucket")
    assert "DELETE_COMPLETE" == account.destroy("Destroyed").status
    assert 1 == len(account.image_sets(deployed.output("DatastoreId")))
    assert 1 == account.s3.list_objects_v2(Bucket=bucket)["KeyCount"]


@pytest.mark.long
def test_a_busy_service_is_waited_for(account):
    account.cloud.inject("StartDICOMImportJob", "ServiceQuotaExceededException", times=2)
    deployed = deploy_with_files(account, "Busy", "CT_small.dcm")
    assert ("UPDATE_COMPLETE", 1) == (deployed.status, account.jobs_started())
    tokens = {call["clientToken"] for call in account.cloud.calls("StartDICOMImportJob")}
    assert 1 == len(tokens)


def test_fails_a_request_that_healthimaging_refuses_with_its_words(account):
    account.deploy_one(one_line("Refused"))
    account.upload(account.resource_id("Refused", "AWS::S3::Bucket", "InputBucket"), "dicom/", "CT_small.dcm")
    account.cloud.inject("StartDICOMImportJob", "ResourceNotFoundException", times=1, message="not found: 7")
    deployed = account.deploy_one(one_line("Refused", run_id="1"))
    assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
    assert "StartDICOMImportJob answered ResourceNotFoundException (not found ...)" in deployed.reason
