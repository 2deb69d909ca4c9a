"""What one import shall do: the typed request, its intent, and the exact StartDICOMImportJob call it stands for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from healthimaging_import.rules import (
    RECORDS_FOLDER,
    Quotas,
    ServiceModel,
    import_name,
    overlap_violations,
    prefix_violations,
    s3_uri,
)


@dataclass(frozen=True)
class Asset:
    """A zip file of local files, to be unpacked under the input prefix before the import."""

    bucket: str
    key: str


@dataclass(frozen=True)
class ImportRequest:
    """Everything an import needs to know; ``scope`` is who asks (the stack's ARN and the resource's logical id)."""

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
    run_id: str | None = None
    """None: the run that succeeded last stays the one that is meant."""
    asset: Asset | None = None
    on_empty: str = "skip"
    quotas: Quotas = field(default_factory=Quotas)

    @property
    def intent(self) -> str:
        """A name for what is to be imported: equal for equal meaning, whatever the job is called or who runs it.

        The role, the job's name, the quotas and what to do about an empty source say how, not what.
        """
        meaning = {
            "scope": self.scope,
            "datastoreId": self.datastore_id,
            "input": [self.input_bucket, self.input_prefix, self.input_owner_account_id],
            "output": [self.output_bucket, self.output_prefix],
            "metadataMappings": [dict(mapping) for mapping in self.metadata_mappings],
            "runId": self.run_id or "",
        }
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()

    @property
    def import_name(self) -> str:
        """What the import is called in metrics and events, where ``scope`` is too long to read."""
        match self.scope.split("/"):
            case [_, stack_name, _, logical_id]:
                return import_name(stack_name, logical_id)
        return self.scope

    @property
    def series(self) -> str:
        """A name for all runs of the same meaning, whatever their ``run_id``."""
        return dataclasses.replace(self, run_id=None).intent

    @property
    def others_to_ask(self) -> str:
        """Who else has to let the source be read; empty where it lies in the account of the import."""
        owner = self.input_owner_account_id
        if not owner or f"::{owner}:" in self.data_access_role_arn:
            return ""
        return (
            f"the input bucket has to belong to account {owner}, which has to allow what the outputs "
            "SourceBucketPolicy and, if there is one, SourceKeyPolicy say (they are in the template too: cdk synth)"
        )

    @property
    def records_prefix(self) -> str:
        """Where this import's records lie in the output bucket."""
        return self.output_prefix + RECORDS_FOLDER

    def violations(self) -> list[str]:
        """Every rule the request breaks, one sentence each. Synth checks them too, but cannot see tokens."""
        problems = prefix_violations("input_prefix", self.input_prefix)
        problems += prefix_violations("output_prefix", self.output_prefix)
        if self.input_bucket == self.output_bucket:
            problems += overlap_violations(self.input_prefix, self.output_prefix)
        if self.on_empty not in ("skip", "fail"):
            problems.append(f"on_empty must be 'skip' or 'fail', got {self.on_empty!r}")
        problems += ServiceModel.load().violations("StartDICOMImportJobRequest", self.start_parameters(attempt=1))
        return problems

    def start_parameters(self, attempt: int) -> dict[str, Any]:
        """The parameters of StartDICOMImportJob. The token is a function of intent and attempt, never random."""
        parameters: dict[str, Any] = {
            "clientToken": hashlib.sha256(f"{self.intent}:{attempt}".encode()).hexdigest(),
            "datastoreId": self.datastore_id,
            "dataAccessRoleArn": self.data_access_role_arn,
            "inputS3Uri": s3_uri(self.input_bucket, self.input_prefix),
            "outputS3Uri": s3_uri(self.output_bucket, self.output_prefix),
        }
        if self.job_name:
            parameters["jobName"] = self.job_name
        if self.input_owner_account_id:
            parameters["inputOwnerAccountId"] = self.input_owner_account_id
        if self.metadata_mappings:
            mappings = [dict(mapping) for mapping in self.metadata_mappings]
            parameters["importConfiguration"] = {
                "dicomJsonMetadataImportConfiguration": {"dicomMetadataMappings": mappings}
            }
        return parameters
