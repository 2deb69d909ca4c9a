"""What a job has written into its folder of the output bucket, read from S3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.errors import RetryableError, StepError, TerminalError
from healthimaging_import.importing.manifest import Lines, Manifest, causes, lines_of, warning_codes
from healthimaging_import.importing.verdict import UNREAD

_LONGEST_MANIFEST = 64 * 1024**2
_CHUNK = 64 * 1024


def read_manifest_body(aws: Aws, folder_uri: str) -> bytes | None:
    """Read a job's manifest; None while it is not there."""
    bucket, folder = _place(folder_uri)
    return aws.read_object(
        bucket, f"{folder}job-output-manifest.json", lambda answer: bytes(answer["Body"].read(_LONGEST_MANIFEST)),
        purpose="job output",
    )  # fmt: skip


def count_warnings(aws: Aws, manifest: Manifest, *, tolerated: bool, is_late: bool) -> dict[str, int]:
    """Count the files by warning code.

    A manifest may name a folder of warnings though there are none: one that proves empty holds none. Where warnings
    are not tolerated the file is waited for before that is believed.

    Args:
        aws: the AWS calls.
        manifest: the job's manifest.
        tolerated: whether warnings may be; then what cannot be read is told as :data:`UNREAD`.
        is_late: whether the file has been waited for long enough.

    Raises:
        RetryableError: it may still come.
        TerminalError: it cannot be read.
    """
    if not manifest.warnings_uri:
        return {}
    bucket, folder = _place(manifest.warnings_uri)
    try:
        found = _count(aws, bucket, f"{folder}warning.ndjson", warning_codes)
        if found is not None:
            return dict(found)
        if not tolerated and not is_late:
            raise RetryableError("the job has not written its warnings")
        is_empty = aws.call(
            "s3", "ListObjectsV2", lambda answer: not answer.get("Contents"), purpose="job output",
            Bucket=bucket, Prefix=folder, MaxKeys=1,
        )  # fmt: skip
    except TerminalError:
        if not tolerated:
            raise
        is_empty = False
    return {} if is_empty else {UNREAD: 1}


def count_causes(aws: Aws, manifest: Manifest) -> Counter[str]:
    """Count the causes of rejection; what cannot be read must not hide the verdict."""
    bucket, folder = _place(manifest.failures_uri)
    try:
        found = _count(aws, bucket, f"{folder}failure.ndjson", causes) if bucket else None
    except StepError:
        return Counter()
    return found or Counter()


def _count(aws: Aws, bucket: str, key: str, count: Callable[[Lines], Counter[str]]) -> Counter[str] | None:
    """Count what is in the lines of a result file; None while it is not there."""

    def read(answer: Mapping[str, Any]) -> Counter[str]:
        with closing(answer["Body"]) as body:
            return count(lines_of(body.iter_chunks(_CHUNK)))

    return aws.read_object(bucket, key, read, purpose="job output")


def _place(folder_uri: str) -> tuple[str, str]:
    """Return the bucket of a folder, and its prefix."""
    bucket, _, folder = folder_uri.removeprefix("s3://").partition("/")
    return bucket, f"{folder.rstrip('/')}/"
