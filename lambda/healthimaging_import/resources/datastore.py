"""A data store that CloudFormation cannot express, as a custom resource."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.cfn import Response
from healthimaging_import.contract import DatastoreAttribute
from healthimaging_import.errors import NotFoundError, RetryableError, StepError, TerminalError
from healthimaging_import.importing.mode import Mode
from healthimaging_import.resources.step import UNKNOWN, StepContext, StepResult

_DATASTORE_ID = re.compile(r"[0-9a-z]{32}")
_SETTINGS = {
    "DatastoreName": "datastoreName",
    "KmsKeyArn": "kmsKeyArn",
    "LambdaAuthorizerArn": "lambdaAuthorizerArn",
    "LosslessStorageFormat": "losslessStorageFormat",
}
"""The properties of a store, and the members of CreateDatastore that they become. None can be changed."""
_STATUS_SECONDS = 60.0
"""How long CloudFormation may return an earlier status of a stack than that in which it deletes."""


def step(context: StepContext) -> StepResult:
    """Do the next step of a store's creation, of its comparison with what is wanted, or of its deletion."""
    request, carried = context.request, context.carried
    if request.request_type == "Delete":
        return _delete(context)
    if request.request_type == "Create" and "datastore_id" not in carried:
        context.describe_deploy().check_in_progress()
        # A failure returns this id all the same, so that CloudFormation can take away what was created.
        carried["datastore_id"] = _create(context)
    datastore_id = str(carried.get("datastore_id") or request.physical_resource_id)
    live = _get(context.aws, datastore_id)
    status = str(live.get("datastoreStatus"))
    if status == "CREATING":
        raise RetryableError(f"data store {datastore_id} is still being created")
    # What was refused changed nothing, so there is nothing to undo: a refusal would only block the rollback.
    if status != "ACTIVE" and context.mode is not Mode.ROLLBACK:
        raise TerminalError(f"data store {datastore_id} is {status}")
    if request.request_type == "Update" and context.mode is not Mode.ROLLBACK:
        _check_unchanged(live, _settings(request.resource_properties), _settings(request.old_resource_properties))
    data = {
        DatastoreAttribute.DATASTORE_ID.value: datastore_id,
        DatastoreAttribute.DATASTORE_ARN.value: str(live["datastoreArn"]),
        DatastoreAttribute.DATASTORE_STATUS.value: status,
        DatastoreAttribute.CREATED_AT.value: _timestamp(live.get("createdAt")),
        DatastoreAttribute.UPDATED_AT.value: _timestamp(live.get("updatedAt")),
    }
    return Response(success=True, data=data, physical_resource_id=datastore_id)


def _create(context: StepContext) -> str:
    """Create a data store and return its id; the same request gets the same store."""
    properties = context.request.resource_properties
    token = hashlib.sha256(f"datastore:{context.request.request_id}".encode()).hexdigest()
    datastore_id = context.aws.call(
        "medical-imaging", "CreateDatastore", lambda answer: str(answer["datastoreId"]),
        clientToken=token, tags=properties.get("OwnerTag") or {}, **_settings(properties),
    )  # fmt: skip
    log.line("created", datastore_id=datastore_id)
    return datastore_id


def _get(aws: Aws, datastore_id: str) -> dict[str, Any]:
    return aws.call(
        "medical-imaging", "GetDatastore", lambda answer: dict(answer["datastoreProperties"]), datastoreId=datastore_id
    )


def _check_unchanged(live: Mapping[str, Any], wanted: Mapping[str, str], before: Mapping[str, str]) -> None:
    """Refuse to change what a data store is created with, unless the live store has the new value already.

    CloudFormation would create a new, empty store and leave this one; that is a move, which a person has to decide.
    """
    changed = [
        name for name in _SETTINGS.values() if wanted.get(name) not in (before.get(name), live.get(name) or None)
    ]
    if changed:
        raise TerminalError(
            f"{', '.join(changed)} of a data store cannot be changed: put the old value back, or create a second "
            "Datastore under another id and move the image sets (docs/moving-a-data-store.md)"
        )


def _delete(context: StepContext) -> StepResult:
    """Delete a data store; one that is gone or going already is fine."""
    datastore_id = context.request.physical_resource_id
    if not _DATASTORE_ID.fullmatch(datastore_id):
        return Response(success=True)  # it never came to be
    deploy = context.describe_deploy()
    if not deploy.has_deletions:
        raise RetryableError(
            f"the stack is {deploy.status}, in which CloudFormation deletes nothing, so data store {datastore_id} is "
            "kept: take it out of the stack or delete the stack",
            patience=_STATUS_SECONDS,
        )
    try:
        if not context.carried.get("deleting"):
            context.aws.call("medical-imaging", "DeleteDatastore", bool, datastoreId=datastore_id)
            context.carried["deleting"] = True
            log.line("deletion requested", datastore_id=datastore_id)
        # Its key must outlive it.
        status = str(_get(context.aws, datastore_id).get("datastoreStatus"))
    except NotFoundError:
        return Response(success=True)
    except StepError as error:
        if error.code == "ConflictException":
            raise TerminalError(
                f"data store {datastore_id} holds image sets or runs a job, so it cannot be deleted: delete them "
                "first, or retain the store (removal_policy)"
            ) from None
        raise
    return 2.0 if status in ("DELETING", "ACTIVE") else Response(success=True)


def _timestamp(value: datetime | None) -> str:
    return value.isoformat() if value else UNKNOWN


def _settings(properties: Mapping[str, Any]) -> dict[str, str]:
    return {member: str(properties[name]) for name, member in _SETTINGS.items() if properties.get(name)}
