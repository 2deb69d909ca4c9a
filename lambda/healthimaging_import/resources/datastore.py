"""A data store that CloudFormation cannot express, as a custom resource."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from healthimaging_import import datastores
from healthimaging_import.cloudformation import Answer, Event
from healthimaging_import.problems import Refused
from healthimaging_import.resources.turn import UNKNOWN, Step, Turn, clients_of, is_settling, stack_status, tag_map

_DATASTORE_ID = re.compile(r"[0-9a-z]{32}")


def advance(event: Event, turn: Turn, progress: dict[str, Any]) -> Step:
    """Bring its creation, its comparison with what is wanted, or its deletion one step on."""
    clients = clients_of(event, turn)
    healthimaging = clients.healthimaging
    wanted, before = _store_settings(event.properties), _store_settings(event.old_properties)
    if event.request_type == "Delete":
        return _delete_datastore(event, healthimaging, progress)
    settling = is_settling(event, turn)
    if event.request_type == "Create":
        if "datastore_id" not in progress:
            tags = tag_map({"Tags": event.properties.get("OwnerTag")})
            progress["datastore_id"] = datastores.create(
                healthimaging, wanted, tags, event.request_id, settling=settling
            )
        datastore_id = str(progress["datastore_id"])
    else:
        datastore_id = event.physical_id
    try:
        live = datastores.describe(healthimaging, datastore_id, settling=settling)
        # What was refused changed nothing, so there is nothing to undo: a refusal would only block the rollback.
        if wanted != (before or wanted) and "ROLLBACK" not in stack_status(clients, event, settling=settling)[0]:
            datastores.refuse_change(live, wanted, before)
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


def _delete_datastore(event: Event, healthimaging: Any, progress: dict[str, Any]) -> Step:  # noqa: ANN401
    if not _DATASTORE_ID.fullmatch(event.physical_id):
        return Answer(success=True)  # it never came to be
    if not progress.get("deleting"):
        datastores.delete(healthimaging, event.physical_id)
        progress["deleting"] = True
    return Answer(success=True) if datastores.is_gone(healthimaging, event.physical_id) else 2.0


def _timestamp(value: datetime | None) -> str:
    return value.isoformat() if value else UNKNOWN


def _store_settings(properties: Mapping[str, Any]) -> dict[str, str]:
    names = {
        "DatastoreName": "datastoreName",
        "KmsKeyArn": "kmsKeyArn",
        "LambdaAuthorizerArn": "lambdaAuthorizerArn",
        "LosslessStorageFormat": "losslessStorageFormat",
    }
    return {member: str(properties[name]) for name, member in names.items() if properties.get(name)}
