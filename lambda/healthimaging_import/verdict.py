"""Whether a job imported what it should, read from its manifest: ``jobStatus`` alone says only that the job ran."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from healthimaging_import.problems import NOT_AS_WRITTEN, Refused
from healthimaging_import.wording import plain

_COUNTS = {
    "scanned": "numberOfScannedFiles",
    "imported": "numberOfImportedFiles",
    "customer_errors": "numberOfFilesWithCustomerError",
    "server_errors": "numberOfFilesWithServerError",
    "image_sets": "numberOfGeneratedImageSets",
}
_LARGEST_COUNT = 2**53
"""What a number may be and still be compared with a percentage."""
_LARGEST_CODE = 10**6
_LONGEST_LINE = 1024**2
_LONGEST_LIST = 32 * 1024**2
UNREAD = "unread"
"""Stands among what was counted for a list, or the rest of one, that was not read."""


@dataclass(frozen=True)
class Counts:
    """The numbers of a job-output-manifest.json, and the warnings beside it."""

    scanned: int = 0
    imported: int = 0
    customer_errors: int = 0
    server_errors: int = 0
    image_sets: int = 0
    non_primary_image_sets: int = 0
    warnings: Mapping[str, int] = field(default_factory=dict)
    """Files by warning code, for example ``{"45344": 2}``; :data:`UNREAD` is 1 where some were not read."""

    @staticmethod
    def from_dict(kept: Mapping[str, Any]) -> Counts:
        """The counts as a record keeps them, perhaps of another version of this code.

        Raises:
            TypeError: a number is none.
        """
        numbers = {name: kept.get(name, 0) for name in (*_COUNTS, "non_primary_image_sets")}
        warnings = dict(kept.get("warnings") or {})
        if not all(isinstance(number, int) for number in (*numbers.values(), *warnings.values())):
            raise TypeError
        return Counts(**numbers, warnings=warnings)

    @property
    def rejected(self) -> int:
        """Files that were scanned and not imported, for whatever reason."""
        return max(self._explained, self.scanned - self.imported)

    @property
    def _explained(self) -> int:
        return self.customer_errors + self.server_errors

    @property
    def primary_image_sets(self) -> int:
        """Image sets whose metadata agrees with what the store knew."""
        # What was there before is listed without having been generated.
        return max(0, self.image_sets - self.non_primary_image_sets)

    def sentence(self) -> str:
        """The numbers in one line."""
        kinds = f"{self.customer_errors} customer errors, {self.server_errors} server errors"
        if self.rejected > self._explained:
            kinds += f", {self.rejected - self._explained} without a reason"
        text = (
            f"{self.scanned} files scanned, {self.imported} imported, {self.rejected} rejected ({kinds}), "
            f"{self.image_sets} image sets"
        )
        if self.non_primary_image_sets:
            text += f", {self.non_primary_image_sets} not primary"
        if self.warnings:
            text += ", warnings " + self.warning_list()
        return text

    def warning_list(self) -> str:
        """The warnings by code, the most frequent first."""
        ordered = sorted(self.warnings.items(), key=lambda item: (-item[1], item[0]))
        listed = [f"{code} ({count})" for code, count in ordered if code != UNREAD]
        if UNREAD in self.warnings:
            listed.append("more not read" if listed else "not read")
        return ", ".join(listed)

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


@dataclass(frozen=True)
class Tolerance:
    """What may go wrong in an import that still counts as good. A job that imported nothing never does."""

    rejected_files: int | None = None
    rejected_percent: float | None = None
    non_primary_image_sets: bool = True
    warnings: bool = True

    def exceeded_by(self, counts: Counts) -> list[str]:
        """Why the numbers are not good enough; empty when they are."""
        reasons = []
        if counts.imported == 0:
            reasons.append("it imported nothing")
        if self.rejected_files is not None and counts.rejected > self.rejected_files:
            reasons.append(f"{counts.rejected} rejected files are more than {self.rejected_files}")
        if self.rejected_percent is not None and counts.rejected * 100 > self.rejected_percent * counts.scanned:
            reasons.append(f"{counts.rejected} of {counts.scanned} rejected are more than {self.rejected_percent:g} %")
        if not self.non_primary_image_sets and counts.non_primary_image_sets:
            reasons.append(f"{counts.non_primary_image_sets} image sets are not primary")
        if not self.warnings and counts.warnings:
            known = counts.warnings.keys() - {UNREAD}
            reasons.append(f"there are warnings: {counts.warning_list()}" if known else "its warnings were not read")
        return reasons


@dataclass(frozen=True)
class Manifest:
    """A job-output-manifest.json: its counts, and the folders with the reasons (empty strings where there are none)."""

    counts: Counts
    failures_uri: str
    warnings_uri: str


def read_manifest(body: bytes) -> Manifest:
    """Take a manifest apart.

    Raises:
        Refused: the manifest is not what the HealthImaging guide describes.
    """
    try:
        summary: dict[str, Any] = json.loads(body)["jobSummary"]
        numbers: dict[str, Any] = {name: _count(summary.get(key)) for name, key in _COUNTS.items()}
        image_sets = summary.get("imageSetsSummary") or []
        # A manifest from before there were primary image sets does not say so: those are all primary.
        others = sum(1 for image_set in image_sets if str(image_set.get("isPrimary")).lower() == "false")
        folders = [str(summary.get(key) or "") for key in ("failureOutputS3Uri", "warningsOutputS3Uri")]
    except NOT_AS_WRITTEN:
        raise Refused("job-output-manifest.json cannot be read; look at the job's output folder") from None
    return Manifest(Counts(**numbers, non_primary_image_sets=others), *folders)


def _count(value: object) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= _LARGEST_COUNT:  # a bool is no number here
        raise ValueError
    return value


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """The lines of a result file as it arrives; a line that is too long comes cut off, so it cannot be read.

    The last one is None where the file is too long and the rest was not read.
    """
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


def causes(lines: Iterable[bytes | None]) -> Counter[str]:
    """How often each reason stands in failure.ndjson: its type, and the words of its message that can be shown."""
    found: Counter[str] = Counter()
    for text in lines:
        if text is None:
            found[UNREAD] += 1
            continue
        try:
            exception = json.loads(text)["exception"]
            kind = str(exception["exceptionType"])
            kind = kind if re.fullmatch(r"[A-Za-z]{1,64}Exception", kind) else "error"
            cause = f"{kind}: {plain(str(exception.get('message') or ''))}"
        except NOT_AS_WRITTEN:
            cause = "unreadable line"
        found[cause.removesuffix(": ")] += 1
    return found


def warning_codes(lines: Iterable[bytes | None]) -> Counter[str]:
    """How many files have each warning code, read from warning.ndjson. Codes, since the spelling of types varies."""
    found: Counter[str] = Counter()
    for text in lines:
        if text is None:
            found[UNREAD] += 1
            continue
        try:
            warnings = json.loads(text)["importResponse"]["warnings"]
            codes = {_code(warning["warning_reason_code"]) for warning in warnings}
        except NOT_AS_WRITTEN:
            codes = {"unreadable"}
        found.update(codes)
    return found


def _code(value: str | float) -> str:
    code = int(value)
    if not 0 <= code < _LARGEST_CODE:
        raise ValueError
    return str(code)
