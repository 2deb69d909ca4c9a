"""An account of the local cloud, with what our tests ask of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
from aws_cdk import App

import healthimaging_local as local
from healthimaging_local import Cloud, Deployed

P10_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def eventually(check: Callable[[], Any], seconds: float = 600) -> Any:
    """What ``check`` returns once it is true, or when the time is over; how fast that is says nothing."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)
    return found


class Account(local.Account):
    """An account of the local cloud, bootstrapped, with what our tests ask of it."""

    def __init__(self, cloud: Cloud, account_id: str = "") -> None:
        super().__init__(cloud, account_id or cloud.account)
        self.cloud = cloud
        self.healthimaging = self.client("medical-imaging")
        self.bootstrap()

    def deploy_one(self, app: App) -> Deployed:
        """Deploy an app of one stack."""
        (deployed,) = self.deploy(app).values()
        return deployed

    def begin(self, app: App) -> tuple[str, int]:
        """Begin to update an app of one stack; :meth:`end` waits for it."""
        assembly = app.synth()
        (stack,) = assembly.stacks
        known = self.stacks.describe(stack.stack_name)
        before = len(self.stacks.events(known["StackId"]))
        self.cloudformation.update_stack(**self.stacks.parameters(Path(assembly.directory), stack.id))
        return known["StackId"], before

    def end(self, begun: tuple[str, int]) -> Deployed:
        """Wait for what :meth:`begin` started."""
        return self.stacks.wait(*begun)

    def upload(self, bucket: str, prefix: str, *names: str) -> None:
        """Put P10 files of pydicom (or any text) under a prefix."""
        for name in names:
            file = P10_FILES / name
            body = file.read_bytes() if file.is_file() else b"not a DICOM file"
            self.s3.put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=body)

    def jobs_started(self) -> int:
        """How often StartDICOMImportJob has answered with a job."""
        return len([call for call in self.cloud.calls("StartDICOMImportJob") if call["status"] == 200])

    def jobs(self, datastore_id: str) -> list[dict[str, Any]]:
        """The import jobs of a store."""
        found: list[dict[str, Any]] = self.healthimaging.list_dicom_import_jobs(datastoreId=datastore_id)[
            "jobSummaries"
        ]
        return found

    def job(self, datastore_id: str, job_id: str) -> dict[str, Any]:
        """One import job of a store."""
        answer = self.healthimaging.get_dicom_import_job(datastoreId=datastore_id, jobId=job_id)
        found: dict[str, Any] = answer["jobProperties"]
        return found

    def verdicts(self, job_id: str) -> list[str]:
        """Every verdict that the functions have written on a job."""
        lines = [json.loads(line) for line in self.log_lines().splitlines() if line.startswith('{"')]
        return [line["verdict"] for line in lines if line.get("step") == "judged" and line["job_id"] == job_id]

    def image_sets(self, datastore_id: str) -> list[dict[str, Any]]:
        """The image sets of a store."""
        answer = self.healthimaging.search_image_sets(datastoreId=datastore_id, maxResults=50)
        found: list[dict[str, Any]] = answer["imageSetsMetadataSummaries"]
        return found

    def records(self, bucket: str, output_prefix: str = "results/") -> dict[str, dict[str, Any]]:
        """The documents that an import keeps in its output bucket, by their keys."""
        folder = f"{output_prefix}.healthimaging-cdk/"
        listed = self.s3.list_objects_v2(Bucket=bucket, Prefix=folder).get("Contents", [])
        keys = [item["Key"] for item in listed if "/" not in item["Key"].removeprefix(folder)]
        return {key: json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys}

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of a store."""
        found: dict[str, str] = self.healthimaging.list_tags_for_resource(resourceArn=arn)["tags"]
        return found

    def resource_id(self, stack: str, kind: str, part: str = "") -> str:
        """The physical id of the one resource of a kind whose logical id holds ``part``."""
        resources = self.cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        found = [r for r in resources if r["ResourceType"] == kind and part in r["LogicalResourceId"]]
        assert len(found) == 1, f"expected one {kind} like {part!r}, found {len(found)}"
        return str(found[0]["PhysicalResourceId"])

    def role_policies(self, stack: str, part: str) -> set[str]:
        """The names of the inline policies of the one role whose logical id holds ``part``."""
        role = self.resource_id(stack, "AWS::IAM::Role", part)
        return set(self.client("iam").list_role_policies(RoleName=role)["PolicyNames"])

    def times_of(self, stack_id: str, kind: str, status: str, part: str = "") -> list[datetime]:
        """When resources of a kind, whose logical ids hold ``part``, came into a status."""
        return [
            event["Timestamp"]
            for event in self.stacks.events(stack_id)
            if (event["ResourceType"], event["ResourceStatus"]) == (kind, status) and part in event["LogicalResourceId"]
        ]

    def invoke(self, stack: str, payload: dict[str, Any]) -> Any:
        """Call the function of a stack as somebody who may."""
        function = self.resource_id(stack, "AWS::Lambda::Function")
        answer = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(payload).encode())
        return json.loads(answer["Payload"].read())

    def session(self, name: str, *statements: dict[str, Any]) -> dict[str, str]:
        """The credentials of a new role that may do this and nothing else."""
        iam = self.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{self.id}:root"}, "Action": "sts:AssumeRole"}
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))["Role"]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=policy)
        answer = self.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="test")["Credentials"]
        return {
            "aws_access_key_id": answer["AccessKeyId"],
            "aws_secret_access_key": answer["SecretAccessKey"],
            "aws_session_token": answer["SessionToken"],
        }

    def log_lines(self) -> str:
        """Everything that any function has logged."""
        logs = self.client("logs")
        lines = []
        groups = logs.get_paginator("describe_log_groups").paginate()
        for group in [group for page in groups for group in page["logGroups"]]:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
            lines += [event["message"].rstrip("\n") for page in pages for event in page["events"]]
        return "\n".join(lines)
