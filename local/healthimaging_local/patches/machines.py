"""Patches of ministack's Step Functions: its operations and its Retry. docs/local-cloud.md says why."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import json
import random
import re
import threading
from contextvars import copy_context
from datetime import UTC, datetime, timedelta

from ministack.core import responses
from ministack.services import stepfunctions as machines

from healthimaging_local.machine_runs import LONGEST_PAYLOAD, run_branch, run_execution
from healthimaging_local.ports import Json

_MOST_EVENTS_TO_REDRIVE = 24_999
_REDRIVABLE = ("FAILED", "ABORTED", "TIMED_OUT")
_REDRIVABLE_FOR = timedelta(days=14)
_NOT_IN_A_NAME = re.compile(r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]")


def executions_remember_their_place() -> None:
    """Walk executions with a walk that remembers where it is (``machine_runs``)."""
    machines._run_execution = run_execution
    machines._run_sub_machine = run_branch


def retries_wait_as_told() -> None:
    """Let Retry's MaxDelaySeconds and JitterStrategy count, and no wait end after a minute of its own accord."""
    original = machines._find_matching_retrier

    def find_matching_retrier(retriers: Json, error: str, counts: dict[int, int]) -> Json:
        retrier, index = original(retriers, error, counts)
        if retrier is not None:
            machines._scaled_sleep(_delay(retrier, counts.get(index, 0)))
            retrier = {**retrier, "IntervalSeconds": 0}  # ministack's own wait
        return retrier, index

    machines._find_matching_retrier = find_matching_retrier


def _delay(retrier: Json, count: int) -> float:
    """The seconds before a retry: FULL jitter takes any time up to what the interval has grown to."""
    seconds = float(retrier.get("IntervalSeconds", 1)) * float(retrier.get("BackoffRate", 2.0)) ** count
    seconds = min(seconds, float(retrier.get("MaxDelaySeconds", seconds)))
    if retrier.get("JitterStrategy") == "FULL":
        seconds = random.uniform(0, seconds)  # noqa: S311 - nothing is secret about a wait
    return seconds


def the_same_start_is_answered_again() -> None:
    """Answer a start with the name and input of a running execution as the first one; limit name and input."""
    original = machines._start_execution

    def start_execution(data: Json) -> Json:
        given, name = data.get("input", "{}"), data.get("name")
        if len(given.encode()) > LONGEST_PAYLOAD:
            return _error(
                "ValidationException",
                "1 validation error detected: Value at 'input' failed to satisfy constraint: "
                f"Member must have length less than or equal to {LONGEST_PAYLOAD}",
            )
        if name is not None and _NOT_IN_A_NAME.search(name):
            return _error("InvalidName", f"Invalid Name: '{name}'")
        try:
            json.loads(given)
        except ValueError as error:
            return _error("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'")
        answer = original(data)
        if b"ExecutionAlreadyExists" not in bytes(answer[2]):
            return answer
        machine = machines._state_machines[machines._resolve_state_machine_arn(data["stateMachineArn"])]
        execution = machines._executions[_execution_arn(machine["stateMachineArn"], name)]
        if (execution["status"], execution["input"]) != ("RUNNING", given):
            return answer
        return responses.json_response({name: execution[name] for name in ("executionArn", "startDate")})

    machines._start_execution = start_execution


def _execution_arn(machine_arn: str, name: str) -> str:
    return f"{machine_arn.replace(':stateMachine:', ':execution:')}:{name}"


def executions_can_be_redriven() -> None:
    """Serve RedriveExecution, and tell in DescribeExecution what can be redriven."""
    handle, describe = machines.handle_request, machines._describe_execution

    async def handle_request(method: str, path: str, headers: Json, body: bytes, query: Json) -> Json:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return machines._finalize_response(_redrive(json.loads(body or b"{}")))
        return await handle(method, path, headers, body, query)

    def describe_execution(data: Json) -> Json:
        status, headers, body = describe(data)
        execution = machines._executions.get(data.get("executionArn"))
        if not execution:
            return status, headers, body
        reason = _why_not_redrivable(execution)
        more = {
            "redriveCount": execution.get("redriveCount", 0),
            "redriveStatus": "NOT_REDRIVABLE" if reason else "REDRIVABLE",
            **({"redriveStatusReason": reason} if reason else {}),
            **({"redriveDate": execution["redriveDate"]} if "redriveDate" in execution else {}),
        }
        return responses.json_response({**json.loads(body), **more})

    machines.handle_request = handle_request
    machines._describe_execution = describe_execution


def _why_not_redrivable(execution: Json) -> str:
    """The reason that DescribeExecution gives, empty for an execution that can be redriven."""
    if execution["status"] not in _REDRIVABLE:
        return f"Execution is {execution['status']} and cannot be redriven"
    if execution.get("sync") or execution.get("mapRunArn"):
        return "Execution is not of a Standard workflow, or belongs to a Map Run"
    if len(execution["events"]) >= _MOST_EVENTS_TO_REDRIVE:
        return "Execution history event limit exceeded"
    ended = datetime.fromisoformat(execution["stopDate"])
    return "Execution redrivable period exceeded" if datetime.now(UTC) - ended > _REDRIVABLE_FOR else ""


def _redrive(data: Json) -> Json:
    """Go on from the state that failed, with its input; what had succeeded is not repeated."""
    arn = data.get("executionArn", "")
    execution = machines._executions.get(arn)
    if execution is None:
        return _error("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
    if data.get("clientToken") and data["clientToken"] == execution.get("_redrive_token"):
        return responses.json_response({"redriveDate": execution["redriveDate"]})
    reason = _why_not_redrivable(execution)
    if reason:
        return _error("ExecutionNotRedrivable", reason)
    now = responses.now_iso()
    execution |= {
        "status": "RUNNING",
        "stopDate": None,
        "output": None,
        "redriveCount": execution.get("redriveCount", 0) + 1,
        "redriveDate": now,
        "_redrive_token": data.get("clientToken"),
    }
    execution.pop("error", None)
    execution.pop("cause", None)
    machines._add_event(
        execution, "ExecutionRedriven", {"executionRedrivenEventDetails": {"redriveCount": execution["redriveCount"]}}
    )
    machines._emit_execution_status_event(execution)
    # In a thread of its own, for the account and Region of the caller.
    threading.Thread(target=copy_context().run, args=(machines._run_execution, arn), daemon=True).start()
    return responses.json_response({"redriveDate": now})


def _error(code: str, message: str) -> Json:
    return responses.error_response_json(code, message, 400)
