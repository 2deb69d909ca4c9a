"""``AWS::HealthImaging::Datastore`` for the emulator's CloudFormation, as the registry schema describes it.

All three properties are create-only: any change, one tag included, replaces the data store. There is no update handler.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from healthimaging_import.service_model import ServiceModel
from healthimaging_local.errors import ServiceError
from healthimaging_local.ports import Caller
from healthimaging_local.service import HealthImaging

TYPE = "AWS::HealthImaging::Datastore"
CREATE_ONLY = ("DatastoreName", "KmsKeyArn", "Tags")
_PROPERTIES = {"DatastoreName": "datastoreName", "KmsKeyArn": "kmsKeyArn", "Tags": "tags"}


class DatastoreType:
    """The handlers of the resource type; ``caller`` says for which account and Region CloudFormation acts."""

    def __init__(self, service: HealthImaging, caller: Callable[[], Caller]) -> None:
        """Make data stores in ``service``."""
        self._service = service
        self._caller = caller

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """The table entry. CloudFormation replaces what changes, tags included."""
        return {"create": self.create, "update": self.update, "delete": self.delete}

    def update(self, *_: object) -> tuple[str, dict[str, str]]:
        """Never called: every property is create-only. Without it the emulator would leave changed tags alone."""
        raise ValueError(f"{TYPE} cannot be updated, only replaced")

    def create(self, logical_id: str, properties: dict[str, Any], _: str) -> tuple[str, dict[str, str]]:
        """Make a data store and wait until it is ACTIVE; ``Ref`` is its id."""
        unknown = sorted(set(properties) - set(_PROPERTIES))
        if unknown:
            raise ValueError(f"Properties validation failed for resource {logical_id}: extraneous keys {unknown}")
        request = {_PROPERTIES[name]: value for name, value in properties.items() if value is not None}
        # CloudFormation's own tags (aws:cloudformation:...) are no tags that CreateDatastore takes.
        request["tags"] = {k: v for k, v in (request.get("tags") or {}).items() if not k.startswith("aws:")}
        request["clientToken"] = "cloudformation"
        problems = ServiceModel.load().violations("CreateDatastoreRequest", request)
        if problems:
            raise ValueError(f"Properties validation failed for resource {logical_id}: {'; '.join(problems)}")
        try:
            self._service.check_new_key(request, self._caller())
        except ServiceError as error:
            raise ValueError(error.message) from error
        datastore = self._service.add_datastore(request, self._caller(), seconds=0)
        created = datetime.fromtimestamp(datastore.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return datastore.id, {
            "DatastoreId": datastore.id,
            "DatastoreArn": datastore.arn,
            "DatastoreStatus": "ACTIVE",
            "CreatedAt": created,
            "UpdatedAt": created,
        }

    def delete(self, physical_id: str, _: dict[str, Any]) -> None:
        """Delete an empty data store. One that is gone is fine; one that holds image sets fails the delete."""
        try:
            datastore = self._service.datastore(physical_id, self._caller())
        except ServiceError:
            return
        self._service.remove_datastore(datastore, seconds=0)
