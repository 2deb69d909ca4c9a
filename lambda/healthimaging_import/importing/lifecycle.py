"""The life of an import as one state machine: what its record says decides what is done next.

Pure: tests/model enumerates every state, mode, owner and time; docs/life-of-an-import.md shows the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from healthimaging_import.contract import Verdict


class Mode(StrEnum):
    """Why the function was called."""

    DEPLOY = "DEPLOY"
    """A create or an update, which waits for the job."""
    SUBMIT = "SUBMIT"
    """A create or an update, which does not."""
    ROLLBACK = "ROLLBACK"
    """An update that puts back what was there before: it starts nothing and never fails."""
    DELETE = "DELETE"
    """A deletion: it starts nothing and never fails."""
    CLEANUP = "CLEANUP"
    """The deletion of what an update has replaced, while the stack lives on: it waits, and leaves the record alone."""
    DETACHED = "DETACHED"
    """CloudFormation has its response; the job is polled for its verdict."""

    @property
    def may_start(self) -> bool:
        """Whether a job may be started."""
        return self in (Mode.DEPLOY, Mode.SUBMIT)


class State(StrEnum):
    """What a record says of its attempt."""

    CLAIMED = "CLAIMED"
    """Somebody is about to start a job; the start may be on its way until ``lease_until``."""
    RUNNING = "RUNNING"
    """HealthImaging has answered with a job."""
    JUDGED = "JUDGED"
    """There is a verdict on the job."""
    REFUSED = "REFUSED"
    """No job was started, for a reason."""

    @property
    def is_end(self) -> bool:
        """Whether the attempt has ended."""
        return self in (State.JUDGED, State.REFUSED)


class Action(StrEnum):
    """What a step does next."""

    CLAIM = "CLAIM"
    """Begin an attempt."""
    TAKE_OWNERSHIP = "TAKE_OWNERSHIP"
    """Become the one request that may write the record."""
    STOP = "STOP"
    """Leave it to the later request that owns the record."""
    START = "START"
    """Look at the source, take the lease, ask whether the request is still wanted, and start the job."""
    WATCH = "WATCH"
    """Wait for a job that another request polls."""
    WAIT = "WAIT"
    """Wait until a start that may be on its way has arrived or is over."""
    FIND = "FIND"
    """Look for the job among HealthImaging's, by its name."""
    REFUSE = "REFUSE"
    """End an attempt whose start was never sent."""
    POLL = "POLL"
    """Look at the job; when it has ended, judge it."""
    PUBLISH = "PUBLISH"
    """Send the verdict out."""
    RESPOND = "RESPOND"
    """Respond with what the record says."""


@dataclass(frozen=True)
class Owner:
    """A request, and when it began: of two requests the later one owns the record."""

    request_id: str
    began_at: float


class RecordLike(Protocol):
    """What the decision needs of a record."""

    @property
    def state(self) -> State: ...  # noqa: D102
    @property
    def owner(self) -> Owner: ...  # noqa: D102
    @property
    def lease_until(self) -> float: ...  # noqa: D102
    @property
    def verdict(self) -> Verdict | None: ...  # noqa: D102
    @property
    def published(self) -> bool: ...  # noqa: D102


def next_action(  # noqa: PLR0911 - one line of the table each
    record: RecordLike | None, mode: Mode, me: Owner, now: float, *, is_current: bool
) -> Action:
    """Decide what to do next.

    Args:
        record: the record of the intent; None where there is none.
        mode: why the function was called.
        me: the request.
        now: seconds since the epoch.
        is_current: whether this intent is what the data store was given last, as far as this import knows: only then
            is what the record says, or its loss, the answer to a deploy.
    """
    if record is None:
        return Action.CLAIM if mode.may_start and not is_current else Action.RESPOND
    if record.state is State.JUDGED and not record.published:
        return Action.PUBLISH
    is_mine, is_later = record.owner.request_id == me.request_id, me.began_at > record.owner.began_at
    if record.state.is_end:
        may_repeat = record.state is State.REFUSED or record.verdict is Verdict.FAILED or not is_current
        return Action.CLAIM if mode.may_start and is_later and not is_mine and may_repeat else Action.RESPOND
    if not is_mine and mode is Mode.CLEANUP:
        return Action.WATCH
    if not is_mine and is_later and mode is not Mode.DETACHED:
        return Action.TAKE_OWNERSHIP
    if not is_mine:
        return Action.WATCH if mode is Mode.DELETE else Action.STOP
    if record.state is State.RUNNING:
        return Action.RESPOND if mode is Mode.SUBMIT else Action.POLL
    if record.lease_until == 0:
        return Action.START if mode.may_start else Action.REFUSE
    return Action.WAIT if now < record.lease_until else Action.FIND
