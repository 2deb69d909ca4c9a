"""The place of the experiments: stacks of one name prefix in one account, and nothing outside of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar

import boto3
from botocore.exceptions import ClientError, WaiterError

from healthimaging_cdk._verify import templates

STACK_PREFIX = "healthimaging-verify-"
_SECONDS_PER_JOB = 1800
_GONE = "DELETE_COMPLETE"
_ENDED = ("COMPLETED", "FAILED")
_Found = TypeVar("_Found")


class Lab:
    """Deploys, imports, looks and removes.

    Args:
        session: whose account and Region it is.
        run_id: what tells this run's stacks from those of another: lower-case letters, digits and ``-``.
        pause: seconds between two looks at something that takes time. Default: 5.
        role_seconds: how long a new role may be refused before that is the answer. Default: 90.
    """

    def __init__(self, session: boto3.Session, run_id: str, *, pause: float = 5.0, role_seconds: float = 90.0) -> None:
        """Create nothing yet."""
        self._role_seconds = role_seconds
        self._session = session
        self.prefix = f"{STACK_PREFIX}{run_id}"
        self.pause = pause
        self.region = str(session.region_name)
        self._clients: dict[str, Any] = {}

    @cached_property
    def account(self) -> str:
        """The account's id."""
        return str(self.client("sts").get_caller_identity()["Account"])

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes its clients' types at run time
        """Return the boto3 client of a service, always the same one."""
        if service not in self._clients:
            self._clients[service] = self._session.client(service)
        return self._clients[service]

    # Stacks

    def deploy(
        self,
        name: str,
        template: Mapping[str, Any],
        *,
        tags: Mapping[str, str] | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> dict[str, str]:
        """Create or update a stack of this run, and wait for it.

        Args:
            name: what tells the stack from others of this run.
            template: its template.
            tags: tags of the stack. Default: none.
            meanwhile: called once the deploy has begun, before it is waited for. Default: nothing is done.

        Returns:
            The stack's outputs.

        Raises:
            WaiterError: the stack failed. :meth:`failures` says why.
        """
        stack, cloudformation = self.stack_name(name), self.client("cloudformation")
        arguments = {
            "StackName": stack,
            "TemplateBody": json.dumps(template),
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": [{"Key": key, "Value": value} for key, value in (tags or {}).items()],
        }
        exists = stack in _stacks(cloudformation, self.prefix)
        if exists:
            cloudformation.update_stack(**arguments)
        else:
            cloudformation.create_stack(**arguments, OnFailure="DO_NOTHING")
        meanwhile()
        self._await_stack(stack, "stack_update_complete" if exists else "stack_create_complete")
        outputs = cloudformation.describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}

    def stack_name(self, name: str) -> str:
        """Return the full name of a stack of this run."""
        return f"{self.prefix}-{name}"

    def failures(self, name: str) -> list[str]:
        """Return why resources of a stack failed, the first failure first."""
        return [
            str(event.get("ResourceStatusReason", ""))
            for event in reversed(self.stack_events(name))
            if event["ResourceStatus"].endswith("_FAILED")
        ]

    def stack_events(self, name: str) -> list[dict[str, Any]]:
        """Return a stack's events, the latest first."""
        pages = self.client("cloudformation").get_paginator("describe_stack_events")
        return [event for page in pages.paginate(StackName=self.stack_name(name)) for event in page["StackEvents"]]

    def _await_stack(self, stack: str, waiter: str) -> None:
        attempts = int(3600 / max(self.pause, 1.0))
        self.client("cloudformation").get_waiter(waiter).wait(
            StackName=stack, WaiterConfig={"Delay": self.pause, "MaxAttempts": attempts}
        )

    # Imports

    @cached_property
    def bench(self) -> dict[str, str]:
        """A data store, an input and an output bucket, a data access role, and a queue of the store's events.

        The keys are ``DatastoreId``, ``DatastoreArn``, ``InputBucket``, ``OutputBucket``, ``RoleArn`` and ``QueueUrl``.
        It is created when it is first asked for.
        """
        return self.deploy("bench", templates.bench())

    def upload(self, prefix: str, files: Mapping[str, bytes], *, storage_class: str = "STANDARD") -> None:
        """Put files into the bench's input bucket, under a prefix."""
        for name, body in files.items():
            self.client("s3").put_object(
                Bucket=self.bench["InputBucket"], Key=prefix + name, Body=body, StorageClass=storage_class
            )

    def start(self, prefix: str, token: str, **changes: str) -> str:
        """Start an import job on the bench, and return its id. Throttled starts are repeated.

        A new role is refused for some seconds, so what may pass is tried for a while.
        """
        bench = self.bench
        parameters = {
            "jobName": "verify",
            "clientToken": token,
            "datastoreId": bench["DatastoreId"],
            "dataAccessRoleArn": bench["RoleArn"],
            "inputS3Uri": f"s3://{bench['InputBucket']}/{prefix}",
            "outputS3Uri": f"s3://{bench['OutputBucket']}/{prefix}",
        } | changes
        start = self.client("medical-imaging").start_dicom_import_job
        deadline = time.monotonic() + self._role_seconds
        while True:
            try:
                return str(start(**parameters)["jobId"])
            except ClientError as error:
                if error_code(error) != "ThrottlingException" or time.monotonic() > deadline:
                    raise
                time.sleep(min(self.pause, 4.0))

    def start_with_new_role(self, prefix: str, token: str, **changes: str) -> str:
        """Start as :meth:`start` does, and wait until IAM knows the role everywhere."""
        deadline = time.monotonic() + self._role_seconds
        while True:
            try:
                return self.start(prefix, token, **changes)
            except ClientError as error:
                if (
                    error_code(error) not in ("ValidationException", "AccessDeniedException")
                    or time.monotonic() > deadline
                ):
                    raise
                time.sleep(self.pause)

    def job(self, job_id: str) -> dict[str, Any]:
        """Wait for the end of a job of the bench, and return its properties."""
        get = self.client("medical-imaging").get_dicom_import_job

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = get(datastoreId=self.bench["DatastoreId"], jobId=job_id)["jobProperties"]
            return found if found["jobStatus"] in _ENDED else None

        return self.wait_for(ended, f"the end of job {job_id}", _SECONDS_PER_JOB)

    def manifest(self, job: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the summary in a job's manifest; None if there is none."""
        bucket, _, folder = str(job["outputS3Uri"]).removeprefix("s3://").partition("/")
        try:
            answer = self.client("s3").get_object(Bucket=bucket, Key=f"{folder.rstrip('/')}/job-output-manifest.json")
        except self.client("s3").exceptions.NoSuchKey:
            return None
        summary: dict[str, Any] = json.load(answer["Body"])["jobSummary"]
        return summary

    def wait_for(self, look: Callable[[], _Found | None], what: str, seconds: float) -> _Found:
        """Look until there is something.

        Raises:
            TimeoutError: there was nothing in that time.
        """
        deadline = time.monotonic() + seconds
        while (found := look()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:.0f} s for {what}")
            time.sleep(self.pause)
        return found

    # Removal

    def remove(self) -> list[str]:
        """Delete all stacks of this run with what is in them. Return what is left, one sentence each."""
        left = []
        for stack in _stacks(self.client("cloudformation"), self.prefix):
            try:
                self._empty(stack)
                self.client("cloudformation").delete_stack(StackName=stack)
                self._await_stack(stack, "stack_delete_complete")
            except (ClientError, WaiterError, TimeoutError) as error:
                left.append(f"stack {stack}: {error}")
        return left

    def _empty(self, stack: str) -> None:
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        for resource in [resource for page in pages for resource in page["StackResourceSummaries"]]:
            physical_id = resource.get("PhysicalResourceId")
            if not physical_id or resource["ResourceStatus"] == _GONE:
                continue
            if resource["ResourceType"] == "AWS::S3::Bucket":
                with suppress(self.client("s3").exceptions.NoSuchBucket):
                    boto3_bucket = self._session.resource("s3").Bucket(physical_id)
                    boto3_bucket.object_versions.delete()
            elif resource["ResourceType"] == "AWS::HealthImaging::Datastore":
                with suppress(self.client("medical-imaging").exceptions.ResourceNotFoundException):
                    self.empty_store(physical_id)

    def empty_store(self, datastore_id: str) -> None:
        """Wait for the jobs of a data store, then delete its image sets."""
        healthimaging = self.client("medical-imaging")

        def idle() -> bool | None:
            pages = healthimaging.get_paginator("list_dicom_import_jobs").paginate(datastoreId=datastore_id)
            return (
                None if any(job["jobStatus"] not in _ENDED for page in pages for job in page["jobSummaries"]) else True
            )

        def empty() -> bool | None:
            pages = healthimaging.get_paginator("search_image_sets").paginate(datastoreId=datastore_id)
            found = [item["imageSetId"] for page in pages for item in page["imageSetsMetadataSummaries"]]
            for image_set in found:
                # Locked, throttled or gone: the next look finds it or does not.
                with suppress(ClientError):
                    healthimaging.delete_image_set(datastoreId=datastore_id, imageSetId=image_set)
            return None if found else True

        self.wait_for(idle, f"the jobs of data store {datastore_id}", _SECONDS_PER_JOB)
        self.wait_for(empty, f"the deletion of the image sets of {datastore_id}", _SECONDS_PER_JOB)


def error_code(error: ClientError) -> str:
    """Return AWS's code of an error."""
    return str(error.response["Error"]["Code"])


def stacks_left(session: boto3.Session) -> list[str]:
    """Return the run ids of earlier runs that left stacks behind."""
    names = _stacks(session.client("cloudformation"), STACK_PREFIX)
    return sorted({name.removeprefix(STACK_PREFIX).split("-")[0] for name in names})


def _stacks(cloudformation: Any, prefix: str) -> list[str]:  # noqa: ANN401 - a boto3 client
    """Return the names of the stacks that are there and begin with a prefix."""
    return [
        stack["StackName"]
        for page in cloudformation.get_paginator("describe_stacks").paginate()
        for stack in page["Stacks"]
        if stack["StackName"].startswith(prefix) and stack["StackStatus"] != _GONE
    ]
