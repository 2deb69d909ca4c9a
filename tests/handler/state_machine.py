"""The handler as AWS calls it: by CloudFormation, and step by step by a state machine that does not really wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from healthimaging_import import handler
from tests.handler.fake_aws import FakeAws


class Clock:
    """Stands for the handler's ``time`` module: waiting costs nothing."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def time(self) -> float:
        return self.seconds

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Context:
    """Lambda's context."""

    def __init__(self, milliseconds: int = 900_000) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


class Machine:
    """One function and its state machine. ``outputs`` is what steps handed over, without the request itself."""

    def __init__(self, aws: FakeAws, clock: Clock) -> None:
        self.aws = aws
        self.clock = clock
        self.outputs: list[dict[str, Any]] = []
        self.waited: list[float] = []
        self.context = Context()
        self.before_step: Callable[[int], None] = lambda _: None

    def request(self, event: dict[str, Any], *, follow: bool = True) -> dict[str, Any]:
        """CloudFormation calls the function; the execution that it starts runs to its end, and who follows as well."""
        assert {} == handler.handle(event, self.context)
        end = self.run(json.loads(self.aws.executions[event["RequestId"]]["input"]))
        follower = self.aws.executions.get(f"{event['RequestId']}-follow")
        return self.run(json.loads(follower["input"])) if follower and follow else end

    def run(self, state: dict[str, Any], most: int = 200) -> dict[str, Any]:
        """Walk through the states until the end; answers the last output."""
        for number in range(most):
            self.before_step(number)
            state = self.step("advance", state)
            if state["next"] == "answer":
                state = self.step("answer", state)
            if state["next"] == "end":
                return state
            self.waited.append(state["wait_seconds"])
            self.clock.seconds += state["wait_seconds"]
        raise AssertionError("the execution does not end")

    def step(self, name: str, state: dict[str, Any]) -> dict[str, Any]:
        output = handler.handle({"step": name, "state": json.loads(json.dumps(state))}, self.context)
        self.outputs.append({key: value for key, value in output.items() if key != "event"})
        return output
