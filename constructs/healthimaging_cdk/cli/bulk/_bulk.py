"""A bulk import that is deployed: its state machine, its settings, and its files in the output bucket."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
import botocore.exceptions

from healthimaging_cdk.cli import _function  # noqa: F401 - the imports below need it
from healthimaging_cdk.cli._deployed import DeployedStack

from healthimaging_import.aws.clients import Aws  # isort: skip
from healthimaging_import.bulk.folder import Folder  # isort: skip
from healthimaging_import.bulk.planning import find_plan, load_plan  # isort: skip
from healthimaging_import.bulk.report import make_report  # isort: skip
from healthimaging_import.bulk.settings import Settings  # isort: skip
from healthimaging_import.bulk.state import RunState  # isort: skip

_MACHINE = "AWS::StepFunctions::StateMachine"


class NoBulkImportError(Exception):
    """There is no bulk import where one was looked for."""


class _Reader(Aws):
    """Reads as whoever calls the command, where the function assumes a role."""

    def __init__(self, session: boto3.Session) -> None:
        super().__init__(role_arn="")
        self._s3 = session.client("s3")

    def read_bytes(self, bucket: str, key: str, most: int | None = None, *, purpose: str) -> tuple[bytes, str] | None:  # noqa: ARG002
        try:
            found = self._s3.get_object(Bucket=bucket, Key=key)
        except self._s3.exceptions.NoSuchKey:
            return None
        return found["Body"].read(most), found["ETag"]


@dataclass(frozen=True)
class BulkImport:
    """A bulk import, and which run of it is meant."""

    session: boto3.Session
    state_machine_arn: str
    execution_arn: str = ""
    plan_name: str = ""
    run_id: str = ""

    @staticmethod
    def find(session: boto3.Session, target: str) -> BulkImport:
        """Look a bulk import up by an execution, its state machine, or its stack.

        Raises:
            NoBulkImportError: there is none, or the stack has several.
        """
        states = session.client("stepfunctions")
        try:
            if ":execution:" in target:
                described = states.describe_execution(executionArn=target)
                given = json.loads(described["input"])
                plan = str(given.get("plan") or "")
                machine, run_id = described["stateMachineArn"], str(given.get("run_id") or "")
                return BulkImport(session, machine, target, "" if plan == "new" else plan, run_id)
            machines = [target] if ":stateMachine:" in target else _machines_of(session, target)
            found = [machine for machine in machines if _settings_of(states, machine)]
        except botocore.exceptions.ClientError as error:
            raise NoBulkImportError(str(error.response["Error"].get("Message", error))) from None
        if len(found) != 1:
            named = f": name one of {', '.join(found)}" if found else ""
            raise NoBulkImportError(f"{target} has {len(found)} bulk imports{named}")
        return BulkImport(session, found[0])

    @cached_property
    def states(self) -> Any:  # noqa: ANN401 - boto3 creates its clients at run time
        """The client of Step Functions."""
        return self.session.client("stepfunctions")

    @cached_property
    def settings(self) -> Settings:
        """What the bulk import was told."""
        return Settings.parse(_settings_of(self.states, self.state_machine_arn))

    @cached_property
    def folder(self) -> Folder:
        """Its files."""
        return Folder(_Reader(self.session), self.settings)

    @property
    def place(self) -> str:
        """The folder of the run."""
        return f"{self.plan['plan']}/runs/{self.settings.run_name(self.run_id)}"

    @cached_property
    def plan(self) -> dict[str, Any]:
        """The plan.

        Raises:
            NoBulkImportError: it is not made yet.
        """
        name = find_plan(self.folder, self.settings, self.plan_name)
        if name is None:
            raise NoBulkImportError("the plan is not made yet")
        return load_plan(self.folder, name)

    def state(self) -> RunState | None:
        """The state as it is now; None before the first step of the run."""
        found = self.folder.read(f"{self.place}/state.json")
        return RunState.decode(found[0]) if found else None

    def report(self) -> dict[str, Any]:
        """The report as of now, whether the run is over or not.

        Raises:
            NoBulkImportError: the run has not begun.
        """
        state = self.state()
        if state is None:
            raise NoBulkImportError("the run has not begun")
        return make_report(self.plan, state, self.settings, time.time())

    def execution(self) -> Mapping[str, Any] | None:
        """The execution that is meant, else the last one; None where there is none."""
        if self.execution_arn:
            described: Mapping[str, Any] = self.states.describe_execution(executionArn=self.execution_arn)
            return described
        listed = self.states.list_executions(stateMachineArn=self.state_machine_arn, maxResults=1)["executions"]
        return listed[0] if listed else None


def _machines_of(session: boto3.Session, stack_name: str) -> list[str]:
    return [
        stack.physical_ids[logical_id]
        for stack in DeployedStack.find(session, stack_name).with_nested()
        for logical_id, _ in stack.resources(_MACHINE)
        if logical_id in stack.physical_ids
    ]


def _settings_of(states: Any, machine: str) -> Any:  # noqa: ANN401
    """The settings in the definition of a state machine; None where it is of something else."""
    definition = json.loads(states.describe_state_machine(stateMachineArn=machine)["definition"])
    payload = definition.get("States", {}).get("Run", {}).get("Parameters", {}).get("Payload", {})
    return payload.get("settings") if payload.get("bulk") == "run" else None
