"""``healthimaging-cdk status`` of stacks on the local cloud."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from aws_cdk import App, CfnOutput, NestedStack, Stack
from aws_cdk import aws_s3 as s3
from click.testing import CliRunner, Result

from healthimaging_cdk import Completion, Datastore, DicomImport, ImportSource, ImportTolerance
from healthimaging_cdk.cli import status
from healthimaging_cdk.cli._deployed import DeployedStack, UnknownValueError
from tests.deployment import Account

pytestmark = pytest.mark.cloud

GOOD = "CT_small.dcm"


@pytest.fixture
def run(account: Account, monkeypatch: pytest.MonkeyPatch):
    for name, value in account.cloud.environ().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(status.command, list(arguments))

    return run


def imports(run: Any, stack: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(stack, "--format", "json").output)
    return found


def with_source(account: Account, name: str, *files: str, app: App | None = None, **options: Any) -> App:
    """An app whose import takes the given files from a bucket of its own."""
    account.s3.create_bucket(Bucket=f"{name.lower()}-in")
    account.upload(f"{name.lower()}-in", "scans/", *files)
    app = app or App(analytics_reporting=False)
    stack = Stack(app, name)
    source = ImportSource.bucket(s3.Bucket.from_bucket_name(stack, "In", f"{name.lower()}-in"), "scans/")
    DicomImport(stack, "Import", source=source, **options)
    return app


def test_a_success_with_rejected_files_tells_the_causes_and_where_all_of_them_are(account: Account, run) -> None:
    account.deploy(with_source(account, "StatusGood", GOOD, "a.txt", "b.txt"))
    (found,) = imports(run, "StatusGood")
    assert ("SUCCEEDED", "", 0) == (found["state"], found["problem"], found["runningJobsOfDatastore"])
    assert found["path"].startswith("ImportJob")
    assert (3, 1, 2) == tuple(found["counts"][name] for name in ("scanned", "imported", "rejected"))
    assert [2] == list(found["causes"].values())
    bucket, _, key = found["failures"].removeprefix("s3://").partition("/")
    assert 2 == len(account.s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines())
    assert found["jobId"] in [job["jobId"] for job in account.jobs(found["datastoreId"])]
    text = run("StatusGood")
    assert 0 == text.exit_code
    assert "3 files scanned, 1 imported, 2 rejected" in text.output
    assert f"aws s3 cp {found['failures']} -" in text.output
    assert "a.txt" not in text.output


def test_fails_for_an_import_that_failed_and_repeats_the_reason(account: Account, run) -> None:
    app = with_source(account, "StatusBad", GOOD)
    account.deploy(app)
    account.upload("statusbad-in", "scans/", "a.txt")
    app = App(analytics_reporting=False)
    stack = Stack(app, "StatusBad")
    source = ImportSource.bucket(s3.Bucket.from_bucket_name(stack, "In", "statusbad-in"), "scans/")
    DicomImport(stack, "Import", source=source, run_id="2", tolerance=ImportTolerance(rejected_files=0))
    assert "UPDATE_ROLLBACK_COMPLETE" == account.deploy_one(app).status
    result = run("StatusBad")
    (found,) = imports(run, "StatusBad")
    assert (1, "FAILED", "2") == (result.exit_code, found["state"], found["runId"])
    assert found["reason"]
    assert found["reason"] in result.output


def test_a_job_that_runs_is_told(account: Account, run) -> None:
    account.cloud.settings(job_seconds=60)
    account.deploy(with_source(account, "StatusRunning", GOOD, completion=Completion.SUBMIT))
    (found,) = imports(run, "StatusRunning")
    assert ("RUNNING", 1) == (found["state"], found["runningJobsOfDatastore"])
    assert found["jobStatus"] in ("SUBMITTED", "IN_PROGRESS")
    assert 0 == run("StatusRunning").exit_code
    account.cloud.settings(job_seconds=0.2)


def test_an_empty_source_was_refused_without_a_job(account: Account, run) -> None:
    account.deploy(with_source(account, "StatusEmpty"))
    (found,) = imports(run, "StatusEmpty")
    assert ("", False) == (found["jobId"], "counts" in found)


def test_imports_of_nested_stacks_and_stores_of_other_stacks_are_found(account: Account, run) -> None:
    account.s3.create_bucket(Bucket="statusnested-in")
    account.upload("statusnested-in", "scans/", GOOD)
    app = App(analytics_reporting=False)
    stores = Stack(app, "StatusStores")
    store, results = Datastore(stores, "Store"), s3.Bucket(stores, "Results")
    parent = Stack(app, "StatusParent")
    nested = NestedStack(parent, "Nested")
    source = ImportSource.bucket(s3.Bucket.from_bucket_name(nested, "In", "statusnested-in"), "scans/")
    DicomImport(nested, "Import", datastore=store, source=source, output_bucket=results)
    account.deploy(app)
    (found,) = imports(run, "StatusParent")
    assert ("SUCCEEDED", 1) == (found["state"], found["counts"]["imported"])
    assert [] == imports(run, "StatusStores")
    assert "stack StatusStores has no import\n" == run("StatusStores").output


def test_fails_for_a_stack_that_there_is_not(run) -> None:
    result = run("NoSuchStack")
    assert 2 == result.exit_code
    assert "NoSuchStack" in result.output


def test_a_record_that_cannot_be_read_is_a_problem_and_no_traceback(account: Account, run) -> None:
    account.s3.create_bucket(Bucket="statusdamaged-out")
    account.s3.create_bucket(Bucket="statusdamaged-in")
    account.upload("statusdamaged-in", "scans/", GOOD)
    app = App(analytics_reporting=False)
    stack = Stack(app, "StatusDamaged")
    images, results = (s3.Bucket.from_bucket_name(stack, it, f"statusdamaged-{it}") for it in ("in", "out"))
    DicomImport(stack, "Import", source=ImportSource.bucket(images, "scans/"), output_bucket=results)
    account.deploy(app)
    for item in account.s3.list_objects_v2(Bucket="statusdamaged-out")["Contents"]:
        if item["Key"].endswith("-last.json"):
            account.s3.put_object(Bucket="statusdamaged-out", Key=item["Key"], Body=b"[]")
    result = run("StatusDamaged")
    assert (1, SystemExit) == (result.exit_code, type(result.exception))
    assert "problem" in result.output


@pytest.mark.usefixtures("run")
def test_fails_for_a_value_that_cannot_be_told(account: Account) -> None:
    app = App(analytics_reporting=False)
    stack = Stack(app, "StatusOutput")
    CfnOutput(stack, "Any", value="x")
    account.deploy(app)
    deployed = DeployedStack.find(boto3.Session(), "StatusOutput")
    sub = {"Fn::Sub": ["${A}-${AWS::Region}-${!B}", {"A": {"Fn::Select": [1, {"Fn::Split": ["/", "a/b"]}]}}]}
    assert "b-us-east-1-${B}" == deployed.resolve(sub)
    assert "x" == deployed.resolve({"Fn::GetStackOutput": {"StackName": "StatusOutput", "OutputName": "Any"}})
    for value in ({"Fn::GetAZs": ""}, {"Ref": "Nothing"}, {"Fn::GetAtt": "Nothing.Arn"}, {"Fn::ImportValue": "no"}, {}):
        with pytest.raises(UnknownValueError):
            deployed.resolve(value)
