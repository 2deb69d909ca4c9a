"""Deploys a cloud assembly as the CDK CLI does, without its start-up time: assets, stacks, and how it ended."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

Client: TypeAlias = Any
"""A boto3 client."""

_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


@dataclass
class Deployed:
    """How a stack operation ended.

    Attributes:
        status: CloudFormation's status, or ``NO_CHANGES`` where there was nothing to update.
        outputs: The outputs of the stack.
        reasons: Everything CloudFormation said, in order.
    """

    status: str
    outputs: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def output(self, part: str) -> str:
        """The one output whose name holds ``part``."""
        found = [value for name, value in self.outputs.items() if part in name]
        if len(found) != 1:
            raise AssertionError(f"expected one output like {part}, found {self.outputs}")
        return found[0]

    @property
    def reason(self) -> str:
        """Everything CloudFormation said."""
        return "\n".join(self.reasons)


class StackClients(Protocol):
    """What a deployment needs of an account."""

    id: str
    endpoint: str

    @property
    def cloudformation(self) -> Client:
        """A boto3 client."""

    @property
    def s3(self) -> Client:
        """A boto3 client."""


class Deployments:
    """Stacks of one account.

    Args:
        account: Whose stacks.
        assets: The bucket for the assets.
        patience: How long an operation of a stack may take, in seconds. Default: 1800.
    """

    def __init__(self, account: StackClients, assets: str, patience: float = 1800.0) -> None:
        """Name the account and its bucket for assets."""
        self._account = account
        self._assets = assets
        self._patience = patience
        self._cloudformation = account.cloudformation

    def deploy(self, assembly: Path) -> dict[str, Deployed]:
        """Deploy every stack of an assembly that belongs to this account, in the order of their dependencies."""
        artifacts = json.loads((assembly / "manifest.json").read_text(encoding="utf-8"))["artifacts"]
        stacks = {
            name: it
            for name, it in artifacts.items()
            if it["type"] == "aws:cloudformation:stack"
            and it["environment"].split("/")[2] in (self._account.id, "unknown-account")
        }
        return {self.name_of(stacks[name], name): self.deploy_one(assembly, name) for name in _in_order(stacks)}

    @staticmethod
    def name_of(artifact: Mapping[str, Any], artifact_id: str) -> str:
        """What the stack of an artifact is called."""
        return str(artifact.get("properties", {}).get("stackName", artifact_id))

    def deploy_one(self, assembly: Path, artifact: str) -> Deployed:
        """Create or update the stack of an artifact, and wait."""
        parameters = self.parameters(assembly, artifact)
        known = self.describe(parameters["StackName"])
        if not known or known["StackStatus"] == "DELETE_COMPLETE":
            return self.wait(self._cloudformation.create_stack(**parameters)["StackId"], since=0)
        before = len(self.events(known["StackId"]))
        try:
            self._cloudformation.update_stack(**parameters)
        except self._cloudformation.exceptions.ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            return Deployed("NO_CHANGES", _outputs(known))
        return self.wait(known["StackId"], since=before)

    def put(self, name: str, template: Mapping[str, Any]) -> Deployed:
        """Create a stack of a template, and wait."""
        body = json.dumps(template)
        answer = self._cloudformation.create_stack(StackName=name, TemplateBody=body, Capabilities=_CAPABILITIES)
        return self.wait(answer["StackId"], since=0)

    def destroy(self, name: str) -> Deployed:
        """Delete a stack, and wait."""
        stack_id = self.describe(name)["StackId"]
        self._cloudformation.delete_stack(StackName=name)
        return self.wait(stack_id, since=0)

    def parameters(self, assembly: Path, artifact: str) -> dict[str, Any]:
        """Publish an artifact's template and assets, and return what CloudFormation is asked with."""
        manifest = json.loads((assembly / "manifest.json").read_text(encoding="utf-8"))["artifacts"][artifact]
        return {
            "StackName": self.name_of(manifest, artifact),
            "TemplateURL": self._publish(assembly, manifest["properties"]["templateFile"], artifact),
            "Capabilities": _CAPABILITIES,
            "Tags": [{"Key": key, "Value": value} for key, value in manifest["properties"].get("tags", {}).items()],
        }

    def describe(self, name: str) -> dict[str, Any]:
        """A stack as CloudFormation describes it, and nothing if there is none."""
        try:
            stack: dict[str, Any] = self._cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        except self._cloudformation.exceptions.ClientError:
            return {}
        return stack

    def events(self, stack_id: str) -> list[dict[str, Any]]:
        """The events of a stack, oldest first."""
        pages = self._cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        return [event for page in pages for event in page["StackEvents"]][::-1]

    def wait(self, stack_id: str, since: int) -> Deployed:
        """Wait until an operation ended; the reasons are those of the events after the first ``since``."""
        deadline, pause = time.monotonic() + self._patience, 0.05
        while time.monotonic() < deadline:
            stack = self.describe(stack_id)
            if stack and not stack["StackStatus"].endswith("_IN_PROGRESS"):
                reasons = [event.get("ResourceStatusReason", "") for event in self.events(stack_id)[since:]]
                return Deployed(stack["StackStatus"], _outputs(stack), [reason for reason in reasons if reason])
            time.sleep(pause)
            pause = min(pause * 1.2, 0.4)
        raise AssertionError(f"{stack_id} did not end in {self._patience:g} s")

    def _publish(self, assembly: Path, template: str, artifact: str) -> str:
        url = ""
        for asset in json.loads((assembly / f"{artifact}.assets.json").read_text(encoding="utf-8"))["files"].values():
            source, (destination,) = asset["source"], asset["destinations"].values()
            path = assembly / source["path"]
            body = path.read_bytes() if source["packaging"] == "file" else zip_folder(path)
            self._account.s3.put_object(Bucket=self._assets, Key=destination["objectKey"], Body=body)
            if source["path"] == template:
                url = f"{self._account.endpoint}/{self._assets}/{destination['objectKey']}"
        return url


def zip_folder(folder: Path) -> bytes:
    """A folder as the archive that CDK publishes it as."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return body.getvalue()


def _outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _in_order(stacks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Dependencies first, and otherwise as the assembly lists them."""
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name in stacks and name not in ordered:
            for other in stacks[name].get("dependencies", []):
                visit(other)
            ordered.append(name)

    for name in stacks:
        visit(name)
    return ordered
