"""The state machine of a bulk import: plan, run and report, each step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aws_cdk import Token

FAILED = "BulkImportError"
"""The error of an execution whose bulk import has ended and is not good."""

# Each pause is twice as long as the one before: that is the States Language's default.
_RETRY = [
    # They say why, and another try would end the same.
    {"ErrorEquals": [FAILED, "TerminalError"], "MaxAttempts": 0},
    {
        "ErrorEquals": ["Lambda.TooManyRequestsException", "Lambda.ServiceException", "Lambda.SdkClientException"],
        "IntervalSeconds": 2,
        "MaxAttempts": 8,
        "MaxDelaySeconds": 60,
        "JitterStrategy": "FULL",
    },
    # A failed invocation (time-out, memory) can be repeated: the state tells what the step had started.
    {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 5, "MaxAttempts": 5, "JitterStrategy": "FULL"},
]


def make_definition(settings: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The definition, and the substitutions for those settings that only CloudFormation knows.

    No state is caught: an execution whose step fails for good ends there, and a redrive goes on from there. A failed
    report is a failed step as well, so that a redrive starts the failed jobs again.
    """
    substitutions = {name: value for name, value in settings.items() if Token.is_unresolved(value)}
    given = {name: f"${{{name}}}" if name in substitutions else value for name, value in settings.items()}
    given = {name: value for name, value in given.items() if value is not None}
    document = {
        "Comment": "Imports an archive into HealthImaging, job by job (healthimaging-cdk)",
        "StartAt": "Plan",
        "States": {
            "Plan": {**_call("plan", given), "Next": "Planned?"},
            "Planned?": _choose("Plan later", {"end": "Done"}, "Run"),
            "Plan later": _wait("Plan"),
            "Run": {**_call("run", given), "Next": "All run?"},
            "All run?": _choose("Run on", {"end": "Done"}, "Report"),
            "Run on": _wait("Run"),
            "Report": {**_call("report", given), "Next": "Reported?"},
            "Reported?": _choose("Report on", {"run": "Run"}, "Done"),
            "Report on": _wait("Report"),
            "Done": {"Type": "Succeed"},
        },
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")), substitutions


def _call(step: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    payload = {
        "bulk": step,
        "settings": settings,
        "execution.$": "$$.Execution",
        "state_machine.$": "$$.StateMachine.Id",
        "state.$": "$",
    }
    return {
        "Type": "Task",
        "Resource": "${Invoke}",
        "Parameters": {"FunctionName": "${Function}", "Payload": payload},
        "OutputPath": "$.Payload",
        "Retry": _RETRY,
    }


def _choose(wait: str, others: Mapping[str, str], default: str) -> dict[str, Any]:
    ways = {"wait": wait, **others}
    choices = [{"Variable": "$.next", "StringEquals": word, "Next": state} for word, state in ways.items()]
    return {"Type": "Choice", "Choices": choices, "Default": default}


def _wait(then: str) -> dict[str, Any]:
    return {"Type": "Wait", "SecondsPath": "$.wait_seconds", "Next": then}


__all__ = ["make_definition"]
