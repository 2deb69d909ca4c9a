"""The handler as AWS calls it: by CloudFormation, and step by step by a state machine that does not really wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from healthimaging_import import handler
from healthimaging_import.aws import clients
from tests.handler.fake_aws import Clock, FakeAws


class Context:
    """Lambda's context."""

    def __init__(self, milliseconds: int = 900_000) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


def call_as_lambda_does(event: dict[str, Any], clock: Clock) -> list[float]:
    """Call the function asynchronously: up to three times, then with what the event bus brings.

    Returns:
        For how many seconds each call had its slot.
    """
    held = []
    for pause in (60, 120, 0):
        began = clock.seconds
        try:
            handler.handle(event, Context())
        except Exception as error:  # noqa: BLE001 - as Lambda does
            failure = {"errorType": type(error).__name__, "errorMessage": str(error)}
            held.append(clock.seconds - began)
            clock.seconds += pause
        else:
            return [*held, clock.seconds - began]
    context = {"condition": "RetriesExhausted"}
    detail = {"requestContext": context, "requestPayload": event, "responsePayload": failure}
    handler.handle({"source": "lambda", "detail": detail}, Context())
    return held


class Machine:
    """One function and its state machine. ``outputs`` is what steps handed over, without the request itself."""

    def __init__(self, aws: FakeAws, clock: Clock) -> None:
        self.aws = aws
        self.clock = clock
        self.outputs: list[dict[str, Any]] = []
        self.waited: list[float] = []
        self.context = Context()
        self.before_step: Callable[[int], None] = lambda _: None

    def receive(self, event: dict[str, Any]) -> dict[str, Any]:
        """CloudFormation calls the function, a little later than before; returns what the execution begins with."""
        self.clock.seconds += 1
        assert {} == handler.handle(event, self.context)
        return dict(json.loads(self.aws.executions[event["RequestId"]]["input"]))

    def request(self, event: dict[str, Any]) -> dict[str, Any]:
        """CloudFormation calls the function; the execution that it starts runs to its end."""
        return self.run(self.receive(event))

    def respond(self, event: dict[str, Any]) -> dict[str, Any]:
        """CloudFormation calls the function and gets its response; returns what the execution goes on with."""
        return self.run(self.receive(event), until_response=True)

    def run(self, state: dict[str, Any], *, until_response: bool = False, most: int = 2000) -> dict[str, Any]:
        """Walk through the states until the end; returns the last output."""
        for number in range(most):
            self.before_step(number)
            state = self.step("step", state)
            if state["next"] == "respond":
                state = self.step("respond", state)
                if until_response:
                    return state
            if state["next"] == "end":
                return state
            self.waited.append(state["wait_seconds"])
            self.aws.settle()
            self.clock.seconds += state["wait_seconds"]
        raise AssertionError("the execution does not end")

    def step(self, name: str, state: dict[str, Any]) -> dict[str, Any]:
        output = handler.handle({"step": name, "state": json.loads(json.dumps(state))}, self.context)
        self.outputs.append({key: value for key, value in output.items() if key != "event"})
        return output

    def restart(self) -> None:
        """The next invocation is the first of a new environment, which has no credentials yet."""
        clients._sessions.clear()
