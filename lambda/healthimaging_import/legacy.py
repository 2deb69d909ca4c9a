"""Executions that the first version's state machine began: they call this function with their own steps and state."""

from __future__ import annotations

from typing import Any

from healthimaging_import.importing.mode import Mode


def to_this_version(state: dict[str, Any]) -> dict[str, Any]:
    """Translate a state of the first version; one of this version stays as it is."""
    if "mode" in state or not isinstance(state.get("event"), dict):
        return state
    progress = state.get("progress") or {}
    mode = Mode.DELETE if state["event"].get("RequestType") == "Delete" else Mode.DEPLOY
    if progress.get("rolling_back"):
        mode = Mode.ROLLBACK
    if state.get("answered"):
        mode = Mode.DETACHED
    carried = {"datastore_id": progress["datastore_id"]} if "datastore_id" in progress else {}
    run_id = (progress.get("import") or {}).get("run_id")
    if run_id is not None:
        carried["run_id"] = run_id
    kept: dict[str, Any] = {name: state[name] for name in ("event", "began_at", "error") if name in state}
    return {**kept, "mode": mode, "deploy": progress.get("stack_since", ""), "carried": carried}


def to_first_version(state: dict[str, Any]) -> dict[str, Any]:
    """Translate what a step returns for the first version's state machine, whose state for a response is ``answer``."""
    return {**state, "next": "answer"} if state.get("next") == "respond" else state
