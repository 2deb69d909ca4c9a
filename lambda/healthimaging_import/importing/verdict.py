"""What a job has come to, and the verdict on it: pure, and the same for an import on deploy and for a bulk import.

A job's status says only whether it ran.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from healthimaging_import.aws.redact import redact
from healthimaging_import.contract import Verdict

NEW_RUN = "deploy again with a run_id not used before to import again"
RUNNING = ("SUBMITTED", "IN_PROGRESS")
"""The statuses of a job that has not ended."""
NOTHING_TO_IMPORT = "NOTHING_TO_IMPORT"
"""Stands where a job's status would stand when the source was empty."""
NOT_STARTED = "NOT_STARTED"
"""Stands where a job's status would stand when no job was started and none is remembered."""
UNREAD = "unread"
"""Stands among what was counted for a list, or the rest of one, that was not read."""
MANIFEST_PATIENCE_SECONDS = {"COMPLETED": 120, "FAILED": 10}
"""How long a manifest may be late. A job that failed early never writes one."""
_MOST_CAUSES = 3
_IF_FAILED_EARLY = (
    "if it failed at once, give the data access role more rights, s3:GetEncryptionConfiguration first, or ask less of "
    "its trust with trust_conditions (docs/recovering.md)"
)


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

    @cached_property
    def rejected(self) -> int:
        """Files that were scanned and not imported, for whatever reason."""
        return max(self.customer_errors + self.server_errors, self.scanned - self.imported)

    @property
    def primary_image_sets(self) -> int:
        """Image sets whose metadata agrees with what the store knew."""
        # What was there before is listed without having been generated.
        return max(0, self.image_sets - self.non_primary_image_sets)

    def sentence(self) -> str:
        """Write the numbers in one line."""
        unexplained = self.rejected - self.customer_errors - self.server_errors
        return (
            f"{self.scanned} files scanned, {self.imported} imported, {self.rejected} rejected "
            f"({self.customer_errors} customer errors, {self.server_errors} server errors"
            + (f", {unexplained} without a reason" if unexplained else "")
            + f"), {self.image_sets} image sets"
            + (f", {self.non_primary_image_sets} not primary" if self.non_primary_image_sets else "")
            + (f", warnings {self.warning_list()}" if self.warnings else "")
        )

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

    @staticmethod
    def decode(kept: Mapping[str, Any]) -> ImportResult:
        """Read the result that a record keeps, perhaps of another version of this code.

        Raises:
            TypeError: a member is not of its type.
        """
        values = _fields_of(ImportResult, kept)
        counts = _fields_of(Counts, values.pop("counts", {}))
        seconds, warnings = values.pop("seconds", None), dict(counts.pop("warnings", None) or {})
        if not (
            all(isinstance(value, str) for value in values.values())
            and all(isinstance(number, int) for number in (*counts.values(), *warnings.values()))
            and isinstance(seconds, int | float | None)
        ):
            raise TypeError
        return ImportResult(**values, counts=Counts(**counts, warnings=warnings), seconds=seconds)


def _fields_of(dataclass: type, kept: Mapping[str, Any]) -> dict[str, Any]:
    return {item.name: kept[item.name] for item in dataclasses.fields(dataclass) if item.name in kept}


def judge(
    status: str, counts: Counts | None, tolerance: Tolerance, *, message: str = "", unread: str = ""
) -> tuple[Verdict, str]:
    """Return the verdict on a job that has ended, and why it is not SUCCEEDED.

    It has no ``counts`` where it left no manifest for as long as that was waited for. ``message`` is what the job says
    of itself, ``unread`` why the manifest that it left could not be read.
    """
    if unread:
        return Verdict.UNKNOWN, f"ended with {status}, but {unread}"
    if counts is None:
        said = f" ({redact(message)})" if message else ""
        verdict = Verdict.UNKNOWN if status == "COMPLETED" else Verdict.FAILED
        advice = "" if verdict is Verdict.UNKNOWN else f"; {_IF_FAILED_EARLY}"
        return verdict, f"ended with {status}{said} and left no manifest{advice}"
    problems = tolerance.problems(status, counts)
    if problems:
        return Verdict.FAILED, f"ended with {status} but {' and '.join(problems)}"
    return Verdict.SUCCEEDED, ""


def name_of_job(job_id: str, datastore_id: object) -> str:
    """Name a job as every reason does."""
    return f"import job {job_id} of data store {datastore_id}"


def describe_causes(causes: Counter[str], failures_uri: str) -> str:
    """Name the most frequent causes of rejection, and where to read the rest."""
    if not causes:
        return ""
    among = " in the part that was read" if UNREAD in causes else ""
    known = [f"{cause} ({count})" for cause, count in causes.most_common() if cause != UNREAD]
    return f"; most frequent{among}: {', '.join(known[:_MOST_CAUSES])}; all: {failures_uri.rstrip('/')}/failure.ndjson"
