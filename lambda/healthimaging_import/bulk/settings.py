"""What a bulk import shall do: the settings that its state machine hands to every step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from healthimaging_import.bulk.plan import Pace
from healthimaging_import.bulk.planner import Limits
from healthimaging_import.contract import MAX_JOB_NAME, BulkSettings
from healthimaging_import.errors import TerminalError
from healthimaging_import.importing.verdict import Tolerance

_MARK_DIGITS = 20
_STEP_SECONDS = 420.0


@dataclass(frozen=True)
class Source:
    """The prefix that is imported."""

    bucket: str
    prefix: str
    owner_account_id: str | None = None


@dataclass(frozen=True)
class Settings:
    """Everything a bulk import needs to know."""

    role_arn: str
    datastore_id: str
    data_access_role_arn: str
    source: Source
    output_bucket: str
    output_prefix: str
    import_name: str
    job_name: str
    limits: Limits
    pace: Pace
    tolerance: Tolerance
    attempts: int = 3
    plan_only: bool = False
    step_seconds: float = _STEP_SECONDS

    @staticmethod
    def parse(given: BulkSettings) -> Settings:
        """Read the settings.

        Raises:
            TerminalError: one is missing, or not of its type: the function was called by something else.
        """
        values: Mapping[str, Any] = given
        try:
            limits = Limits(
                files=int(values["MaxFiles"]),
                total_bytes=int(values["MaxBytes"]),
                file_bytes=int(values["MaxFileBytes"]),
                folders=int(values["MaxFolders"]),
                any_prefix=values["AnyPrefix"] is True,
            )
            tolerance = Tolerance(
                rejected_files=values.get("MaxRejectedFiles"),
                rejected_percent=values.get("MaxRejectedPercent"),
                non_primary_image_sets=not values.get("FailOnNonPrimary"),
                warnings=not values.get("FailOnWarnings"),
            )
            return Settings(
                role_arn=values["RoleArn"],
                datastore_id=values["DatastoreId"],
                data_access_role_arn=values["DataAccessRoleArn"],
                source=Source(values["InputBucket"], values["InputPrefix"], values.get("InputOwnerAccountId") or None),
                output_bucket=values["OutputBucket"],
                output_prefix=values["OutputPrefix"],
                import_name=values["ImportName"],
                job_name=values.get("JobName") or "",
                limits=limits,
                pace=Pace(float(values["StartsPerSecond"]), int(values["ConcurrentJobs"])),
                tolerance=tolerance,
                attempts=int(values["Attempts"]),
                plan_only=values.get("PlanOnly") is True,
                step_seconds=float(values.get("StepSeconds", _STEP_SECONDS)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TerminalError(f"the settings of a bulk import cannot be read ({type(error).__name__})") from None

    @property
    def digest(self) -> str:
        """A name for what is planned: equal for the same source and limits."""
        meaning = {"source": asdict(self.source), "limits": asdict(self.limits)}
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:32]

    def run_name(self, run_id: str) -> str:
        """Name a run of a plan: what goes into another data store is another run."""
        return hashlib.sha256(json.dumps([self.datastore_id, run_id]).encode()).hexdigest()[:16]

    def token(self, plan: str, run: str, prefix: str, attempt: int) -> str:
        """Return the client token of an attempt at a job, never random."""
        return hashlib.sha256(json.dumps([plan, run, prefix, attempt]).encode()).hexdigest()

    def start_parameters(self, token: str, prefix: str) -> dict[str, Any]:
        """Return the parameters of StartDICOMImportJob."""
        name = self.job_name or self.import_name[-MAX_JOB_NAME:].replace(":", "-")
        parameters = {
            "jobName": f"{name}-{token[:_MARK_DIGITS]}",
            "clientToken": token,
            "datastoreId": self.datastore_id,
            "dataAccessRoleArn": self.data_access_role_arn,
            "inputS3Uri": f"s3://{self.source.bucket}/{prefix}",
            "outputS3Uri": f"s3://{self.output_bucket}/{self.output_prefix}",
        }
        if self.source.owner_account_id:
            parameters["inputOwnerAccountId"] = self.source.owner_account_id
        return parameters
