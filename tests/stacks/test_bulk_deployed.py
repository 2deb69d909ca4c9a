"""A bulk import on the local cloud, IAM enforced: throttles, 5xx, bad files, a stop, a dead step and a redrive."""

from __future__ import annotations

import gzip
import io
import json
import time
from collections import Counter
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
from tests.public_files import PACKAGES, SOURCES, files

pytestmark = [pytest.mark.cloud, pytest.mark.filterwarnings("ignore::UserWarning")]  # pydicom's of odd files

SLOTS, FILES_PER_JOB = 6, 12
BROKEN = "archive/p07/"
SYNTHETIC_FOLDERS = 27
LARGEST_FILE = 300_000


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


def synthetic(folders: int, files: int = 6) -> dict[str, bytes]:
    """Folders of a patient each; every fifth has a file that is no DICOM file."""
    return {
        f"archive/p{folder:02}/{number}.dcm": b"not a DICOM file"
        if folder % 5 == 0 and number == 5
        else p10(folder, number)
        for folder in range(folders)
        for number in range(files)
    }


def published() -> dict[str, bytes]:
    """Files of packages, by study: a study's files are in one folder, so that its image sets have one version.

    Files that cannot be read or have no ids are among them, each file of the same ids once.
    """
    if not PACKAGES.is_dir():
        pytest.fail("the files are missing in .clients: run `make install-clients` first")
    studies: dict[str, dict[str, bytes]] = {}
    seen: set[str] = set()
    for source in SOURCES.values():
        for _, body in files(source):
            study, instance = ids_of(body)
            known = studies.setdefault(study, {})
            if len(body) <= LARGEST_FILE and len(known) < FILES_PER_JOB - 1 and instance not in seen:
                seen |= {instance} - {""}
                known.setdefault(instance or f"bad{len(known)}", body)
    unknown = list(studies.pop("", {}).values())
    folders: list[list[bytes]] = [[]]
    for bodies in studies.values():
        if len(folders[-1]) + len(bodies) >= FILES_PER_JOB:
            folders.append([])
        folders[-1] += bodies.values()
    # One in a folder: a job that imports nothing would count as failed.
    folders = [[*bodies, *unknown[n : n + 1]] for n, bodies in enumerate(folders)]
    return {
        f"archive/published/{folder:02}/{number:02}.dcm": body
        for folder, bodies in enumerate(folders)
        for number, body in enumerate(bodies)
    }


def ids_of(body: bytes) -> tuple[str, str]:
    """The study and the instance that a file says it is of."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(body), specific_tags=["StudyInstanceUID", "SOPInstanceUID"])
    except Exception:  # noqa: BLE001 - the files of strangers
        return "", ""
    return str(dataset.get("StudyInstanceUID", "")), str(dataset.get("SOPInstanceUID", ""))


class Archive:
    """Folders of images, and a stack that imports them."""

    def __init__(self, account: Account, name: str, contents: dict[str, bytes], **options: Any) -> None:
        self.account, self.name, self.contents = account, name, contents
        self.images, self.results = f"{name.lower()}-images", f"{name.lower()}-results"
        for bucket in (self.images, self.results):
            account.s3.create_bucket(Bucket=bucket)
        for key, body in contents.items():
            self.put(key, body)
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
            quotas=ImportQuotas(files=FILES_PER_JOB),
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

    def document_key(self, name: str) -> str:
        """The key of the one file of the folder of bulk imports with such a name; empty where there is none."""
        listed = self.account.s3.list_objects_v2(Bucket=self.results, Prefix="results/.healthimaging-cdk/bulk/")
        keys = [item["Key"] for item in listed.get("Contents", []) if item["Key"].endswith(f"/{name}")]
        return str(keys[0]) if keys else ""

    def document(self, name: str) -> Any:
        key = self.document_key(name)
        return json.loads(self.read(key)) if key else None

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

    def instances(self) -> Counter[str]:
        """How often each instance is in the store."""
        found: Counter[str] = Counter()
        for image_set in self.image_sets():
            body = self.account.healthimaging.get_image_set_metadata(
                datastoreId=self.store, imageSetId=image_set["imageSetId"]
            )["imageSetMetadataBlob"].read()
            series = json.loads(gzip.decompress(body))["Study"]["Series"]
            found.update(instance for it in series.values() for instance in it["Instances"])
        return found

    def rejected(self) -> set[str]:
        """The keys in the lists of rejected files, which the report's list of jobs leads to."""
        prefix = self.document_key("report.json").removesuffix("report.json") + "rejections/"
        listed = self.account.s3.list_objects_v2(Bucket=self.results, Prefix=prefix).get("Contents", [])
        jobs = [json.loads(line) for item in listed for line in self.read(item["Key"]).splitlines()]
        keys: set[str] = set()
        for job in jobs:
            lines = self.read(job["failure_ndjson"].removeprefix(f"s3://{self.results}/")).splitlines()
            assert job["rejected"] == len(lines)
            keys |= {json.loads(line)["inputFile"] for line in lines}
        return keys

    def read(self, key: str) -> bytes:
        body: bytes = self.account.s3.get_object(Bucket=self.results, Key=key)["Body"].read()
        return body

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
    contents = {**published(), **synthetic(SYNTHETIC_FOLDERS, 12)}
    archive = Archive(account, "Bulk", contents)
    folders = len({key.rpartition("/")[0] for key in contents})
    assert folders >= 50
    assert len(contents) >= 400
    cloud = account.cloud
    cloud.settings(job_seconds=2, files_per_job=FILES_PER_JOB, jobs_per_datastore=SLOTS, start_rate=4, start_burst=1)
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
    key = archive.document_key("state.json")
    account.s3.put_object(Bucket=archive.results, Key=key, Body=json.dumps({"schema": 1, **state}).encode())

    second = archive.start()
    ended = archive.wait(second)
    assert "FAILED" == ended["status"]
    report = archive.document("report.json")
    assert f"1 of {folders} jobs have failed" in ended["cause"], ended
    assert ["FAILED", True] == [report["verdict"], report["files"]["adds_up"]]
    assert [folders - 1, 1] == [report["jobs"]["succeeded"], report["jobs"]["failed"]]

    account.s3.delete_object(Bucket=archive.images, Key=f"{BROKEN}one-too-many")
    archive.states.redrive_execution(executionArn=second)
    assert "SUCCEEDED" == archive.wait(second)["status"]
    report = archive.document("report.json")
    assert_report_equals_the_store(archive, report)
    assert folders + 2 == len(archive.jobs())  # the broken one was tried three times
    assert 1 == sum(job["jobId"] == lost["jobId"] for job in archive.jobs())
    assert "SUCCEEDED" == report["verdict"]
    assert "PatientID" not in json.dumps(report)
    assert "archive/" not in json.dumps(report)

    # A further execution of the same plan has nothing to do.
    assert "SUCCEEDED" == archive.wait(archive.start())["status"]
    assert folders + 2 == len(archive.jobs())
    assert not [it for it in cloud.decisions() if it["decision"] == "denied" and "Archive" in it["principal"]]


def start(account: Account, parameters: dict[str, Any]) -> Any:
    try:
        return account.healthimaging.start_dicom_import_job(**parameters)
    except account.healthimaging.exceptions.ClientError:
        return None


def assert_report_equals_the_store(archive: Archive, report: dict[str, Any]) -> None:
    image_sets = archive.image_sets()
    assert {1} == {image_set["version"] for image_set in image_sets}
    rejected = archive.rejected()
    good = Counter(ids_of(body)[1] for key, body in archive.contents.items() if key not in rejected)
    assert good == archive.instances(), "a file that was not rejected is not in the store once"
    assert {1} == set(good.values())
    assert rejected >= {key for key, body in archive.contents.items() if body == b"not a DICOM file"}
    files = report["files"]
    assert (len(archive.contents), good.total(), len(rejected)) == (
        files["listed"],
        files["imported"],
        files["rejected"],
    )
    assert (0, 0, 0, True) == tuple(files[name] for name in ("to_do", "not_judged", "uncovered", "adds_up"))
    assert len(rejected) == sum(report["rejected"]["causes"].values())
    primary = sum(bool(image_set["isPrimary"]) for image_set in image_sets)
    assert (len(image_sets), primary) == tuple(report["image_sets"][name] for name in ("generated", "primary"))


def test_a_deploy_can_start_it_and_plan_only_starts_no_job(account):
    account.cloud.settings(job_seconds=0.2, files_per_job=FILES_PER_JOB)
    archive = Archive(account, "BulkPlanned", synthetic(3, 12), start_on_deploy=True, plan_only=True)
    assert eventually(lambda: archive.document("plan.json"))
    (execution,) = archive.states.list_executions(stateMachineArn=archive.machine)["executions"]
    assert "SUCCEEDED" == archive.wait(execution["executionArn"])["status"]
    assert 3 == archive.document("plan.json")["jobs"]["count"]
    assert [] == archive.jobs()


@pytest.mark.long
def test_the_commands_watch_report_and_retry(account, monkeypatch, tmp_path):
    for name, value in account.cloud.environ().items():
        monkeypatch.setenv(name, value)
    account.cloud.settings(job_seconds=0.2, files_per_job=FILES_PER_JOB)
    archive = Archive(account, "BulkCommands", synthetic(4, 12), attempts=1)
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
    assert 1 == run("watch", execution).exit_code
    reported = run("report", execution, "--output", str(page), "--no-open")
    assert 1 == reported.exit_code, reported.output
    assert "<svg" in page.read_text()
    archive.account.s3.delete_object(Bucket=archive.images, Key="archive/p02/one-too-many")
    retried = run("retry", archive.machine)
    assert 0 == retried.exit_code, retried.output
    again = retried.stdout.splitlines()[0]
    assert 0 == run("watch", again, "--once").exit_code
    assert 0 == run("watch", again, "--every", "0.2").exit_code
    assert "SUCCEEDED" == archive.wait(again)["status"]
    report = run("report", "BulkCommands", "--format", "json")
    assert (0, 4 * 12 - 1) == (report.exit_code, json.loads(report.stdout)["files"]["imported"])
    assert "nothing to retry" in run("retry", "BulkCommands").output
    planned = run("plan", f"s3://{archive.images}/archive/", "--files", str(FILES_PER_JOB), "--format", "json")
    assert archive.document("plan.json")["plan"] == json.loads(planned.stdout)["plan"]
