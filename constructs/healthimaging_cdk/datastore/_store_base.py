"""What every data store is known by."""

from __future__ import annotations

from abc import abstractmethod

from aws_cdk import Resource
from aws_cdk.aws_kms import IKey


class StoreBase(Resource):
    """A data store, as events, metrics and grants see it."""

    @property
    @abstractmethod
    def datastore_id(self) -> str:
        """The id of the data store, 32 characters of ``0-9a-z``."""

    @property
    @abstractmethod
    def datastore_arn(self) -> str:
        """The ARN of the data store."""

    @property
    @abstractmethod
    def encryption_key(self) -> IKey | None:
        """The customer-managed key of the data store, if it is known to have one."""


__all__ = ["StoreBase"]
