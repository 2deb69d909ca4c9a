"""The import jobs of a data store: starting one, looking at one, and finding one whose answer was lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws import Clients
from healthimaging_import.faults import explained
from healthimaging_import.problems import Refused

_CLOCKS_DIFFER_BY = 2.0
"""Seconds between the clocks of Lambda and AWS's services, which may leave fractions away."""
_PAGE = 50


@dataclass(frozen=True)
class Job:
    """What GetDICOMImportJob tells of a job."""

    status: str
    folder: str
    """Where the job writes its results, as an S3 URI."""
    message: str
    seconds: float | None
    """How long it took; None if it has not ended, or HealthImaging does not say."""

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.status in ("COMPLETED", "FAILED")


class Jobs:
    """The jobs of HealthImaging, with one import's rights."""

    def __init__(self, clients: Clients, *, settling: bool) -> None:
        """Take the clients, and whether IAM may still be catching up."""
        self._clients = clients
        self._settling = settling

    def start(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Send a request; answers ``jobId`` and ``submittedAt``."""
        with explained("medical-imaging", "StartDICOMImportJob", settling=self._settling):
            return _named(self._clients.starting.start_dicom_import_job(**parameters))

    def get(self, datastore_id: str, job_id: str) -> Job:
        """How a job stands."""
        with self._explained():
            found = self._properties(datastore_id, job_id)
            began, ended = found.get("submittedAt"), found.get("endedAt")
            return Job(
                status=str(found["jobStatus"]),
                folder=str(found["outputS3Uri"]),
                message=str(found.get("message") or ""),
                seconds=(ended - began).total_seconds() if began and ended else None,
            )

    def like(self, parameters: Mapping[str, Any], since: float) -> list[dict[str, str]]:
        """The jobs that a request may have become whose answer nobody wrote down.

        How long HealthImaging remembers a client token is not known, so the list of jobs is asked before a request is
        sent again. A list that may not be read leaves the matter to the token.

        Args:
            parameters: the request.
            since: when it was written down, in seconds.
        """
        datastore_id = str(parameters["datastoreId"])
        try:
            late = self._since(datastore_id, since - _CLOCKS_DIFFER_BY)
            return [job for job in late if self._is_of(job["jobId"], parameters)]
        except Refused as refusal:
            if refusal.code != "AccessDeniedException":
                raise
            log.line("not listed", datastore_id=datastore_id)
            return []

    def _since(self, datastore_id: str, since: float) -> Iterator[dict[str, str]]:
        page: dict[str, str] = {}
        while True:
            with explained("medical-imaging", "ListDICOMImportJobs", settling=self._settling):
                answer = self._clients.healthimaging.list_dicom_import_jobs(
                    datastoreId=datastore_id, maxResults=_PAGE, **page
                )
                late = [
                    _named(job)
                    for job in answer["jobSummaries"]
                    if job.get("submittedAt") and job["submittedAt"].timestamp() >= since
                ]
                token = answer.get("nextToken")
            yield from late
            if not token:
                return
            page = {"nextToken": token}

    def _is_of(self, job_id: str, parameters: Mapping[str, Any]) -> bool:
        with self._explained():
            found = self._properties(str(parameters["datastoreId"]), job_id)
            return bool(
                found["inputS3Uri"].rstrip("/") == parameters["inputS3Uri"].rstrip("/")
                and found["outputS3Uri"].startswith(parameters["outputS3Uri"].rstrip("/"))
                and found["dataAccessRoleArn"] == parameters["dataAccessRoleArn"]
            )

    def _properties(self, datastore_id: str, job_id: str) -> dict[str, Any]:
        answer = self._clients.healthimaging.get_dicom_import_job(datastoreId=datastore_id, jobId=job_id)
        found: dict[str, Any] = answer["jobProperties"]
        return found

    def _explained(self) -> AbstractContextManager[None]:
        return explained("medical-imaging", "GetDICOMImportJob", settling=self._settling)


def age(job: Mapping[str, str], now: float) -> float:
    """How long ago a job was submitted, in seconds."""
    return now - datetime.fromisoformat(job["submittedAt"]).timestamp()


def _named(answer: Mapping[str, Any]) -> dict[str, str]:
    return {"jobId": str(answer["jobId"]), "submittedAt": answer["submittedAt"].isoformat()}
