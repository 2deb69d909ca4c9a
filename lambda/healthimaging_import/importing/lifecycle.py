"""The life of an import as one state machine: what its record says decides what is done next.

Pure: tests/model enumerates every state, mode, owner and time; docs/life-of-an-import.md shows the table.
"""

from __future__ import annotations

from enum import StrEnum

from healthimaging_import.contract import Verdict
from healthimaging_import.importing.record import Owner, Record, Retry, State


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


DEPLOYS = (Mode.DEPLOY, Mode.SUBMIT)
"""The modes in which a job may be started."""


class Action(StrEnum):
    """What a step does next."""

    CLAIM = "CLAIM"  # begin an attempt
    TAKE_OWNERSHIP = "TAKE_OWNERSHIP"  # become the one request that may write the record
    STOP = "STOP"  # leave it to the later request that owns the record
    START = "START"  # prepare the source, take the lease, ask whether it is still wanted, and start the job
    WATCH = "WATCH"  # wait for a job that another request polls
    WAIT = "WAIT"  # wait until a start that may be on its way has arrived or is over
    FIND = "FIND"  # look for the job among HealthImaging's, by its name
    REFUSE = "REFUSE"  # end an attempt whose start was never sent
    POLL = "POLL"  # look at the job; when it has ended, judge it
    PUBLISH = "PUBLISH"  # send the verdict out
    RESPOND = "RESPOND"  # respond with what the record says


def next_action(  # noqa: PLR0911 - one line of the table each
    record: Record | None, mode: Mode, me: Owner, now: float, *, is_current: bool
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
        return Action.CLAIM if mode in DEPLOYS and not is_current else Action.RESPOND
    state = record.state
    if state is State.JUDGED and not record.published:
        return Action.PUBLISH
    is_mine, is_later = record.owner.request_id == me.request_id, me.began_at > record.owner.began_at
    if record.retry is Retry.DUE and is_mine and mode is Mode.DEPLOY:
        return Action.CLAIM
    if state in (State.JUDGED, State.REFUSED):
        may_repeat = state is State.REFUSED or record.verdict is Verdict.FAILED or not is_current
        return Action.CLAIM if mode in DEPLOYS and is_later and not is_mine and may_repeat else Action.RESPOND
    if not is_mine:
        if is_later and mode not in (Mode.CLEANUP, Mode.DETACHED):
            return Action.TAKE_OWNERSHIP
        return Action.WATCH if mode in (Mode.DELETE, Mode.CLEANUP) else Action.STOP
    if state is State.RUNNING:
        return Action.RESPOND if mode is Mode.SUBMIT else Action.POLL
    if record.lease_until == 0:
        return Action.START if mode in DEPLOYS else Action.REFUSE
    return Action.WAIT if now < record.lease_until else Action.FIND
