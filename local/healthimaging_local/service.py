"""HealthImaging's operations: one method each, named like the operation, from its input to its output.

Inputs arrive validated by the model, outputs are shaped by it; what is here is only what the service does.
"""

from __future__ import annotations

import re
import threading
from typing import Any

from healthimaging_local.errors import ServiceError
from healthimaging_local.events import Announcer
from healthimaging_local.imageset_changes import ImageSetChanges
from healthimaging_local.importer import Importer
from healthimaging_local.paging import page
from healthimaging_local.ports import Caller, EventBus, Permissions
from healthimaging_local.protocol import Handler
from healthimaging_local.ratelimit import RATES, TokenBucket
from healthimaging_local.state import Datastore, ImportJob, State

_STORE_ID = re.compile(r":datastore/([0-9a-z]{32})")
_KEY_RIGHTS = {
    "CreateDatastore": ("CreateGrant", "GenerateDataKey", "Decrypt"),
    "DeleteDatastore": ("RetireGrant",),
    "StartDICOMImportJob": ("GenerateDataKey",),
    "DeleteImageSet": ("GenerateDataKey",),
    "CopyImageSet": ("Decrypt", "GenerateDataKey"),
    "UpdateImageSetMetadata": ("Decrypt", "GenerateDataKey"),
    "TagResource": ("GenerateDataKey",),
    "UntagResource": ("GenerateDataKey",),
}
"""What an operation needs of a key besides ``kms:DescribeKey``; what is not here reads, which takes ``kms:Decrypt``."""


class HealthImaging(ImageSetChanges):
    """The whole service; jobs run in threads of their own."""

    def __init__(self, state: State, permissions: Permissions, bus: EventBus) -> None:
        """Keep everything in ``state``, ask ``permissions``, and tell ``bus``."""
        super().__init__(state, Announcer(bus), permissions)
        self._importer = Importer(state, permissions, self._announcer)
        self._calls = TokenBucket()

    def handler(self, operation: str) -> Handler | None:
        """The method for an operation of the model, or None when the local service lacks it.

        Before it is called, the operation's rate and the key of its data store are looked at.
        """
        method: Handler | None = getattr(self, operation, None)
        if method is None:
            return None

        def handle(request: dict[str, Any], caller: Caller) -> dict[str, Any]:
            self._throttle(operation, caller)
            self._check_key(operation, request, caller)
            return method(request, caller)

        return handle

    def StartDICOMImportJob(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """Start a job, or answer with the job that the same clientToken started earlier.

        What a token with other parameters answers is not documented; ConflictException is a guess.
        """
        datastore = self._active(request["datastoreId"], caller)
        self._permissions.check_pass_role(caller, request["dataAccessRoleArn"])
        self._permissions.check_trust(caller, request["dataAccessRoleArn"], datastore.arn)
        with self._state.lock:
            earlier = datastore.tokens.get(request["clientToken"])
            if earlier is not None:
                if earlier.request != request:
                    message = (
                        f"clientToken {request['clientToken']} was used with other parameters for job {earlier.id}"
                    )
                    raise ServiceError("ConflictException", message)
                return self._started(earlier)
            self._check_slots(datastore)
            job = self._new_job(datastore, request, caller)
            datastore.jobs[job.id] = job
            datastore.tokens[request["clientToken"]] = job
            answer = self._started(job)
        self._announcer.job(datastore, job)
        threading.Thread(target=self._importer.run, args=(datastore, job), name=f"import-{job.id}", daemon=True).start()
        return answer

    def GetDICOMImportJob(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """A job as it stands; ``outputS3Uri`` is the job's own folder, not the URI that was sent."""
        datastore = self.datastore(request["datastoreId"], caller)
        job = datastore.jobs.get(request["jobId"])
        if job is None:
            raise ServiceError("ResourceNotFoundException", f"import job {request['jobId']} is not found")
        with self._state.lock:
            summary = _summary(datastore, job)
        return {
            "jobProperties": {
                **summary,
                "inputS3Uri": job.request["inputS3Uri"],
                "outputS3Uri": job.output_s3_uri,
                "importConfiguration": job.request.get("importConfiguration"),
            }
        }

    def ListDICOMImportJobs(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """The data store's jobs, newest first."""
        datastore = self.datastore(request["datastoreId"], caller)
        wanted = request.get("jobStatus")
        with self._state.lock:
            jobs = [job for job in reversed(datastore.jobs.values()) if wanted in (None, job.status)]
            found, token = page(jobs, request)
            summaries = [_summary(datastore, job) for job in found]
        return {"jobSummaries": summaries, "nextToken": token}

    def _throttle(self, operation: str, caller: Caller) -> None:
        settings = self._state.settings
        rate, burst = RATES.get(operation, (0.0, 0)) if settings.throttling else (0.0, 0)
        if operation == "StartDICOMImportJob" and settings.start_rate:
            rate, burst = settings.start_rate, settings.start_burst
        if not self._calls.take(f"{operation}/{caller.account}/{caller.region}", rate, burst):
            raise ServiceError("ThrottlingException", f"Rate exceeded for {operation}")

    def check_new_key(self, request: dict[str, Any], caller: Caller) -> None:
        """Ask for the key of a store that is to be created, as ``CreateDatastore`` does."""
        self._check_key("CreateDatastore", request, caller)

    def _check_key(self, operation: str, request: dict[str, Any], caller: Caller) -> None:
        """Ask for the store's customer-managed key in the name of the caller (guide, "Data encryption")."""
        found = _STORE_ID.search(request.get("resourceArn", ""))
        datastore_id = request.get("datastoreId") or (found.group(1) if found else "")
        key = request.get("kmsKeyArn") if operation == "CreateDatastore" else None
        datastore = self._state.datastores.get(datastore_id)
        if datastore is not None and self._visible(datastore, caller):
            key = datastore.kms_key_arn
        if key:
            actions = [f"kms:{name}" for name in ("DescribeKey", *_KEY_RIGHTS.get(operation, ("Decrypt",)))]
            self._permissions.check_key(caller, key, actions, datastore.arn if datastore else "")

    def _check_slots(self, datastore: Datastore) -> None:
        limit = self._state.settings.jobs_per_datastore
        if sum(job.running for job in datastore.jobs.values()) >= limit:
            message = f"The data store already runs {limit} import jobs, which is the most it may run at once"
            raise ServiceError("ServiceQuotaExceededException", message)

    def _new_job(self, datastore: Datastore, request: dict[str, Any], caller: Caller) -> ImportJob:
        job_id = self._state.new_id("job", caller)
        # AWS names the folder after store and job, below the URI that was sent, with or without its slash.
        output = f"{request['outputS3Uri'].rstrip('/')}/{datastore.id}-DicomImport-{job_id}/"
        return ImportJob(job_id, dict(request), caller, self._state.now(), output)

    @staticmethod
    def _started(job: ImportJob) -> dict[str, Any]:
        return {
            "datastoreId": job.request["datastoreId"],
            "jobId": job.id,
            "jobStatus": job.status,
            "submittedAt": job.submitted_at,
        }


def _summary(datastore: Datastore, job: ImportJob) -> dict[str, Any]:
    return {
        "jobId": job.id,
        "jobName": job.name,
        "jobStatus": job.status,
        "datastoreId": datastore.id,
        "dataAccessRoleArn": job.request["dataAccessRoleArn"],
        "submittedAt": job.submitted_at,
        "endedAt": job.ended_at,
        "message": job.message or None,
    }
