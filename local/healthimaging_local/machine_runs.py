"""The walk of an execution of Step Functions, which remembers where it is, so that it can be redriven.

ministack's own walk begins at the first state only and remembers no place. The states themselves are ministack's.
"""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import copy
import json
import logging
from contextvars import ContextVar
from dataclasses import dataclass, field

from ministack.core import responses
from ministack.services import stepfunctions as machines

from healthimaging_local.ports import Json

_LOGGER = logging.getLogger(__name__)

LONGEST_PAYLOAD = 256 * 1024

Path = tuple[Json, ...]
"""Where something is in a state machine: the names of states, branches and numbers of items around it."""


@dataclass
class Run:
    """One attempt of an execution: the first, or a redrive."""

    execution: Json
    attempt: int
    at: dict[Path, tuple[str, Json]] = field(default_factory=dict)
    """The state that a walk has entered and not left, with its input."""
    done: dict[Path, Json] = field(default_factory=dict)
    """What branches and items that have ended gave."""

    @property
    def goes_on(self) -> bool:
        """Whether the execution was not stopped meanwhile."""
        return (self.execution["status"], self.execution.get("redriveCount", 0)) == ("RUNNING", self.attempt)

    def forget_below(self, path: Path) -> None:
        """Forget what is inside a state that is over: if it is entered again, it begins anew."""
        for places in (self.at, self.done):
            for key in [key for key in places if len(key) > len(path) and key[: len(path)] == path]:
                places.pop(key)


running: ContextVar[Run | None] = ContextVar("running", default=None)
where: ContextVar[Path] = ContextVar("where", default=())


def too_large(value: Json) -> bool:
    """Whether a value takes more than 256 KiB as UTF-8 encoded JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode()) > LONGEST_PAYLOAD


def run_execution(arn: str) -> None:
    """Walk an execution to its end, from where it ended before if it is redriven."""
    execution = machines._executions.get(arn)
    if not execution:
        return
    run = execution.setdefault("_run", Run(execution, 0))
    run = execution["_run"] = Run(execution, execution.get("redriveCount", 0), run.at, run.done)
    tokens = running.set(run), where.set(())
    try:
        _begin(execution)
        definition, given = execution["_definition"], json.loads(execution["input"])
        output = _walk(definition["States"], definition["StartAt"], given, execution, _context(arn, execution, given))
        if run.goes_on:
            _succeed(execution, json.dumps(output))
    except machines._ExecutionError as error:
        if run.goes_on:
            machines._fail_execution(execution, error.error, error.cause)
    except Exception as error:
        _LOGGER.exception("an execution ended by an error of the emulator")
        machines._fail_execution(execution, "States.Runtime", str(error))
    finally:
        running.reset(tokens[0])
        where.reset(tokens[1])


def _begin(execution: Json) -> None:
    """Keep the definition and the role that the execution begins with: a redrive uses them, too."""
    if "_definition" in execution:
        return
    machine = machines._state_machines.get(execution["stateMachineArn"])
    if machine is None:
        raise machines._ExecutionError("States.Runtime", "The state machine does not exist any more")
    execution["_definition"] = json.loads(machine["definition"])
    execution["_role"] = machine["roleArn"]


def _context(arn: str, execution: Json, given: Json) -> Json:
    return {
        "QueryLanguage": execution["_definition"].get("QueryLanguage", "JSONPath"),
        "Execution": {
            "Id": arn,
            "Input": given,
            "Name": execution["name"],
            "RoleArn": execution["_role"],
            "StartTime": execution["startDate"],
            "RedriveCount": execution.get("redriveCount", 0),
        },
        "StateMachine": {"Id": execution["stateMachineArn"], "Name": arn.split(":")[6]},
        "variables": execution.setdefault("_variables", {}),
    }


def _succeed(execution: Json, output: str) -> None:
    execution |= {"status": "SUCCEEDED", "output": output, "stopDate": responses.now_iso()}
    machines._add_event(execution, "ExecutionSucceeded", {"executionSucceededEventDetails": {"output": output}})
    machines._emit_execution_status_event(execution)


def run_branch(states: Json, start_at: str, given: Json, execution: Json, context: Json) -> Json:
    """Walk a branch of a Parallel state or one item of a Map; a redrive does not repeat what has succeeded."""
    item = (context.get("Map") or {}).get("Item", {}).get("Index")
    path = (*where.get(), start_at, item)
    run = running.get()
    if run is not None and path in run.done:
        return run.done[path]
    token = where.set(path)
    try:
        output = _walk(states, start_at, copy.deepcopy(given), execution, context)
    finally:
        where.reset(token)
    if run is not None and run.goes_on:
        run.done[path] = output
    return output


def _walk(states: Json, start_at: str, given: Json, execution: Json, context: Json) -> Json:
    """Walk states from their first one, or from the one in which the walk of this path ended before."""
    path = where.get()
    run = running.get() or Run(execution, 0)  # TestState runs a state without an execution
    name: str | None
    name, value = run.at.get(path, (start_at, given))
    while name and run.goes_on:
        if name not in states:
            raise machines._ExecutionError("States.Runtime", f"State '{name}' not found in definition")
        run.at[path] = (name, value)
        token = where.set((*path, name))
        try:
            output, following = _one_state(name, states[name], value, execution, context)
        finally:
            where.reset(token)
        if not run.goes_on:
            break
        value, name = output, following
        run.at.pop(path)
        run.forget_below(path)
    return value


def _one_state(name: str, state: Json, given: Json, execution: Json, context: Json) -> tuple[Json, str | None]:
    kind = state.get("Type")
    context["State"] = {"Name": name, "EnteredTime": responses.now_iso(), "RetryCount": 0}
    entered = {"name": name, "input": json.dumps(given)}
    machines._add_event(execution, f"{kind}StateEntered", {"stateEnteredEventDetails": entered})
    output, following = _result(kind, state, given, execution, context)
    if too_large(output):
        raise size_error("returned a result", name)
    left = {"name": name, "output": json.dumps(output)}
    machines._add_event(execution, f"{kind}StateExited", {"stateExitedEventDetails": left})
    return output, following


def _result(kind: str, state: Json, given: Json, execution: Json, context: Json) -> tuple[Json, str | None]:
    match kind:
        case "Fail":
            raise machines._ExecutionError(*machines._fail_state_error(state, given, context))
        case "Succeed":
            output = machines._apply_input_path(state, given, context)
            return machines._apply_output_path(state, output, context), None
        case "Pass" | "Choice" | "Wait":
            output, following = getattr(machines, f"_execute_{kind.lower()}")(state, given, context)
        case "Task" | "Parallel" | "Map":
            output, following = getattr(machines, f"_execute_{kind.lower()}")(state, given, execution, context)
        case _:
            raise machines._ExecutionError("States.Runtime", f"Unknown state type: {kind}")
    return output, following


def size_error(what: str, name: str) -> Json:
    """The error of a state whose input or result is too large, in AWS's words."""
    return machines._ExecutionError(
        "States.DataLimitExceeded",
        f"The state/task '{name}' {what} with a size exceeding the maximum number of bytes service limit.",
    )
