"""The life of an import as one state machine: what its record says decides what is done next.

:func:`next_action` is pure: tests/model enumerates every state, mode, owner and time, docs/life-of-an-import.md shows
them. :func:`run` does one effect and one conditional write at a time. It knows nothing of CloudFormation: whoever calls
it lets time pass, until its result is not running.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

from healthimaging_import import log
from healthimaging_import.contract import Verdict
from healthimaging_import.errors import RetryableError, StepError, TerminalError
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.jobs import find_job, get_job
from healthimaging_import.importing.judging import (
    UnknownJobError,
    confirm,
    poll,
    publish_verdict,
    result_of,
    write_verdict,
)
from healthimaging_import.importing.mode import DEPLOYS, LAST, Mode
from healthimaging_import.importing.record import Owner, Record, Retry, State
from healthimaging_import.importing.starting import claim, find, refuse, start, survey
from healthimaging_import.importing.verdict import NEW_RUN, NOTHING_TO_IMPORT, ImportResult

_UNJUDGED_SECONDS = 180
"""How long whoever polls a job may take to judge it: a pause, a step, and a manifest that is late."""

_LEAST_POLLED_SECONDS = 22 * 3600
"""A job is polled for a day from when its request began: whoever makes a call up cannot end that before."""


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
    is_mine, is_later = record.owner.request_id == me.request_id, me.sent_at > record.owner.sent_at
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


class ReplacedError(TerminalError):
    """A later request owns the import."""


class EndedError(TerminalError):
    """The import has ended, and not with a success."""


def run(context: ImportContext) -> ImportResult:
    """Do what can be done now.

    Returns:
        What the import has come to; its job may be running.

    Raises:
        RetryableError: something has to pass first.
        TerminalError: the import failed, with the reason.
    """
    found: Record | ImportResult | None = context.records.load(context.request.intent)
    if found is None and context.carried.get("owned"):
        raise TerminalError(f"the record of this import was removed while it was at work; {NEW_RUN}")
    while not isinstance(found, ImportResult):
        action = next_action(found, context.mode, context.me, context.clock(), is_current=context.is_current)
        found = _DO[action](context, found)
    return found


def close(context: ImportContext, reason: str, *, is_lost: bool = False) -> Record | None:
    """Leave the record as a request ends: say that nothing was sent, or that the verdict is not known.

    A running job is left to be polled on, unless this request is the last to look (:data:`LAST`), and either its
    execution is lost (``is_lost``) or the job has been polled for long.

    Returns:
        The record, if there is one; another request's stays as it is.
    """
    record = context.records.load(context.request.intent)
    if record is None or record.owner.request_id != context.me.request_id:
        return record
    if record.state is State.CLAIMED and record.lease_until == 0:
        record = refuse(context, record, reason)
    elif not record.has_ended and context.mode in LAST:
        record = _judge_at_last(context, record, reason, is_lost=is_lost)
    if record.state is State.JUDGED and not record.published:
        record = publish_verdict(context, record)
    return record


def _judge_at_last(context: ImportContext, record: Record, reason: str, *, is_lost: bool) -> Record:
    """Look at the job once more; where that brings no verdict, there will be none."""
    is_detached = context.mode is Mode.DETACHED and not is_lost
    if record.state is State.RUNNING:
        try:
            judged = poll(context, record)
            if isinstance(judged, Record):
                return judged
            if is_detached and context.clock() - record.submitted_at < _LEAST_POLLED_SECONDS:
                return record
        except UnknownJobError:
            record = context.records.save(record, job={}, state=State.CLAIMED)  # another's job has its own verdict
        except StepError as error:
            log.line("not judged", reason=str(error))
    reason = f"{reason}; what became of the job could not be determined; {NEW_RUN}"
    return write_verdict(context, record, Verdict.UNKNOWN, reason, result_of(record, "UNKNOWN"))


# -- whose record it is ----------------------------------------------------------------------------------------------


def _take_ownership(context: ImportContext, record: Record) -> Record | ImportResult:
    try:
        record = context.records.save(record, owner=context.me, retry=Retry.NONE)
    except TerminalError:
        # Its rights on the records may be gone already: the job is waited for all the same.
        is_waiting = context.mode is Mode.DELETE and record.state is State.RUNNING
        if is_waiting and not get_job(context.aws, context.request.datastore_id, record.job["jobId"]).has_ended:
            return result_of(record)
        raise
    context.carried["owned"] = True
    return record


def _stop(_: ImportContext, __: Record) -> ImportResult:
    raise ReplacedError("a later request for this import replaced this one; a job of it may still be running")


def watch(context: ImportContext, record: Record) -> ImportResult:
    """Wait for a job that another request polls, and for its verdict; where none comes, no request polls it now."""
    if context.clock() < record.lease_until:
        _wait(context, record)
    job_id, name = record.job.get("jobId"), str(record.parameters.get("jobName") or "")
    if not job_id and record.lease_until:  # its owner may have died between the start and what it wrote of it
        job_id = (find_job(context.aws, context.request.datastore_id, name, record.claimed_at) or {}).get("jobId")
    if not job_id:
        return ImportResult()
    if get_job(context.aws, context.request.datastore_id, job_id).has_ended:
        since = context.carried.setdefault("ended_since", context.clock())
        if context.clock() - since >= _UNJUDGED_SECONDS:
            return ImportResult()
    return ImportResult(job_id, "IN_PROGRESS")


def _wait(context: ImportContext, record: Record) -> ImportResult:
    raise RetryableError("the start of an import job may be on its way", after=record.lease_until - context.clock())


def _respond(context: ImportContext, record: Record | None) -> ImportResult:
    if record is None:
        return ImportResult()
    if record.state is State.RUNNING:
        return result_of(record, "SUBMITTED")
    is_refused, is_deploy = record.state is State.REFUSED, context.mode in DEPLOYS
    if (
        is_refused
        and record.reason == NOTHING_TO_IMPORT
        and (context.has_ended or not is_deploy or not survey(context.aws, context.request))
    ):
        return ImportResult(job_status=NOTHING_TO_IMPORT)
    if is_refused and not is_deploy:
        return ImportResult()
    if is_refused and not context.has_ended:
        raise EndedError("no job was started, for the reason in the function's log group (refused); deploy again")
    if not context.has_ended:
        is_told = is_deploy or context.mode is Mode.ROLLBACK
        record = confirm(context, record) if is_told else replace(record, reason=f"the verdict was {record.verdict}")
    if record.verdict is not Verdict.SUCCEEDED:
        raise EndedError(record.reason)
    return record.result


_DO: dict[Action, Callable[[ImportContext, Any], Record | ImportResult]] = {
    Action.CLAIM: claim,
    Action.TAKE_OWNERSHIP: _take_ownership,
    Action.STOP: _stop,
    Action.START: start,
    Action.WATCH: watch,
    Action.WAIT: _wait,
    Action.FIND: find,
    Action.REFUSE: refuse,
    Action.POLL: poll,
    Action.PUBLISH: publish_verdict,
    Action.RESPOND: _respond,
}
