"""Import jobs of the local HealthImaging, on DICOM files that pydicom's wheel carries."""

from __future__ import annotations

import gzip
import io
import json
import time
from typing import Any

import pydicom
import pytest

from healthimaging_local.ports import Caller
from healthimaging_local.ratelimit import RATES
from healthimaging_local.state import Settings

CT, MR = "CT_small.dcm", "MR_small.dcm"


def changed(content: bytes, **elements: Any) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    for name, value in elements.items():
        if name == "TransferSyntaxUID":
            dataset.file_meta.TransferSyntaxUID = value
        else:
            setattr(dataset, name, value)
    target = io.BytesIO()
    pydicom.dcmwrite(target, dataset, implicit_vr=False, little_endian=True)
    return target.getvalue()


def lines(imaging: Any, job: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in imaging.result(job, name).splitlines()]


def test_good_files_are_imported_and_bad_ones_reported(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/a/ct.dcm", sample(CT))
    imaging.storage.put("source", "in/b/mr.dcm", sample(MR))
    imaging.storage.put("source", "in/notes.txt", b"not DICOM")
    imaging.storage.put("source", "in/no_meta.dcm", sample("no_meta.dcm"))
    imaging.storage.put("source", "in/no_study.dcm", sample("JPEGLSNearLossless_08.dcm"))
    imaging.storage.put("source", "in/folder/", b"")
    imaging.storage.put("source", "in-the-next-folder/ct.dcm", sample(CT))
    job = imaging.run(imaging.datastore())
    summary = imaging.manifest(job)
    assert "COMPLETED" == job["jobStatus"]
    assert (5, 2, 3, 0, 2) == tuple(
        summary[f"numberOf{name}"]
        for name in (
            "ScannedFiles",
            "ImportedFiles",
            "FilesWithCustomerError",
            "FilesWithServerError",
            "GeneratedImageSets",
        )
    )
    assert ["in/a/ct.dcm", "in/b/mr.dcm"] == [
        item["inputFile"] for item in lines(imaging, job, "SUCCESS/success.ndjson")
    ]
    failures = lines(imaging, job, "FAILURE/failure.ndjson")
    assert ["in/no_meta.dcm", "in/no_study.dcm", "in/notes.txt"] == [item["inputFile"] for item in failures]
    assert {"ValidationException"} == {item["exception"]["exceptionType"] for item in failures}


def test_the_manifest_names_everything(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/ct.dcm", sample(CT))
    store = imaging.datastore()
    job = imaging.run(store)
    (image_set,) = imaging.search(store)
    folder = f"s3://results/out/{store}-DicomImport-{job['jobId']}/"
    assert folder == job["outputS3Uri"]
    assert imaging.manifest(job) == {
        "jobId": job["jobId"],
        "datastoreId": store,
        "inputS3Uri": "s3://source/in/",
        "outputS3Uri": folder,
        "successOutputS3Uri": f"{folder}SUCCESS/",
        "failureOutputS3Uri": f"{folder}FAILURE/",
        "numberOfScannedFiles": 1,
        "numberOfImportedFiles": 1,
        "numberOfFilesWithCustomerError": 0,
        "numberOfFilesWithServerError": 0,
        "numberOfGeneratedImageSets": 1,
        "imageSetsSummary": [
            {
                "imageSetId": image_set["imageSetId"],
                "imageSetVersion": 1,
                "isPrimary": True,
                "numberOfMatchedSOPInstances": 1,
            }
        ],
    }


@pytest.mark.parametrize("uri", ["s3://results", "s3://results/", "s3://results/out", "s3://results/out/"])
def test_the_output_folder_has_no_double_slash(imaging: Any, uri: str) -> None:
    job = imaging.run(imaging.datastore(), outputS3Uri=uri)
    assert "//" not in job["outputS3Uri"].removeprefix("s3://")
    assert 0 == imaging.manifest(job)["numberOfScannedFiles"]


def test_a_second_import_of_an_instance_raises_the_version(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/ct.dcm", sample(CT))
    store = imaging.datastore()
    imaging.run(store)
    job = imaging.run(store)
    (image_set,) = imaging.search(store)
    path = f"/datastore/{store}/imageSet/{image_set['imageSetId']}"
    versions = imaging.ask("POST", f"{path}/listImageSetVersions")["imageSetPropertiesList"]
    assert (2, 2) == (image_set["version"], imaging.manifest(job)["imageSetsSummary"][0]["imageSetVersion"])
    assert [("2", "UPDATED"), ("1", "CREATED")] == [
        (item["versionId"], item["ImageSetWorkflowStatus"]) for item in versions
    ]
    assert "1" == imaging.ask("POST", f"{path}/getImageSet", version="1")["versionId"]
    assert 404 == imaging.send("POST", f"{path}/getImageSet", version="9").status
    assert 1 == image_set["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"]


def test_instances_of_a_series_share_an_image_set(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.storage.put("source", "in/2.dcm", changed(sample(CT), SOPInstanceUID="1.2.3"))
    store = imaging.datastore()
    imaging.run(store)
    (image_set,) = imaging.search(store)
    assert (1, 2) == (image_set["version"], image_set["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"])


def test_contradicting_study_data_goes_to_a_non_primary_image_set(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.storage.put("source", "in/2.dcm", changed(sample(CT), PatientID="other"))
    store = imaging.datastore()
    job = imaging.run(store)
    assert [True, False] == [item["isPrimary"] for item in imaging.manifest(job)["imageSetsSummary"]]
    wanted = {"filters": [{"operator": "EQUAL", "values": [{"isPrimary": False}]}]}
    (other,) = imaging.search(store, **wanted)
    assert "other" == other["DICOMTags"]["DICOMPatientId"]


def test_a_patient_id_may_be_empty(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", changed(sample(CT), PatientID=""))
    assert 1 == imaging.manifest(imaging.run(imaging.datastore()))["numberOfImportedFiles"]


def test_fails_for_a_file_stored_with_gzip(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT), "gzip")
    job = imaging.run(imaging.datastore())
    (failure,) = lines(imaging, job, "FAILURE/failure.ndjson")
    assert ("COMPLETED", True) == (job["jobStatus"], "gzip" in failure["exception"]["message"])


def test_an_unknown_transfer_syntax_is_a_warning(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", changed(sample(CT), TransferSyntaxUID="1.2.3.4"))
    job = imaging.run(imaging.datastore())
    (line,) = lines(imaging, job, "WARNING/warning.ndjson")
    (warning,) = line["importResponse"]["warnings"]
    assert (1, 45344, "UNSUPPORTED_TRANSFER_SYNTAX") == (
        imaging.manifest(job)["numberOfImportedFiles"],
        warning["warning_reason_code"],
        warning["type"],
    )


def metadata_configuration(content: bytes, path: str = "meta/patient.json") -> dict[str, Any]:
    study = str(pydicom.dcmread(io.BytesIO(content)).StudyInstanceUID)
    mapping = {"studyInstanceUID": study, "metadataFilePath": path}
    return {"dicomJsonMetadataImportConfiguration": {"dicomMetadataMappings": [mapping]}}


def test_json_metadata_is_laid_over_the_instances_of_its_study(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.storage.put("source", "in/2.dcm", sample(MR))
    elements = {"00100020": {"vr": "LO", "Value": ["anonymous"]}}
    imaging.storage.put("source", "in/meta/patient.json", json.dumps([elements]).encode())
    store = imaging.datastore()
    configuration = metadata_configuration(sample(CT))
    job = imaging.run(store, importConfiguration=configuration)
    assert (2, 2) == tuple(imaging.manifest(job)[f"numberOf{name}Files"] for name in ("Scanned", "Imported"))
    assert {"anonymous", "4MR1"} == {item["DICOMTags"]["DICOMPatientId"] for item in imaging.search(store)}
    assert configuration == job["importConfiguration"]


def test_fails_for_the_instances_whose_metadata_file_is_missing(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.storage.put("source", "in/2.dcm", sample(MR))
    job = imaging.run(imaging.datastore(), importConfiguration=metadata_configuration(sample(CT)))
    (failure,) = lines(imaging, job, "FAILURE/failure.ndjson")
    assert ("in/1.dcm", True) == (failure["inputFile"], "metadata file" in failure["exception"]["message"])


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"{", ""),
        (b"[]", ""),
        (b'[{"00100020": {"vr": "??", "Value": 1}}]', ""),
        (b'[{"00080018": []}]', ""),
        (b'[{"00080018": {"vr": "UI", "Value": 5}}]', ""),
        (b'[{"00081140": {"vr": "SQ", "Value": [5]}}]', ""),
        (b"[" * 100_000, ""),
        (b"[{}]", "gzip"),
        (gzip.compress(b"[{}]", mtime=0)[:-9], "gzip"),
        (gzip.compress(b"\xff\xfe", mtime=0), "gzip"),
    ],
)
def test_fails_for_the_instances_whose_metadata_file_is_broken(
    imaging: Any, sample: Any, content: bytes, encoding: str
) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.storage.put("source", "in/meta/patient.json", content, encoding)
    job = imaging.run(imaging.datastore(), importConfiguration=metadata_configuration(sample(CT)))
    assert ("COMPLETED", 1) == (job["jobStatus"], imaging.manifest(job)["numberOfFilesWithCustomerError"])


@pytest.mark.parametrize("action", ["s3:ListBucket", "s3:GetObject", "s3:PutObject"])
def test_fails_when_the_data_access_role_lacks_an_s3_action(imaging: Any, sample: Any, action: str) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.storage.denied.add(action)
    job = imaging.run(imaging.datastore())
    assert ("FAILED", True) == (job["jobStatus"], action in job["message"])


@pytest.mark.parametrize(
    ("setting", "limit", "part"), [("files_per_job", 1, "FILE_COUNTS_LIMIT"), ("bytes_per_job", 10, "FILE_SIZE_LIMIT")]
)
def test_fails_when_a_job_exceeds_a_quota(imaging: Any, sample: Any, setting: str, limit: int, part: str) -> None:
    setattr(imaging.state.settings, setting, limit)
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.storage.put("source", "in/2.dcm", sample(MR))
    job = imaging.run(imaging.datastore())
    assert ("FAILED", True) == (job["jobStatus"], job["message"].startswith(part))


def test_fails_for_a_file_that_is_too_large(imaging: Any, sample: Any) -> None:
    imaging.state.settings.bytes_per_file = 100
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    assert 1 == imaging.manifest(imaging.run(imaging.datastore()))["numberOfFilesWithCustomerError"]


def test_the_same_client_token_gives_the_same_job(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    store = imaging.datastore()
    first = imaging.run(store, clientToken="one")
    second = imaging.run(store, clientToken="one")
    assert (first["jobId"], 1) == (second["jobId"], len(imaging.state.datastores[store].jobs))


def test_fails_when_a_client_token_comes_with_other_parameters(imaging: Any) -> None:
    store = imaging.datastore()
    imaging.run(store, clientToken="one")
    assert 409 == imaging.start(store, clientToken="one", jobName="other").status


@pytest.mark.parametrize(("refused", "status"), [("iam:PassRole", 403), ("trust", 400)])
def test_fails_to_start_when_iam_refuses_the_role(imaging: Any, refused: str, status: int) -> None:
    store = imaging.datastore()
    imaging.permissions.refused.add(refused)
    assert (status, 0) == (imaging.start(store).status, len(imaging.state.datastores[store].jobs))


def test_fails_to_start_more_jobs_than_may_run_at_once(imaging: Any) -> None:
    imaging.state.settings.jobs_per_datastore = 1
    imaging.state.settings.job_seconds = 0.2
    store = imaging.datastore()
    first = json.loads(imaging.start(store).body)
    assert 402 == imaging.start(store).status
    imaging.ended(store, first["jobId"])
    assert 200 == imaging.start(store).status


def test_fails_to_start_jobs_faster_than_the_rate(imaging: Any) -> None:
    imaging.state.settings.start_rate = 0.001
    imaging.state.settings.start_burst = 2
    store = imaging.datastore()
    assert [200, 200, 429] == [imaging.start(store).status for _ in range(3)]


def test_fails_to_call_faster_than_the_guide_says_unless_that_is_switched_off(imaging: Any) -> None:
    store = imaging.datastore()
    imaging.state.settings.throttling = True
    assert [200, 429] == [imaging.start(store).status for _ in range(2)]
    listing = [imaging.send("GET", f"/listDICOMImportJobs/datastore/{store}").status for _ in range(40)]
    assert ({200, 429}, 200) == (set(listing), listing[19])
    imaging.caller = Caller("444455556666", "us-east-1")
    request = {"clientToken": "other"}
    assert [200, 429] == [imaging.send("POST", "/datastore", request).status for _ in range(2)]
    imaging.state.settings.throttling = False
    assert [200] * 3 == [imaging.send("POST", "/datastore", request).status for _ in range(3)]


def test_throttling_is_on_by_default_and_knows_every_operation(imaging: Any) -> None:
    assert Settings().throttling
    assert set(imaging.api.model.document["operations"]) == set(RATES)


def test_jobs_are_listed_by_status(imaging: Any) -> None:
    store = imaging.datastore()
    done = imaging.run(store)
    imaging.storage.denied.add("s3:ListBucket")
    failed = imaging.run(store)
    path = f"/listDICOMImportJobs/datastore/{store}"
    assert [failed["jobId"], done["jobId"]] == [item["jobId"] for item in imaging.ask("GET", path)["jobSummaries"]]
    assert [failed["jobId"]] == [item["jobId"] for item in imaging.ask("GET", path, jobStatus="FAILED")["jobSummaries"]]


def test_events_tell_of_a_job_without_counts(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    store = imaging.datastore()
    imaging.run(store)
    imaging.run(store)
    names = [name for name, _, _ in imaging.bus.sent if not name.startswith("Data Store")]
    one = ["Import Job Submitted", "Import Job In Progress"]
    assert [
        *one,
        "Image Set Created",
        "Import Job Completed",
        *one,
        "Image Set Updated",
        "Import Job Completed",
    ] == names
    _, resource, detail = imaging.bus.sent[-1]
    assert imaging.state.datastores[store].arn == resource
    expected = {"imagingVersion", "datastoreId", "jobId", "jobName", "jobStatus", "inputS3Uri", "outputS3Uri"}
    assert expected == set(detail)


def test_an_ended_job_tells_its_end_its_name_and_its_role(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    store = imaging.datastore()
    done = imaging.run(store, jobName="mine")
    imaging.storage.denied.add("s3:PutObject")
    failed = imaging.run(store, jobName="other")
    common = {"jobId", "jobName", "jobStatus", "datastoreId", "dataAccessRoleArn", "submittedAt", "endedAt"}
    assert [common, {*common, "message"}] == [set(job) - {"inputS3Uri", "outputS3Uri"} for job in (done, failed)]
    assert ("mine", True) == (done["jobName"], done["submittedAt"] <= done["endedAt"])
    summaries = imaging.ask("GET", f"/listDICOMImportJobs/datastore/{store}")["jobSummaries"]
    assert [{name: job[name] for name in job if not name.endswith("S3Uri")} for job in (failed, done)] == summaries


def test_fails_when_the_right_to_read_is_lost_while_the_job_runs(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.state.settings.job_seconds = 0.8
    store = imaging.datastore()
    job_id = json.loads(imaging.start(store).body)["jobId"]
    imaging.storage.denied.add("s3:GetObject")
    job = imaging.ended(store, job_id)
    assert ("FAILED", True) == (job["jobStatus"], "s3:GetObject" in job["message"])
    assert job["endedAt"] - job["submittedAt"] > 0.75


def test_fails_when_the_right_to_write_is_lost_after_the_files_were_read(imaging: Any, sample: Any) -> None:
    imaging.storage.put("source", "in/1.dcm", sample(CT))
    imaging.state.settings.job_seconds = 4
    store = imaging.datastore()
    job_id = json.loads(imaging.start(store).body)["jobId"]
    while not imaging.search(store):
        time.sleep(0.01)
    job = imaging.ask("GET", f"/getDICOMImportJob/datastore/{store}/job/{job_id}")["jobProperties"]
    assert ("IN_PROGRESS", False) == (job["jobStatus"], "endedAt" in job)
    imaging.storage.denied.add("s3:PutObject")
    job = imaging.ended(store, job_id)
    assert ("FAILED", True) == (job["jobStatus"], "s3:PutObject" in job["message"])
