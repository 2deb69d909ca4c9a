"""What became of each import of a deployed stack, from its record and from HealthImaging."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.exceptions

from healthimaging_cdk.cli import _function  # noqa: F401 - the imports below need it
from healthimaging_cdk.cli._deployed import DeployedStack, NoSuchStackError, UnknownValueError

from healthimaging_import.contract import RECORDS_FOLDER, ResourceType  # isort: skip
from healthimaging_import.errors import TerminalError  # isort: skip
from healthimaging_import.importing.job_output import causes, lines_of  # isort: skip
from healthimaging_import.importing.record import LONGEST_DOCUMENT, Record, State, decode_document  # isort: skip
from healthimaging_import.importing.request import ImportRequest  # isort: skip

_CHUNK = 64 * 1024


@dataclass(frozen=True)
class ImportStatus:
    """One import of a stack."""

    stack: str
    logical_id: str
    path: str
    """The construct's path, or the logical id where the template does not say."""
    datastore_id: str = ""
    record: Record | None = None
    job_status: str = ""
    """What HealthImaging says of a job that runs, as far as the record knows."""
    running_jobs: int = 0
    """Jobs of the data store that have not ended, whoever started them."""
    causes: Counter[str] = field(default_factory=Counter)
    problem: str = ""
    """Why something of this is not known."""
    run_id: str = ""

    @property
    def state(self) -> str:
        """One word: a verdict, or what the import is at."""
        if self.record is None:
            return "UNKNOWN" if self.problem else "NOT_STARTED"
        if self.record.state is State.JUDGED and self.record.verdict:
            return self.record.verdict.value
        return self.record.state.value

    @property
    def failures_file(self) -> str:
        """The S3 URI of the list of rejected files; empty where none were."""
        if self.record is None or not self.record.result.counts.rejected or not self.record.result.failures_uri:
            return ""
        return f"{self.record.result.failures_uri.rstrip('/')}/failure.ndjson"


def imports_of(session: boto3.Session, stack_name: str) -> Iterator[ImportStatus]:
    """Look at the imports of a stack and of the stacks nested in it.

    Raises:
        NoSuchStackError: there is no such stack, or it may not be looked at.
    """
    for stack in DeployedStack.find(session, stack_name).with_nested():
        for logical_id, resource in stack.resources(ResourceType.IMPORT):
            path = construct_path(logical_id, resource)
            properties = resource.get("Properties", {})
            try:
                datastore_id, bucket, prefix = (
                    stack.resolve(properties.get(name, "")) for name in ("DatastoreId", "OutputBucket", "OutputPrefix")
                )
            except (UnknownValueError, NoSuchStackError) as error:
                yield ImportStatus(stack.name, logical_id, path, problem=str(error))
            else:
                scope = f"{stack.stack_id}/{logical_id}"
                yield _Look(session, bucket, prefix).at(ImportStatus(stack.name, logical_id, path, datastore_id), scope)


def construct_path(logical_id: str, resource: Mapping[str, Any]) -> str:
    """Return the path of the import that a custom resource is of; its logical id where the template does not say."""
    path = str(resource.get("Metadata", {}).get("aws:cdk:path", logical_id))
    return path.removesuffix("/Default").removesuffix("/Resource").removesuffix("/Job")


@dataclass(frozen=True)
class _Look:
    session: boto3.Session
    bucket: str
    prefix: str

    def at(self, status: ImportStatus, scope: str) -> ImportStatus:
        found = dict(vars(status))
        try:
            found["running_jobs"] = self._running_jobs(status.datastore_id)
            request = ImportRequest(scope, status.datastore_id, "", "", "", self.bucket, self.prefix)
            last = self._read(f"{request.store_scope}-last.json")
            started = decode_document(last, "last.json")["started"] if last else None
            if started:
                found["run_id"] = str(started["run_id"])
                body = self._read(f"{started['intent']}.json")
                found["record"] = record = Record.decode(body, started["intent"], time.time()) if body else None
                if record and record.state is State.RUNNING:
                    found["job_status"] = self._job_status(status.datastore_id, record.job["jobId"])
                found["causes"] = self._causes(ImportStatus(**found).failures_file)
        except (botocore.exceptions.ClientError, TerminalError, KeyError, TypeError, ValueError) as error:
            found["problem"] = str(error)
        return ImportStatus(**found)

    def _running_jobs(self, datastore_id: str) -> int:
        pages = self.session.client("medical-imaging").get_paginator("list_dicom_import_jobs")
        return sum(
            len(page["jobSummaries"])
            for status in ("SUBMITTED", "IN_PROGRESS")
            for page in pages.paginate(datastoreId=datastore_id, jobStatus=status)
        )

    def _job_status(self, datastore_id: str, job_id: str) -> str:
        job = self.session.client("medical-imaging").get_dicom_import_job(datastoreId=datastore_id, jobId=job_id)
        return str(job["jobProperties"]["jobStatus"])

    def _read(self, name: str) -> bytes | None:
        s3 = self.session.client("s3")
        with suppress(s3.exceptions.NoSuchKey):
            answer = s3.get_object(Bucket=self.bucket, Key=f"{self.prefix}{RECORDS_FOLDER}{name}")
            body: bytes = answer["Body"].read(LONGEST_DOCUMENT + 1)
            return body
        return None

    def _causes(self, uri: str) -> Counter[str]:
        if not uri:
            return Counter()
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        with closing(self.session.client("s3").get_object(Bucket=bucket, Key=key)["Body"]) as body:
            return causes(lines_of(body.iter_chunks(_CHUNK)))


def as_document(status: ImportStatus) -> dict[str, object]:
    """Return what ``--format json`` prints of an import."""
    record = status.record
    result = record.result if record else None
    document: dict[str, object] = {
        "stack": status.stack,
        "logicalId": status.logical_id,
        "path": status.path,
        "datastoreId": status.datastore_id,
        "state": status.state,
        "runId": status.run_id,
        "jobId": result.job_id or record.job.get("jobId", "") if record and result else "",
        "jobStatus": status.job_status or (result.job_status if result else ""),
        "submittedAt": record.job.get("submittedAt", "") if record else "",
        "attempt": record.attempt if record else 0,
        "reason": record.reason if record else "",
        "runningJobsOfDatastore": status.running_jobs,
        "causes": dict(status.causes.most_common()),
        "failures": status.failures_file,
        "manifest": result.manifest_uri if result else "",
        "problem": status.problem,
    }
    if result and record and record.state is State.JUDGED:
        counts = result.counts
        document["counts"] = {
            "scanned": counts.scanned,
            "imported": counts.imported,
            "rejected": counts.rejected,
            "imageSets": counts.image_sets,
            "nonPrimaryImageSets": counts.non_primary_image_sets,
            "warnings": dict(counts.warnings),
        }
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]  # a mapping stays one
