"""The function's entry point: called by CloudFormation with a request, and by the state machine for each step.

CloudFormation's call starts an execution named after the request, so that a doubled event finds the one that runs.
Everything that takes time or can fail happens in the execution's steps, where Step Functions retries, waits, and sees
to it that CloudFormation gets a response even when a step dies. The same execution polls a job on after the response.
"""

from __future__ import annotations

import itertools
import json
import random
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from healthimaging_import import log
from healthimaging_import.cfn.request import Request
from healthimaging_import.cfn.response import Response, send
from healthimaging_import.contract import RESPONDED_FAILED, ResourceType
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.lifecycle import Mode
from healthimaging_import.legacy import to_first_version, to_this_version

if TYPE_CHECKING:
    from healthimaging_import.resources import StepContext

State = dict[str, Any]
"""What an execution carries: ``event``, ``mode``, ``deploy``, ``began_at``, and what the resource remembers."""

_RESERVE_SECONDS = 30
_RECEIVE_PATIENCE_SECONDS = 120
_LONGEST_PAUSE = 30.0
_DETACHED_PATIENCE_SECONDS = 3600.0
"""How long a detached request tries again what is refused: a right may come back."""
_RESPOND_TRIES = 5
_RESPOND_PAUSE = 30
_NOT_FINISHED = "the request was not finished"
_DEPLOY_AGAIN = "then deploy again: what was started is found again and not started twice"


def handle(event: dict[str, Any], context: Any) -> State:  # noqa: ANN401 - Lambda's context has no public type
    """Receive a CloudFormation request, do a step of a state machine, or respond for an invocation that failed."""
    if "RequestType" in event:
        return _receive(event)
    if "bulk" in event:
        from healthimaging_import.bulk.handler import handle_bulk  # noqa: PLC0415 - responding must not need boto3

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


# -- CloudFormation's call -------------------------------------------------------------------------------------------


def _receive(event: dict[str, Any]) -> State:
    request = Request.parse(event)
    log.line(
        "received", request_type=request.request_type, request_id=request.request_id,
        resource=request.logical_resource_id,
    )  # fmt: skip
    state: State = {"event": event, "began_at": time.time()}
    try:
        _start_execution(request, request.request_id, state)
    except Exception as error:  # noqa: BLE001 - whatever happens, CloudFormation gets a response
        # What cannot be cleaned up must not keep the stack from being deleted, nor from being rolled back.
        success = request.leaves_nothing or state.get("mode") is Mode.ROLLBACK
        send(request, Response(success=success, reason=_reason(error)))
    return {}


def _start_execution(request: Request, name: str, state: State) -> None:
    """Start an execution, unless there is one of that name. Why the function was called is found out here, once."""
    from healthimaging_import.aws.clients import Aws  # noqa: PLC0415 - responding must not need boto3
    from healthimaging_import.resources.step import mode_of  # noqa: PLC0415 - as above

    aws, began = Aws(request.role_arn, iam_propagating=request.request_type != "Delete"), time.monotonic()
    for attempt in itertools.count():
        try:
            if "mode" not in state:
                state["mode"], state["deploy"] = mode_of(aws, request)
            aws.call(
                "stepfunctions", "StartExecution", bool, name=name, input=json.dumps(state),
                stateMachineArn=request.resource_properties["StateMachineArn"],
            )  # fmt: skip
        except TerminalError as error:
            if error.code != "ExecutionAlreadyExists":
                raise
            log.line("doubled event", execution=name)
        except RetryableError:
            if time.monotonic() - began > _RECEIVE_PATIENCE_SECONDS:
                raise
            time.sleep(_pause(attempt))
            continue
        return


# -- the state machine's calls ---------------------------------------------------------------------------------------


def _step(state: State, context: Any) -> State:  # noqa: ANN401
    """Do one step; the state comes back with ``next``: ``wait``, ``respond`` or ``end``."""
    if "response" in state:
        return {**state, "next": "respond"}
    step_context = _context(state, context)
    try:
        from healthimaging_import.resources import run_step  # noqa: PLC0415 - responding must not need boto3

        left = step_context.remaining
        result = run_step(step_context)
        state.pop("failing", None)
        state["tries"] = 0
        if isinstance(result, float) and left <= 0:
            reason = f"the request was still at work after {int(step_context.elapsed)} seconds; deploy again to go on"
            result = _give_up(step_context, reason)
    except RetryableError as error:
        result = _try_again(state, step_context, error, error.patience)
    except TerminalError as error:
        if step_context.mode is Mode.DETACHED:
            result = _try_again(state, step_context, error, _DETACHED_PATIENCE_SECONDS)
        else:
            result = _give_up(step_context, str(error))
    except Exception as error:  # noqa: BLE001 - whatever happens, CloudFormation gets a response
        result = _give_up(step_context, _reason(error))
    if isinstance(result, float):
        return {**state, "next": "wait", "wait_seconds": max(1, round(result))}
    if step_context.mode is Mode.DETACHED:
        log.line("ended", success=result.success, reason=result.reason)
        return {**state, "next": "end", "success": state.get("success", result.success)}
    return {**state, "next": "respond", "response": vars(result)}


def _try_again(
    state: State, context: StepContext, error: RetryableError | TerminalError, patience: float | None
) -> Response | float:
    """Wait before the next try, or give up where the time for it is over."""
    code, since = state.get("failing", [None, 0.0])
    if code != error.code:
        code, since = state["failing"] = [error.code, time.time()]
    left = context.remaining
    if left <= 0 or (patience is not None and time.time() - since > patience):
        return _give_up(context, str(error))
    log.line("later", reason=str(error))
    state["tries"] = state.get("tries", 0) + 1
    pause = 60.0 if context.mode is Mode.DETACHED else _pause(state["tries"])
    return min(max(float(getattr(error, "after", 0.0)), pause), left)


def _respond(state: State, context: Any) -> State:  # noqa: ANN401
    """Respond to CloudFormation; an execution that lost its step (``error``) says so. A job is polled on."""
    step_context = _context(state, context)
    if step_context.mode is Mode.DETACHED:
        _give_up(step_context, "a step was lost", is_lost=True)
        return {**state, "next": "end", "success": False}
    if "response" not in state:
        name = str(state.get("error", {}).get("Error", "unknown"))
        reason = f"the function could not finish a step ({name}); see its log group, {_DEPLOY_AGAIN}"
        state["response"] = vars(_give_up(step_context, reason, is_lost=True))
    response = Response(**state["response"])
    try:
        send(step_context.request, response)
    except OSError as error:
        state["tries_to_respond"] = state.get("tries_to_respond", 0) + 1
        log.line("not responded", reason=str(error))
        if state["tries_to_respond"] < _RESPOND_TRIES:
            return {**state, "next": "wait", "wait_seconds": _RESPOND_PAUSE}
    state = {name: value for name, value in state.items() if name not in ("response", "error")}
    if not response.detached or step_context.request.request_type == "Delete":
        return {**state, "next": "end", "success": response.success}
    _note_responded(step_context)
    return {**state, "mode": Mode.DETACHED, "success": response.success, "next": "wait", "wait_seconds": 1}


def _note_responded(context: StepContext) -> None:
    try:
        from healthimaging_import.resources import dicom_import  # noqa: PLC0415 - responding must not need boto3

        dicom_import.note_responded(context)
    except Exception as error:  # noqa: BLE001 - a second response at the worst, of which CloudFormation takes no notice
        log.line("not noted", error=type(error).__name__)


def _give_up(context: StepContext, reason: str, *, is_lost: bool = False) -> Response:
    log.line("given up", request_id=context.request.request_id)
    try:
        from healthimaging_import.resources import give_up  # noqa: PLC0415 - responding must not need boto3

        return give_up(context, reason, is_lost=is_lost)
    except Exception as error:  # noqa: BLE001 - responding must not fail
        log.line("not closed", error=type(error).__name__)
        may_run = context.request.resource_type == ResourceType.IMPORT and context.request.request_type != "Delete"
        success = context.mode is Mode.ROLLBACK or context.request.leaves_nothing
        return Response(success=success, reason=reason, detached=may_run)


# -- what ended without a response -----------------------------------------------------------------------------------


def _rescue(notice: dict[str, Any]) -> State:
    """Respond for a first call that failed, or for an execution that ended by itself. Never raises.

    EventBridge brings both: what Lambda gave up on, and executions that were stopped, failed or timed out. Anybody in
    the account who may put events can make up the first kind, so nothing is done for it but to respond.
    """
    try:
        detail = notice["detail"]
        if notice["source"] == "lambda":
            request = Request.parse(detail["requestPayload"])
            reason = f"{_NOT_FINISHED} (the call of the function failed); see the function's log group, {_DEPLOY_AGAIN}"
            send(request, Response(success=request.leaves_nothing, reason=reason))
        elif detail.get("error") != RESPONDED_FAILED:
            _rescue_execution(to_this_version(json.loads(detail["input"])), str(detail.get("status")))
    except Exception as error:  # noqa: BLE001 - nobody is left to tell, and another try would end the same
        log.line("not rescued", error=type(error).__name__)
    return {}


def _rescue_execution(state: State, status: str) -> None:
    """Respond in the name of an execution, and have its job polled on; one that only polled has lost its job."""
    context = _context(state, None)
    waits = context.mode is not Mode.DETACHED and not _has_responded(context)
    if not waits:
        context = _context({**state, "mode": Mode.DETACHED}, None)
    reason = f"{_NOT_FINISHED} ({status}); see the function's log group, {_DEPLOY_AGAIN}"
    response = _give_up(context, reason, is_lost=True)
    if waits:
        send(context.request, response)
    if waits and response.detached:
        event = {**state["event"], "ResponseURL": ""}
        name = f"{context.request.request_id}-detached"
        _start_execution(context.request, name, {**state, "event": event, "mode": Mode.DETACHED})


def _has_responded(context: StepContext) -> bool:
    try:
        from healthimaging_import.resources import dicom_import  # noqa: PLC0415 - responding must not need boto3

        return context.request.resource_type == ResourceType.IMPORT and dicom_import.has_responded(context)
    except Exception:  # noqa: BLE001 - a second response at the worst, of which CloudFormation takes no notice
        return False


# -- small things ----------------------------------------------------------------------------------------------------


def _context(state: State, context: Any) -> StepContext:  # noqa: ANN401
    from healthimaging_import.resources.step import StepContext  # noqa: PLC0415 - responding must not need boto3

    return StepContext(
        request=Request.parse(state["event"]),
        mode=Mode(state["mode"]),
        began_at=float(state["began_at"]),
        deploy_mark=str(state.get("deploy") or ""),
        clock=time.time,
        time_left=lambda: context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS,
        carried=state.setdefault("carried", {}),
    )


def _reason(error: Exception) -> str:
    """A failure's own words; of an error nobody foresaw its type and place only, since its text may hold anything."""
    if isinstance(error, RetryableError | TerminalError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{place.filename.rsplit('/', 1)[-1]}:{place.lineno}"
    log.line("unexpected", error=type(error).__name__, at=where)
    return f"the function failed with {type(error).__name__} at {where}: this is an error in healthimaging-cdk"


def _pause(attempt: int) -> float:
    """Full jitter: anything up to a bound that doubles with each try."""
    return random.uniform(0.5, min(_LONGEST_PAUSE, 2.0 ** min(attempt, 6)))  # noqa: S311 - not for secrets
