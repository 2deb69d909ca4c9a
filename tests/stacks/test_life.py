"""The import's whole life on the local cloud: jobs that outlast a deploy, deletions, executions that are lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, RemovalPolicy, Stack
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Completion, Datastore, DicomImport, ImportSource, ImportTolerance, OnEmpty
from tests.deployment import Account, Deployed, eventually

pytestmark = [pytest.mark.cloud, pytest.mark.long]


def app(name: str, **options: Any) -> App:
    app = App(analytics_reporting=False)
    DicomImport(Stack(app, name), "Import", **options)
    return app


def filled(account: Account, name: str, *files: str) -> None:
    """A stack whose first deploy found nothing, and whose bucket holds files now."""
    assert "CREATE_COMPLETE" == account.deploy_one(app(name)).status
    account.upload(account.resource_id(name, "AWS::S3::Bucket", "InputBucket"), "dicom/", *files)


def executions(account: Account, stack: str, status: str | None = None) -> list[dict[str, Any]]:
    arn = account.resource_id(stack, "AWS::StepFunctions::StateMachine")
    only = {"statusFilter": status} if status else {}
    found: list[dict[str, Any]] = account.cloud.client("stepfunctions").list_executions(stateMachineArn=arn, **only)[
        "executions"
    ]
    return found


def test_a_submitted_job_is_not_waited_for_and_its_verdict_is_remembered(account):
    filled(account, "Submitted", "CT_small.dcm", "no_meta.dcm")
    account.cloud.settings(job_seconds=1.5)
    deployed = account.deploy_one(app("Submitted", run_id="1", completion=Completion.SUBMIT))
    assert "UPDATE_COMPLETE" == deployed.status
    assert "the job is still running; its verdict reaches metrics and events" in deployed.output("Summary")
    assert eventually(lambda: '"FilesImported": 1' in account.log_lines())
    later = account.deploy_one(app("Submitted", run_id="1", completion=Completion.WAIT))
    assert deployed.output("JobId") == later.output("JobId")
    assert "COMPLETED: 2 files scanned, 1 imported, 1 rejected" in later.output("Summary")
    assert 1 == account.jobs_started()


def test_a_job_that_outlasts_the_deploy_is_detached_and_polled_to_its_end(account):
    filled(account, "Detached", "CT_small.dcm")
    account.cloud.settings(job_seconds=40)  # longer than a deploy takes on a busy machine; it is polled once a minute
    impatient = app("Detached", run_id="1", completion=Completion.DETACH)
    job = impatient.node.find_child("Detached").node.find_child("Import").node.find_child("Job")
    job.resource.node.default_child.add_property_override("WaitSeconds", 1)  # a user's shortest is a minute
    deployed = account.deploy_one(impatient)
    assert "UPDATE_COMPLETE" == deployed.status
    assert "the job is still running; its verdict reaches metrics and events" in deployed.output("Summary")
    assert [] == account.image_sets(deployed.output("DatastoreId"))
    assert eventually(lambda: executions(account, "Detached", "RUNNING") == [])
    assert 1 == len(account.image_sets(deployed.output("DatastoreId")))


def test_an_update_while_the_earlier_job_runs_waits_for_that_job(account):
    filled(account, "Joined", "CT_small.dcm")
    account.cloud.settings(job_seconds=2)
    submitted = account.deploy_one(app("Joined", run_id="1", completion=Completion.SUBMIT))
    joined = account.deploy_one(app("Joined", run_id="1", job_name="renamed"))
    assert submitted.output("JobId") == joined.output("JobId")
    assert "COMPLETED: 1 files scanned" in joined.output("Summary")
    assert 1 == account.jobs_started()


def test_fails_more_rejected_files_than_are_tolerated(account):
    filled(account, "Strict", "CT_small.dcm", "no_meta.dcm")
    deployed = account.deploy_one(app("Strict", run_id="1", tolerance=ImportTolerance(rejected_files=0)))
    assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
    assert "1 rejected files are more than 0" in deployed.reason
    tolerant = account.deploy_one(app("Strict", run_id="1", tolerance=ImportTolerance(rejected_percent=50)))
    assert "UPDATE_COMPLETE" == tolerant.status


def test_deleting_while_a_job_runs_waits_for_it_so_that_the_store_can_go(account):
    filled(account, "Hasty", "CT_small.dcm")
    account.cloud.settings(job_seconds=2)
    deployed = account.deploy_one(app("Hasty", run_id="1", completion=Completion.SUBMIT))
    assert "DELETE_COMPLETE" == account.destroy("Hasty").status
    jobs = account.jobs(deployed.output("DatastoreId"))
    assert ["COMPLETED"] == [job["jobStatus"] for job in jobs]


def test_a_failed_first_deploy_can_be_deployed_again_without_cleaning(account):
    assert "ROLLBACK_COMPLETE" == account.deploy_one(app("Failing", on_empty=OnEmpty.FAIL)).status
    account.destroy("Failing")
    assert "CREATE_COMPLETE" == account.deploy_one(app("Failing")).status


def test_a_failed_first_deploy_leaves_a_store_with_image_sets_that_the_next_one_can_use(account):
    def into_a_store(folder: str, **options: Any) -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, "Partly")
        store = Datastore.from_datastore_id(stack, "Store", datastore_id)
        bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "partly-images")
        DicomImport(stack, "Import", datastore=store, source=ImportSource.bucket(bucket, folder), **options)
        return app

    datastore_id = account.healthimaging.create_datastore(datastoreName="partly")["datastoreId"]
    account.s3.create_bucket(Bucket="partly-images")
    account.upload("partly-images", "a/", "CT_small.dcm", "no_meta.dcm")
    strict = ImportTolerance(rejected_files=0)
    assert "ROLLBACK_COMPLETE" == account.deploy_one(into_a_store("a/", tolerance=strict)).status
    assert 1 == len(account.image_sets(datastore_id))
    account.destroy("Partly")
    assert "CREATE_COMPLETE" == account.deploy_one(into_a_store("a/")).status
    assert [2] == [image_set["version"] for image_set in account.image_sets(datastore_id)]


def test_a_stack_made_again_under_its_old_name_imports_again(account):
    def deploy() -> Deployed:
        return account.deploy_one(app("Phoenix", removal_policy=RemovalPolicy.RETAIN))

    deploy()
    account.upload(account.resource_id("Phoenix", "AWS::S3::Bucket", "InputBucket"), "dicom/", "CT_small.dcm")
    account.deploy_one(app("Phoenix", run_id="1"))
    account.destroy("Phoenix")
    again = deploy()
    assert "nothing to import" in again.output("Summary")  # its own new bucket, not the retained one


def test_fails_a_request_whose_execution_is_stopped_by_hand_and_polls_its_job_on(account):
    filled(account, "Stopped", "CT_small.dcm")
    account.cloud.settings(job_seconds=8)
    states = account.cloud.client("stepfunctions")
    stack = account.begin(app("Stopped", run_id="1"))
    assert eventually(lambda: account.jobs_started() == 1)
    (running,) = executions(account, "Stopped", "RUNNING")
    states.stop_execution(executionArn=running["executionArn"])
    deployed = account.end(stack)
    assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
    assert "the request was not finished (ABORTED)" in deployed.reason
    machine = account.resource_id("Stopped", "AWS::StepFunctions::StateMachine")
    names = [it["name"] for it in states.list_executions(stateMachineArn=machine)["executions"]]
    assert [f"{running['name']}-detached"] == [name for name in names if name.endswith("-detached")]
    assert eventually(lambda: executions(account, "Stopped", "RUNNING") == [])
    (job,) = account.jobs(deployed.output("DatastoreId"))
    assert ("COMPLETED", ["SUCCEEDED"]) == (job["jobStatus"], account.verdicts(job["jobId"]))


def test_a_doubled_event_starts_one_execution_and_one_job(account):
    filled(account, "Doubled", "CT_small.dcm")
    function = account.resource_id("Doubled", "AWS::Lambda::Function")
    account.cloud.settings(job_seconds=3)
    stack = account.begin(app("Doubled", run_id="1"))
    assert eventually(lambda: account.jobs_started() == 1)
    (running,) = executions(account, "Doubled", "RUNNING")
    states = account.cloud.client("stepfunctions")
    event = json.loads(states.describe_execution(executionArn=running["executionArn"])["input"])["event"]
    for _ in range(3):
        account.cloud.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event).encode())
    assert [running["name"]] == [one["name"] for one in executions(account, "Doubled", "RUNNING")]
    assert "UPDATE_COMPLETE" == account.end(stack).status
    assert 1 == account.jobs_started()
    assert eventually(lambda: executions(account, "Doubled", "RUNNING") == [])
    names = [one["name"] for one in executions(account, "Doubled", "SUCCEEDED")]
    assert [running["name"]] == [name for name in names if name.startswith(running["name"])]
