"""The emptying of a data store that is deleted with its stack, as a custom resource."""

from __future__ import annotations

from typing import Any

from healthimaging_import import datastores
from healthimaging_import.cloudformation import Answer, Event
from healthimaging_import.resources.turn import Step, Turn, clients_of, is_settling, stack_status


def advance(event: Event, turn: Turn, progress: dict[str, Any]) -> Step:
    """Delete the next image sets, if the stack is deleted and all sides have agreed to it."""
    clients = clients_of(event, turn)
    healthimaging = clients.healthimaging
    arn, datastore_id = str(event.properties["DatastoreArn"]), str(event.properties["DatastoreId"])
    if event.request_type != "Delete":
        datastores.opt_in(healthimaging, arn, settling=is_settling(event, turn))
        return Answer(success=True)
    if "going" not in progress:
        if stack_status(clients, event)[0] not in ("DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"):
            # The option was taken back, or the store was replaced: that is no order to delete images.
            datastores.opt_out(healthimaging, arn)
            return Answer(success=True)
        if not datastores.may_be_emptied(healthimaging, arn):
            return Answer(success=True)
        datastores.refuse_too_many(healthimaging, datastore_id, turn.remaining(event))
        progress["going"] = []
    empty = datastores.delete_next(healthimaging, datastore_id, progress["going"])
    return Answer(success=True) if empty else float(datastores.SECONDS_PER_DELETION)
