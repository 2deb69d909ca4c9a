"""What the account and the data store allow a bulk import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BulkPace:
    """How fast a bulk import may go, where AWS has raised the account's quotas. The defaults are what AWS documents.

    Example:
        >>> BulkDicomImport(stack, "Archive", pace=BulkPace(starts_per_second=1))

    See:
        https://docs.aws.amazon.com/healthimaging/latest/devguide/endpoints-quotas.html
    """

    starts_per_second: float = 0.25
    """StartDICOMImportJob calls of the account per second."""
    concurrent_jobs: int = 100
    """Import jobs that the data store runs at once. In ap-southeast-2 it is 20."""


__all__ = ["BulkPace"]
