"""The buckets of an import and their key: those it creates, and what is set on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk.aws_s3_assets import Asset
from constructs import Construct

from healthimaging_cdk.datastore.datastore import IDatastore
from healthimaging_cdk.dicom_import.shared.import_options import ImportOptions


@dataclass(frozen=True)
class ImportStorage:
    """What an import reads, and where its results and records go."""

    input_bucket: s3.IBucket
    input_prefix: str
    output_bucket: s3.IBucket
    output_prefix: str
    asset: Asset | None
    """The local files, which the function unpacks into the input bucket."""

    @cached_property
    def input_arn(self) -> str:
        """The ARN of the input bucket."""
        return self.input_bucket.bucket_arn

    @cached_property
    def output_arn(self) -> str:
        """The ARN of the output bucket."""
        return self.output_bucket.bucket_arn


def make_key(scope: Construct, removal_policy: RemovalPolicy) -> kms.Key:
    """Create the key for what an import creates."""
    return kms.Key(
        scope,
        "Key",
        description="Encrypts what a DICOM import makes: buckets, data store, topic, log",
        enable_key_rotation=True,
        removal_policy=removal_policy,
    )


def create_storage(
    scope: Construct, options: ImportOptions, key: kms.IKey | None, datastore: IDatastore
) -> ImportStorage:
    """Create the buckets that are not given, and what is set on them."""
    removal_policy, logs = options.removal_policy, options.access_logs_bucket
    input_bucket = options.files.input_bucket or make_bucket(scope, "InputBucket", key, removal_policy)
    output_bucket = options.output_bucket or make_bucket(scope, "OutputBucket", key, removal_policy)
    if logs is not None:
        for bucket, given in ((input_bucket, options.files.input_bucket), (output_bucket, options.output_bucket)):
            if given is None:
                log_accesses(bucket, logs)
    if options.results_expiration is not None:
        expire_results(output_bucket, options.output_prefix, datastore, options.results_expiration)
    staged = options.files.stage(scope)
    return ImportStorage(input_bucket, staged.prefix, output_bucket, options.output_prefix, staged.asset)


def make_bucket(scope: Construct, name: str, key: kms.IKey | None, removal_policy: RemovalPolicy) -> s3.Bucket:
    """Create a bucket: private, versioned, encrypted, and reached by TLS alone."""
    return s3.Bucket(
        scope,
        name,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key else None,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        versioned=True,
        lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
        removal_policy=removal_policy,
    )


def log_accesses(bucket: s3.IBucket, to: s3.IBucket) -> None:
    """As ``server_access_logs_bucket`` of a Bucket, which without a feature flag needs ACLs in the other bucket."""
    resource = cast("s3.CfnBucket", bucket.node.default_child)
    resource.logging_configuration = s3.CfnBucket.LoggingConfigurationProperty(
        destination_bucket_name=to.bucket_name,
        target_object_key_format=s3.CfnBucket.TargetObjectKeyFormatProperty(
            partitioned_prefix=s3.CfnBucket.PartitionedPrefixProperty(partition_date_source="EventTime")
        ),
    )
    conditions: dict[str, dict[str, str]] = {"StringEquals": {"aws:SourceAccount": Stack.of(bucket).account}}
    if Stack.of(bucket) == Stack.of(to):
        # In another stack the two would need each other.
        conditions["ArnLike"] = {"aws:SourceArn": bucket.bucket_arn}
    to.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("logging.s3.amazonaws.com")],
            actions=["s3:PutObject"],
            resources=[to.arn_for_objects("*")],
            conditions=conditions,
        )
    )


def expire_results(bucket: s3.IBucket, output_prefix: str, datastore: IDatastore, expiration: Duration) -> None:
    """Expire what jobs write (``<prefix><datastoreId>-DicomImport-<jobId>/``), which leaves our records alone."""
    if isinstance(bucket, s3.Bucket):
        prefix = f"{output_prefix}{datastore.datastore_id}-DicomImport-"
        bucket.add_lifecycle_rule(prefix=prefix, expiration=expiration, noncurrent_version_expiration=Duration.days(7))
