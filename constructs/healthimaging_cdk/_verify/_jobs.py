"""Experiments about import jobs: what they read, what they write, what a client token does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from healthimaging_cdk._verify.experiment import NOTED, Experiment
from healthimaging_cdk._verify.lab import Lab, error_code
from healthimaging_cdk._verify.samples import p10_file

_MANIFEST_SECONDS = 120
_EVENT_MEMBERS = "datastoreId, imagingVersion, inputS3Uri, jobId, jobName, jobStatus, outputS3Uri"


def _counts(lab: Lab, job_id: str) -> str:
    job = lab.job(job_id)
    summary = lab.manifest(job)
    if summary is None:
        return f"{job['jobStatus']}, no manifest"
    scanned, imported = summary["numberOfScannedFiles"], summary["numberOfImportedFiles"]
    return f"{job['jobStatus']}, {scanned} scanned, {imported} imported"


def _empty_prefix(lab: Lab) -> Mapping[str, str]:
    return {"a prefix with no object": _counts(lab, lab.start_with_new_role("empty/", "empty-prefix"))}


def _folder_markers(lab: Lab) -> Mapping[str, str]:
    lab.upload("markers/", {"": b"", "nested/": b"", "nested/image.dcm": p10_file("markers")})
    return {"two folder markers and one file": _counts(lab, lab.start_with_new_role("markers/", "folder-markers"))}


def _no_slash(lab: Lab) -> Mapping[str, str]:
    lab.upload("part", {"/a.dcm": p10_file("part", 1), "-2/b.dcm": p10_file("part", 2)})
    try:
        seen = _counts(lab, lab.start_with_new_role("part", "no-slash"))
    except ClientError as error:
        seen = error_code(error)
    return {"a prefix without / that two folders begin with": seen}


def _bad_file(lab: Lab) -> Mapping[str, str]:
    lab.upload("bad/", {"good.dcm": p10_file("bad"), "text.dcm": b"no DICOM file"})
    return {"one good file and one that is no DICOM file": _counts(lab, lab.start_with_new_role("bad/", "bad-file"))}


def _archived_object(lab: Lab) -> Mapping[str, str]:
    lab.upload("archive/", {"good.dcm": p10_file("archive", 1)})
    lab.upload("archive/", {"archived.dcm": p10_file("archive", 2)}, storage_class="GLACIER")
    return {"one file and one in GLACIER": _counts(lab, lab.start_with_new_role("archive/", "archived-object"))}


def _result_files(lab: Lab) -> Mapping[str, str]:
    lab.upload("results/", {"image.dcm": p10_file("results")})
    job = lab.job(lab.start_with_new_role("results/", "result-files"))
    ended = time.monotonic()
    summary = lab.wait_for(lambda: lab.manifest(job), "the manifest", _MANIFEST_SECONDS)
    late = time.monotonic() - ended > max(2 * lab.pause, 2.0)
    bucket, _, folder = str(job["outputS3Uri"]).removeprefix("s3://").partition("/")
    listing = lab.client("s3").list_objects_v2(Bucket=bucket, Prefix=folder.rstrip("/") + "/")
    files = sorted(item["Key"].removeprefix(folder.rstrip("/") + "/") for item in listing.get("Contents", []))
    return {
        "when the manifest is there": "later than the status" if late else "with the status",
        "files of a job without rejection or warning": ", ".join(files),
        "warningsOutputS3Uri of a job without warnings": "named" if summary.get("warningsOutputS3Uri") else "not named",
    }


def _tokens(lab: Lab) -> Mapping[str, str]:
    lab.upload("tokens/", {"image.dcm": p10_file("tokens")})
    first = lab.start_with_new_role("tokens/", "token-reuse")
    while_running = lab.start("tokens/", "token-reuse")
    lab.job(first)
    afterwards = lab.start("tokens/", "token-reuse")
    try:
        other = "the same job" if lab.start("empty/", "token-reuse") == first else "another job"
    except ClientError as error:
        other = error_code(error)
    same = {True: "the same job", False: "another job"}
    return {
        "the same token and parameters while the job runs": same[while_running == first],
        "the same token and parameters after its end": same[afterwards == first],
        "the same token with another source": other,
    }


def _start_rate(lab: Lab) -> Mapping[str, str]:
    bench, seen = lab.bench, []
    lab.job(lab.start_with_new_role("empty/", "rate-warm-up"))
    for number in range(6):
        try:
            lab.client("medical-imaging").start_dicom_import_job(
                clientToken=f"rate-{number}",
                datastoreId=bench["DatastoreId"],
                dataAccessRoleArn=bench["RoleArn"],
                inputS3Uri=f"s3://{bench['InputBucket']}/empty/",
                outputS3Uri=f"s3://{bench['OutputBucket']}/rate/",
            )
            seen.append("started")
        except ClientError as error:
            seen.append(error_code(error))
    # botocore repeats what was throttled, so what is seen here was throttled for some seconds.
    others = ", ".join(sorted(set(seen) - {"started"})) or "none"
    return {"six starts at once": f"{seen.count('started')} started, others: {others}"}


def _status_events(lab: Lab) -> Mapping[str, str]:
    lab.upload("events/", {"image.dcm": p10_file("events")})
    details = _event_details(lab, lab.start_with_new_role("events/", "status-events"), "Import Job Completed")
    # The role may not write there.
    forbidden = f"s3://{lab.bench['InputBucket']}/forbidden/"
    failing = lab.start("events/", "status-events-failed", outputS3Uri=forbidden)
    failed = _event_details(lab, failing, "Import Job Failed")
    text = str(lab.job(failing).get("message", ""))
    return {
        "detail-types of a job": ", ".join(sorted(details)),
        "members of a completed job's event": ", ".join(sorted(details["Import Job Completed"])),
        "members of a failed job's event": ", ".join(sorted(failed["Import Job Failed"])),
        "GetDICOMImportJob says why a job failed": "yes" if text else "no",
    }


def _event_details(lab: Lab, job_id: str, last: str) -> dict[str, dict[str, Any]]:
    """Return what the events of a job hold by their detail-types, once the last one has come."""
    lab.job(job_id)
    details: dict[str, dict[str, Any]] = {}

    def have_come() -> bool | None:
        for message in _messages(lab):
            if message["detail"].get("jobId") == job_id:
                details[message["detail-type"]] = message["detail"]
        return True if last in details else None

    lab.wait_for(have_come, f"the event {last}", _MANIFEST_SECONDS)
    return details


def _messages(lab: Lab) -> list[dict[str, Any]]:
    sqs, queue = lab.client("sqs"), lab.bench["QueueUrl"]
    received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
    for message in received:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"]) for message in received]


def _unnamed_job(lab: Lab) -> Mapping[str, str]:
    bench = lab.bench
    lab.job(lab.start_with_new_role("empty/", "named"))

    def start() -> str | None:
        try:
            answer = lab.client("medical-imaging").start_dicom_import_job(
                clientToken="unnamed",
                datastoreId=bench["DatastoreId"],
                dataAccessRoleArn=bench["RoleArn"],
                inputS3Uri=f"s3://{bench['InputBucket']}/empty/",
                outputS3Uri=f"s3://{bench['OutputBucket']}/empty/",
            )
        except lab.client("medical-imaging").exceptions.ThrottlingException:
            return None
        return str(answer["jobId"])

    job = lab.job(lab.wait_for(start, "a start that is not throttled", _MANIFEST_SECONDS))
    return {"the name of a job without a name": "its id" if job["jobName"] == job["jobId"] else "another text"}


EXPERIMENTS = (
    Experiment(
        "empty-prefix",
        "An import of a prefix that holds nothing.",
        {"a prefix with no object": "COMPLETED, 0 scanned, 0 imported"},
        2, 0.0, _empty_prefix,
    ),
    Experiment(
        "folder-markers",
        "Empty objects whose keys end with / count as files or not.",
        {"two folder markers and one file": "COMPLETED, 1 scanned, 1 imported"},
        2, 0.0, _folder_markers,
    ),
    Experiment(
        "prefix-without-slash",
        "A source that does not end with /.",
        {"a prefix without / that two folders begin with": "COMPLETED, 2 scanned, 2 imported"},
        2, 0.0, _no_slash,
    ),
    Experiment(
        "bad-file",
        "A file that is no DICOM file is rejected alone.",
        {"one good file and one that is no DICOM file": "COMPLETED, 2 scanned, 1 imported"},
        2, 0.0, _bad_file,
    ),
    Experiment(
        "archived-object",
        "An object that S3 does not give out before it is restored.",
        {"one file and one in GLACIER": "FAILED, no manifest"},
        2, 0.0, _archived_object,
    ),
    Experiment(
        "result-files",
        "What a job writes, and when its manifest is there.",
        {
            "when the manifest is there": "with the status",
            "files of a job without rejection or warning": "SUCCESS/success.ndjson, job-output-manifest.json",
            "warningsOutputS3Uri of a job without warnings": "not named",
        },
        2, 0.0, _result_files,
    ),
    Experiment(
        "client-token",
        "What HealthImaging makes of a client token that it knows.",
        {
            "the same token and parameters while the job runs": "the same job",
            "the same token and parameters after its end": "the same job",
            "the same token with another source": "ConflictException",
        },
        3, 0.0, _tokens,
    ),
    Experiment(
        "start-rate",
        "How many jobs may be started at once.",
        {"six starts at once": NOTED},
        4, 0.0, _start_rate,
    ),
    Experiment(
        "status-events",
        "What the events of a job hold, and whether they say why it failed.",
        {
            "detail-types of a job": "Import Job Completed, Import Job In Progress, Import Job Submitted",
            "members of a completed job's event": _EVENT_MEMBERS,
            "members of a failed job's event": _EVENT_MEMBERS,
            "GetDICOMImportJob says why a job failed": "yes",
        },
        5, 0.0, _status_events,
    ),
    Experiment(
        "job-name",
        "What a job is called that was started without a name.",
        {"the name of a job without a name": "its id"},
        3, 0.0, _unnamed_job,
    ),
)  # fmt: skip
