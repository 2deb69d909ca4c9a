"""What a job has written into its folder of the output bucket: its manifest, and the lines of its result files."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.aws.redact import redact
from healthimaging_import.errors import DECODE_ERRORS, RetryableError, StepError, TerminalError
from healthimaging_import.importing.verdict import UNREAD, Counts

_LONGEST_MANIFEST = 64 * 1024**2
_CHUNK = 64 * 1024
_COUNTS = {
    "scanned": "numberOfScannedFiles",
    "imported": "numberOfImportedFiles",
    "customer_errors": "numberOfFilesWithCustomerError",
    "server_errors": "numberOfFilesWithServerError",
    "image_sets": "numberOfGeneratedImageSets",
}
_LARGEST_COUNT = 2**53
"""What a number may be and still be compared with a percentage."""
_LARGEST_CODE = 10**6 - 1
_LONGEST_LINE = 1024**2
_LONGEST_LIST = 32 * 1024**2
Lines = Iterable[bytes | None]
"""The lines of a result file; None stands for the rest, where it is too long to be read."""


@dataclass(frozen=True)
class Manifest:
    """A job-output-manifest.json: its counts, and the folders with the reasons (empty strings where there are none)."""

    counts: Counts
    failures_uri: str
    warnings_uri: str


def read_manifest_body(aws: Aws, folder_uri: str) -> bytes | None:
    """Read a job's manifest; None while it is not there."""
    bucket, folder = _place(folder_uri)
    found = aws.read_bytes(bucket, f"{folder}job-output-manifest.json", _LONGEST_MANIFEST, purpose="job output")
    return found[0] if found else None


def count_warnings(aws: Aws, manifest: Manifest, *, tolerated: bool, is_late: bool) -> dict[str, int]:
    """Count the files by warning code.

    A manifest may name a folder of warnings though there are none: one that proves empty holds none. Where warnings
    are not ``tolerated`` the file is waited for before that is believed, until it ``is_late``; where they are, what
    cannot be read is counted as :data:`UNREAD`.

    Raises:
        RetryableError: it may still come.
        TerminalError: it cannot be read.
    """
    if not manifest.warnings_uri:
        return {}
    try:
        found = _count(aws, manifest.warnings_uri, "warning.ndjson", warning_codes)
        if found is not None:
            return dict(found)
        if not tolerated and not is_late:
            raise RetryableError("the job has not written its warnings")
        bucket, folder = _place(manifest.warnings_uri)
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
    if not manifest.failures_uri:
        return Counter()
    try:
        return _count(aws, manifest.failures_uri, "failure.ndjson", causes) or Counter()
    except StepError:
        return Counter()


def _count(aws: Aws, folder_uri: str, name: str, count: Callable[[Lines], Counter[str]]) -> Counter[str] | None:
    """Count what is in the lines of a result file; None while it is not there."""
    bucket, folder = _place(folder_uri)

    def read(answer: Mapping[str, Any]) -> Counter[str]:
        with closing(answer["Body"]) as body:
            return count(lines_of(body.iter_chunks(_CHUNK)))

    return aws.read_object(bucket, f"{folder}{name}", read, purpose="job output")


def _place(folder_uri: str) -> tuple[str, str]:
    """Return the bucket of a folder, and its prefix."""
    bucket, _, folder = folder_uri.removeprefix("s3://").partition("/")
    return bucket, f"{folder.rstrip('/')}/"


# -- decoding ---------------------------------------------------------------------------------------------------------


def read_manifest(body: bytes) -> Manifest:
    """Decode a manifest.

    Raises:
        TerminalError: the manifest is not what the HealthImaging guide describes.
    """
    try:
        summary: dict[str, Any] = json.loads(body)["jobSummary"]
        numbers: dict[str, Any] = {name: _number(summary.get(key), _LARGEST_COUNT) for name, key in _COUNTS.items()}
        image_sets = summary.get("imageSetsSummary") or []
        # A manifest from before there were primary image sets does not say so: those are all primary.
        others = sum(1 for image_set in image_sets if str(image_set.get("isPrimary")).lower() == "false")
        folders = [str(summary.get(key) or "") for key in ("failureOutputS3Uri", "warningsOutputS3Uri")]
    except DECODE_ERRORS:
        raise TerminalError("job-output-manifest.json cannot be read; look at the job's output folder") from None
    return Manifest(Counts(**numbers, non_primary_image_sets=others), *folders)


def manifest_or_reason(body: bytes | None) -> tuple[Manifest | None, str]:
    """Decode the manifest that a job has left, if it has; where that cannot be done, say why."""
    if body is None:
        return None, ""
    try:
        return read_manifest(body), ""
    except TerminalError as error:
        return None, str(error)


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Split a result file into lines as it arrives; a line that is too long is cut off, so it cannot be decoded."""
    read, pending = 0, b""
    for chunk in chunks:
        read += len(chunk)
        if read > _LONGEST_LIST:
            yield None
            return
        *whole, last = (pending + chunk).split(b"\n")
        yield from (line[:_LONGEST_LINE] for line in whole if line.strip())
        pending = last[:_LONGEST_LINE]
    if pending.strip():
        yield pending


def causes(lines: Lines) -> Counter[str]:
    """Count the reasons in failure.ndjson: the type, and the words of the message that can be shown."""
    return _tally(lines, _cause, "unreadable line")


def warning_codes(lines: Lines) -> Counter[str]:
    """Count the files with each warning code in warning.ndjson. Codes, since the spelling of types varies."""
    return _tally(lines, _codes, "unreadable")


def _tally(lines: Lines, decode: Callable[[Any], set[str]], unreadable: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for text in lines:
        try:
            found.update({UNREAD} if text is None else decode(json.loads(text)))
        except DECODE_ERRORS:
            found[unreadable] += 1
    return found


def _cause(line: Any) -> set[str]:  # noqa: ANN401 - a JSON document
    exception = line["exception"]
    name = str(exception["exceptionType"])
    name = name if re.fullmatch(r"[A-Za-z]{1,64}Exception", name) else "error"
    return {f"{name}: {redact(str(exception.get('message') or ''))}".removesuffix(": ")}


def _codes(line: Any) -> set[str]:  # noqa: ANN401 - as above
    codes = (warning["warning_reason_code"] for warning in line["importResponse"]["warnings"])
    return {str(_number(int(code), _LARGEST_CODE)) for code in codes}


def _number(value: object, largest: int) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= largest:  # a bool is no number here
        raise ValueError
    return value
