"""What a job writes about itself, decoded: its manifest, and the lines of its result files."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from healthimaging_import.aws.redact import redact
from healthimaging_import.errors import DECODE_ERRORS, TerminalError
from healthimaging_import.importing.verdict import UNREAD, Counts

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
    kind = str(exception["exceptionType"])
    kind = kind if re.fullmatch(r"[A-Za-z]{1,64}Exception", kind) else "error"
    return {f"{kind}: {redact(str(exception.get('message') or ''))}".removesuffix(": ")}


def _codes(line: Any) -> set[str]:  # noqa: ANN401 - as above
    codes = (warning["warning_reason_code"] for warning in line["importResponse"]["warnings"])
    return {str(_number(int(code), _LARGEST_CODE)) for code in codes}


def _number(value: object, largest: int) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= largest:  # a bool is no number here
        raise ValueError
    return value
