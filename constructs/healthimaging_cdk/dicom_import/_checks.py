"""What is wrong with the arguments of an import, as far as synth can know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aws_cdk import Duration, Size, Stack, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.validation import (
    BUCKET,
    CONSTRUCT,
    DATASTORE,
    FLAG,
    KEY,
    NUMBER,
    REMOVAL_POLICY,
    ROLE,
    TEXT,
    TOPIC,
    WHOLE_NUMBER,
    Violations,
    duration,
    instance_of,
    is_token,
    list_of,
    one_of,
    optional,
    quoted,
)
from healthimaging_cdk._provider.function_network import network_of
from healthimaging_cdk.datastore.datastore import IDatastore
from healthimaging_cdk.dicom_import.options import (
    Completion,
    ImportQuotas,
    ImportTolerance,
    MetadataMapping,
    Notify,
    OnEmpty,
    mapping_member,
)
from healthimaging_cdk.dicom_import.source import ImportSource

if TYPE_CHECKING:
    from aws_cdk import aws_sns as sns

_JOB_NAME = re.compile(rf"[A-Za-z0-9._/#-]{{1,{contract.MAX_JOB_NAME}}}")
_SHORTEST_TIMEOUT = Duration.minutes(1)
_LONGEST_TIMEOUT = Duration.minutes(55)
_MOST_MAPPING_BYTES = 100_000
_WHOLE = 100
_SIZE = instance_of(Size, "a Size", "use for example Size.gibibytes(20)")
_SOURCE = instance_of(ImportSource, "an ImportSource", "use ImportSource.bucket or ImportSource.directory")
_MAPPING = instance_of(
    MetadataMapping,
    "a MetadataMapping",
    "use MetadataMapping(study_instance_uid, metadata_file_path)",
    {"study_instance_uid": TEXT, "metadata_file_path": TEXT, "series_instance_uid": optional(TEXT)},
)
_TOLERANCE = instance_of(
    ImportTolerance,
    "an ImportTolerance",
    "use for example ImportTolerance(rejected_files=0)",
    {
        "rejected_files": optional(WHOLE_NUMBER),
        "rejected_percent": optional(NUMBER),
        "non_primary_image_sets": FLAG,
        "warnings": FLAG,
    },
)
_QUOTAS = instance_of(
    ImportQuotas,
    "an ImportQuotas",
    "use for example ImportQuotas(files=20_000)",
    {"files": WHOLE_NUMBER, "total": _SIZE, "file": _SIZE},
)
_KINDS = {
    "scope": CONSTRUCT,
    "construct_id": TEXT,
    "datastore": optional(DATASTORE),
    "source": optional(_SOURCE),
    "output_bucket": optional(BUCKET),
    "output_prefix": TEXT,
    "data_access_role": optional(ROLE),
    "require_source_arn": FLAG,
    "encryption_key": optional(KEY),
    "customer_managed_key": FLAG,
    "job_name": optional(TEXT),
    "run_id": optional(TEXT),
    "metadata_mappings": list_of(_MAPPING),
    "on_empty": one_of(OnEmpty),
    "completion": one_of(Completion),
    "timeout": duration("minutes(50)"),
    "tolerance": optional(_TOLERANCE),
    "quotas": optional(_QUOTAS),
    "notify": optional(one_of(Notify)),
    "notification_topic": optional(TOPIC),
    "results_expiration": optional(duration("days(90)")),
    "access_logs_bucket": optional(BUCKET),
    "outputs": FLAG,
    "removal_policy": REMOVAL_POLICY,
}


def check_kinds(arguments: Mapping[str, object]) -> None:
    """Check what the arguments of an import are, before anything reads their attributes."""
    Violations("DicomImport").require_kinds(_KINDS, arguments)


def check_import(
    *,
    stack: Stack,
    datastore: IDatastore | None,
    data_access_role: iam.IRole | None,
    source: ImportSource,
    output_bucket: s3.IBucket | None,
    output_prefix: str,
    job_name: str | None,
    run_id: str | None,
    run_id_in_context: object,
    metadata_mappings: Sequence[MetadataMapping],
    timeout: Duration,
    tolerance: ImportTolerance | None,
    quotas: ImportQuotas | None,
    results_expiration: Duration | None,
    access_logs_bucket: s3.IBucket | None,
    encryption_key: kms.IKey | None,
    customer_managed_key: bool,
    notify: Notify | None,
    notification_topic: sns.ITopic | None,
) -> None:
    violations = Violations("DicomImport")
    _check_job_name(violations, job_name)
    _check_run_id(violations, run_id, run_id_in_context)
    violations.check_prefix("output_prefix", output_prefix)
    if source.input_bucket is not None:
        violations.check_bucket_uri("source", source.input_bucket.bucket_name, source.prefix)
    if output_bucket is not None:
        violations.check_bucket_uri("output_bucket", output_bucket.bucket_name, output_prefix)
        if source.input_bucket is not None and source.input_bucket.bucket_name == output_bucket.bucket_name:
            violations.check_overlap(source.prefix, output_prefix)
        if results_expiration is not None:
            violations.add("results_expiration is for an output bucket made here: add a lifecycle rule to your own")
    if results_expiration is not None and not results_expiration.is_unresolved():
        days = results_expiration.to_days(integral=False)
        if days % 1 or days < 1:
            violations.add(f"results_expiration takes whole days, 1 at least, got {days:g} days")
    _check_mappings(violations, metadata_mappings)
    _check_numbers(violations, timeout, tolerance or ImportTolerance(), quotas or ImportQuotas())
    buckets_are_given = source.input_bucket is not None and output_bucket is not None
    topic_is_made = notify is not None and notification_topic is None
    _check_key(
        violations,
        encryption_key,
        customer_managed_key=customer_managed_key,
        something_is_made=datastore is None or not buckets_are_given or topic_is_made,
    )
    _check_endpoints(violations, stack, datastore, buckets_are_made=not buckets_are_given)
    _check_access_logs(violations, access_logs_bucket, stack, buckets_are_made=not buckets_are_given)
    # A function of this stack starts the job, in its own account and Region, and IAM passes roles within an account.
    there = "import from a stack there"
    violations.check_place("datastore", datastore, stack, account=there, region=there)
    violations.check_place("data_access_role", data_access_role, stack, account="use a role of the stack's account")
    violations.check_place("encryption_key", encryption_key, stack, region="use a key of the stack's Region")
    _check_topic(violations, notification_topic, stack)
    violations.raise_any()


def _check_job_name(violations: Violations, job_name: str | None) -> None:
    if job_name is None or Token.is_unresolved(job_name) or _JOB_NAME.fullmatch(job_name):
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


def _check_key(
    violations: Violations, encryption_key: kms.IKey | None, *, customer_managed_key: bool, something_is_made: bool
) -> None:
    if encryption_key is not None and not customer_managed_key:
        violations.add("encryption_key and customer_managed_key=False exclude each other: leave one away")
    if encryption_key is not None and not something_is_made:
        violations.add("encryption_key is for what is made here, and nothing is: leave it away")


def _check_endpoints(
    violations: Violations, stack: Stack, datastore: IDatastore | None, *, buckets_are_made: bool
) -> None:
    network = network_of(stack)
    if network is None or network.endpoints is None:
        return
    endpoints = network.endpoints
    if not endpoints.reaches(datastore):
        violations.add(
            "the data store cannot be reached through the endpoints of the stack's network: give datastore and name "
            "it in datastores of HealthImagingEndpoints, or leave those away"
        )
    if endpoints.names_buckets and buckets_are_made and not network.endpoints_are_here:
        violations.add(
            "a bucket made here cannot be reached through endpoints of another stack that name their buckets: give "
            "source and output_bucket and name both there, or leave buckets of HealthImagingEndpoints away"
        )


def _check_access_logs(
    violations: Violations, access_logs_bucket: s3.IBucket | None, stack: Stack, *, buckets_are_made: bool
) -> None:
    if access_logs_bucket is not None and not buckets_are_made:
        violations.add(
            "access_logs_bucket is for buckets made here, and none is: set server_access_logs_bucket of yours"
        )
    if access_logs_bucket is not None and access_logs_bucket.encryption_key is not None:
        violations.add(
            "access_logs_bucket has a KMS key, and S3 writes access logs only under SSE-S3: pass another one"
        )
    there = "S3 writes access logs into a bucket of the same account and Region"
    violations.check_place("access_logs_bucket", access_logs_bucket, stack, account=there, region=there)


def _check_topic(violations: Violations, topic: sns.ITopic | None, stack: Stack) -> None:
    """Check what the function can publish to. The topic may be in another account, whose policies let it publish."""
    if topic is not None and topic.fifo:
        violations.add(
            "notification_topic is a FIFO topic, which takes no notifications of an import: use a standard topic"
        )
    here = "use a topic of the stack's Region, the function publishes in no other"
    violations.check_place("notification_topic", topic, stack, region=here)


def _check_mappings(violations: Violations, metadata_mappings: Sequence[MetadataMapping]) -> None:
    mappings = [mapping_member(mapping) for mapping in metadata_mappings]
    if mappings and not any(Token.is_unresolved(value) for mapping in mappings for value in mapping.values()):
        violations.check_shape("metadata_mappings", mappings, "DicomMetadataMappings")
    size = len(json.dumps(mappings))
    if size > _MOST_MAPPING_BYTES:
        violations.add(
            f"metadata_mappings take {size} bytes of the template, at most {_MOST_MAPPING_BYTES} fit into a "
            "CloudFormation request: split them into several imports"
        )


def _check_numbers(violations: Violations, timeout: Duration, tolerance: ImportTolerance, quotas: ImportQuotas) -> None:
    seconds = None if timeout.is_unresolved() else timeout.to_seconds(integral=False)
    if seconds is None or seconds % 1 or not _SHORTEST_TIMEOUT.to_seconds() <= seconds <= _LONGEST_TIMEOUT.to_seconds():
        given = "a token" if seconds is None else f"{seconds:g} seconds"
        violations.add(f"timeout takes 1 to 55 minutes in whole seconds, known at synth, got {given}")
    numbers = (quotas.files, tolerance.rejected_files, tolerance.rejected_percent)
    sizes = (quotas.total, quotas.file)
    if any(number is not None and is_token(number) for number in numbers) or any(it.is_unresolved() for it in sizes):
        violations.add("tolerance and quotas have to be known at synth, got a token")
        return
    if tolerance.rejected_files is not None and tolerance.rejected_files < 0:
        violations.add(f"tolerance.rejected_files must not be negative, got {tolerance.rejected_files}")
    if tolerance.rejected_percent is not None and not 0 <= tolerance.rejected_percent <= _WHOLE:
        violations.add(f"tolerance.rejected_percent takes 0 to 100, got {tolerance.rejected_percent}")
    if quotas.files < 1 or any(size.to_bytes() < 1 for size in sizes):
        violations.add("quotas must be at least 1 file and 1 byte")
