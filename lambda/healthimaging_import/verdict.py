"""Whether a job imported anything, read from its manifest: ``jobStatus`` alone says only that the job ran."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from healthimaging_import.problems import Refused

_COUNTS = {
    "scanned": "numberOfScannedFiles",
    "imported": "numberOfImportedFiles",
    "customer_errors": "numberOfFilesWithCustomerError",
    "server_errors": "numberOfFilesWithServerError",
    "image_sets": "numberOfGeneratedImageSets",
}


@dataclass(frozen=True)
class Counts:
    """The numbers of a job-output-manifest.json."""

    scanned: int = 0
    imported: int = 0
    customer_errors: int = 0
    server_errors: int = 0
    image_sets: int = 0

    @property
    def rejected(self) -> int:
        """Files that were scanned and not imported, for whatever reason."""
        return self.customer_errors + self.server_errors

    def sentence(self) -> str:
        """The numbers in one line."""
        return (
            f"{self.scanned} files scanned, {self.imported} imported, {self.rejected} rejected "
            f"({self.customer_errors} customer errors, {self.server_errors} server errors), "
            f"{self.image_sets} image sets"
        )

    def as_dict(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)


def read_manifest(body: bytes) -> tuple[Counts, str]:
    """The counts of a manifest, and the URI of the folder with the reasons of rejections (or an empty string).

    Raises:
        Refused: the manifest is not what the HealthImaging guide describes.
    """
    try:
        summary: dict[str, Any] = json.loads(body)["jobSummary"]
        counts = Counts(**{name: int(summary.get(key) or 0) for name, key in _COUNTS.items()})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Refused("job-output-manifest.json cannot be read; look at the job's output folder") from None
    return counts, str(summary.get("failureOutputS3Uri") or "")


def exception_types(lines: Iterable[bytes]) -> Counter[str]:
    """How often each exception type stands in failure.ndjson. Types only: messages and keys can name a patient."""
    found: Counter[str] = Counter()
    for text in lines:
        try:
            kind = json.loads(text)["exception"]["exceptionType"]
        except (ValueError, TypeError, KeyError):
            kind = "unreadable line"
        found[str(kind)[:64]] += 1
    return found
