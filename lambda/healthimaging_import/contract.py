"""What the library and the function say to each other: every name that both sides use, once.

Standard library only: synth must not need boto3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypedDict

DEFAULT_INPUT_PREFIX = "dicom/"
"""The input prefix in a bucket that an import creates."""


class ResourceType(StrEnum):
    """The custom resources that the function serves."""

    IMPORT = "Custom::HealthImagingImport"
    TAGS = "Custom::HealthImagingDatastoreTags"
    DATASTORE = "Custom::HealthImagingDatastore"
    IMAGE_SET_DELETION = "Custom::HealthImagingImageSetDeletion"
    BULK_START = "Custom::HealthImagingBulkImportStart"


Number = str | int | float
"""The library writes numbers; CloudFormation passes every one of them as a string."""
Flag = str | bool
"""As numbers: ``true`` or ``false`` when it arrives."""


class ProviderProperties(TypedDict, total=False):
    """The properties of every custom resource."""

    ServiceToken: str
    RoleArn: str
    """The role that the function assumes for this resource."""
    StateMachineArn: str
    WaitSeconds: Number
    """How long a request may take."""
    Grants: str
    """A digest of the rights of this resource's roles: no request says that only rights have changed."""


class JobProperties(TypedDict, total=False):
    """What an import and a bulk import alike say of their jobs."""

    DatastoreId: str
    DataAccessRoleArn: str
    InputBucket: str
    InputPrefix: str
    InputOwnerAccountId: str | None
    OutputBucket: str
    OutputPrefix: str
    JobName: str | None


class ImportProperties(ProviderProperties, JobProperties, total=False):
    """The properties of an import."""

    RunId: str | None
    MetadataMappings: list[dict[str, str]] | None
    AssetBucket: str | None
    AssetKey: str | None
    OnEmpty: str
    MaxFiles: Number
    MaxBytes: Number
    MaxFileBytes: Number
    Completion: str
    MaxRejectedFiles: Number | None
    MaxRejectedPercent: Number | None
    FailOnNonPrimary: Flag | None
    FailOnWarnings: Flag | None
    ImportAgain: str
    """The command that imports again."""
    NotificationTopicArn: str | None
    Notify: str | None


class BulkSettings(JobProperties, total=False):
    """What the state machine of a bulk import passes to every step."""

    RoleArn: str
    """The role that the function assumes."""
    StateMachineArn: str
    ImportName: str
    MaxFiles: int
    MaxBytes: int
    MaxFileBytes: int
    MaxFolders: int
    AnyPrefix: bool
    """Whether a job's prefix may end anywhere."""
    StartsPerSecond: float
    ConcurrentJobs: int
    Attempts: int
    """How often a job is started at most."""
    PlanOnly: bool
    MaxRejectedFiles: int | None
    MaxRejectedPercent: float | None
    FailOnNonPrimary: bool | None
    FailOnWarnings: bool | None
    StepSeconds: float


class BulkStartProperties(ProviderProperties, total=False):
    """The properties of what starts a bulk import on deploy. A change of any of them starts it again."""

    BulkStateMachineArn: str
    DatastoreId: str
    InputBucket: str
    InputPrefix: str


class TagsProperties(ProviderProperties, total=False):
    """The properties of a data store's tags."""

    DatastoreArn: str
    Tags: Mapping[str, str]


class DatastoreProperties(ProviderProperties, total=False):
    """The properties of a data store that the function creates."""

    DatastoreName: str | None
    KmsKeyArn: str | None
    LambdaAuthorizerArn: str | None
    LosslessStorageFormat: str | None
    OwnerTag: Mapping[str, str]


class ImageSetDeletionProperties(ProviderProperties, total=False):
    """The properties of what deletes a data store's image sets with their stack."""

    DatastoreArn: str
    DatastoreId: str


class ImportAttribute(StrEnum):
    """The attributes of an import. Every response has all of them: a stack fails that reads one that is missing."""

    DATASTORE_ID = "DatastoreId"
    JOB_ID = "JobId"
    JOB_STATUS = "JobStatus"
    SUBMITTED_AT = "SubmittedAt"
    NUMBER_OF_SCANNED_FILES = "NumberOfScannedFiles"
    NUMBER_OF_IMPORTED_FILES = "NumberOfImportedFiles"
    NUMBER_OF_FILES_WITH_CUSTOMER_ERROR = "NumberOfFilesWithCustomerError"
    NUMBER_OF_FILES_WITH_SERVER_ERROR = "NumberOfFilesWithServerError"
    NUMBER_OF_GENERATED_IMAGE_SETS = "NumberOfGeneratedImageSets"
    NUMBER_OF_PRIMARY_IMAGE_SETS = "NumberOfPrimaryImageSets"
    NUMBER_OF_NON_PRIMARY_IMAGE_SETS = "NumberOfNonPrimaryImageSets"
    WARNINGS = "Warnings"
    MANIFEST_URI = "ManifestUri"
    SUMMARY = "Summary"
    NEXT_STEP = "NextStep"


class DatastoreAttribute(StrEnum):
    """The attributes of a data store that the function creates, named as CloudFormation's own."""

    DATASTORE_ID = "DatastoreId"
    DATASTORE_ARN = "DatastoreArn"
    DATASTORE_STATUS = "DatastoreStatus"
    CREATED_AT = "CreatedAt"
    UPDATED_AT = "UpdatedAt"


class Completion(StrEnum):
    """When a deploy is done with an import job."""

    WAIT = "wait"
    DETACH = "detach"
    SUBMIT = "submit"


class OnEmpty(StrEnum):
    """What a deploy does when there is nothing to import."""

    SKIP = "skip"
    FAIL = "fail"


class Notify(StrEnum):
    """Which verdicts are sent to the notification topic."""

    FAILURES = "failures"
    REJECTIONS = "rejections"
    OUTCOMES = "outcomes"


class Verdict(StrEnum):
    """What became of an import job's files."""

    SUCCEEDED = "SUCCEEDED"
    """It imported files, and no more went wrong than the tolerance allows."""
    FAILED = "FAILED"
    """It imported nothing, did not run to its end, or more went wrong than the tolerance allows."""
    UNKNOWN = "UNKNOWN"
    """It could not be determined."""


EVENT_SOURCE = "healthimaging-cdk"
"""The source of the events that publish a verdict."""
EVENT_DETAIL_TYPE = "DICOM Import Judged"
"""Their detail type."""
BULK_DETAIL_TYPE = "DICOM Bulk Import Reported"
"""The detail type of the event that publishes how a bulk import ended."""

EVENT_IMPORT, EVENT_OUTCOME, EVENT_COUNTS, EVENT_REJECTED = "import", "outcome", "counts", "rejected"
"""The members of their detail that the library's rules go by; the last one is a member of the counts."""

METRIC_NAMESPACE = "HealthImagingCdk"
"""The CloudWatch namespace of an import's own metrics."""
METRIC_DIMENSIONS = ("DatastoreId", "Import")
"""Each metric is kept twice: for all imports into a store, and for one import, whichever store it goes into."""
METRIC_UNITS = {
    "FilesScanned": "Count",
    "FilesImported": "Count",
    "FilesRejected": "Count",
    "ImageSetsGenerated": "Count",
    "ImportsSucceeded": "Count",
    "ImportsFailed": "Count",
    "Duration": "Seconds",
}
"""An import's own metrics and their units."""

RECORDS_FOLDER = ".healthimaging-cdk/"
"""Where, under the output prefix, an import keeps its records and the manifests they name."""
BULK_FOLDER = "bulk/"
"""Where, in the records folder, bulk imports keep their plans, states, results and reports."""

OPT_IN_TAG = "healthimaging-cdk:auto-delete-image-sets"
"""The tag of a data store whose image sets may be deleted with its stack."""
OPT_IN_OWNER_TAG = "healthimaging-cdk:auto-delete-owner"
"""The tag that says which resource has set the opt-in tag last, where it was moved."""
TAGS_OWNER_TAG = "healthimaging-cdk:tags-owner"
"""The tag that says which resource has set the tags of a data store last, where it was moved."""

RESPONSE_BUCKET = "cloudformation-custom-resource-response-"
"""How the names of the buckets begin in which CloudFormation takes responses; the Region without dashes follows."""
RESPONDED_FAILED = "RequestFailed"
"""The error of an execution that has responded to CloudFormation with a failure."""
DEFAULT_WAIT_SECONDS = 300
"""How long a request may take that says nothing of it."""
MAX_WAIT_SECONDS = 3600
"""CloudFormation gives a custom resource one hour to respond, at most."""

MAX_JOB_NAME = 43
"""What is left of a job name's 64 characters for the user: ``-`` and 20 digits tell which attempt started the job."""


def import_meaning(
    scope: str,
    datastore_id: object,
    source: tuple[object, object, object],
    output: tuple[object, object],
    metadata_mappings: Iterable[Mapping[str, str]],
) -> dict[str, Any]:
    """Return what is to be imported, in the order and shape in which its hash is the intent.

    Two requests of equal meaning are one import; another meaning, or another ``RunId``, imports again. The function
    decides by it, and ``healthimaging-cdk review`` predicts by it.

    Args:
        scope: the stack and the logical id of the resource.
        datastore_id: the data store.
        source: the input bucket, the prefix, and the account of its owner where that is another.
        output: the output bucket and the prefix.
        metadata_mappings: as StartDICOMImportJob takes them.
    """
    return {
        "scope": scope,
        "datastoreId": datastore_id,
        "input": list(source),
        "output": list(output),
        "metadataMappings": [dict(mapping) for mapping in metadata_mappings],
    }


def import_name(stack_name: str, logical_id: str) -> str:
    """Name an import in metrics and events: stable, also when its stack is created again, and no secret."""
    return f"{stack_name}/{logical_id}"
