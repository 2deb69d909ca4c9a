"""The errors HealthImaging answers with, and what stops an import job."""

from __future__ import annotations


class ServiceError(Exception):
    """An error of the service model, for example ``ConflictException``; the HTTP status comes from the model."""

    def __init__(self, code: str, message: str) -> None:
        """Name the model's error shape and say what is wrong."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def not_found(what: str, name: str) -> ServiceError:
    """A ResourceNotFoundException for a data store, a job or an image set."""
    return ServiceError("ResourceNotFoundException", f"{what} {name} is not found")


class JobFailedError(Exception):
    """What ends a job as FAILED; the text becomes the job's ``message``."""


class StorageError(Exception):
    """S3 refused a call that was made as the data-access role."""

    def __init__(self, code: str, message: str) -> None:
        """Keep S3's own error code and text."""
        super().__init__(message)
        self.code = code
        self.message = message


class CloudError(RuntimeError):
    """The local cloud could not be installed, did not start, ended by itself, or refused a control call."""
