"""Limits of Step Functions (its guide, "Service quotas"), and which errors nobody catches."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

from ministack.services import stepfunctions as machines

from healthimaging_local.machine_runs import running, size_error, too_large, where
from healthimaging_local.ports import Json

_MOST_EVENTS = 25_000
_NEVER_CAUGHT_BY_ALL = ("States.DataLimitExceeded", "States.Runtime")


def histories_are_limited() -> None:
    """End an execution whose history would hold more than 25,000 events; that a task started is one of its own."""
    original = machines._add_event

    def add_event(execution: Json, kind: str, details: Json = None) -> Json:
        ends = kind.startswith("Execution")
        run = running.get()
        if not ends and run is not None and not run.goes_on:
            return {}  # a state that still waited when its execution was stopped
        if len(execution["events"]) >= _MOST_EVENTS - 1 and not ends:
            raise machines._ExecutionError(
                "States.Runtime", f"The execution reached the maximum number of history events ({_MOST_EVENTS})."
            )
        event = original(execution, kind, details)
        if kind == "TaskScheduled":
            add_event(execution, "TaskStarted", {"taskStartedEventDetails": details["taskScheduledEventDetails"]})
        return event

    machines._add_event = add_event


def payloads_are_limited() -> None:
    """Refuse what is too large to be sent to a task, or comes back from one."""
    original = machines._invoke_resource

    def invoke_resource(resource: str, given: Json) -> Json:
        name = str((where.get() or ("",))[-1])
        if too_large(given):
            raise size_error("was given an input", name)
        result = original(resource, given)
        if too_large(result):
            raise size_error("returned a result", name)
        return result

    machines._invoke_resource = invoke_resource


def terminal_errors_are_not_caught_by_all() -> None:
    """Keep States.ALL from catching what AWS says it does not: an exceeded limit, and a broken execution."""
    original = machines._error_matches

    def error_matches(listed: list[str], error: str) -> bool:
        return error in listed if error in _NEVER_CAUGHT_BY_ALL else bool(original(listed, error))

    machines._error_matches = error_matches
