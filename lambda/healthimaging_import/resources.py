"""The custom resources: how their properties become typed requests, and what each does for an event."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from healthimaging_import import datastores, log
from healthimaging_import.aws import Clients
from healthimaging_import.cloudformation import Answer, Event
from healthimaging_import.faults import explained
from healthimaging_import.importing import NOT_STARTED, NOTHING_TO_IMPORT, Importer, Outcome, Progress
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.request import Asset, ImportRequest
from healthimaging_import.rules import DATASTORE, DEFAULT_WAIT_SECONDS, EMPTYING, IMPORT, TAGS, Quotas
from healthimaging_import.tags import change_tags, remove_tags
from healthimaging_import.verdict import Tolerance

_SETTLING_SECONDS = 120
_LONGEST_FOLLOWING_SECONDS = 24 * 3600
_UNKNOWN = "unknown"
_DATASTORE_ID = re.compile(r"[0-9a-z]{32}")
_GRANTED_ON = (
    "RoleArn",
    "DataAccessRoleArn",
    "DatastoreId",
    "DatastoreArn",
    "InputBucket",
    "InputPrefix",
    "OutputBucket",
    "OutputPrefix",
)


@dataclass(frozen=True)
class Turn:
    """One invocation for an event: how long the request has been at work, and what this invocation may use."""

    now: float
    began_at: float
    time_left: Callable[[], float]
    answered: bool = False
    """CloudFormation has its answer, and the job is followed for metrics and events alone."""

    @property
    def elapsed(self) -> float:
        """Seconds since the request was taken up."""
        return self.now - self.began_at


@dataclass(frozen=True)
class AnswerAndFollow:
    """CloudFormation is answered now, and the job is followed to its end."""

    answer: Answer


Step = Answer | AnswerAndFollow | float
"""What a step leads to: an answer, or the seconds to wait before the next step."""


def patience(event: Event, turn: Turn) -> float:
    """How long a request may take, in seconds."""
    if turn.answered:
        return _LONGEST_FOLLOWING_SECONDS
    return float(event.properties.get("WaitSeconds") or DEFAULT_WAIT_SECONDS)


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
    if event.resource_type == TAGS:
        return _tags(event, turn)
    if event.resource_type == IMPORT:
        return _import(event, turn, progress)
    if event.resource_type == DATASTORE:
        return _datastore(event, turn, progress)
    if event.resource_type == EMPTYING:
        return _emptying(event, turn, progress)
    raise Refused(f"this version of the function does not know {event.resource_type}: deploy with a newer library")


def given_up(event: Event, progress: dict[str, Any], reason: str) -> Answer:
    """The answer to a request that cannot be brought to its end."""
    if event.is_let_go or progress.get("rolling_back"):
        return Answer(success=True, data=_attributes_without_a_job(event))
    return Answer(success=False, reason=reason, physical_id=str(progress.get("datastore_id") or ""))


def lose_sight(event: Event, progress: dict[str, Any], now: float) -> None:
    """Tell metrics and events that a job which nobody waits for was lost, if it was."""
    if event.resource_type == IMPORT:
        turn = Turn(now=now, began_at=0, time_left=lambda: 0, answered=True)
        kept = Progress.from_dict(progress.get("import") or {})
        _importer(event, event.properties, _clients(event, turn), turn, may_start=False).lose_sight(kept)


def _settling(event: Event, turn: Turn) -> bool:
    """Whether IAM may still be catching up with what this deploy made or changed."""
    changed = any(event.properties.get(name) != event.old_properties.get(name) for name in _GRANTED_ON)
    return changed and turn.elapsed < _SETTLING_SECONDS


def _clients(event: Event, turn: Turn) -> Clients:
    return Clients(event.properties.get("RoleArn"), settling=_settling(event, turn))


def _stack_status(clients: Clients, event: Event, *, settling: bool = False) -> str:
    """What CloudFormation is doing with the stack. It must be known: a rollback taken for an update would import."""
    with explained("cloudformation", "DescribeStacks", settling=settling):
        return str(clients.cloudformation.describe_stacks(StackName=event.stack_id)["Stacks"][0]["StackStatus"])


# -- the tags of a data store ----------------------------------------------------------------------------------------


def _tags(event: Event, turn: Turn) -> Answer:
    clients, settling = _clients(event, turn), _settling(event, turn)
    arn, tags = str(event.properties["DatastoreArn"]), _tag_map(event.properties)
    if event.request_type == "Delete":
        # When the whole stack goes, a store that is retained keeps its tags.
        try:
            going = not _stack_status(clients, event).startswith("UPDATE_")
        except Refused:
            going = True
        if not going:
            remove_tags(clients.healthimaging, arn, tags)
        return Answer(success=True)
    same_store = event.old_properties.get("DatastoreArn") == arn
    old = _tag_map(event.old_properties) if same_store else {}
    change_tags(clients.healthimaging, arn, old=old, new=tags, settling=settling)
    return Answer(success=True)


def _tag_map(properties: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in (properties.get("Tags") or {}).items()}


# -- a data store that CloudFormation cannot express -----------------------------------------------------------------


def _datastore(event: Event, turn: Turn, progress: dict[str, Any]) -> Answer | float:
    healthimaging = _clients(event, turn).healthimaging
    wanted, before = _store_settings(event.properties), _store_settings(event.old_properties)
    if event.request_type == "Delete":
        return _delete_datastore(event, healthimaging, progress)
    settling = _settling(event, turn)
    if event.request_type == "Create":
        if "datastore_id" not in progress:
            tags = _tag_map({"Tags": event.properties.get("OwnerTag")})
            progress["datastore_id"] = datastores.create(
                healthimaging, wanted, tags, event.request_id, settling=settling
            )
        datastore_id = str(progress["datastore_id"])
    else:
        datastore_id = event.physical_id
    try:
        live = datastores.describe(healthimaging, datastore_id, settling=settling)
        datastores.refuse_change(live, wanted, before or wanted)
    except Refused as refusal:
        # Its id is told all the same, so that CloudFormation can take away what was made.
        return Answer(success=False, reason=str(refusal), physical_id=datastore_id)
    attributes = {
        "DatastoreId": datastore_id,
        "DatastoreArn": str(live["datastoreArn"]),
        "DatastoreStatus": str(live["datastoreStatus"]),
        "CreatedAt": _timestamp(live.get("createdAt")),
        "UpdatedAt": _timestamp(live.get("updatedAt")),
    }
    return Answer(success=True, data=attributes, physical_id=datastore_id)


def _delete_datastore(event: Event, healthimaging: Any, progress: dict[str, Any]) -> Answer | float:  # noqa: ANN401
    if not _DATASTORE_ID.fullmatch(event.physical_id):
        return Answer(success=True)  # it never came to be
    if not progress.get("deleting"):
        datastores.delete(healthimaging, event.physical_id)
        progress["deleting"] = True
    return Answer(success=True) if datastores.is_gone(healthimaging, event.physical_id) else 2.0


def _timestamp(value: datetime | None) -> str:
    return value.isoformat() if value else _UNKNOWN


def _store_settings(properties: Mapping[str, Any]) -> dict[str, str]:
    names = {
        "DatastoreName": "datastoreName",
        "KmsKeyArn": "kmsKeyArn",
        "LambdaAuthorizerArn": "lambdaAuthorizerArn",
        "LosslessStorageFormat": "losslessStorageFormat",
    }
    return {member: str(properties[name]) for name, member in names.items() if properties.get(name)}


# -- the emptying of a data store ------------------------------------------------------------------------------------


def _emptying(event: Event, turn: Turn, progress: dict[str, Any]) -> Step:
    clients = _clients(event, turn)
    healthimaging = clients.healthimaging
    arn, datastore_id = str(event.properties["DatastoreArn"]), str(event.properties["DatastoreId"])
    if event.request_type != "Delete":
        datastores.opt_in(healthimaging, arn, settling=_settling(event, turn))
        return Answer(success=True)
    if "going" not in progress:
        if _stack_status(clients, event) not in ("DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"):
            # The option was taken back, or the store was replaced: that is no order to delete images.
            datastores.opt_out(healthimaging, arn)
            return Answer(success=True)
        if not datastores.may_be_emptied(healthimaging, arn):
            return Answer(success=True)
        datastores.refuse_too_many(healthimaging, datastore_id, patience(event, turn))
        progress["going"] = []
    empty = datastores.delete_next(healthimaging, datastore_id, progress["going"])
    return Answer(success=True) if empty else float(datastores.SECONDS_PER_DELETION)


# -- an import -------------------------------------------------------------------------------------------------------


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


def _import(event: Event, turn: Turn, progress: dict[str, Any]) -> Step:
    clients = _clients(event, turn)
    if "rolling_back" not in progress:
        progress["rolling_back"] = event.request_type == "Update" and _is_undone(clients, event, turn)
    forgiving = event.request_type == "Delete" or progress["rolling_back"]
    try:
        return _go_on(event, clients, turn, progress, may_start=not forgiving)
    except Refused as refusal:
        if not forgiving:
            raise
        # A refusal here would leave a stack that only a person can move: a rollback or a deletion takes what there is.
        log.line("let go", request_type=event.request_type, reason=str(refusal))
        return Answer(success=True, data=_attributes_without_a_job(event))


def _is_undone(clients: Clients, event: Event, turn: Turn) -> bool:
    """Whether CloudFormation takes the stack back, or away.

    Raises:
        TryLater: it does nothing with the stack, as far as it says: what it said last may be about an earlier deploy.
    """
    status = _stack_status(clients, event, settling=_settling(event, turn))
    if not status.endswith("_IN_PROGRESS"):
        raise TryLater(f"the stack is {status}, so nobody waits for this request")
    return "ROLLBACK" in status or status.startswith("DELETE_")


def _go_on(event: Event, clients: Clients, turn: Turn, progress: dict[str, Any], *, may_start: bool) -> Step:
    kept = Progress.from_dict(progress.get("import") or {})
    try:
        if not may_start and not progress.get("took_over"):
            before = event.old_properties or event.properties
            _importer(event, before, clients, turn, may_start=may_start).take_over(kept)
            progress["took_over"] = True
        outcome = _importer(event, event.properties, clients, turn, may_start=may_start).step(kept)
    finally:
        progress["import"] = vars(kept)
    return _lead_on(event, turn, outcome, may_start=may_start)


def _importer(
    event: Event, properties: Mapping[str, Any], clients: Clients, turn: Turn, *, may_start: bool
) -> Importer:
    return Importer(
        request=import_request(event.scope, properties),
        clients=clients,
        asked_by=event.request_id,
        now=lambda: turn.now,
        time_left=turn.time_left,
        tolerance=tolerance(properties),
        settling=_settling(event, turn),
        may_start=may_start,
        still_asked=lambda: not turn.answered and not _is_undone(clients, event, turn),
        follows_to_the_end=turn.answered,
    )


def _lead_on(event: Event, turn: Turn, outcome: Outcome, *, may_start: bool) -> Step:
    if outcome.finished:
        return Answer(success=True, data=_attributes(event, outcome))
    if not outcome.job_id:
        if turn.elapsed >= patience(event, turn):
            raise Refused("no job was started: the local files were not unpacked in time; use a bucket for so many")
        return 1.0
    completion = str(event.properties.get("Completion") or "wait")
    over = turn.elapsed >= patience(event, turn)
    waited_for = turn.answered or event.request_type == "Delete"
    if not waited_for and (completion == "submit" or (completion == "detach" and over)):
        return AnswerAndFollow(Answer(success=True, data=_attributes(event, outcome)))
    if over:
        reason = (
            f"import job {outcome.job_id} is still {outcome.job_status} after {int(turn.elapsed)} seconds; it goes on, "
            "and a later deploy of the same stack picks up its result instead of importing again"
        )
        if waited_for or not may_start:
            raise Refused(reason)
        return AnswerAndFollow(Answer(success=False, reason=reason))
    return _next_look(turn.elapsed)


def _next_look(elapsed: float) -> float:
    """A tenth of the time gone by: a two-minute job is noticed within seconds, an hour costs some eighty calls."""
    return min(max(2.0, elapsed / 10), 60.0)


def _attributes_without_a_job(event: Event) -> dict[str, str]:
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
        **{name: str(number) if outcome.finished else _UNKNOWN for name, number in numbers.items()},
        "Warnings": (counts.warning_list() or "none") if outcome.finished else _UNKNOWN,
        "ManifestUri": outcome.manifest_uri or "none",
        "Summary": summary,
        "NextStep": next_step,
    }
