"""The arguments of an import: what is wrong with them, as far as synth can know, and what follows from them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, cast

import aws_cdk as cdk
from aws_cdk import Duration, RemovalPolicy, Stack, Stage
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from healthimaging_cdk._common.environment import environment_of, stack_of
from healthimaging_cdk._common.messages import is_token, is_unresolved, quoted
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.unfit import bucket_problems, key_problems, prefix_problems
from healthimaging_cdk._common.validation import Violations
from healthimaging_cdk._provider.function_network import network_of
from healthimaging_cdk.datastore.datastore import IDatastore
from healthimaging_cdk.dicom_import.options import (
    Completion,
    ImportQuotas,
    ImportTolerance,
    MetadataMapping,
    Notify,
    OnEmpty,
    TrustConditions,
    mapping_member,
)
from healthimaging_cdk.dicom_import.shared.cross_account import root_stack
from healthimaging_cdk.dicom_import.source import DEFAULT_PREFIX, ImportSource, owner_to_send, with_owner

DEFAULT_TIMEOUT = Duration.minutes(50)
"""How long a deploy waits for its job."""
_JOB_NAME = re.compile(rf"[A-Za-z0-9._/#-]{{1,{contract.MAX_JOB_NAME}}}")
_SHORTEST_TIMEOUT_SECONDS = 60
_LONGEST_TIMEOUT_SECONDS = 55 * 60
_MOST_MAPPING_BYTES = 100_000
_WHOLE = 100


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """The arguments of a DicomImport, which says what they mean. There are none that break a rule.

    Raises:
        ValueError: arguments break rules; the message names all of them.
    """

    construct: ClassVar[str] = "DicomImport"
    """What the arguments are of, for messages."""

    scope: Construct
    construct_id: str
    datastore: IDatastore | None
    source: ImportSource | None
    output_bucket: s3.IBucket | None
    output_prefix: str
    data_access_role: iam.IRole | None
    trust_conditions: TrustConditions
    encryption_key: kms.IKey | None
    customer_managed_key: bool
    job_name: str | None
    tolerance: ImportTolerance | None
    quotas: ImportQuotas | None
    results_expiration: Duration | None
    access_logs_bucket: s3.IBucket | None
    removal_policy: RemovalPolicy
    # Only an import on deploy takes these.
    run_id: str | None = None
    metadata_mappings: Sequence[MetadataMapping] = ()
    on_empty: OnEmpty = OnEmpty.SKIP
    completion: Completion = Completion.WAIT
    timeout: Duration = DEFAULT_TIMEOUT
    notify: Notify | None = None
    notification_topic: cdk.aws_sns.ITopic | None = None

    def __post_init__(self) -> None:
        """Check the values; their types have been checked."""
        violations = Violations(self.construct, self.scope, self.construct_id)
        violations.check_removal_policy("removal_policy", self.removal_policy)
        _check_job_name(violations, self.job_name)
        _check_run_id(violations, self.run_id, self._run_id_in_context)
        violations.check_prefix("output_prefix", self.output_prefix)
        violations.add(
            *prefix_problems("output_prefix", self.output_prefix),
            *bucket_problems("output_bucket", self.output_bucket),
            *(key_problems("encryption_key", self.encryption_key) if self.datastore is None else ()),
        )
        self._check_buckets(violations)
        self._check_folder(violations)
        _check_mappings(violations, self.metadata_mappings)
        _check_numbers(violations, self.timeout, self.tolerance or ImportTolerance(), self.quotas)
        self._check_key(violations)
        self._check_endpoints(violations)
        self._check_access_logs(violations)
        # A function of this stack starts the job, in its own account and Region. IAM passes roles within an account.
        there, role = "import from a stack there", "use a role of the stack's account"
        violations.check_place("datastore", self.datastore, self.stack, account=there, region=there)
        violations.check_place("data_access_role", self.data_access_role, self.stack, account=role)
        own = "use a key of the stack's Region"
        violations.check_place("encryption_key", self.encryption_key, self.stack, region=own)
        _check_topic(violations, self.notification_topic, self.stack)
        self.check_further(violations)
        violations.raise_any()

    def check_further(self, violations: Violations) -> None:
        """Check what only some imports take; nothing here."""

    @cached_property
    def stack(self) -> Stack:
        """The stack of the import."""
        return stack_of(self.scope)

    @cached_property
    def files(self) -> ImportSource:
        """Where the files are: the source as the stack sees it, or a bucket that is created."""
        return with_owner(self.source or ImportSource(None, DEFAULT_PREFIX), self.stack)

    @property
    def owner_to_send(self) -> str | None:
        """The owner of the source bucket, where HealthImaging asks for it."""
        return owner_to_send(self.files, self.stack)

    @property
    def is_cross_account(self) -> bool:
        """Whether the source bucket is another account's, which has to let the roles of the import in."""
        return (
            self.files.owner_account_id is not None
            and self.files.owner_account_id != environment_of(self.stack).account
        )

    @property
    def creates_buckets(self) -> bool:
        """Whether the input bucket or the output bucket is created."""
        return self.files.input_bucket is None or self.output_bucket is None

    @property
    def creates_topic(self) -> bool:
        """Whether the notification topic is created."""
        return self.notify is not None and self.notification_topic is None

    @property
    def creates_something(self) -> bool:
        """Whether anything is created that a key would encrypt."""
        return self.datastore is None or self.creates_buckets or self.creates_topic

    @property
    def creates_key(self) -> bool:
        """Whether a key is created."""
        return self.creates_something and self.customer_managed_key and self.encryption_key is None

    @property
    def effective_run_id(self) -> str | None:
        """What the code says, else what the command line says, else nothing: the function knows the latest run."""
        if self.run_id is not None or self._run_id_in_context is None:
            return self.run_id
        return str(self._run_id_in_context)

    @property
    def how_to_import_again(self) -> str:
        """The command that imports again, where the code says a run_id and where it does not."""
        command = f"cdk deploy {root_stack(self.scope).node.path}"
        return f"{command} -c run_id=ANY_NEW_VALUE" if self.run_id is None else f"change run_id and {command}"

    @cached_property
    def _run_id_in_context(self) -> object:
        return self.scope.node.try_get_context("run_id")

    def _check_buckets(self, violations: Violations) -> None:
        source, output = self.files.input_bucket, self.output_bucket
        if source is not None:
            violations.check_bucket_uri("source", source.bucket_name, self.files.prefix)
        if output is not None:
            violations.check_bucket_uri("output_bucket", output.bucket_name, self.output_prefix)
            if source is not None and source.bucket_name == output.bucket_name:
                violations.check_overlap(self.files.prefix, self.output_prefix)
            if self.results_expiration is not None:
                violations.add(
                    "results_expiration is for an output bucket that this import creates: add a lifecycle rule to "
                    "your own"
                )
        if self.results_expiration is not None and not self.results_expiration.is_unresolved():
            days = self.results_expiration.to_days(integral=False)
            if days % 1 or days < 1:
                violations.add(f"results_expiration must be whole days, 1 at least, got {days:g} days")

    def _check_folder(self, violations: Violations) -> None:
        folder = self.files.folder
        if folder is None:
            return
        quotas = self.quotas or ImportQuotas()
        app = self.scope.node.root
        if Stage.is_stage(app) and folder.has_path(cast("Stage", app).outdir):
            violations.add(
                f"source: folder {str(self.files.path)!r} holds the app's output ({cast('Stage', app).outdir}), which "
                "would be copied into itself: put the DICOM P10 files into a folder of their own"
            )
        if is_token(quotas.files) or quotas.total.is_unresolved() or quotas.file.is_unresolved():
            return  # which is refused
        advice = "split it into several folders, each with its own import, or pass quotas= if AWS has raised yours"
        held = f"source: folder {str(self.files.path)!r} holds"
        most_bytes, most_of_one = int(quotas.total.to_bytes()), int(quotas.file.to_bytes())
        if len(folder.files) > quotas.files:
            violations.add(f"{held} {len(folder.files)} files, one import job takes {quotas.files}: {advice}")
        if folder.total_bytes > most_bytes:
            violations.add(f"{held} {folder.total_bytes} bytes, one import job takes {most_bytes}: {advice}")
        for name, size in folder.files.items():
            if size > most_of_one:
                violations.add(
                    f"{held} {name!r} of {size} bytes, one file may have {most_of_one}: leave it out by exclude, or "
                    "pass quotas= if AWS has raised yours"
                )

    def _check_key(self, violations: Violations) -> None:
        if self.encryption_key is not None and not self.customer_managed_key:
            violations.add("encryption_key and customer_managed_key=False exclude each other: omit one")

    def _check_endpoints(self, violations: Violations) -> None:
        network = network_of(self.stack)
        if network is None or network.endpoints is None:
            return
        endpoints = network.endpoints
        if not endpoints.reaches(self.datastore):
            violations.add(
                "the data store cannot be reached through the endpoints of the stack's network: give datastore and "
                "name it in datastores of HealthImagingEndpoints, or omit those"
            )
        if endpoints.names_buckets and self.creates_buckets and not network.endpoints_are_here:
            violations.add(
                "a bucket that this import creates cannot be reached through endpoints of another stack that name "
                "their buckets: give "
                "source and output_bucket and name both there, or omit buckets of HealthImagingEndpoints"
            )

    def _check_access_logs(self, violations: Violations) -> None:
        if self.access_logs_bucket is not None and not self.creates_buckets:
            violations.add(
                "access_logs_bucket is for buckets that this import creates, and it creates none: "
                "set server_access_logs_bucket of yours"
            )
        if self.access_logs_bucket is not None and self.access_logs_bucket.encryption_key is not None:
            violations.add(
                "access_logs_bucket has a KMS key, and S3 writes access logs only under SSE-S3: pass another one"
            )
        there = "S3 writes access logs into a bucket of the same account and Region"
        violations.check_place("access_logs_bucket", self.access_logs_bucket, self.stack, account=there, region=there)


def _check_job_name(violations: Violations, job_name: str | None) -> None:
    if job_name is None or is_unresolved(job_name) or _JOB_NAME.fullmatch(job_name):
        return
    violations.add(
        f"job_name must be 1 to {contract.MAX_JOB_NAME} characters of A-Z a-z 0-9 . _ / # -, got {quoted(job_name)} "
        f"({len(job_name)} characters): shorten it or replace other characters, or omit it"
    )


def _check_run_id(violations: Violations, run_id: str | None, in_context: object) -> None:
    """An empty one is most often a variable of a CI job that is not set; taken as a run, it would import again."""
    if run_id is not None:
        if not run_id.strip():
            violations.add("run_id is empty: omit it, or give a value")
    elif in_context is not None and not str(in_context).strip():
        violations.add("run_id is empty in the CDK context (-c run_id=): omit -c run_id, or give a value")


def _check_topic(violations: Violations, topic: cdk.aws_sns.ITopic | None, stack: Stack) -> None:
    """Check what the function can publish to. The topic may be in another account, whose policies let it publish."""
    if topic is not None and topic.fifo:
        violations.add(
            "notification_topic is a FIFO topic, which takes no notifications of an import: use a standard topic"
        )
    here = "use a topic of the stack's Region, the function publishes in no other"
    violations.check_place("notification_topic", topic, stack, region=here)


def _check_mappings(violations: Violations, metadata_mappings: Sequence[MetadataMapping]) -> None:
    mappings = [mapping_member(mapping) for mapping in metadata_mappings]
    if mappings and not any(is_unresolved(value) for mapping in mappings for value in mapping.values()):
        violations.check_shape("metadata_mappings", mappings, "DicomMetadataMappings")
    size = len(json.dumps(mappings))
    if size > _MOST_MAPPING_BYTES:
        violations.add(
            f"metadata_mappings take {size} bytes of the template, at most {_MOST_MAPPING_BYTES} fit into a "
            "CloudFormation request: split them into several imports"
        )


def _check_numbers(
    violations: Violations, timeout: Duration, tolerance: ImportTolerance, quotas: ImportQuotas | None
) -> None:
    seconds = None if timeout.is_unresolved() else timeout.to_seconds(integral=False)
    if seconds is None or seconds % 1 or not _SHORTEST_TIMEOUT_SECONDS <= seconds <= _LONGEST_TIMEOUT_SECONDS:
        given = "a token" if seconds is None else f"{seconds:g} seconds"
        violations.add(f"timeout must be 1 to 55 minutes in whole seconds, known at synth, got {given}")
    files, sizes = (quotas.files, [quotas.total, quotas.file]) if quotas else (1, [])
    numbers = (files, tolerance.rejected_files, tolerance.rejected_percent)
    if any(number is not None and is_token(number) for number in numbers) or any(it.is_unresolved() for it in sizes):
        violations.add("tolerance and quotas have to be known at synth, got a token")
        return
    if tolerance.rejected_files is not None and tolerance.rejected_files < 0:
        violations.add(f"tolerance.rejected_files must not be negative, got {tolerance.rejected_files}")
    if tolerance.rejected_percent is not None and not 0 <= tolerance.rejected_percent <= _WHOLE:
        violations.add(f"tolerance.rejected_percent must be 0 to 100, got {tolerance.rejected_percent}")
    if files < 1 or any(size.to_bytes() < 1 for size in sizes):
        violations.add("quotas must be at least 1 file and 1 byte")
