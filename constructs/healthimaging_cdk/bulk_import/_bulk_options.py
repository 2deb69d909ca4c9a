"""The arguments of a bulk import: those of an import on deploy, and its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from healthimaging_cdk._common.messages import is_token
from healthimaging_cdk._common.validation import Violations
from healthimaging_cdk.bulk_import.options import BulkPace
from healthimaging_cdk.dicom_import.options import ImportQuotas, ImportTolerance
from healthimaging_cdk.dicom_import.shared.import_options import ImportOptions

_MOST_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class BulkOptions(ImportOptions):
    """The arguments of a BulkDicomImport. There are none that break a rule."""

    construct: ClassVar[str] = "BulkDicomImport"

    pace: BulkPace | None
    folders_per_job: int
    attempts: int
    prefixes_without_slash: bool
    plan_only: bool
    start_on_deploy: bool

    def check_further(self, violations: Violations) -> None:
        """Check what only a bulk import takes."""
        if self.source is not None and self.source.path is not None:
            violations.add("source is a local directory: upload it to a bucket, or use DicomImport")
        pace = self.pace or BulkPace()
        numbers = (pace.starts_per_second, pace.concurrent_jobs, self.attempts, self.folders_per_job)
        if any(is_token(number) for number in numbers):
            violations.add("pace, attempts and folders_per_job have to be known at synth, got a token")
            return
        if not math.isfinite(pace.starts_per_second) or pace.starts_per_second <= 0:
            violations.add(f"pace.starts_per_second must be more than 0, got {pace.starts_per_second}")
        if pace.concurrent_jobs < 1:
            violations.add(f"pace.concurrent_jobs must be at least 1, got {pace.concurrent_jobs}")
        if not 1 <= self.attempts <= _MOST_ATTEMPTS:
            violations.add(f"attempts must be 1 to {_MOST_ATTEMPTS}, got {self.attempts}")
        if self.folders_per_job < 1:
            violations.add(f"folders_per_job must be at least 1, got {self.folders_per_job}")

    def settings(self) -> dict[str, Any]:
        """What the function is told of the arguments that are no resources."""
        quotas, pace = self.quotas or ImportQuotas(), self.pace or BulkPace()
        tolerance = self.tolerance or ImportTolerance()
        return {
            "JobName": self.job_name,
            "InputOwnerAccountId": self.owner_to_send,
            "MaxFiles": quotas.files,
            "MaxBytes": int(quotas.total.to_bytes()),
            "MaxFileBytes": int(quotas.file.to_bytes()),
            "MaxFolders": self.folders_per_job,
            "AnyPrefix": self.prefixes_without_slash,
            "StartsPerSecond": pace.starts_per_second,
            "ConcurrentJobs": pace.concurrent_jobs,
            "Attempts": self.attempts,
            "PlanOnly": self.plan_only,
            "MaxRejectedFiles": tolerance.rejected_files,
            "MaxRejectedPercent": tolerance.rejected_percent,
            "FailOnNonPrimary": not tolerance.non_primary_image_sets,
            "FailOnWarnings": not tolerance.warnings,
        }
