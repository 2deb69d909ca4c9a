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
_START_PATIENCE_SECONDS = 120
_FOLLOWER_PAUSE = 60.0
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
        # From here on, and not from its first step: that may be lost, or come late.
        _start_execution(event, event.request_id, {"event": raw, "began_at": time.time()})
    except Exception as error:  # noqa: BLE001 - whatever happens, CloudFormation gets an answer
        # What cannot be cleaned up must not keep the stack from being deleted.
        send(event, Answer(success=True) if event.is_let_go else Answer(success=False, reason=_reason(error)))
    return {}


def _rescue(notice: dict[str, Any]) -> dict[str, Any]:
    """Answer for a first call that died, or for an execution that ended by itself. Never raises.

    EventBridge brings both: what Lambda gave up on, and executions that were stopped, failed or timed out. Anybody in
    the account who may put events can make up the first kind, so nothing is done for it but to answer CloudFormation.
    """
    try:
        detail = notice["detail"]
        if notice["source"] == "lambda":
            event, what = Event.parse(detail["requestPayload"]), "the call of the function was given up"
            if not event.answers_cloudformation:
                log.line("ignored", reason="the answer is not for CloudFormation")
                return {}
            _answer_for(event, what)
        elif detail.get("error") != ANSWERED:
            state = json.loads(detail["input"])
            event, what = Event.parse(state["event"]), str(detail.get("status"))
            if state.get("answered"):
                _lose_sight(event, state)
            else:
                _answer_for(event, what)
                _follow(event, state, known=False)
    except Exception as error:  # noqa: BLE001 - nobody is left to tell, and another try would end the same
        log.line("not answered", error=type(error).__name__)
    return {}


def _answer_for(event: Event, what: str) -> None:
    reason = f"the request was not finished ({what}); see the function's log group, {_DEPLOY_AGAIN}"
    send(event, Answer(success=event.is_let_go, reason=reason))
    log.line("rescued", request_id=event.request_id, what=what)


def _start_execution(event: Event, name: str, state: dict[str, Any]) -> None:
    """Start an execution, unless there is one of that name."""
    from healthimaging_import.aws import Clients  # noqa: PLC0415 - the answering path must not need boto3
    from healthimaging_import.faults import explained  # noqa: PLC0415
    from healthimaging_import.problems import TryLater  # noqa: PLC0415

    began = time.monotonic()
    settling = event.request_type != "Delete"
    for attempt in itertools.count():
        try:
            states = Clients(event.properties["RoleArn"], settling=settling).stepfunctions
            with explained("states", "states:StartExecution", settling=settling):
                try:
                    states.start_execution(
                        stateMachineArn=event.properties["StateMachineArn"], name=name, input=json.dumps(state)
                    )
                except states.exceptions.ExecutionAlreadyExists:
                    log.line("doubled event", execution=name)
        except TryLater:
            if time.monotonic() - began > _START_PATIENCE_SECONDS:
                raise
            time.sleep(_pause(attempt))
        else:
            break


def _advance(state: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401
    """One step of the request; the state comes back with ``next``: ``wait``, ``answer`` or ``end``."""
    event = Event.parse(state["event"])
    began_at = float(state.setdefault("began_at", time.time()))
    progress = state.setdefault("progress", {})
    try:
        from healthimaging_import.problems import TryLater  # noqa: PLC0415 - the answering path must not need boto3
        from healthimaging_import.resources import Turn, advance  # noqa: PLC0415

        turn = Turn(
            now=time.time(),
            began_at=began_at,
            time_left=lambda: context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS,
            answered=bool(state.get("answered")),
        )
        left = turn.remaining(event)
        try:
            result = advance(event, turn, progress)
            state["tries"] = 0
            if isinstance(result, float) and left <= 0:
                reason = f"the request was still at work after {int(turn.elapsed)} seconds; deploy again to go on"
                return _ended(state, _given_up(event, progress, reason))
        except TryLater as later:
            if left <= 0:
                return _ended(state, _given_up(event, progress, later.reason))
            log.line("later", reason=later.reason)
            state["tries"] = state.get("tries", 0) + 1
            result = min(max(later.after, _pause(state["tries"])), left)
    except Exception as error:  # noqa: BLE001 - whatever happens, CloudFormation gets an answer
        return _ended(state, _given_up(event, progress, _reason(error)))
    if isinstance(result, Answer):
        return _ended(state, result)
    # Nobody waits for a follower, and a day of short pauses is more than the history of an execution holds.
    seconds = max(result, _FOLLOWER_PAUSE) if turn.answered else result
    return {**state, "next": "wait", "wait_seconds": max(1, round(seconds))}


def _ended(state: dict[str, Any], answer: Answer) -> dict[str, Any]:
    log.line("ended", success=answer.success)
    event = Event.parse(state["event"])
    if state.get("answered"):
        # Nobody else is told.
        log.line("followed", success=answer.success, reason=answer.reason)
        _lose_sight(event, state)
        return {**state, "next": "end", "success": answer.success}
    return {**state, "next": "answer", "answer": vars(answer)}


def _answer(state: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401, ARG001 - every step has both
    """Tell CloudFormation; an execution that lost its step (``error``) says so."""
    event = Event.parse(state["event"])
    if state.get("answered"):
        _lose_sight(event, state)
        return {**state, "next": "end", "success": False}
    lost = "error" in state or "answer" not in state
    if lost:
        name = str(state.get("error", {}).get("Error", "unknown"))
        reason = f"the function could not finish a step ({name}); see its log group, {_DEPLOY_AGAIN}"
        answer = _given_up(event, state.get("progress") or {}, reason)
    else:
        answer = Answer(**state["answer"])
    send(event, answer)
    log.line("answered", success=answer.success, request_id=event.request_id)
    _follow(event, state, known=not lost)
    return {**state, "success": answer.success, "answered": True, "next": "end"}


def _follow(event: Event, state: dict[str, Any], *, known: bool = True) -> None:
    """Have a job that may go on followed by an execution of its own, which has nobody to answer, whatever happens.

    Args:
        event: the request that ends.
        state: that of its execution.
        known: whether the state holds all that was done; a step that was lost may have started a job.
    """
    try:
        from healthimaging_import.resources import job_goes_on  # noqa: PLC0415 - the answering path must not need boto3

        if job_goes_on(event, state.get("progress") or {}, known=known):
            kept: dict[str, Any] = {name: state[name] for name in ("began_at", "progress") if name in state}
            silent = {**state["event"], "ResponseURL": ""}
            _start_execution(event, f"{event.request_id}-follow", {**kept, "event": silent, "answered": True})
    except Exception as error:  # noqa: BLE001 - the answer must not fail for it
        log.line("not followed", error=type(error).__name__)
        _lose_sight(event, state)


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
