"""A bulk import on the local cloud, IAM enforced: throttles, 5xx, bad files, a stop, a dead step and a redrive."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import Any

import pydicom
import pytest
from aws_cdk import App, CfnOutput, Stack
from aws_cdk import aws_s3 as s3
from click.testing import CliRunner

from healthimaging_cdk import BulkDicomImport, BulkPace, Datastore, ImportQuotas, ImportSource
from healthimaging_cdk.bulk_import._bulk_options import BulkOptions
from healthimaging_cdk.cli._group import commands
from healthimaging_import.bulk.plan import decode_jobs
from healthimaging_import.bulk.settings import Settings
from tests.deployment import P10_FILES, Account, eventually

pytestmark = pytest.mark.cloud

FOLDERS, SLOTS = 50, 6
BROKEN = "archive/p07/"


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    given = BulkOptions.settings
    monkeypatch.setattr(BulkOptions, "settings", lambda options: {**given(options), "StepSeconds": 10})


def p10(folder: int, number: int) -> bytes:
    """A file of a patient's own study, with ids of its own."""
    dataset = pydicom.dcmread(P10_FILES / ("CT_small.dcm" if folder % 2 else "MR_small.dcm"))
    dataset.PatientID = f"P{folder}"
    dataset.StudyInstanceUID = f"1.2.826.0.1.3680043.8.498.{folder}.1"
    dataset.SeriesInstanceUID = f"{dataset.StudyInstanceUID}.{number % 2}"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SeriesInstanceUID}.{number}"
    dataset.StudyID, dataset.AccessionNumber, dataset.SeriesNumber = f"{folder}", f"A{folder}", number % 2
    body = io.BytesIO()
    dataset.save_as(body)
    return body.getvalue()


class Archive:
    """Fifty folders of images, and a stack that imports them."""

    def __init__(self, account: Account, name: str, folders: int = FOLDERS, **options: Any) -> None:
        self.account, self.name = account, name
        self.images, self.results = f"{name.lower()}-images", f"{name.lower()}-results"
        for bucket in (self.images, self.results):
            account.s3.create_bucket(Bucket=bucket)
        self.good, self.bad = 0, 0
        for folder in range(folders):
            for number in range(6):
                is_bad = folder % 5 == 0 and number == 5
                body = b"not a DICOM file" if is_bad else p10(folder, number)
                self.put(f"archive/p{folder:02}/{number}.dcm", body)
                self.good, self.bad = self.good + (not is_bad), self.bad + is_bad
        self.store = account.healthimaging.create_datastore(datastoreName=name)["datastoreId"]
        self.states = account.cloud.client("stepfunctions")
        deployed = account.deploy_one(self.app(**options))
        assert "CREATE_COMPLETE" == deployed.status, deployed.reason
        self.machine = deployed.output("Machine")

    def put(self, key: str, body: bytes) -> None:
        self.account.s3.put_object(Bucket=self.images, Key=key, Body=body)

    def app(self, **options: Any) -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, self.name)
        archive = BulkDicomImport(
            stack,
            "Archive",
            datastore=Datastore.from_datastore_id(stack, "Store", self.store),
            source=ImportSource.bucket(s3.Bucket.from_bucket_name(stack, "Images", self.images), "archive/"),
            output_bucket=s3.Bucket.from_bucket_name(stack, "Results", self.results),
            quotas=ImportQuotas(files=6),
            pace=BulkPace(starts_per_second=4, concurrent_jobs=SLOTS),
            **{"attempts": 2, **options},
        )
        CfnOutput(stack, "Machine", value=archive.state_machine_arn)
        return app

    def start(self, **state: Any) -> str:
        answer = self.states.start_execution(stateMachineArn=self.machine, input=json.dumps(state))
        return str(answer["executionArn"])

    def status(self, execution: str) -> dict[str, Any]:
        found: dict[str, Any] = self.states.describe_execution(executionArn=execution)
        return found

    def wait(self, execution: str) -> dict[str, Any]:
        assert eventually(lambda: self.status(execution)["status"] != "RUNNING", 1800), self.log()
        return self.status(execution)

    def log(self) -> str:
        return self.account.log_lines()[-3000:]

    def document(self, name: str) -> Any:
        """The one file of the folder of bulk imports with such a name."""
        listed = self.account.s3.list_objects_v2(Bucket=self.results, Prefix="results/.healthimaging-cdk/bulk/").get(
            "Contents", []
        )
        keys = [item["Key"] for item in listed if item["Key"].endswith(f"/{name}")]
        if not keys:
            return None
        self.key = keys[0]
        return json.loads(self.account.s3.get_object(Bucket=self.results, Key=self.key)["Body"].read())

    def settings(self) -> Settings:
        definition = json.loads(self.states.describe_state_machine(stateMachineArn=self.machine)["definition"])
        return Settings.parse(definition["States"]["Run"]["Parameters"]["Payload"]["settings"])

    def image_sets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {}
        while True:
            answer = self.account.healthimaging.search_image_sets(datastoreId=self.store, maxResults=50, **page)
            found += answer["imageSetsMetadataSummaries"]
            if not answer.get("nextToken"):
                return found
            page = {"nextToken": answer["nextToken"]}

    def jobs(self) -> list[dict[str, Any]]:
        pages = self.account.healthimaging.get_paginator("list_dicom_import_jobs").paginate(datastoreId=self.store)
        return [job for page in pages for job in page["jobSummaries"]]

    def until(self, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The state, once it is so."""
        assert eventually(lambda: (found := self.document("state.json")) and check(found)), self.log()
        found: dict[str, Any] = self.document("state.json")
        return found


@pytest.mark.long
def test_every_good_file_is_in_the_store_once_whatever_went_wrong(account):
    archive = Archive(account, "Bulk")
    cloud = account.cloud
    cloud.settings(job_seconds=2, files_per_job=6, jobs_per_datastore=SLOTS, start_rate=4, start_burst=1)
    assert "SUCCEEDED" == archive.wait(archive.start(plan_only=True))["status"]
    archive.put(f"{BROKEN}one-too-many", b"x")  # fails its job, since it came after the plan
    for operation in ("GetDICOMImportJob", "ListDICOMImportJobs", "StartDICOMImportJob"):
        cloud.inject(operation, "ThrottlingException", times=3)
        if operation != "StartDICOMImportJob":
            cloud.inject(operation, "InternalServerException", times=2)
    first = archive.start()
    archive.until(lambda state: state["done"] >= 8)
    archive.states.stop_execution(executionArn=first)
    # The invocation that is at work ends its step though its execution is stopped.
    before = archive.until(lambda state: state["claim"] is None)
    eventually(lambda: archive.document("state.json") == (time.sleep(12), archive.document("state.json"))[1])

    # A step dies between its start and the note of it.
    state, options = archive.document("state.json"), archive.settings()
    assert before["jobs"] > state["next"]
    body = account.s3.get_object(
        Bucket=archive.results, Key=f"results/.healthimaging-cdk/bulk/{state['plan']}/plan/0001.jsonl"
    )
    planned = decode_jobs(body["Body"].read())[state["next"] - 1]
    token = options.token(state["plan"], state["run"], planned.prefix, 1)
    parameters = options.start_parameters(token, planned.prefix)
    lost = eventually(lambda: start(account, parameters))
    now = time.time()
    state["claim"] = {
        "n": planned.n,
        "attempt": 1,
        "name": parameters["jobName"],
        "by": "x",
        "at": now - 99,
        "until": now,
    }
    state["next"] += 1
    archive.document("state.json")
    account.s3.put_object(Bucket=archive.results, Key=archive.key, Body=json.dumps({"schema": 1, **state}).encode())

    second = archive.start()
    ended = archive.wait(second)
    assert "FAILED" == ended["status"]
    report = archive.document("report.json")
    assert "1 of 50 jobs have failed" in ended["cause"], ended
    assert ["FAILED", True] == [report["verdict"], report["files"]["adds_up"]]
    assert {49: 1, 1: 1} == {report["jobs"]["succeeded"]: 1, report["jobs"]["failed"]: 1}

    account.s3.delete_object(Bucket=archive.images, Key=f"{BROKEN}one-too-many")
    archive.states.redrive_execution(executionArn=second)
    assert "SUCCEEDED" == archive.wait(second)["status"]
    report = archive.document("report.json")
    assert_report_equals_the_store(archive, report)
    assert FOLDERS + 2 == len(archive.jobs())  # the broken one was tried three times
    assert 1 == sum(job["jobId"] == lost["jobId"] for job in archive.jobs())
    assert "SUCCEEDED" == report["verdict"]
    assert "PatientID" not in json.dumps(report)
    assert "archive/" not in json.dumps(report)

    # A further execution of the same plan has nothing to do.
    assert "SUCCEEDED" == archive.wait(archive.start())["status"]
    assert FOLDERS + 2 == len(archive.jobs())
    assert not [it for it in cloud.decisions() if it["decision"] == "denied" and "Archive" in it["principal"]]


def start(account: Account, parameters: dict[str, Any]) -> Any:
    try:
        return account.healthimaging.start_dicom_import_job(**parameters)
    except account.healthimaging.exceptions.ClientError:
        return None


def assert_report_equals_the_store(archive: Archive, report: dict[str, Any]) -> None:
    image_sets = archive.image_sets()
    assert {1} == {image_set["version"] for image_set in image_sets}
    tags = [image_set["DICOMTags"] for image_set in image_sets]
    studies = {it["DICOMStudyInstanceUID"]: it["DICOMNumberOfStudyRelatedInstances"] for it in tags}
    assert archive.good == sum(studies.values()) == report["files"]["imported"]
    assert archive.bad == report["files"]["rejected"]
    assert len(image_sets) == report["image_sets"]["generated"]
    assert (archive.good + archive.bad, 0, 0, True) == tuple(
        report["files"][name] for name in ("listed", "to_do", "not_judged", "adds_up")
    )


def test_a_deploy_can_start_it_and_plan_only_starts_no_job(account):
    account.cloud.settings(job_seconds=0.2, files_per_job=6)
    archive = Archive(account, "BulkPlanned", folders=3, start_on_deploy=True, plan_only=True)
    assert eventually(lambda: archive.document("plan.json"))
    (execution,) = archive.states.list_executions(stateMachineArn=archive.machine)["executions"]
    assert "SUCCEEDED" == archive.wait(execution["executionArn"])["status"]
    assert 3 == archive.document("plan.json")["jobs"]["count"]
    assert [] == archive.jobs()


def test_the_commands_watch_report_and_retry(account, monkeypatch, tmp_path):
    for name, value in account.cloud.environ().items():
        monkeypatch.setenv(name, value)
    account.cloud.settings(job_seconds=0.2, files_per_job=6)
    archive = Archive(account, "BulkCommands", folders=4, attempts=1)
    page = tmp_path / "report.html"

    def run(name: str, *more: str) -> Any:
        return CliRunner().invoke(commands, [name, *more])

    assert (2, True) == ((nothing := run("report", "BulkCommands")).exit_code, "not made yet" in nothing.output)
    archive.wait(archive.start(plan_only=True))
    archive.put("archive/p02/one-too-many", b"x")
    execution = archive.start()
    assert "FAILED" == archive.wait(execution)["status"]
    watched = run("watch", "BulkCommands")
    assert 1 == watched.exit_code, watched.output
    assert "3 succeeded, 1 failed" in watched.output
    reported = run("report", execution, "--output", str(page), "--no-open")
    assert 1 == reported.exit_code, reported.output
    assert "<svg" in page.read_text()
    archive.account.s3.delete_object(Bucket=archive.images, Key="archive/p02/one-too-many")
    retried = run("retry", archive.machine)
    assert 0 == retried.exit_code, retried.output
    assert "SUCCEEDED" == archive.wait(retried.stdout.splitlines()[0])["status"]
    report = run("report", "BulkCommands", "--format", "json")
    assert (0, archive.good) == (report.exit_code, json.loads(report.stdout)["files"]["imported"])
    assert "nothing to retry" in run("retry", "BulkCommands").output
    planned = run("plan", f"s3://{archive.images}/archive/", "--files", "6", "--format", "json")
    assert archive.document("plan.json")["plan"] == json.loads(planned.stdout)["plan"]
