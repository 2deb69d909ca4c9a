"""The custom resources: how their properties become typed requests, and what each does for an event."""

from __future__ import annotations

from typing import Any

from healthimaging_import.cloudformation import Answer, Event
from healthimaging_import.problems import Refused
from healthimaging_import.resources import datastore, emptying, imports, tags
from healthimaging_import.resources.turn import Step, Turn
from healthimaging_import.rules import DATASTORE, EMPTYING, IMPORT, TAGS

_ADVANCE = {
    DATASTORE: datastore.advance,
    EMPTYING: emptying.advance,
    IMPORT: imports.advance,
    TAGS: tags.advance,
}


def advance(event: Event, turn: Turn, progress: dict[str, Any]) -> Step:
    """Bring a request one step on.

    Args:
        event: the request.
        turn: the time.
        progress: what the steps remember; changed in place.

    Raises:
        TryLater: something has to pass first.
        Refused: the request failed.
    """
    if event.resource_type not in _ADVANCE:
        raise Refused(f"this version of the function does not know {event.resource_type}: deploy with a newer library")
    return _ADVANCE[event.resource_type](event, turn, progress)


def given_up(event: Event, progress: dict[str, Any], reason: str) -> Answer:
    """The answer to a request that cannot be brought to its end."""
    if event.is_let_go or progress.get("rolling_back"):
        return Answer(success=True, data=imports.attributes_without_a_job(event))
    return Answer(success=False, reason=reason, physical_id=str(progress.get("datastore_id") or ""))


def job_goes_on(event: Event, progress: dict[str, Any], *, known: bool = True) -> bool:
    """Whether an import job may go on, without a verdict, when this request ends.

    ``known``: whether ``progress`` holds all that the request has done.
    """
    return event.resource_type == IMPORT and imports.job_goes_on(event, progress, known=known)


def lose_sight(event: Event, progress: dict[str, Any], now: float) -> None:
    """Tell metrics and events that a job which nobody waits for was lost, if it was."""
    if event.resource_type == IMPORT:
        imports.lose_sight(event, progress, now)


__all__ = ["Turn", "advance", "given_up", "job_goes_on", "lose_sight"]
