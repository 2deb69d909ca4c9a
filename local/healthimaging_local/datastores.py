"""The operations on data stores and on tags."""

from __future__ import annotations

from typing import Any

from healthimaging_local.errors import ServiceError, not_found
from healthimaging_local.events import Announcer
from healthimaging_local.paging import page
from healthimaging_local.ports import Caller, Permissions
from healthimaging_local.state import Datastore, State

_MOST_TAGS = 50


class DatastoreOperations:
    """Create, read, list and delete data stores; tag them and their image sets."""

    def __init__(self, state: State, announcer: Announcer, permissions: Permissions) -> None:
        """Keep everything in ``state``, and take keys by ``permissions``."""
        self._state = state
        self._permissions = permissions
        self._announcer = announcer

    def CreateDatastore(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """A new data store: CREATING for a moment, then ACTIVE. The same clientToken gives the same store again."""
        scope = (caller.account, caller.region, request["clientToken"])
        with self._state.lock:
            earlier = self._state.create_tokens.get(scope)
            if earlier is not None and earlier[0] != request:
                raise ServiceError("ConflictException", "clientToken was used with other parameters")
            if earlier is None:
                created = self.add_datastore(request, caller, self._state.settings.datastore_seconds)
                self._state.create_tokens[scope] = (request, created.id)
            datastore = created if earlier is None else self.datastore(earlier[1], caller)
            return {"datastoreId": datastore.id, "datastoreStatus": datastore.status(self._state.now())}

    def GetDatastore(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """One data store."""
        datastore = self.datastore(request["datastoreId"], caller)
        return {
            "datastoreProperties": {
                **self._summary(datastore),
                "kmsKeyArn": datastore.kms_key_arn or None,
                "lambdaAuthorizerArn": datastore.lambda_authorizer_arn or None,
                "losslessStorageFormat": datastore.lossless_storage_format or None,
            }
        }

    def ListDatastores(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """The account's data stores in this Region, oldest first."""
        wanted = request.get("datastoreStatus")
        with self._state.lock:
            summaries = [
                self._summary(store) for store in list(self._state.datastores.values()) if self._visible(store, caller)
            ]
        found, token = page([item for item in summaries if wanted in (None, item["datastoreStatus"])], request)
        return {"datastoreSummaries": found, "nextToken": token}

    def DeleteDatastore(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """Delete an empty data store; one with image sets is refused ("all image sets must be deleted first")."""
        datastore = self._active(request["datastoreId"], caller)
        self.remove_datastore(datastore, self._state.settings.datastore_seconds)
        return {"datastoreId": datastore.id, "datastoreStatus": "DELETING"}

    def TagResource(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """Add tags, or overwrite those of the same key."""
        with self._state.lock:
            tags = {**self._tags_of(request["resourceArn"], caller), **request["tags"]}
            if len(tags) > _MOST_TAGS:
                raise ServiceError(
                    "ValidationException", f"a resource takes at most {_MOST_TAGS} tags, got {len(tags)}"
                )
            self._state.tags[request["resourceArn"]] = tags
        return {}

    def UntagResource(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """Remove tags; a key that is not there is no error."""
        with self._state.lock:
            tags = self._tags_of(request["resourceArn"], caller)
            self._state.tags[request["resourceArn"]] = {k: v for k, v in tags.items() if k not in request["tagKeys"]}
        return {}

    def ListTagsForResource(self, request: dict[str, Any], caller: Caller) -> dict[str, Any]:  # noqa: N802
        """The tags of a data store or an image set."""
        return {"tags": self._tags_of(request["resourceArn"], caller)}

    def add_datastore(self, request: dict[str, Any], caller: Caller, seconds: float) -> Datastore:
        """Make a data store that becomes ACTIVE after ``seconds``; CloudFormation waits for that, so it passes 0."""
        with self._state.lock:
            now = self._state.now()
            datastore_id = self._state.new_id("datastore", caller)
            arn = f"arn:aws:medical-imaging:{caller.region}:{caller.account}:datastore/{datastore_id}"
            datastore = Datastore(
                id=datastore_id,
                arn=arn,
                # AWS's answers require a name though the request does not: the id stands in (a guess).
                name=request.get("datastoreName") or datastore_id,
                caller=caller,
                created_at=now,
                active_at=now + seconds,
                kms_key_arn=request.get("kmsKeyArn", ""),
                lambda_authorizer_arn=request.get("lambdaAuthorizerArn", ""),
                lossless_storage_format=request.get("losslessStorageFormat", ""),
            )
            self._state.datastores[datastore_id] = datastore
            self._state.tags[arn] = dict(request.get("tags") or {})
        if datastore.kms_key_arn:
            self._permissions.grant_key(caller, datastore.kms_key_arn, arn)
        self._announcer.datastore(datastore, "creating")
        self._announcer.datastore(datastore, "created")
        return datastore

    def remove_datastore(self, datastore: Datastore, seconds: float) -> None:
        """Delete an empty data store; it is gone after ``seconds``."""
        with self._state.lock:
            now = self._state.now()
            held = sum(item.deleted_at is None or item.is_deleting(now) for item in datastore.image_sets.values())
            if held or any(job.running for job in datastore.jobs.values()):
                what = f"still holds {held} image sets" if held else "still runs import jobs"
                raise ServiceError("ConflictException", f"Data store {datastore.id} {what}: delete them first")
            datastore.deleted_at = now
            datastore.gone_at = datastore.deleted_at + seconds
            self._state.tags.pop(datastore.arn, None)
        self._announcer.datastore(datastore, "deleting")
        self._announcer.datastore(datastore, "deleted")

    def _visible(self, datastore: Datastore, caller: Caller) -> bool:
        """Whether the caller's account and Region hold the store; one that is gone is forgotten here."""
        if datastore.gone_at is not None and self._state.now() >= datastore.gone_at:
            self._state.datastores.pop(datastore.id, None)
            return False
        return (datastore.caller.account, datastore.caller.region) == (caller.account, caller.region)

    def datastore(self, datastore_id: str, caller: Caller) -> Datastore:
        """A data store of the caller's account and Region, else ResourceNotFoundException."""
        with self._state.lock:
            datastore = self._state.datastores.get(datastore_id)
            if datastore is None or not self._visible(datastore, caller):
                raise not_found("data store", datastore_id)
            return datastore

    def _active(self, datastore_id: str, caller: Caller) -> Datastore:
        datastore = self.datastore(datastore_id, caller)
        status = datastore.status(self._state.now())
        if status != "ACTIVE":
            raise ServiceError("ConflictException", f"Data store {datastore_id} is {status}, it must be ACTIVE")
        return datastore

    def _summary(self, datastore: Datastore) -> dict[str, Any]:
        return {
            "datastoreId": datastore.id,
            "datastoreName": datastore.name,
            "datastoreStatus": datastore.status(self._state.now()),
            "datastoreArn": datastore.arn,
            "createdAt": datastore.created_at,
            "updatedAt": datastore.deleted_at or datastore.active_at,
        }

    def _tags_of(self, arn: str, caller: Caller) -> dict[str, str]:
        """The tags of a resource that exists, else ResourceNotFoundException."""
        resource = arn.split(":", 5)[5].split("/")
        datastore = self.datastore(resource[1], caller)
        known = {datastore.arn, *(image_set.arn for image_set in datastore.live_image_sets())}
        if arn not in known:
            raise not_found("resource", arn)
        return self._state.tags.get(arn, {})
