"""The tags of a data store, as a custom resource."""

from __future__ import annotations

from typing import Any

from healthimaging_import.cloudformation import Answer, Event
from healthimaging_import.problems import Refused
from healthimaging_import.resources.turn import Step, Turn, clients_of, is_settling, stack_status, tag_map
from healthimaging_import.tags import change_tags, remove_tags


def advance(event: Event, turn: Turn, progress: dict[str, Any]) -> Step:  # noqa: ARG001 - all resources have it
    """Set or remove the tags."""
    clients, settling = clients_of(event, turn), is_settling(event, turn)
    arn, tags = str(event.properties["DatastoreArn"]), tag_map(event.properties)
    if event.request_type == "Delete":
        # When the whole stack goes, a store that is retained keeps its tags.
        try:
            going = not stack_status(clients, event)[0].startswith("UPDATE_")
        except Refused:
            going = True
        if not going:
            remove_tags(clients.healthimaging, arn, tags)
        return Answer(success=True)
    same_store = event.old_properties.get("DatastoreArn") == arn
    old = tag_map(event.old_properties) if same_store else {}
    change_tags(clients.healthimaging, arn, old=old, new=tags, settling=settling)
    return Answer(success=True)
