"""The state machine that has CloudFormation's requests responded to, step by step."""

from __future__ import annotations

import json
from typing import Any

from healthimaging_cdk._common.runtime import contract

_LONGEST_EXECUTION_SECONDS = 25 * 60 * 60

# Each pause is twice as long as the one before: that is the States Language's default.
_RETRY = [
    # The account runs as many functions at once as it may, ten where it is new: other steps end soon.
    {
        "ErrorEquals": ["Lambda.TooManyRequestsException"],
        "IntervalSeconds": 2,
        "MaxAttempts": 60,
        "BackoffRate": 2,
        "MaxDelaySeconds": 30,
        "JitterStrategy": "FULL",
    },
    {
        "ErrorEquals": ["Lambda.ServiceException", "Lambda.SdkClientException"],
        "IntervalSeconds": 2,
        "MaxAttempts": 8,
        "MaxDelaySeconds": 60,
        "JitterStrategy": "FULL",
    },
    # A failed invocation (time-out, memory) can be repeated: the record tells what the step had started.
    {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 2, "JitterStrategy": "FULL"},
]


def _call(step: str) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "${Invoke}",
        "Parameters": {"FunctionName": "${Function}", "Payload": {"step": step, "state.$": "$"}},
        "OutputPath": "$.Payload",
        "Retry": _RETRY,
    }


DEFINITION: dict[str, Any] = {
    "Comment": "healthimaging-cdk: one CloudFormation request, step by step",
    "StartAt": "Step",
    "TimeoutSeconds": _LONGEST_EXECUTION_SECONDS,
    "States": {
        "Step": {
            **_call("step"),
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Respond"}],
            "Next": "Next?",
        },
        "Next?": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.next", "StringEquals": "wait", "Next": "Wait"},
                {"Variable": "$.next", "StringEquals": "respond", "Next": "Respond"},
            ],
            "Default": "Good?",
        },
        "Wait": {"Type": "Wait", "SecondsPath": "$.wait_seconds", "Next": "Step"},
        # A job may still be running when CloudFormation has its response: it is polled on.
        "Respond": {**_call("respond"), "Next": "Next?"},
        "Good?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.success", "BooleanEquals": True, "Next": "Succeeded"}],
            "Default": "Failed",
        },
        "Succeeded": {"Type": "Succeed"},
        "Failed": {
            "Type": "Fail",
            "Error": contract.RESPONDED_FAILED,
            "Cause": "The response to CloudFormation says why",
        },
    },
}

DEFINITION_STRING = json.dumps(DEFINITION, sort_keys=True, separators=(",", ":"))
"""The definition in the States Language, with ``${Function}`` and ``${Invoke}`` for two ARNs."""

__all__ = ["DEFINITION", "DEFINITION_STRING"]
