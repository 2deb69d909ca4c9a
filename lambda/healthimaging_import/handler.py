"""The function's entry point: called by CloudFormation with a request, and by the state machine for each step.

CloudFormation's call only starts an execution named after the request, so that a doubled event finds the one that
runs. Everything that takes time or can fail happens in the execution's steps, where Step Functions retries, waits, and
sees to it that CloudFormation is answered even when a step dies.
"""

from __future__ import annotations

import itertools
import json
import random
import time
import traceback
from typing import Any

from healthimaging_import import log
from healthimaging_import.cloudformation import Answer, Event, send
from healthimaging_import.rules import ANSWERED

_RESERVE_SECONDS = 30
_START_PATIENCE_SECONDS = 60
_LONGEST_PAUSE = 30.0
_DEPLOY_AGAIN = "then deploy again: what was started is found again and not started twice"


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's context has no public type
    """Take a CloudFormation request, do a step of the state machine, or answer for a call that died."""
    if "RequestType" in event:
        return _receive(Event.parse(event), event)
    if "source" in event:
        return _rescue(event)
    steps = {"advance": _advance, "answer": _answer}
    if event.get("step") not in steps:
        log.line("ignored", reason="neither a request nor a step")
        return {}
    return steps[event["step"]](event["state"], context)


def _receive(event: Event, raw: dict[str, Any]) -> dict[str, Any]:
    log.line("received", request_type=event.request_type, request_id=event.request_id, resource=event.logical_id)
    try:
        _take_up(event, raw)
    except Exception as error:  # noqa: BLE001 - whatever happens, CloudFormation gets an answer
        # What cannot be cleaned up must not keep the stack from being deleted.
        send(event, Answer(success=True) if event.is_let_go else Answer(success=False, reason=_reason(error)))
    return {}


def _rescue(notice: dict[str, Any]) -> dict[str, Any]:
    """Repeat a first call that died, or answer for an execution that ended by itself. Never raises.

    EventBridge brings both: what Lambda gave up on, and executions that were stopped, failed or timed out.
    """
    try:
        detail = notice["detail"]
        if notice["source"] == "lambda":
            # It may have died after the start of its execution, which is then found running.
            return _receive(Event.parse(detail["requestPayload"]), detail["requestPayload"])
        state = json.loads(detail["input"])
        if detail.get("error") == ANSWERED:
            return {}
        event, what = Event.parse(state["event"]), str(detail.get("status"))
        if state.get("answered"):
            _lose_sight(event, state)
            return {}
        reason = f"the request was not finished ({what}); see the function's log group, {_DEPLOY_AGAIN}"
        send(event, Answer(success=event.is_let_go, reason=reason))
        log.line("rescued", request_id=event.request_id, what=what)
    except Exception as error:  # noqa: BLE001 - nobody is left to tell, and another try would end the same
        log.line("not answered", error=type(error).__name__)
    return {}


def _take_up(event: Event, raw: dict[str, Any]) -> None:
    from healthimaging_import.problems import TryLater  # noqa: PLC0415

    began = time.monotonic()
    for attempt in itertools.count():
        try:
            _start_execution(event, event.request_id, {"event": raw})
        except TryLater:
            if time.monotonic() - began > _START_PATIENCE_SECONDS:
                raise
            time.sleep(_pause(attempt))
        else:
            break


def _start_execution(event: Event, name: str, state: dict[str, Any]) -> None:
    """Start an execution, unless there is one of that name."""
    from healthimaging_import.aws import Clients  # noqa: PLC0415 - the answering path must not need boto3
    from healthimaging_import.faults import explained  # noqa: PLC0415

    clients = Clients(event.properties["RoleArn"], settling=True)
    with explained("states", "states:StartExecution", settling=True):
        states = clients.stepfunctions
        try:
            states.start_execution(
                stateMachineArn=event.properties["StateMachineArn"], name=name, input=json.dumps(state)
            )
        except states.exceptions.ExecutionAlreadyExists:
            log.line("doubled event", execution=name)


def _advance(state: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401
    """One step of the request; the state comes back with ``next``: ``wait``, ``answer`` or ``end``."""
    event = Event.parse(state["event"])
    began_at = float(state.setdefault("began_at", time.time()))
    progress = state.setdefault("progress", {})
    try:
        from healthimaging_import.problems import TryLater  # noqa: PLC0415 - the answering path must not need boto3
        from healthimaging_import.resources import (  # noqa: PLC0415
            AnswerAndFollow,
            Turn,
            advance,
            patience,
        )

        turn = Turn(
            now=time.time(),
            began_at=began_at,
            time_left=lambda: context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS,
            answered=bool(state.get("answered")),
        )
        try:
            result = advance(event, turn, progress)
            if isinstance(result, AnswerAndFollow):
                _follow(event, state)
                result = result.answer
            state["tries"] = 0
            if isinstance(result, float) and turn.elapsed >= patience(event, turn):
                reason = f"the request was still at work after {int(turn.elapsed)} seconds; deploy again to go on"
                return _ended(state, _given_up(event, progress, reason))
        except TryLater as later:
            if turn.elapsed >= patience(event, turn):
                return _ended(state, _given_up(event, progress, later.reason))
            log.line("later", reason=later.reason)
            state["tries"] = state.get("tries", 0) + 1
            result = max(later.after, _pause(state["tries"]))
    except Exception as error:  # noqa: BLE001 - whatever happens, CloudFormation gets an answer
        return _ended(state, _given_up(event, progress, _reason(error)))
    if isinstance(result, Answer):
        return _ended(state, result)
    return {**state, "next": "wait", "wait_seconds": max(1, round(result))}


def _follow(event: Event, state: dict[str, Any]) -> None:
    """Have the job followed by an execution of its own, which has nobody to answer, whatever happens to it."""
    silent = {**state["event"], "ResponseURL": ""}
    _start_execution(event, f"{event.request_id}-follow", {**state, "event": silent, "answered": True})


def _ended(state: dict[str, Any], answer: Answer) -> dict[str, Any]:
    log.line("ended", success=answer.success)
    if state.get("answered"):
        # Nobody else is told.
        log.line("followed", success=answer.success, reason=answer.reason)
        _lose_sight(Event.parse(state["event"]), state)
        return {**state, "next": "end", "success": answer.success}
    return {**state, "next": "answer", "answer": vars(answer)}


def _answer(state: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - every step has both
    """Tell CloudFormation; an execution that lost its step (``error``) says so."""
    event = Event.parse(state["event"])
    if state.get("answered"):
        _lose_sight(event, state)
        return {**state, "next": "end", "success": False}
    if "answer" in state and "error" not in state:
        answer = Answer(**state["answer"])
    else:
        name = str(state.get("error", {}).get("Error", "unknown"))
        reason = f"the function could not finish a step ({name}); see its log group, {_DEPLOY_AGAIN}"
        answer = _given_up(event, state.get("progress") or {}, reason)
    send(event, answer)
    log.line("answered", success=answer.success, request_id=event.request_id)
    return {**state, "success": answer.success, "answered": True, "next": "end"}


def _given_up(event: Event, progress: dict[str, Any], reason: str) -> Answer:
    log.line("given up", request_id=event.request_id)
    try:
        from healthimaging_import.resources import given_up  # noqa: PLC0415 - the answering path must not need boto3

        return given_up(event, progress, reason)
    except Exception:  # noqa: BLE001 - as the path must not
        return Answer(success=event.is_let_go, reason=reason)


def _lose_sight(event: Event, state: dict[str, Any]) -> None:
    """A job that nobody waits for is not followed any more: unless its verdict is out, nobody will know it."""
    try:
        from healthimaging_import.resources import lose_sight  # noqa: PLC0415 - the answering path must not need boto3

        lose_sight(event, state.get("progress") or {}, time.time())
    except Exception as error:  # noqa: BLE001 - nobody is left to tell, and another try would end the same
        log.line("not announced", error=type(error).__name__)


def _reason(error: Exception) -> str:
    """A refusal's own words; of an error nobody foresaw its type and place only, since its text may hold anything."""
    if type(error).__name__ in ("Refused", "TryLater"):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{place.filename.rsplit('/', 1)[-1]}:{place.lineno}"
    log.line("unexpected", error=type(error).__name__, at=where)
    return f"the function failed with {type(error).__name__} at {where}: this is an error in healthimaging-cdk"


def _pause(attempt: int) -> float:
    """Full jitter: anything up to a bound that doubles with each try."""
    return random.uniform(0.5, min(_LONGEST_PAUSE, 2.0 ** min(attempt, 6)))  # noqa: S311 - not for secrets
