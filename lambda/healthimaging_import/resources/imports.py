"""An import, as a custom resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws import Clients
from healthimaging_import.cloudformation import Answer, Event
from healthimaging_import.importing import NOT_STARTED, NOTHING_TO_IMPORT, Importer, Outcome, Progress
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.request import Asset, ImportRequest
from healthimaging_import.resources.turn import (
    UNKNOWN,
    Step,
    Turn,
    clients_of,
    is_settling,
    stack_status,
)
from healthimaging_import.rules import Quotas
from healthimaging_import.verdict import Tolerance


def import_request(scope: str, properties: Mapping[str, Any]) -> ImportRequest:
    """The typed request in an import's properties. CloudFormation sends every number as a string."""
    asset = None
    if properties.get("AssetBucket"):
        asset = Asset(str(properties["AssetBucket"]), str(properties["AssetKey"]))
    defaults = Quotas()
    return ImportRequest(
        scope=scope,
        datastore_id=str(properties["DatastoreId"]),
        data_access_role_arn=str(properties["DataAccessRoleArn"]),
        input_bucket=str(properties["InputBucket"]),
        input_prefix=str(properties.get("InputPrefix") or ""),
        output_bucket=str(properties["OutputBucket"]),
        output_prefix=str(properties.get("OutputPrefix") or ""),
        job_name=properties.get("JobName"),
        input_owner_account_id=properties.get("InputOwnerAccountId"),
        metadata_mappings=tuple(properties.get("MetadataMappings") or ()),
        run_id=None if properties.get("RunId") is None else str(properties["RunId"]),
        asset=asset,
        on_empty=str(properties.get("OnEmpty") or "skip"),
        quotas=Quotas(
            files=int(properties.get("MaxFiles") or defaults.files),
            total_bytes=int(properties.get("MaxBytes") or defaults.total_bytes),
            file_bytes=int(properties.get("MaxFileBytes") or defaults.file_bytes),
        ),
    )


def tolerance(properties: Mapping[str, Any]) -> Tolerance:
    """What the user accepts, from an import's properties."""
    files, percent = properties.get("MaxRejectedFiles"), properties.get("MaxRejectedPercent")
    return Tolerance(
        rejected_files=None if files is None else int(files),
        rejected_percent=None if percent is None else float(percent),
        non_primary_image_sets=str(properties.get("FailOnNonPrimary") or "false") != "true",
        warnings=str(properties.get("FailOnWarnings") or "false") != "true",
    )


_LATE_SECONDS = 30
"""How much later than its timeout a request may take its last step; one that is later comes from a lost step."""


def advance(event: Event, turn: Turn, progress: dict[str, Any]) -> Step:
    """Bring an import one step on; a rollback or a deletion takes what there is and is never refused."""
    clients = clients_of(event, turn)
    if "rolling_back" not in progress:
        unpacks = event.request_type == "Create" and bool(event.properties.get("AssetBucket"))
        asks = not turn.answered and (event.request_type == "Update" or unpacks)
        undone = asks and _is_undone(clients, event, turn, progress)
        progress["rolling_back"] = undone and event.request_type == "Update"
        if asks and event.properties.get("AssetBucket"):
            # Unpacking may take so long that its step is lost. What was seen here must not be lost with it.
            return 1.0
    forgiving = event.request_type == "Delete" or progress["rolling_back"]
    try:
        return _go_on(event, clients, turn, progress, forgiving=forgiving)
    except Refused as refusal:
        if not forgiving:
            raise
        # A refusal here would leave a stack that only a person can move.
        log.line("let go", request_type=event.request_type, reason=str(refusal))
        return Answer(success=True, data=attributes_without_a_job(event))


def job_goes_on(event: Event, progress: Mapping[str, Any], *, known: bool = True) -> bool:
    """Whether a job may go on, without a verdict, when this request ends.

    Args:
        event: the request; with a deletion goes what would follow the job.
        progress: what its steps remember.
        known: whether that is all that they have done.
    """
    kept = Progress.from_dict(progress.get("import") or {})
    return event.request_type != "Delete" and (kept.may_go_on or not (known or kept.closed))


def _is_undone(clients: Clients, event: Event, turn: Turn, progress: dict[str, Any]) -> bool:
    """Whether CloudFormation takes the stack back, or away.

    Raises:
        TryLater: it does nothing with the stack, as far as it says: what it said last may be about an earlier deploy.
        Refused: it has begun another deploy.
    """
    status, since = stack_status(clients, event, settling=is_settling(event, turn))
    if not status.endswith("_IN_PROGRESS"):
        raise TryLater(f"the stack is {status}, so nobody waits for this request")
    if progress.setdefault("stack_since", since) != since:
        raise Refused("this request was replaced before it started a job: another deploy of the stack has begun")
    return "ROLLBACK" in status or status.startswith("DELETE_")


def _go_on(event: Event, clients: Clients, turn: Turn, progress: dict[str, Any], *, forgiving: bool) -> Step:
    kept = Progress.from_dict(progress.get("import") or {})

    def still_asked() -> bool:
        if turn.remaining(event) < -_LATE_SECONDS:
            raise Refused(
                "no job was started in the time that the request has: deploy again, with a longer timeout or, where "
                "local files took too long to be unpacked, from a bucket"
            )
        return not _is_undone(clients, event, turn, progress)

    def importer(properties: Mapping[str, Any]) -> Importer:
        return _importer(
            event,
            properties,
            clients,
            turn,
            may_start=not (forgiving or turn.answered),
            still_asked=still_asked,
        )

    try:
        if turn.answered:
            kept.taken_over_at = kept.taken_over_at or turn.now
        elif forgiving and not progress.get("took_over"):
            importer(event.old_properties or event.properties).take_over(kept)
            progress["took_over"] = True
        outcome = importer(event.properties).step(kept)
    except TryLater:
        # One that has ended is about to have its verdict.
        if not (kept.goes_on and _lets_go(event, turn, ended=bool(kept.ended_at))):
            raise
        outcome = Outcome.of_running(kept)
    finally:
        progress["import"] = vars(kept)
    return _lead_on(event, turn, outcome)


def _importer(
    event: Event,
    properties: Mapping[str, Any],
    clients: Clients,
    turn: Turn,
    *,
    may_start: bool,
    still_asked: Callable[[], bool] = lambda: False,
) -> Importer:
    beyond = max(0.0, turn.time_left() - turn.remaining(event))
    return Importer(
        request=import_request(event.scope, properties),
        clients=clients,
        asked_by=event.request_id,
        now=lambda: turn.now,
        time_left=lambda: turn.time_left() - beyond,
        tolerance=tolerance(properties),
        settling=is_settling(event, turn),
        may_start=may_start,
        still_asked=still_asked,
        follows_to_the_end=turn.answered,
    )


def lose_sight(event: Event, progress: Mapping[str, Any], now: float) -> None:
    """Tell metrics and events that a job which nobody waits for was lost, if it was."""
    turn = Turn(now=now, began_at=0, time_left=lambda: 0, answered=True)
    kept = Progress.from_dict(progress.get("import") or {})
    _importer(event, event.properties, clients_of(event, turn), turn, may_start=False).lose_sight(kept)


def _lets_go(event: Event, turn: Turn, *, ended: bool = False) -> bool:
    """Whether the request ends well now though its job goes on."""
    if turn.answered or event.request_type == "Delete":
        return False
    completion, over = str(event.properties.get("Completion") or "wait"), turn.remaining(event) <= 0
    return (completion == "submit" and (over or not ended)) or (completion == "detach" and over)


def _lead_on(event: Event, turn: Turn, outcome: Outcome) -> Step:
    over = turn.remaining(event) <= 0
    if outcome.finished or (outcome.job_id and _lets_go(event, turn)):
        return Answer(success=True, data=_attributes(event, outcome))
    if over and not outcome.job_id:
        raise Refused("no job was started: the local files were not unpacked in time; use a bucket for so many")
    if over:
        raise Refused(
            f"import job {outcome.job_id} is still {outcome.job_status} after {int(turn.elapsed)} seconds; it goes on, "
            "and a later deploy of the same stack picks up its result instead of importing again"
        )
    return _next_look(turn.elapsed) if outcome.job_id else 1.0


def _next_look(elapsed: float) -> float:
    """A tenth of the time gone by: a two-minute job is noticed within seconds, an hour costs some eighty calls."""
    return min(max(2.0, elapsed / 10), 60.0)


def attributes_without_a_job(event: Event) -> dict[str, str]:
    """The attributes of an import that started nothing."""
    return _attributes(event, Outcome(finished=True, job_status=NOT_STARTED))


def _attributes(event: Event, outcome: Outcome) -> dict[str, str]:
    """Every attribute, always: CloudFormation fails a stack that reads one that is missing."""
    before, now = event.old_properties.get("DatastoreId"), event.properties.get("DatastoreId")
    counts = outcome.counts
    numbers = {
        "NumberOfScannedFiles": counts.scanned,
        "NumberOfImportedFiles": counts.imported,
        "NumberOfFilesWithCustomerError": counts.customer_errors,
        "NumberOfFilesWithServerError": counts.server_errors,
        "NumberOfGeneratedImageSets": counts.image_sets,
        "NumberOfPrimaryImageSets": counts.primary_image_sets,
        "NumberOfNonPrimaryImageSets": counts.non_primary_image_sets,
    }
    summary = {
        NOTHING_TO_IMPORT: "nothing to import: the input prefix is empty",
        NOT_STARTED: "no job was started: the stack was rolled back",
    }.get(outcome.job_status, f"{outcome.job_status}: {counts.sentence()}")
    next_step = "none"
    if outcome.job_status == NOTHING_TO_IMPORT:
        next_step = f"upload DICOM P10 files to the input prefix, then: {event.properties.get('ImportAgain', 'deploy')}"
    if counts.rejected:
        next_step = "read why files were rejected in FAILURE/failure.ndjson of the job's output folder"
    if before not in (None, now):
        summary += f"; this is another data store than before: the image sets of {before} stay there"
    if not outcome.finished:
        summary = f"{outcome.job_status}: the job goes on, its outcome reaches metrics and events"
        next_step = "deploy again with any change to see the outcome here"
    return {
        "DatastoreId": str(event.properties.get("DatastoreId")),
        "JobId": outcome.job_id or "none",
        "JobStatus": outcome.job_status,
        "SubmittedAt": outcome.submitted_at or "none",
        **{name: str(number) if outcome.finished else UNKNOWN for name, number in numbers.items()},
        "Warnings": (counts.warning_list() or "none") if outcome.finished else UNKNOWN,
        "ManifestUri": outcome.manifest_uri or "none",
        "Summary": summary,
        "NextStep": next_step,
    }
