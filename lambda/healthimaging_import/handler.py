"""The function's entry point: called by CloudFormation with a request, and by the state machine for each step.

CloudFormation's call starts an execution named after the request, so that a doubled event finds the one that runs.
Everything that takes time or can fail happens in the execution's steps, where Step Functions retries, waits, and sees
to it that CloudFormation gets a response even when a step dies. The same execution polls a job on after the response.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import IAM_PROPAGATION_SECONDS, Aws
from healthimaging_import.cfn import Request, Response, send
from healthimaging_import.contract import RESPONDED_FAILED, ResourceType
from healthimaging_import.errors import RetryableError, StepError, TerminalError, UnfinishedError
from healthimaging_import.importing.mode import Mode
from healthimaging_import.legacy import to_first_version, to_this_version
from healthimaging_import.receiving import (
    LONGEST_PATIENCE_SECONDS,
    State,
    pause_before,
    reason_of,
    receive,
    try_patiently,
)
from healthimaging_import.resources.step import StepContext, StepResult, patience_for, unfinished_response

_RESOURCES: dict[str, str] = {
    ResourceType.DATASTORE: "datastore",
    ResourceType.IMAGE_SET_DELETION: "image_set_deletion",
    ResourceType.IMPORT: "dicom_import",
    ResourceType.TAGS: "tags",
}
"""The modules of the custom resources, imported when they are needed."""
_RESERVE_SECONDS = 30
_LONGEST_DETACHED_SECONDS = 24 * 3600
_RESPOND_TRIES = 5
_RESPOND_PAUSE = 30
_LOST_PAUSE = 120
_NOT_FINISHED = "the request was not finished"
_ADVICE = (
    "see the function's log group, then repeat the deploy or the deletion: what was started is found again and not "
    "started twice"
)


def handle(event: dict[str, Any], context: Any) -> State:  # noqa: ANN401 - Lambda's context has no public type
    """Receive a CloudFormation request, do a step of a state machine, or respond for an invocation that failed."""
    if "RequestType" in event:
        return receive(event)
    if "bulk" in event:
        from healthimaging_import.bulk.handler import handle_bulk  # noqa: PLC0415 - no other call needs it

        return handle_bulk(event, context)
    if "source" in event:
        return _rescue(event)
    steps: dict[str, Callable[[State, Any], State]] = {"step": _step, "respond": _respond}
    name, state = event.get("step"), event.get("state")
    if name in ("advance", "answer"):
        this = "step" if name == "advance" else "respond"
        return to_first_version(handle({"step": this, "state": to_this_version(state or {})}, context))
    if name not in steps or not isinstance(state, dict):
        log.line("ignored", reason="neither a request nor a step")
        return {}
    return steps[name](state, context)


# -- the state machine's calls ---------------------------------------------------------------------------------------


def _step(state: State, context: Any) -> State:  # noqa: ANN401
    """Do one step; the state comes back with ``next``: ``wait``, ``respond`` or ``end``."""
    if "response" in state:
        return {**state, "next": "respond"}
    step = _context(state, context)
    try:
        is_over = time.time() >= step.deadline
        result = _step_of_resource(step)
        state.pop("failing", None)
        state["tries"] = 0
        if isinstance(result, float) and is_over:
            seconds = int(time.time() - step.began_at)
            result = _give_up(step, f"the request had not ended after {seconds} seconds; {_ADVICE}")
    except Exception as error:  # noqa: BLE001 - whatever happens, CloudFormation gets a response
        result = _after_failure(state, step, error)
    if isinstance(result, float):
        return {**state, "next": "wait", "wait_seconds": max(1, round(result))}
    if step.mode is Mode.DETACHED:
        log.line("ended", success=result.success, reason=result.reason)
        return {**state, "next": "end", "success": state.get("success", result.success)}
    return {**state, "next": "respond", "response": vars(result)}


def _step_of_resource(step: StepContext) -> StepResult:
    resource_type = step.request.resource_type
    if resource_type not in _RESOURCES:
        raise TerminalError(f"this version of the function does not know {resource_type}: deploy with a newer library")
    module = import_module(f"healthimaging_import.resources.{_RESOURCES[resource_type]}")
    result: StepResult = module.step(step)
    return result


def _after_failure(state: State, step: StepContext, error: Exception) -> StepResult:
    """Wait before the next try, or give up where there is none, or the time for it is over."""
    code, left, patience = getattr(error, "code", ""), step.deadline - time.time(), patience_for(step, error)
    failing, since = state.get("failing", [None, 0.0])
    if failing != code:
        failing, since = state["failing"] = [code, time.time()]
    if left <= 0 or (patience is not None and time.time() - since >= patience):
        return _give_up(step, reason_of(error))
    if isinstance(error, UnfinishedError):
        return min(error.after, left)
    log.line("later", reason=str(error))
    state["tries"] = state.get("tries", 0) + 1
    pause = 60.0 if step.mode is Mode.DETACHED else pause_before(state["tries"])
    return min(max(float(getattr(error, "after", 0.0)), pause), left)


def _respond(state: State, context: Any) -> State:  # noqa: ANN401
    """Respond to CloudFormation; an execution that lost its step (``error``) says so. A job is polled on."""
    step = _context(state, context)
    if step.mode is Mode.DETACHED:
        if time.time() < step.deadline:
            # A step was lost: the next one polls on. A day of lost ones fits into the history of an execution.
            return {**state, "next": "wait", "wait_seconds": _LOST_PAUSE}
        _give_up(step, "a step was lost", is_lost=True)
        return {**state, "next": "end", "success": False}
    if "response" not in state:
        name = str(state.get("error", {}).get("Error", "unknown"))
        reason = f"the function could not finish a step ({name}); {_ADVICE}"
        state["response"] = vars(_give_up(step, reason, is_lost=True))
    response = Response(**state["response"])
    try:
        send(step.request, response)
    except OSError as error:
        state["tries_to_respond"] = state.get("tries_to_respond", 0) + 1
        log.line("not responded", reason=str(error))
        if state["tries_to_respond"] < _RESPOND_TRIES:
            return {**state, "next": "wait", "wait_seconds": _RESPOND_PAUSE}
    state = {name: value for name, value in state.items() if name not in ("response", "error")}
    if not response.detached or step.request.request_type == "Delete":
        return {**state, "next": "end", "success": response.success}
    _call_import("note_responded", step)
    return {**state, "mode": Mode.DETACHED, "success": response.success, "next": "wait", "wait_seconds": 1}


def _give_up(step: StepContext, reason: str, *, is_lost: bool = False) -> Response:
    """Return the response to a request that cannot be brought to its end."""
    request = step.request
    log.line("given up", request_id=request.request_id, reason=reason)
    response = _call_import("give_up", step, reason, is_lost=is_lost)
    if isinstance(response, Response):
        return response
    created = str(step.carried.get("datastore_id") or "")
    return unfinished_response(request, step.mode, reason, created=created)


def _call_import(name: str, step: StepContext, *arguments: Any, **options: Any) -> object:  # noqa: ANN401
    """Call a function of the import's module, which may fail, since a response must be possible without it."""
    if step.request.resource_type != ResourceType.IMPORT:
        return None
    try:
        module = import_module("healthimaging_import.resources.dicom_import")
        return getattr(module, name)(step, *arguments, **options)
    except Exception as error:  # noqa: BLE001 - as above
        log.line("not done", what=name, error=type(error).__name__)
        return None


# -- what ended without a response -----------------------------------------------------------------------------------


def _rescue(notice: dict[str, Any]) -> State:
    """Respond for a first call that failed, or for an execution that ended by itself. Never raises.

    EventBridge brings both: what Lambda gave up on, and executions that were stopped, failed or timed out. Whoever
    may put events in the account can forge the first of them, so nothing is done for it but to respond.
    """
    try:
        detail = notice["detail"]
        if notice["source"] == "lambda":
            request = Request(detail["requestPayload"])
            reason = f"{_NOT_FINISHED} ({_why_given_up(detail)}); {_ADVICE}"
            send(request, unfinished_response(request, None, reason))
        elif detail.get("error") != RESPONDED_FAILED:
            _rescue_execution(to_this_version(json.loads(detail["input"])), str(detail.get("status")))
    except Exception as error:  # noqa: BLE001 - there is no way left to respond, and another try would end the same
        log.line("not rescued", error=type(error).__name__)
    return {}


def _why_given_up(detail: dict[str, Any]) -> str:
    """Return why a first call failed: its own reason, if it had one."""
    failure = detail.get("responsePayload") or {}
    if failure.get("errorType") == RetryableError.__name__:
        return str(failure["errorMessage"])
    if detail["requestContext"]["condition"] == "EventAgeExceeded" and not failure:
        return "for five minutes the account ran as many functions at once as it may"
    return "the call of the function failed"


def _rescue_execution(state: State, status: str) -> None:
    """Respond in the name of an execution, and have its job polled on; one that only polled has lost its job."""
    step, detached = _context(state, None), {**state, "mode": Mode.DETACHED}
    reason = f"{_NOT_FINISHED} ({status}); {_ADVICE}"
    if step.mode is Mode.DETACHED or _call_import("has_responded", step):
        _give_up(_context(detached, None), reason, is_lost=True)
        return
    response = _give_up(step, reason, is_lost=True)
    if response.detached:
        # What its steps carried is lost. A step that is still at work may yet write the record.
        step.carried["owned"] = True
        event = {**state["event"], "ResponseURL": ""}
        machine_arn = step.request.resource_properties["StateMachineArn"]
        name, carried = f"{step.request.request_id}-detached", {**detached, "event": event}
        try:
            try_patiently(
                lambda: step.aws.start_execution(machine_arn, name, carried),
                lambda _: float(LONGEST_PATIENCE_SECONDS),
            )
        except StepError as error:
            _give_up(_context(detached, None), f"{reason}; {error}", is_lost=True)
    send(step.request, response)


# -- small things ----------------------------------------------------------------------------------------------------


def _context(state: State, context: Any) -> StepContext:  # noqa: ANN401
    request, mode, began_at = Request(state["event"]), Mode(state["mode"]), float(state["began_at"])
    until = began_at + _LONGEST_DETACHED_SECONDS
    if mode is not Mode.DETACHED:
        until = min(began_at + request.wait_seconds, request.respond_by)
    is_new = time.time() - began_at < IAM_PROPAGATION_SECONDS
    return StepContext(
        request=request,
        aws=Aws(request.role_arn, iam_propagating=is_new and request.has_new_rights),
        mode=mode,
        began_at=began_at,
        deadline=until,
        deploy_mark=str(state.get("deploy") or ""),
        clock=time.time,
        time_left=lambda: context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS,
        carried=state.setdefault("carried", {}),
    )
