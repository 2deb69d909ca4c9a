"""What both peers write by hand: key, data store, buckets, and the role that HealthImaging assumes.

Settings and statements are those of ``DicomImport``, so that the same is compared with the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_healthimaging as healthimaging
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

RESULTS_PREFIX = "results/"


@dataclass(frozen=True)
class Storage:
    """What all imports of a stack share."""

    key: kms.Key
    datastore: healthimaging.CfnDatastore
    source: s3.Bucket
    results: s3.Bucket


def add_storage(stack: Stack) -> Storage:
    """Add a key, and a data store and two buckets that it encrypts."""
    key = kms.Key(stack, "Key", enable_key_rotation=True, removal_policy=RemovalPolicy.RETAIN)
    datastore = healthimaging.CfnDatastore(stack, "Datastore", kms_key_arn=key.key_arn)
    datastore.apply_removal_policy(RemovalPolicy.RETAIN)
    return Storage(key, datastore, _add_bucket(stack, "Source", key), _add_bucket(stack, "Results", key))


def _add_bucket(stack: Stack, name: str, key: kms.Key) -> s3.Bucket:
    return s3.Bucket(
        stack,
        name,
        encryption=s3.BucketEncryption.KMS,
        encryption_key=key,
        bucket_key_enabled=True,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        versioned=True,
        lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
        removal_policy=RemovalPolicy.RETAIN,
    )


def add_data_access_role(stack: Stack, name: str, storage: Storage, prefix: str) -> iam.Role:
    """Add the role with which HealthImaging reads one prefix and writes its results."""
    return iam.Role(
        stack,
        name,
        assumed_by=iam.ServicePrincipal("medical-imaging.amazonaws.com").with_conditions(
            {
                "StringEquals": {"aws:SourceAccount": stack.account},
                "ArnLike": {"aws:SourceArn": storage.datastore.attr_datastore_arn},
            }
        ),
        inline_policies={
            "ImportJob": iam.PolicyDocument(
                statements=[
                    iam.PolicyStatement(
                        actions=["s3:ListBucket"], resources=[storage.source.bucket_arn, storage.results.bucket_arn]
                    ),
                    iam.PolicyStatement(
                        actions=["s3:GetObject"], resources=[storage.source.arn_for_objects(f"{prefix}*")]
                    ),
                    iam.PolicyStatement(
                        actions=["s3:PutObject"], resources=[storage.results.arn_for_objects(f"{RESULTS_PREFIX}*")]
                    ),
                    iam.PolicyStatement(
                        actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[storage.key.key_arn]
                    ),
                ]
            )
        },
    )


def job_parameters(name: str, storage: Storage, role: iam.Role, prefix: str) -> dict[str, str]:
    """Return the parameters of StartDICOMImportJob."""
    return {
        "clientToken": name,
        "datastoreId": storage.datastore.attr_datastore_id,
        "dataAccessRoleArn": role.role_arn,
        "inputS3Uri": storage.source.s3_url_for_object(prefix),
        "outputS3Uri": storage.results.s3_url_for_object(RESULTS_PREFIX),
    }


def job_statements(stack: Stack, storage: Storage, role: iam.Role, *actions: str) -> list[iam.PolicyStatement]:
    """Return the rights to call these actions of HealthImaging, and to pass it the role."""
    return [
        iam.PolicyStatement(actions=list(actions), resources=[storage.datastore.attr_datastore_arn]),
        iam.PolicyStatement(
            actions=["iam:PassRole"],
            resources=[role.role_arn],
            conditions={"StringEquals": {"iam:PassedToService": f"medical-imaging.{stack.url_suffix}"}},
        ),
    ]
