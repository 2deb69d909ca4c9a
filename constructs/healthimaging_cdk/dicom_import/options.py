"""What an import can be told: when a deploy is done with it, what may go wrong in it, who hears of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from aws_cdk import Size

from healthimaging_cdk._common.runtime import contract, service_model


class OnEmpty(Enum):
    """What a deploy does when there is nothing to import.

    Example:
        >>> DicomImport(stack, "Import", on_empty=OnEmpty.FAIL)
    """

    SKIP = "skip"
    """It succeeds and says so, with the command that imports later."""
    FAIL = "fail"
    """It fails."""


class Completion(Enum):
    """When a deploy is done with an import job.

    Example:
        >>> DicomImport(stack, "Import", completion=Completion.DETACH)
    """

    WAIT = "wait"
    """When the job has ended, and only if it imported what it should. A job that outlasts the timeout fails it."""
    DETACH = "detach"
    """As WAIT, but a job that outlasts the timeout lets the deploy end well with status IN_PROGRESS."""
    SUBMIT = "submit"
    """As soon as the job is submitted."""


@dataclass(frozen=True)
class ImportTolerance:
    """What may go wrong in an import that still counts as good. A job that imported nothing never does.

    Example:
        >>> DicomImport(stack, "Import", tolerance=ImportTolerance(rejected_percent=0.5))
    """

    rejected_files: int | None = None
    """How many files may be rejected. Default: any number."""
    rejected_percent: float | None = None
    """How many of the scanned files may be rejected, in percent (0 to 100). Default: any number."""
    non_primary_image_sets: bool = True
    """Whether image sets may be non-primary, as they are when metadata conflicts with what the store holds."""
    warnings: bool = True
    """Whether there may be warnings, for example of a transfer syntax that is kept as it is."""


@dataclass(frozen=True)
class MetadataMapping:
    """A DICOM JSON metadata file, and the study or series whose instances it describes.

    Example:
        >>> mapping = MetadataMapping("1.2.840.113619.2.176.2025", "metadata/study.json")
        >>> DicomImport(stack, "Import", metadata_mappings=[mapping])
    """

    study_instance_uid: str
    """The Study Instance UID."""
    metadata_file_path: str
    """The path of the JSON file, relative to the input prefix."""
    series_instance_uid: str | None = None
    """The Series Instance UID. Default: the file describes the whole study."""


@dataclass(frozen=True)
class ImportQuotas:
    """How much one import job takes, where AWS has raised the account's quotas. AWS's defaults are the defaults.

    Example:
        >>> DicomImport(stack, "Import", quotas=ImportQuotas(files=20_000, total=Size.gibibytes(50)))
    """

    files: int = service_model.Quotas.files
    """Files in one job: 5,000."""
    total: Size = field(default_factory=lambda: Size.bytes(service_model.Quotas.total_bytes))
    """All files of one job together: 10 GiB."""
    file: Size = field(default_factory=lambda: Size.bytes(service_model.Quotas.file_bytes))
    """One file: 10 GiB."""


class Notify(Enum):
    """Which verdicts on an import's jobs are sent to its notification topic.

    Example:
        >>> import_ = DicomImport(stack, "Import", notify=Notify.REJECTIONS)
    """

    FAILURES = "failures"
    """The verdicts FAILED and UNKNOWN: a job did not import what it should, or nobody could find out."""
    REJECTIONS = "rejections"
    """Failures, and jobs that succeeded although files were rejected."""
    OUTCOMES = "outcomes"
    """Every verdict."""


class TrustConditions(Enum):
    """What the trust policy of a data access role asks of HealthImaging's request to assume it.

    Both are protections against a confused deputy: another customer whose import names this role. AWS does not document
    which of the keys HealthImaging sends.

    Example:
        >>> DicomImport(stack, "Import", trust_conditions=TrustConditions.ACCOUNT)

    See:
        https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
    """

    ACCOUNT_AND_DATASTORE = "account and data store"
    """``aws:SourceAccount`` is the store's account and ``aws:SourceArn`` is the store."""
    ACCOUNT = "account"
    """``aws:SourceAccount`` is the store's account."""
    NONE = "none"
    """Nothing, as in the developer guide's first steps: HealthImaging may assume the role for any account. Synth
    warns of it (``healthimaging-cdk:trustWithoutConditions``)."""


def mapping_member(mapping: MetadataMapping) -> dict[str, str]:
    """A mapping as StartDICOMImportJob takes it."""
    member = {"studyInstanceUID": mapping.study_instance_uid, "metadataFilePath": mapping.metadata_file_path}
    if mapping.series_instance_uid is not None:
        member["seriesInstanceUID"] = mapping.series_instance_uid
    return member


def tolerance_properties(tolerance: ImportTolerance | None) -> contract.ImportProperties:
    """A tolerance as the custom resource takes it."""
    if tolerance is None:
        return {}
    return {
        "MaxRejectedFiles": tolerance.rejected_files,
        "MaxRejectedPercent": tolerance.rejected_percent,
        "FailOnNonPrimary": None if tolerance.non_primary_image_sets else True,
        "FailOnWarnings": None if tolerance.warnings else True,
    }


def quota_properties(quotas: ImportQuotas | None) -> contract.ImportProperties:
    """Quotas as the custom resource takes them."""
    if quotas is None:
        return {}
    return {
        "MaxFiles": quotas.files,
        "MaxBytes": int(quotas.total.to_bytes()),
        "MaxFileBytes": int(quotas.file.to_bytes()),
    }


__all__ = ["Completion", "ImportQuotas", "ImportTolerance", "MetadataMapping", "Notify", "OnEmpty", "TrustConditions"]
