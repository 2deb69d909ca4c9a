"""What one import shall do: the typed request, its intent, and the exact StartDICOMImportJob call it stands for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from healthimaging_import.contract import MAX_JOB_NAME, ImportProperties, Notify, OnEmpty, import_meaning, import_name
from healthimaging_import.importing.verdict import Tolerance
from healthimaging_import.service_model import Quotas, ServiceModel, overlap_violations, prefix_violations

_MARK_DIGITS = 20
_MARKED = re.compile(rf"-[0-9a-f]{{{_MARK_DIGITS}}}\Z")


@dataclass(frozen=True)
class Asset:
    """A zip file of local files, to be unpacked under the input prefix before the import."""

    bucket: str
    key: str


@dataclass(frozen=True)
class ImportRequest:
    """Everything an import needs to know; ``scope`` is the stack's ARN and the resource's logical id."""

    scope: str
    datastore_id: str
    data_access_role_arn: str
    input_bucket: str
    input_prefix: str
    output_bucket: str
    output_prefix: str
    job_name: str | None = None
    input_owner_account_id: str | None = None
    metadata_mappings: tuple[Mapping[str, str], ...] = ()
    run_id: str = ""
    asset: Asset | None = None
    on_empty: OnEmpty = OnEmpty.SKIP
    quotas: Quotas = field(default_factory=Quotas)
    tolerance: Tolerance = field(default_factory=Tolerance)
    topic_arn: str = ""
    """Where people are notified."""
    notify: Notify = Notify.FAILURES
    intent: str = field(init=False, compare=False)
    """A name for what is to be imported: equal for equal meaning, whatever the job is called or who runs it.

    The role, the job's name, the quotas and what to do about an empty source say how, not what.
    """
    series: str = field(init=False, compare=False)
    """A name for all runs of the same meaning, whatever their ``run_id``."""
    store_scope: str = field(init=False, compare=False)
    """A name for all that this import puts into its data store."""

    @staticmethod
    def read(scope: str, properties: ImportProperties, run_id: str = "") -> ImportRequest:
        """Read the request in an import's properties, for one run. CloudFormation sends every number as a string."""
        asset_bucket = properties.get("AssetBucket")
        files, percent = properties.get("MaxRejectedFiles"), properties.get("MaxRejectedPercent")
        return ImportRequest(
            scope=scope,
            datastore_id=str(properties["DatastoreId"]),
            data_access_role_arn=str(properties["DataAccessRoleArn"]),
            input_bucket=str(properties["InputBucket"]),
            input_prefix=str(properties.get("InputPrefix") or ""),
            output_bucket=str(properties["OutputBucket"]),
            output_prefix=str(properties.get("OutputPrefix") or ""),
            job_name=properties.get("JobName"),
            input_owner_account_id=properties.get("InputOwnerAccountId"),
            metadata_mappings=tuple(properties.get("MetadataMappings") or ()),
            run_id=run_id,
            asset=Asset(asset_bucket, str(properties["AssetKey"])) if asset_bucket else None,
            on_empty=OnEmpty(str(properties.get("OnEmpty") or OnEmpty.SKIP)),
            quotas=Quotas(
                files=int(properties.get("MaxFiles") or Quotas.files),
                total_bytes=int(properties.get("MaxBytes") or Quotas.total_bytes),
                file_bytes=int(properties.get("MaxFileBytes") or Quotas.file_bytes),
            ),
            tolerance=Tolerance(
                rejected_files=None if files is None else int(files),
                rejected_percent=None if percent is None else float(percent),
                non_primary_image_sets=str(properties.get("FailOnNonPrimary")) != "true",
                warnings=str(properties.get("FailOnWarnings")) != "true",
            ),
            topic_arn=str(properties.get("NotificationTopicArn") or ""),
            notify=Notify(str(properties.get("Notify") or Notify.FAILURES)),
        )

    def __post_init__(self) -> None:
        """Work out what the import is known by."""
        source = (self.input_bucket, self.input_prefix, self.input_owner_account_id)
        meaning = import_meaning(self.scope, self.datastore_id, source, self.output, self.metadata_mappings)
        object.__setattr__(self, "intent", _digest({**meaning, "runId": self.run_id}))
        object.__setattr__(self, "series", _digest({**meaning, "runId": ""}))
        object.__setattr__(self, "store_scope", _digest({"scope": self.scope, "datastoreId": self.datastore_id}))

    @cached_property
    def import_name(self) -> str:
        """What the import is called in metrics and events, where ``scope`` is too long to read."""
        match self.scope.split("/"):
            case [_, stack_name, _, logical_id]:
                return import_name(stack_name, logical_id)
        return self.scope

    @property
    def output(self) -> tuple[str, str]:
        """Where the jobs write, and the records are."""
        return self.output_bucket, self.output_prefix

    @property
    def input_uri(self) -> str:
        """The source as StartDICOMImportJob takes it."""
        return f"s3://{self.input_bucket}/{self.input_prefix}"

    @property
    def output_uri(self) -> str:
        """Where the jobs write, as StartDICOMImportJob takes it."""
        return f"s3://{self.output_bucket}/{self.output_prefix}"

    @property
    def cross_account_advice(self) -> str:
        """Who else has to let the source be read; empty where it is in the account of the import."""
        owner = self.input_owner_account_id
        if not owner or f"::{owner}:" in self.data_access_role_arn:
            return ""
        return (
            f"the input bucket has to belong to account {owner}, which has to allow what the outputs "
            "SourceBucketPolicy and, if there is one, SourceKeyPolicy say (they are in the template too: cdk synth)"
        )

    def for_run(self, run_id: str) -> ImportRequest:
        """Return the request for one run."""
        return dataclasses.replace(self, run_id=run_id)

    def violations(self) -> list[str]:
        """List every rule the request breaks, one sentence each. Synth checks them too, but cannot see tokens."""
        problems = prefix_violations("input_prefix", self.input_prefix)
        problems += prefix_violations("output_prefix", self.output_prefix)
        if self.input_bucket == self.output_bucket:
            problems += overlap_violations(self.input_prefix, self.output_prefix)
        if self.job_name and len(self.job_name) > MAX_JOB_NAME:
            problems.append(f"job_name must be 1 to {MAX_JOB_NAME} characters, got {len(self.job_name)}")
        problems += ServiceModel.load().violations("StartDICOMImportJobRequest", self.start_parameters(attempt=1))
        return problems

    def client_token(self, attempt: int) -> str:
        """Return the token of an attempt: a function of the intent, never random."""
        return hashlib.sha256(f"{self.intent}:{attempt}".encode()).hexdigest()

    def mark(self, attempt: int) -> str:
        """Return what the name of an attempt's job ends with, and that of no other.

        The name is the one member of a start that ListDICOMImportJobs returns: by it a start is recognised.
        """
        return f"-{self.client_token(attempt)[:_MARK_DIGITS]}"

    def started(self, attempt: int, sent_name: object, name: str, input_uri: str) -> bool:
        """Whether a job of that name and source is that of an attempt, which was sent under ``sent_name``."""
        mark = self.mark(attempt)
        if str(sent_name).endswith(mark):
            return name.endswith(mark)
        # The first version marked no job; whatever bears a mark is another's.
        return not _MARKED.search(name) and input_uri.rstrip("/") == self.input_uri.rstrip("/")

    def marked_job_name(self, attempt: int) -> str:
        """Return the job's name."""
        name = self.job_name or self.import_name[-MAX_JOB_NAME:].replace(":", "-")
        return name + self.mark(attempt)

    def start_parameters(self, attempt: int) -> dict[str, Any]:
        """Return the parameters of StartDICOMImportJob."""
        parameters: dict[str, Any] = {
            "jobName": self.marked_job_name(attempt),
            "clientToken": self.client_token(attempt),
            "datastoreId": self.datastore_id,
            "dataAccessRoleArn": self.data_access_role_arn,
            "inputS3Uri": self.input_uri,
            "outputS3Uri": self.output_uri,
        }
        if self.input_owner_account_id:
            parameters["inputOwnerAccountId"] = self.input_owner_account_id
        if self.metadata_mappings:
            mappings = [dict(mapping) for mapping in self.metadata_mappings]
            parameters["importConfiguration"] = {
                "dicomJsonMetadataImportConfiguration": {"dicomMetadataMappings": mappings}
            }
        return parameters


def _digest(meaning: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
