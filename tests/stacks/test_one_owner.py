"""What an import remembers: which source was imported last, results that are gone, records of somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_s3 as s3
from botocore.exceptions import ClientError

from healthimaging_cdk import DicomImport, ImportSource, ImportTolerance
from tests.deployment import P10_FILES, Account, eventually

pytestmark = [pytest.mark.cloud, pytest.mark.long]

RECORDS = "results/.healthimaging-cdk/"


def app(name: str, source: ImportSource | None = None, **options: Any) -> App:
    app = App(analytics_reporting=False)
    DicomImport(Stack(app, name), "Import", source=source, **options)
    return app


def from_bucket(name: str, images: str, prefix: str, *, results: str | None = None, **options: Any) -> App:
    """An import from a bucket that is there, perhaps with its results in another one."""
    app = App(analytics_reporting=False)
    stack = Stack(app, name)
    source = ImportSource.bucket(s3.Bucket.from_bucket_name(stack, "Images", images), prefix)
    output = s3.Bucket.from_bucket_name(stack, "Results", results) if results else None
    DicomImport(stack, "Import", source=source, output_bucket=output, **options)
    return app


def folder_of(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        file = P10_FILES / name
        (path / name).write_bytes(file.read_bytes() if file.is_file() else b"not a DICOM file")
    return path


def output_bucket(account: Account, stack: str) -> str:
    return account.resource_id(stack, "AWS::S3::Bucket", "OutputBucket")


def last_imported_job(account: Account, bucket: str) -> str:
    """The job of the run that the records call the last one that imported."""
    documents = account.records(bucket)
    (last,) = [document for key, document in documents.items() if key.endswith("-last.json")]
    return str(documents[f"{RECORDS}{last['imported']['intent']}.json"]["job"]["jobId"])


def remove_everything(account: Account, bucket: str) -> None:
    """Remove all objects with their earlier versions, as the administrator."""
    versions = account.s3.list_object_versions(Bucket=bucket)
    for item in [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]:
        account.s3.delete_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])
    assert 0 == account.s3.list_objects_v2(Bucket=bucket)["KeyCount"]


# -- going back ------------------------------------------------------------------------------------------------------


def test_going_back_to_an_earlier_directory_imports_it_again(account, tmp_path):
    one = folder_of(tmp_path / "one", "CT_small.dcm")
    other = folder_of(tmp_path / "other", "CT_small.dcm", "MR_small.dcm")
    deployed = [account.deploy_one(app("FolderBack", ImportSource.directory(it))) for it in (one, other, one)]
    assert ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_COMPLETE"] == [it.status for it in deployed]
    assert [1, 2, 1] == [int(it.output("Summary").split(" files scanned")[0].split()[-1]) for it in deployed]
    jobs = [it.output("JobId") for it in deployed]
    assert 3 == len(set(jobs)) == account.jobs_started()
    assert jobs[2] == last_imported_job(account, output_bucket(account, "FolderBack"))


def test_going_back_to_an_earlier_prefix_imports_it_again(account):
    account.s3.create_bucket(Bucket="prefix-back-images")
    for prefix in ("one/", "other/"):
        account.upload("prefix-back-images", prefix, "CT_small.dcm")
    deployed = [
        account.deploy_one(from_bucket("PrefixBack", "prefix-back-images", it)) for it in ("one/", "other/", "one/")
    ]
    jobs = [it.output("JobId") for it in deployed]
    assert 3 == len(set(jobs)) == account.jobs_started()
    assert jobs[2] == last_imported_job(account, output_bucket(account, "PrefixBack"))


def test_going_back_by_a_rollback_imports_nothing(account, tmp_path):
    good = folder_of(tmp_path / "good", "CT_small.dcm")
    bad = folder_of(tmp_path / "bad", "CT_small.dcm", "notes.txt")
    strict = ImportTolerance(rejected_files=0)
    first = account.deploy_one(app("RolledBack", ImportSource.directory(good)))
    failed = account.deploy_one(app("RolledBack", ImportSource.directory(bad), tolerance=strict))
    assert "UPDATE_ROLLBACK_COMPLETE" == failed.status
    assert 2 == account.jobs_started()
    assert first.output("JobId") == last_imported_job(account, output_bucket(account, "RolledBack"))
    unchanged = account.deploy_one(app("RolledBack", ImportSource.directory(good), job_name="renamed"))
    assert ("UPDATE_COMPLETE", first.output("JobId")) == (unchanged.status, unchanged.output("JobId"))
    assert 2 == account.jobs_started()


# -- results that are gone -------------------------------------------------------------------------------------------


def test_a_deploy_of_the_same_meaning_starts_nothing_when_all_results_are_gone(account, tmp_path):
    folder = folder_of(tmp_path / "folder", "CT_small.dcm")

    def deploy(**options: Any) -> tuple[str, str]:
        deployed = account.deploy_one(app("ResultsGone", ImportSource.directory(folder), **options))
        return deployed.status, deployed.output("Summary")

    deploy()
    remove_everything(account, output_bucket(account, "ResultsGone"))
    for unchanged in ({"job_name": "renamed"}, {"tolerance": ImportTolerance(rejected_files=0)}):
        status, summary = deploy(**unchanged)
        assert "UPDATE_COMPLETE" == status
        assert "nothing was imported again: nothing of meaning has changed, and the earlier record is gone" in summary
        assert "cdk deploy ResultsGone -c run_id=ANY_NEW_VALUE" in summary
    assert 1 == account.jobs_started()
    status, summary = deploy(run_id="again")
    assert ("UPDATE_COMPLETE", 2) == (status, account.jobs_started())
    assert "COMPLETED: 1 files scanned, 1 imported" in summary


# -- records of somebody else ----------------------------------------------------------------------------------------


def test_nobody_but_the_function_may_write_records_into_a_bucket_that_is_created_here(account, tmp_path):
    account.deploy_one(app("OwnBucket", ImportSource.directory(folder_of(tmp_path / "folder", "CT_small.dcm"))))
    bucket = output_bucket(account, "OwnBucket")
    records = account.records(bucket)
    may_all = {"Effect": "Allow", "Action": ["s3:*", "kms:*"], "Resource": "*"}
    for who in (account.s3, account.cloud.client("s3", **account.session("may-write-everything", may_all))):
        for key in [*records, f"{RECORDS}new.json"]:
            with pytest.raises(ClientError, match="AccessDenied"):
                who.put_object(Bucket=bucket, Key=key, Body=b"{}")
        who.put_object(Bucket=bucket, Key="results/note.txt", Body=b"allowed")
    assert records == account.records(bucket)


class GivenBucket:
    """An import whose records somebody else may write, since its output bucket was passed in."""

    def __init__(self, account: Account, name: str) -> None:
        self.account, self.name = account, name
        self.images, self.results = f"{name.lower()}-images", f"{name.lower()}-results"
        for bucket in (self.images, self.results):
            account.s3.create_bucket(Bucket=bucket)
        account.upload(self.images, "own/", "CT_small.dcm")
        account.upload(self.images, "others/", "MR_small.dcm")
        self.first = self.deploy()
        self.store = self.first.output("DatastoreId")
        assert "CREATE_COMPLETE" == self.first.status

    def deploy(self, **options: Any) -> Any:
        return self.account.deploy_one(from_bucket(self.name, self.images, "own/", results=self.results, **options))

    @property
    def record(self) -> dict[str, Any]:
        (found,) = [it for key, it in self.account.records(self.results).items() if not key.endswith("-last.json")]
        return found

    def overwrite(self, **members: Any) -> None:
        """Write over the record, as somebody does who may write into the bucket."""
        document = {**self.record, **members}
        key = f"{RECORDS}{document['intent']}.json"
        self.account.s3.put_object(Bucket=self.results, Key=key, Body=json.dumps(document).encode())


def test_what_a_record_of_somebody_else_asks_for_is_not_sent(account):
    it = GivenBucket(account, "ForgedClaim")
    role = account.resource_id("ForgedClaim", "AWS::IAM::Role", "DataAccessRole")
    parameters = {
        **it.record["parameters"],
        "jobName": "forged",
        "inputS3Uri": f"s3://{it.images}/others/",
        "outputS3Uri": f"s3://{it.images}/stolen/",
        "dataAccessRoleArn": "arn:aws:iam::111122223333:role/other",
    }
    claim = {"state": "CLAIMED", "attempt": 7, "lease_until": 0.0, "job": {}, "verdict": None, "published": False}
    result = {**it.record["result"], "job_id": "", "job_status": "NOT_STARTED"}
    it.overwrite(**claim, parameters=parameters, result=result)
    deployed = it.deploy(job_name="renamed")
    assert "UPDATE_COMPLETE" == deployed.status, deployed.reason
    assert it.first.output("JobId") != deployed.output("JobId")
    job = account.job(it.store, deployed.output("JobId"))
    assert job["jobName"].startswith("renamed-")
    assert f"s3://{it.images}/own/" == job["inputS3Uri"]
    assert job["outputS3Uri"].startswith(f"s3://{it.results}/results/")
    assert job["dataAccessRoleArn"].endswith(f":role/{role}")
    assert 1 == len(account.image_sets(it.store))


def test_fails_a_success_that_somebody_else_has_written(account):
    it = GivenBucket(account, "ForgedSuccess")
    role = account.resource_id("ForgedSuccess", "AWS::IAM::Role", "DataAccessRole")
    own = account.job(it.store, it.first.output("JobId"))
    another = account.healthimaging.start_dicom_import_job(
        datastoreId=it.store,
        dataAccessRoleArn=own["dataAccessRoleArn"],
        inputS3Uri=own["inputS3Uri"],
        outputS3Uri=f"s3://{it.results}/results/",
        jobName="by-hand",
    )
    assert own["dataAccessRoleArn"].endswith(role)
    assert eventually(lambda: account.job(it.store, another["jobId"])["jobStatus"] == "COMPLETED")
    now = own["submittedAt"].isoformat()
    true, counts = it.record, {"scanned": 987654321, "imported": 987654321}
    forged = [
        ({"jobId": "0" * 32, "submittedAt": now}, "which HealthImaging does not know"),
        ({"jobId": another["jobId"], "submittedAt": now}, "which this import did not start"),
        (true["job"], "with other numbers than"),
        ({}, "is damaged"),
    ]
    for number, (job, reason) in enumerate((*forged, *forged)):
        result = {**true["result"], "job_id": job.get("jobId", ""), "counts": {**true["result"]["counts"], **counts}}
        is_published = number < len(forged)
        it.overwrite(**{**true, "published": is_published, "job": job, "result": result})
        deployed = it.deploy(job_name=f"renamed-{number}")
        assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
        assert reason in deployed.reason
        assert "987654321" not in deployed.reason + json.dumps(deployed.outputs)
    assert "987654321" not in account.log_lines()
    assert 2 == account.jobs_started()


def test_fails_a_job_that_writes_where_the_records_are(account):
    it = GivenBucket(account, "JobAsWriter")
    role = account.job(it.store, it.first.output("JobId"))["dataAccessRoleArn"]

    def status(output: str) -> str:
        job = account.healthimaging.start_dicom_import_job(
            datastoreId=it.store,
            dataAccessRoleArn=role,
            inputS3Uri=f"s3://{it.images}/own/",
            outputS3Uri=f"s3://{it.results}/{output}",
        )
        ended = ("COMPLETED", "FAILED")
        assert eventually(lambda: account.job(it.store, job["jobId"])["jobStatus"] in ended)
        return str(account.job(it.store, job["jobId"])["jobStatus"])

    assert "COMPLETED" == status("results/")
    assert "FAILED" == status(RECORDS)
    assert "FAILED" == status("results/deeper/.healthimaging-cdk/")
