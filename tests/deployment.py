"""Deploys a CDK app to the local cloud as the CDK CLI does, without its start-up time: assets, stacks, outcome."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
from aws_cdk import App

from healthimaging_local import Cloud

P10_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
_PATIENCE_SECONDS = 300


def eventually(check: Callable[[], Any], seconds: float = 120) -> Any:
    """What ``check`` returns once it is true, or when the time is over; how fast that is says nothing."""
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@dataclass
class Deployed:
    """How a stack operation ended."""

    status: str
    outputs: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def output(self, part: str) -> str:
        """The one output whose name holds ``part``."""
        found = [value for name, value in self.outputs.items() if part in name]
        assert len(found) == 1, f"expected one output like {part}, found {self.outputs}"
        return found[0]

    @property
    def reason(self) -> str:
        """Everything CloudFormation said."""
        return "\n".join(self.reasons)


class Account:
    """An account of the local cloud, with what the CDK bootstrap stack would have made."""

    def __init__(self, cloud: Cloud, account_id: str = "") -> None:
        self.cloud = cloud
        self.id = account_id or cloud.account
        keys = {"aws_access_key_id": account_id} if account_id else {}  # the root of that account
        self.s3 = cloud.client("s3", **keys)
        self.cloudformation = cloud.client("cloudformation", **keys)
        self.healthimaging = cloud.client("medical-imaging", **keys)
        self._assets = f"cdk-hnb659fds-assets-{self.id}-{cloud.region}"
        self.s3.create_bucket(Bucket=self._assets)
        cloud.client("ssm", **keys).put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")

    def deploy(self, app: App) -> dict[str, Deployed]:
        """Synthesize and deploy every stack of this account, in the order of their dependencies."""
        assembly = app.synth()
        return {
            stack.stack_name: self._deploy(Path(assembly.directory), stack.id)
            for stack in assembly.stacks
            if stack.environment.account in (self.id, "unknown-account")
        }

    def deploy_one(self, app: App) -> Deployed:
        """Deploy an app of one stack."""
        (deployed,) = self.deploy(app).values()
        return deployed

    def begin(self, app: App) -> tuple[str, int]:
        """Begin to update an app of one stack; :meth:`end` waits for it."""
        assembly = app.synth()
        (stack,) = assembly.stacks
        known = self._describe(stack.stack_name)
        before = len(self._events(known["StackId"]))
        self.cloudformation.update_stack(**self._parameters(Path(assembly.directory), stack.id))
        return known["StackId"], before

    def end(self, begun: tuple[str, int]) -> Deployed:
        """Wait for what :meth:`begin` started."""
        return self._wait(*begun)

    def destroy(self, name: str) -> Deployed:
        """Delete a stack."""
        stack_id = self._describe(name)["StackId"]
        self.cloudformation.delete_stack(StackName=name)
        return self._wait(stack_id, since=0)

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
        lines = [json.loads(line) for line in self.log_lines().splitlines() if line.startswith("{")]
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
        return set(self.cloud.client("iam").list_role_policies(RoleName=role)["PolicyNames"])

    def times_of(self, stack_id: str, kind: str, status: str, part: str = "") -> list[datetime]:
        """When resources of a kind, whose logical ids hold ``part``, came into a status."""
        return [
            event["Timestamp"]
            for event in self._events(stack_id)
            if (event["ResourceType"], event["ResourceStatus"]) == (kind, status) and part in event["LogicalResourceId"]
        ]

    def invoke(self, stack: str, payload: dict[str, Any]) -> Any:
        """Call the function of a stack as somebody who may."""
        function = self.resource_id(stack, "AWS::Lambda::Function")
        answer = self.cloud.client("lambda").invoke(FunctionName=function, Payload=json.dumps(payload).encode())
        return json.loads(answer["Payload"].read())

    def session(self, name: str, *statements: dict[str, Any]) -> dict[str, str]:
        """The credentials of a new role that may do this and nothing else."""
        iam = self.cloud.client("iam")
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{self.id}:root"}, "Action": "sts:AssumeRole"}
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))["Role"]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=policy)
        answer = self.cloud.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="test")["Credentials"]
        return {
            "aws_access_key_id": answer["AccessKeyId"],
            "aws_secret_access_key": answer["SecretAccessKey"],
            "aws_session_token": answer["SessionToken"],
        }

    def log_lines(self) -> str:
        """Everything that any function has logged."""
        logs = self.cloud.client("logs")
        lines = []
        groups = logs.get_paginator("describe_log_groups").paginate()
        for group in [group for page in groups for group in page["logGroups"]]:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
            lines += [event["message"].rstrip("\n") for page in pages for event in page["events"]]
        return "\n".join(lines)

    def _parameters(self, assembly: Path, artifact: str) -> dict[str, Any]:
        manifest = json.loads((assembly / "manifest.json").read_text())["artifacts"][artifact]
        properties = manifest.get("properties", {})
        return {
            "StackName": properties.get("stackName", artifact),
            "TemplateURL": self._publish(assembly, artifact),
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            "Tags": [{"Key": key, "Value": value} for key, value in properties.get("tags", {}).items()],
        }

    def _deploy(self, assembly: Path, artifact: str) -> Deployed:
        parameters = self._parameters(assembly, artifact)
        name = parameters["StackName"]
        known = self._describe(name)
        if not known or known["StackStatus"] == "DELETE_COMPLETE":
            return self._wait(self.cloudformation.create_stack(**parameters)["StackId"], since=0)
        before = len(self._events(known["StackId"]))
        try:
            self.cloudformation.update_stack(**parameters)
        except self.cloudformation.exceptions.ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            return Deployed("NO_CHANGES", self._outputs(known))
        return self._wait(known["StackId"], since=before)

    def _publish(self, assembly: Path, artifact: str) -> str:
        url = ""
        for asset in json.loads((assembly / f"{artifact}.assets.json").read_text())["files"].values():
            source, (destination,) = asset["source"], asset["destinations"].values()
            path = assembly / source["path"]
            body = path.read_bytes() if source["packaging"] == "file" else _zip(path)
            self.s3.put_object(Bucket=self._assets, Key=destination["objectKey"], Body=body)
            if source["path"] == f"{artifact}.template.json":
                url = f"{self.cloud.endpoint}/{self._assets}/{destination['objectKey']}"
        return url

    def _describe(self, name: str) -> dict[str, Any]:
        try:
            stack: dict[str, Any] = self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        except self.cloudformation.exceptions.ClientError:
            return {}
        return stack

    def _events(self, stack_id: str) -> list[dict[str, Any]]:
        pages = self.cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        return [event for page in pages for event in page["StackEvents"]][::-1]

    def _outputs(self, stack: dict[str, Any]) -> dict[str, str]:
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def _wait(self, stack_id: str, since: int) -> Deployed:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            stack = self._describe(stack_id)
            if stack and not stack["StackStatus"].endswith("_IN_PROGRESS"):
                reasons = [event.get("ResourceStatusReason", "") for event in self._events(stack_id)[since:]]
                return Deployed(stack["StackStatus"], self._outputs(stack), [reason for reason in reasons if reason])
            time.sleep(0.05)
        raise AssertionError(f"{stack_id} did not end in {_PATIENCE_SECONDS} s")


def _zip(folder: Path) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return body.getvalue()
