"""What the function may do for an import, and what it reaches through endpoints of a VPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import Annotations, Stack
from aws_cdk import aws_iam as iam
from aws_cdk.aws_kms import IKey
from constructs import Construct

from healthimaging_cdk._common.iam_actions import PASSED_TO_HEALTHIMAGING, key_rights
from healthimaging_cdk._common.kms_keys import key_statements
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.validation import differing_places
from healthimaging_cdk._provider.function_network import network_of
from healthimaging_cdk._provider.provider import default_event_bus
from healthimaging_cdk.datastore.datastore import IDatastore
from healthimaging_cdk.dicom_import._import_options import ImportOptions
from healthimaging_cdk.dicom_import._notifications import publish_statement
from healthimaging_cdk.dicom_import._storage import ImportStorage

if TYPE_CHECKING:
    from aws_cdk.aws_sns import ITopic

_JOB_ACTIONS = (
    "medical-imaging:GetDICOMImportJob",
    "medical-imaging:ListDICOMImportJobs",
    "medical-imaging:StartDICOMImportJob",
)


def provider_statements(
    scope: Construct,
    storage: ImportStorage,
    *,
    datastore: IDatastore,
    data_access_role: iam.IRole,
    topic: ITopic | None,
    topic_key: IKey | None,
) -> list[iam.PolicyStatement]:
    """What the function may do for one import."""
    source, output = storage.input_bucket, storage.output_bucket
    statements = [
        iam.PolicyStatement(actions=list(_JOB_ACTIONS), resources=[datastore.datastore_arn]),
        iam.PolicyStatement(
            actions=["iam:PassRole"],
            resources=[data_access_role.role_arn],
            conditions=PASSED_TO_HEALTHIMAGING,
        ),
        iam.PolicyStatement(
            actions=["events:PutEvents"],
            resources=[default_event_bus(scope)],
            # The key takes a list: every source has to be ours, and there has to be one.
            conditions={
                "ForAllValues:StringEquals": {"events:source": contract.EVENT_SOURCE},
                "Null": {"events:source": "false"},
            },
        ),
        # Without it S3 responds to a request for a missing object as to a denied one.
        iam.PolicyStatement(
            actions=["s3:ListBucket"], resources=list(dict.fromkeys([source.bucket_arn, output.bucket_arn]))
        ),
        iam.PolicyStatement(actions=["s3:GetObject"], resources=[output.arn_for_objects(f"{storage.output_prefix}*")]),
        iam.PolicyStatement(
            actions=["s3:PutObject"],
            resources=[output.arn_for_objects(f"{storage.output_prefix}{contract.RECORDS_FOLDER}*")],
        ),
    ]
    writes = ["kms:Decrypt", "kms:GenerateDataKey"]
    keys = [(output.encryption_key, writes)]
    if storage.asset:
        statements += [
            iam.PolicyStatement(
                actions=["s3:GetObject"],
                resources=[storage.asset.bucket.arn_for_objects(storage.asset.s3_object_key)],
            ),
            iam.PolicyStatement(
                actions=["s3:AbortMultipartUpload", "s3:PutObject"],
                resources=[source.arn_for_objects(f"{storage.input_prefix}*")],
            ),
        ]
        keys.append((source.encryption_key, writes))
    if topic is not None:
        statements.append(publish_statement(topic))
        keys.append((topic_key, writes))
    return statements + key_statements(*keys, (datastore.encryption_key, key_rights(*_JOB_ACTIONS)))


def open_endpoints(
    import_: Construct,
    storage: ImportStorage,
    options: ImportOptions,
    topic: ITopic | None,
) -> None:
    """Let the function reach buckets that nobody could name before, if it goes through endpoints of ours."""
    network = network_of(Stack.of(import_))
    if network is None or network.endpoints is None:
        return
    endpoints = network.endpoints
    if topic is not None:
        endpoints.allow_publish(topic)
    if storage.asset:
        # All of them: endpoints of another stack would have to be deployed again for each new asset.
        endpoints.allow_s3("s3:GetObject", storage.asset.bucket.arn_for_objects("*"))
    if options.files.owner_account_id:
        endpoints.allow_s3("s3:ListBucket", storage.input_bucket.bucket_arn)
    output = storage.output_bucket
    if "account" in differing_places(output.env, Stack.of(import_)):
        endpoints.allow_s3("s3:ListBucket", output.bucket_arn)
        endpoints.allow_s3("s3:GetObject", output.arn_for_objects(f"{storage.output_prefix}*"))
        records = f"{storage.output_prefix}{contract.RECORDS_FOLDER}*"
        endpoints.allow_s3("s3:PutObject", output.arn_for_objects(records))
    if endpoints.names_buckets and options.files.input_bucket is None:
        endpoints.allow_bucket(storage.input_bucket)
    if endpoints.names_buckets and options.output_bucket is None:
        endpoints.allow_bucket(storage.output_bucket)
    for argument, bucket in (("source", storage.input_bucket), ("output_bucket", output)):
        # Not refused: from subnets with another way out such calls leave by that.
        there, here = differing_places(bucket.env, Stack.of(import_)).get("Region", ("", ""))
        if there:
            Annotations.of(import_).add_warning_v2(
                "healthimaging-cdk:bucketBeyondEndpoint",
                f"{argument} is in Region {there}, and the endpoint of Amazon S3 leads to {here} alone: "
                "use a bucket there, or acknowledge this warning if the function's subnets have another way out",
            )
