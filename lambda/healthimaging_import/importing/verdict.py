"""The verdict on a job: pure, from its counts and what is tolerated. ``jobStatus`` says only whether it ran."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOTHING_TO_IMPORT = "NOTHING_TO_IMPORT"
"""Stands where a job's status would stand when the source was empty."""
NOT_STARTED = "NOT_STARTED"
"""Stands where a job's status would stand when no job was started and none is remembered."""
UNREAD = "unread"
"""Stands among what was counted for a list, or the rest of one, that was not read."""
_NUMBERS = ("scanned", "imported", "customer_errors", "server_errors", "image_sets", "non_primary_image_sets")


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
        """Read the counts that a record keeps, perhaps of another version of this code.

        Raises:
            TypeError: a number is none.
        """
        numbers = {name: kept.get(name, 0) for name in _NUMBERS}
        warnings = dict(kept.get("warnings") or {})
        if not all(isinstance(number, int) for number in (*numbers.values(), *warnings.values())):
            raise TypeError
        return Counts(**numbers, warnings=warnings)

    @property
    def rejected(self) -> int:
        """Files that were scanned and not imported, for whatever reason."""
        return max(self._with_a_reason, self.scanned - self.imported)

    @property
    def _with_a_reason(self) -> int:
        return self.customer_errors + self.server_errors

    @property
    def primary_image_sets(self) -> int:
        """Image sets whose metadata agrees with what the store knew."""
        # What was there before is listed without having been generated.
        return max(0, self.image_sets - self.non_primary_image_sets)

    def sentence(self) -> str:
        """Write the numbers in one line."""
        kinds = f"{self.customer_errors} customer errors, {self.server_errors} server errors"
        if self.rejected > self._with_a_reason:
            kinds += f", {self.rejected - self._with_a_reason} without a reason"
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
        """List the warnings by code, the most frequent first."""
        ordered = sorted(self.warnings.items(), key=lambda item: (-item[1], item[0]))
        listed = [f"{code} ({count})" for code, count in ordered if code != UNREAD]
        if UNREAD in self.warnings:
            listed.append("more not read" if listed else "not read")
        return ", ".join(listed)


@dataclass(frozen=True)
class Tolerance:
    """What may go wrong in a job whose verdict is still SUCCEEDED. One that imported nothing never is."""

    rejected_files: int | None = None
    rejected_percent: float | None = None
    non_primary_image_sets: bool = True
    warnings: bool = True

    def problems(self, job_status: str, counts: Counts) -> list[str]:
        """List why a job with a manifest has not succeeded; empty when it has."""
        reasons = ["it did not run to its end"] if job_status == "FAILED" else []
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
class ImportResult:
    """What an import has come to: a job and its counts, as far as they are known."""

    job_id: str = ""
    job_status: str = NOT_STARTED
    submitted_at: str = ""
    counts: Counts = field(default_factory=Counts)
    manifest_uri: str = ""
    """Where a copy of the job's manifest is kept, as an S3 URI."""
    failures_uri: str = ""
    """Where the job has written its rejections, as an S3 URI."""
    seconds: float | None = None
    """How long the job took, where HealthImaging says."""

    @property
    def is_running(self) -> bool:
        """Whether the job had not ended when it was looked at."""
        return self.job_status in ("SUBMITTED", "IN_PROGRESS")

    @staticmethod
    def from_dict(kept: Mapping[str, Any]) -> ImportResult:
        """Read the result that a record keeps, perhaps of another version of this code.

        Raises:
            TypeError: a member is not of its type.
        """
        known = {item.name for item in dataclasses.fields(ImportResult)}
        values = {name: value for name, value in kept.items() if name in known}
        seconds = values.pop("seconds", None)
        counts = Counts.from_dict(values.pop("counts", {}))
        if not all(isinstance(value, str) for value in values.values()) or not isinstance(seconds, int | float | None):
            raise TypeError
        return ImportResult(**values, counts=counts, seconds=seconds)
