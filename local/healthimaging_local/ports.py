"""What HealthImaging needs of the cloud around it: IAM, S3 and EventBridge, as three small interfaces.

The service and the importer know only these, so the same code runs in the emulator and in a plain process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Json: TypeAlias = Any
"""A parsed JSON value: the service model, not the type checker, says what it holds."""


@dataclass(frozen=True)
class Caller:
    """Who signed a request, and where it was sent."""

    account: str
    region: str
    access_key: str = ""


@dataclass(frozen=True)
class StoredObject:
    """One S3 object as a listing shows it."""

    key: str
    size: int


@dataclass(frozen=True)
class Content:
    """The bytes of one S3 object and the ``Content-Encoding`` it was stored with."""

    body: bytes
    encoding: str = ""


class ObjectStorage(Protocol):
    """S3, as one principal sees it. Every refusal is a ``StorageError``."""

    def objects(self, bucket: str, prefix: str, owner: str) -> Iterator[StoredObject]:
        """All objects whose key begins with ``prefix``, in key order; ``owner`` is the expected bucket owner."""

    def read(self, bucket: str, key: str, owner: str) -> Content:
        """One object."""

    def write(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Store one object."""


class Permissions(Protocol):
    """IAM and STS, as far as HealthImaging asks them itself."""

    def check_pass_role(self, caller: Caller, role_arn: str) -> None:
        """Raise AccessDeniedException unless the caller may pass the role to HealthImaging."""

    def check_trust(self, caller: Caller, role_arn: str, source_arn: str) -> None:
        """Raise a ``ServiceError`` unless HealthImaging may assume the role for ``source_arn``."""

    def check_key(self, caller: Caller, key_arn: str, actions: Sequence[str], resource: str) -> None:
        """Raise AccessDeniedException unless the caller may do all ``actions`` with a store's key."""

    def grant_key(self, caller: Caller, key_arn: str, resource: str) -> None:
        """Give HealthImaging a grant on the key of the store ``resource``."""

    def check_granted_key(self, caller: Caller, key_arn: str) -> None:
        """Raise ``JobFailedError`` unless HealthImaging itself may use a store's key."""

    def storage_as(self, caller: Caller, role_arn: str) -> ObjectStorage:
        """S3 with the permissions of the data-access role."""


class EventBus(Protocol):
    """EventBridge's default bus."""

    def publish(self, caller: Caller, detail_type: str, resource: str, detail: Mapping[str, object]) -> None:
        """Send one event of the source ``aws.medical-imaging``."""
