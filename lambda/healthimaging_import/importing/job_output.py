"""What a job has written into its folder of the output bucket, read from S3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, TypeVar

from healthimaging_import.aws.clients import Aws
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.manifest import Manifest, causes, lines_of, warning_codes
from healthimaging_import.importing.verdict import UNREAD

_LONGEST_MANIFEST = 64 * 1024**2
_CHUNK = 64 * 1024
_MOST_CAUSES = 3
T = TypeVar("T")


def read_manifest_body(aws: Aws, folder_uri: str) -> bytes | None:
    """Read a job's manifest; None while it is not there."""
    return _read(aws, folder_uri, "job-output-manifest.json", lambda body: bytes(body.read(_LONGEST_MANIFEST)))


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
    try:
        found = _count(aws, manifest.warnings_uri, "warning.ndjson", warning_codes)
        if found is not None:
            return dict(found)
        if not tolerated and not is_late:
            raise RetryableError("the job has not written its warnings")
        return {} if _is_empty(aws, manifest.warnings_uri) else {UNREAD: 1}
    except TerminalError:
        if not tolerated:
            raise
        return {UNREAD: 1}


def count_causes(aws: Aws, manifest: Manifest) -> Counter[str]:
    """Count the rejected files by cause, as far as that can be read: it must not hide the verdict."""
    try:
        return _count(aws, manifest.failures_uri, "failure.ndjson", causes) or Counter()
    except (TerminalError, RetryableError):
        return Counter()


def describe_rejections(aws: Aws, manifest: Manifest) -> str:
    """Name the most frequent causes of rejection, and where to read the rest. They must not hide the verdict."""
    found = count_causes(aws, manifest)
    if not found:
        return ""
    among = " in the part that was read" if found.pop(UNREAD, 0) else ""
    frequent = ", ".join(f"{cause} ({count})" for cause, count in found.most_common(_MOST_CAUSES))
    return f"; most frequent{among}: {frequent}; all: {manifest.failures_uri.rstrip('/')}/failure.ndjson"


def _count(
    aws: Aws, folder_uri: str, name: str, count: Callable[[Iterable[bytes | None]], Counter[str]]
) -> Counter[str] | None:
    """Count what is in the lines of a result file; None while it is not there."""
    if not folder_uri:
        return Counter()
    return _read(aws, folder_uri, name, lambda body: count(lines_of(body.iter_chunks(_CHUNK))))


def _read(aws: Aws, folder_uri: str, name: str, read: Callable[[Any], T]) -> T | None:
    def read_and_close(answer: Mapping[str, Any]) -> T:
        with closing(answer["Body"]) as body:
            return read(body)

    bucket, _, folder = folder_uri.removeprefix("s3://").partition("/")
    return aws.read_object(bucket, f"{folder.rstrip('/')}/{name}", read_and_close, purpose="job output")


def _is_empty(aws: Aws, folder_uri: str) -> bool:
    bucket, _, folder = folder_uri.removeprefix("s3://").partition("/")
    return aws.call(
        "s3", "ListObjectsV2", lambda answer: not answer.get("Contents"), purpose="job output",
        Bucket=bucket, Prefix=f"{folder.rstrip('/')}/", MaxKeys=1,
    )  # fmt: skip
