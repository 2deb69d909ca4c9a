"""What an execution of a state machine asks of IAM, in the name of its role."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

from collections.abc import Iterator

from ministack.core import responses
from ministack.services import stepfunctions as machines

from healthimaging_local import decisions
from healthimaging_local.machine_runs import running

SERVICE = "states.amazonaws.com"

_ERRORS = {
    "lambda": "Lambda.AWSLambdaException",
    "states": "StepFunctions.AWSStepFunctionsException",
    "sqs": "SQS.AmazonSQSException",
    "sns": "SNS.AmazonSNSException",
    "dynamodb": "DynamoDB.AmazonDynamoDBException",
    "events": "Events.AmazonEventBridgeException",
}

Question = tuple[str, str]
"""An action and the resource that it is on."""


def ask(questions: Iterator[Question] | list[Question], error: str = "") -> None:
    """Raise the state's error unless the role of the running execution may do everything that is asked."""
    run = running.get()
    if run is None:
        return
    role = run.execution["_role"]
    account = responses.get_account_id()
    context = {"aws:SourceAccount": account, "aws:SourceArn": run.execution["stateMachineArn"]}
    if not decisions.trusts(role, SERVICE, context):
        raise machines._ExecutionError("States.Permissions", f"{SERVICE} is not authorized to assume the role {role}")
    session = decisions.session_of(role, run.execution["name"][:64])
    for action, resource in questions:
        reason = decisions.refusal(session, action, resource)
        if reason:
            raise machines._ExecutionError(error or _ERRORS[action.partition(":")[0]], reason)
