"""The jobs of a data store: starting, finding and looking at one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.errors import NotFoundError

_CLOCKS_DIFFER_BY = 60.0
_PAGE = 50
UNKNOWN_JOB_PATIENCE_SECONDS = 300
"""How long HealthImaging may say that it does not know a job it has just answered with."""


@dataclass(frozen=True)
class Job:
    """What GetDICOMImportJob says of a job."""

    status: str
    name: str
    input_uri: str
    folder: str
    """Where the job writes its results, as an S3 URI."""
    message: str
    has_ended: bool
    ended_at: datetime | None
    """None also where HealthImaging does not say."""
    seconds: float | None
    """How long it took; None as above."""


def start_job(aws: Aws, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Start a job; returns ``jobId`` and ``submittedAt``."""
    return aws.call("medical-imaging", "StartDICOMImportJob", _named, **parameters)


def get_job(aws: Aws, datastore_id: str, job_id: str) -> Job:
    """Look at a job."""
    return aws.call("medical-imaging", "GetDICOMImportJob", _job, datastoreId=datastore_id, jobId=job_id)


def get_known_job(aws: Aws, datastore_id: str, job_id: str) -> Job | None:
    """Look at a job; None where HealthImaging does not know it, not yet or not any more."""
    try:
        return get_job(aws, datastore_id, job_id)
    except NotFoundError:
        return None


def find_job(aws: Aws, datastore_id: str, name: str, since: float) -> dict[str, str] | None:
    """Find the job of a start whose answer was lost, by the name that was sent, which is marked.

    Jobs submitted before the attempt was claimed (``since``) are of earlier attempts whose record was lost.
    """
    earliest = since - _CLOCKS_DIFFER_BY
    for job_id, job_name, submitted_at in _list_jobs(aws, datastore_id):
        if job_name == name and submitted_at and submitted_at.timestamp() >= earliest:
            return {"jobId": job_id, "submittedAt": submitted_at.isoformat()}
    return None


def list_running(aws: Aws, datastore_id: str) -> set[str]:
    """Return the ids of the jobs of a data store that have not ended, as far as they are listed already."""
    statuses = ("SUBMITTED", "IN_PROGRESS")
    return {job_id for status in statuses for job_id, _, _ in _list_jobs(aws, datastore_id, jobStatus=status)}


def _list_jobs(aws: Aws, datastore_id: str, **filters: str) -> Iterator[tuple[str, str, datetime | None]]:
    """List a data store's jobs: the id of each, its name, and when it was submitted."""
    for page in aws.pages(
        "medical-imaging", "ListDICOMImportJobs",
        lambda answer: [
            (str(job["jobId"]), str(job.get("jobName")), job.get("submittedAt")) for job in answer["jobSummaries"]
        ],
        datastoreId=datastore_id, maxResults=_PAGE, **filters,
    ):  # fmt: skip
        yield from page


def _named(answer: Mapping[str, Any]) -> dict[str, str]:
    return {"jobId": str(answer["jobId"]), "submittedAt": answer["submittedAt"].isoformat()}


def _job(answer: Mapping[str, Any]) -> Job:
    found = answer["jobProperties"]
    submitted, ended = found.get("submittedAt"), found.get("endedAt")
    return Job(
        status=str(found["jobStatus"]),
        name=str(found.get("jobName") or ""),
        input_uri=str(found["inputS3Uri"]),
        folder=str(found["outputS3Uri"]),
        message=str(found.get("message") or ""),
        has_ended=found["jobStatus"] in ("COMPLETED", "FAILED"),
        ended_at=ended,
        seconds=(ended - submitted).total_seconds() if ended and submitted else None,
    )
