"""The listing of a source: which objects are files, and from which key on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from healthimaging_import.bulk.planner import File
from healthimaging_import.importing import starting

if TYPE_CHECKING:
    from healthimaging_import.aws.clients import Aws
    from healthimaging_import.bulk.settings import Source


def files_of(page: Mapping[str, Any]) -> list[File]:
    """Return the files of a page of ListObjectsV2."""
    return [File(*found) for found in starting.files_of(page)]


def list_parameters(bucket: str, prefix: str, owner: str | None, after: str) -> dict[str, Any]:
    """Return the parameters of ListObjectsV2 for what comes after a key; for all of it where that is empty."""
    parameters: dict[str, Any] = {
        "Bucket": bucket,
        "Prefix": prefix,
        "OptionalObjectAttributes": ["RestoreStatus"],
    }
    if owner:
        parameters["ExpectedBucketOwner"] = owner
    if after:
        parameters["StartAfter"] = after
    return parameters


def list_files(aws: Aws, source: Source, after: str) -> Iterator[list[File]]:
    """List a source page by page, in S3's order."""
    return aws.pages(
        "s3", "ListObjectsV2", files_of, purpose="input bucket",
        **list_parameters(source.bucket, source.prefix, source.owner_account_id, after),
    )  # fmt: skip
