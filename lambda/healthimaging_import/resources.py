"""The custom resources: how their properties become typed requests, and what each does for an event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws import Clients
from healthimaging_import.cloudformation import Answer, Event
from healthimaging_import.faults import explained
from healthimaging_import.importing import NOT_STARTED, NOTHING_TO_IMPORT, Importer, Outcome, Progress
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.request import Asset, ImportRequest
from healthimaging_import.rules import Quotas
from healthimaging_import.tags import change_tags, remove_tags

IMPORT = "Custom::HealthImagingImport"
TAGS = "Custom::HealthImagingDatastoreTags"

_SETTLING_SECONDS = 120
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
    time_left: Any

    @property
    def elapsed(self) -> float:
        """Seconds since the request was taken up."""
        return self.now - self.began_at


def wait_seconds(event: Event) -> float:
    """How long a request may take, in seconds."""
    return float(event.properties.get("WaitSeconds") or 300)


def advance(event: Event, turn: Turn, progress: dict[str, Any]) -> Answer | float:
    """Bring a request one step on.

    Args:
        event: the request.
        turn: the time.
        progress: what the steps remember; changed in place.

    Returns:
        The answer for CloudFormation, or the seconds to wait before the next step.

    Raises:
        TryLater: something has to pass first.
        Refused: the request failed.
    """
    if event.resource_type == TAGS:
        return _tags(event, turn)
    if event.resource_type == IMPORT:
        return _import(event, turn, progress)
    msg = f"this version of the function does not know {event.resource_type}: deploy with a newer library"
    raise Refused(msg)


def _settling(event: Event, turn: Turn) -> bool:
    """Whether IAM may still be catching up with what this deploy made or changed."""
    changed = any(event.properties.get(name) != event.old_properties.get(name) for name in _GRANTED_ON)
    return changed and turn.elapsed < _SETTLING_SECONDS


def _clients(event: Event, turn: Turn) -> Clients:
    return Clients(event.properties.get("RoleArn"), settling=_settling(event, turn))


# -- the tags of a data store ----------------------------------------------------------------------------------------


def _tags(event: Event, turn: Turn) -> Answer:
    clients, settling = _clients(event, turn), _settling(event, turn)
    arn, tags = str(event.properties["DatastoreArn"]), _tag_map(event.properties)
    if event.request_type == "Delete":
        # When the whole stack goes, a store that is retained keeps its tags.
        if _stack_status(clients, event).startswith("UPDATE_"):
            remove_tags(clients.healthimaging, arn, tags)
        return Answer(success=True)
    same_store = event.old_properties.get("DatastoreArn") == arn
    old = _tag_map(event.old_properties) if same_store else {}
    change_tags(clients.healthimaging, arn, old=old, new=tags, settling=settling)
    return Answer(success=True)


def _tag_map(properties: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in (properties.get("Tags") or {}).items()}


def _stack_status(clients: Clients, event: Event) -> str:
    """What CloudFormation is doing with the stack; an empty string where it does not tell."""
    try:
        with explained("cloudformation", "DescribeStacks"):
            return str(clients.cloudformation.describe_stacks(StackName=event.stack_id)["Stacks"][0]["StackStatus"])
    except (Refused, TryLater):
        log.line("status unknown", reason="the stack could not be described")
        return ""


# -- an import -------------------------------------------------------------------------------------------------------


def import_request(event: Event) -> ImportRequest:
    """The typed request in an import's properties. CloudFormation sends every number as a string."""
    properties = event.properties
    asset = None
    if properties.get("AssetBucket"):
        asset = Asset(str(properties["AssetBucket"]), str(properties["AssetKey"]))
    defaults = Quotas()
    return ImportRequest(
        scope=event.scope,
        datastore_id=str(properties["DatastoreId"]),
        data_access_role_arn=str(properties["DataAccessRoleArn"]),
        input_bucket=str(properties["InputBucket"]),
        input_prefix=str(properties.get("InputPrefix") or ""),
        output_bucket=str(properties["OutputBucket"]),
        output_prefix=str(properties.get("OutputPrefix") or ""),
        job_name=properties.get("JobName"),
        input_owner_account_id=properties.get("InputOwnerAccountId"),
        metadata_mappings=tuple(properties.get("MetadataMappings") or ()),
        run_id=str(properties.get("RunId") or ""),
        asset=asset,
        on_empty=str(properties.get("OnEmpty") or "skip"),
        quotas=Quotas(
            files=int(properties.get("MaxFiles") or defaults.files),
            total_bytes=int(properties.get("MaxBytes") or defaults.total_bytes),
            file_bytes=int(properties.get("MaxFileBytes") or defaults.file_bytes),
        ),
    )


def _import(event: Event, turn: Turn, progress: dict[str, Any]) -> Answer | float:
    request = import_request(event)
    clients = _clients(event, turn)
    if "rolling_back" not in progress:
        progress["rolling_back"] = event.request_type == "Update" and "ROLLBACK" in _stack_status(clients, event)
    try:
        return _go_on(event, request, clients, turn, progress)
    except Refused as refusal:
        if not progress["rolling_back"]:
            raise
        # A rollback that fails leaves a stack that nothing but a person can move: it takes what there is.
        log.line("rolled back", reason=str(refusal))
        return Answer(success=True, data=_attributes(event, request, Outcome(True, job_status=NOT_STARTED)))


def _go_on(
    event: Event, request: ImportRequest, clients: Clients, turn: Turn, progress: dict[str, Any]
) -> Answer | float:
    kept = Progress(**progress["import"]) if "import" in progress else Progress()
    importer = Importer(
        request=request,
        clients=clients,
        asked_by=event.request_id,
        now=lambda: turn.now,
        time_left=turn.time_left,
        settling=_settling(event, turn),
        may_start=not progress["rolling_back"],
    )
    try:
        outcome = importer.step(kept)
    finally:
        progress["import"] = vars(kept)
    if outcome.finished:
        return Answer(success=True, data=_attributes(event, request, outcome))
    if outcome.job_id and turn.elapsed >= wait_seconds(event):
        msg = (
            f"import job {outcome.job_id} is still {outcome.job_status} after {int(turn.elapsed)} seconds; it goes on, "
            "and a later deploy of the same stack picks up its result instead of importing again"
        )
        raise Refused(msg)
    return _next_look(turn.elapsed) if outcome.job_id else 1.0


def _next_look(elapsed: float) -> float:
    """A tenth of the time gone by: a two-minute job is noticed within seconds, an hour costs some eighty calls."""
    return min(max(2.0, elapsed / 10), 60.0)


def _attributes(event: Event, request: ImportRequest, outcome: Outcome) -> dict[str, str]:
    counts = outcome.counts
    summary = {
        NOTHING_TO_IMPORT: "nothing to import: the input prefix is empty",
        NOT_STARTED: "no job was started: the stack was rolled back",
    }.get(outcome.job_status, f"{outcome.job_status}: {counts.sentence()}")
    next_step = "none"
    if outcome.job_status == NOTHING_TO_IMPORT:
        next_step = f"upload DICOM P10 files to the input prefix, then: {event.properties.get('ImportAgain', 'deploy')}"
    return {
        "DatastoreId": request.datastore_id,
        "JobId": outcome.job_id or "none",
        "JobStatus": outcome.job_status,
        "SubmittedAt": outcome.submitted_at or "none",
        "NumberOfScannedFiles": str(counts.scanned),
        "NumberOfImportedFiles": str(counts.imported),
        "NumberOfFilesWithCustomerError": str(counts.customer_errors),
        "NumberOfFilesWithServerError": str(counts.server_errors),
        "NumberOfGeneratedImageSets": str(counts.image_sets),
        "ManifestUri": outcome.manifest_uri or "none",
        "Summary": summary,
        "NextStep": next_step,
    }
