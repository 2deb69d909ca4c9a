"""What the function may do for an import, and what it reaches through endpoints of a VPC."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import Annotations
from aws_cdk import aws_iam as iam
from aws_cdk.aws_kms import IKey
from constructs import Construct

from healthimaging_cdk._common.environment import environment_of, stack_of
from healthimaging_cdk._common.iam_actions import PASSED_TO_HEALTHIMAGING, key_rights
from healthimaging_cdk._common.kms_keys import key_statements
from healthimaging_cdk._common.policies import Statement, allow
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.validation import differing_places
from healthimaging_cdk._provider.function_network import network_of
from healthimaging_cdk._provider.provider import Provider
from healthimaging_cdk.datastore.datastore import IDatastore
from healthimaging_cdk.dicom_import.shared.import_options import ImportOptions
from healthimaging_cdk.dicom_import.shared.storage import ImportStorage

_JOB_ACTIONS = [
    "medical-imaging:GetDICOMImportJob",
    "medical-imaging:ListDICOMImportJobs",
    "medical-imaging:StartDICOMImportJob",
]


def provider_statements(
    scope: Construct,
    storage: ImportStorage,
    *,
    datastore: IDatastore,
    data_access_role: iam.IRole,
    topic: cdk.aws_sns.ITopic | None,
    topic_key: IKey | None,
) -> list[Statement]:
    """What the function may do for one import."""
    output = f"{storage.output_arn}/{storage.output_prefix}"
    statements = [
        allow(_JOB_ACTIONS, datastore.datastore_arn),
        allow("iam:PassRole", data_access_role.role_arn, PASSED_TO_HEALTHIMAGING),
        allow(
            "events:PutEvents",
            Provider.of(scope).event_bus_arn,
            # The key takes a list: every source has to be ours, and there has to be one.
            {
                "ForAllValues:StringEquals": {"events:source": contract.EVENT_SOURCE},
                "Null": {"events:source": "false"},
            },
        ),
        # Without it S3 responds to a request for a missing object as to a denied one.
        allow("s3:ListBucket", list(dict.fromkeys([storage.input_arn, storage.output_arn]))),
        allow("s3:GetObject", f"{output}*"),
        allow("s3:PutObject", f"{output}{contract.RECORDS_FOLDER}*"),
    ]
    writes = ["kms:Decrypt", "kms:GenerateDataKey"]
    keys = [(storage.output_bucket.encryption_key, writes)]
    if storage.asset:
        statements += [
            allow("s3:GetObject", storage.asset.bucket.arn_for_objects(storage.asset.s3_object_key)),
            allow(["s3:AbortMultipartUpload", "s3:PutObject"], f"{storage.input_arn}/{storage.input_prefix}*"),
        ]
        keys.append((storage.input_bucket.encryption_key, writes))
    if topic is not None:
        statements.append(allow("sns:Publish", topic.topic_arn))
        keys.append((topic_key, writes))
    return statements + key_statements(*keys, (datastore.encryption_key, key_rights(*_JOB_ACTIONS)))


def open_endpoints(
    import_: Construct,
    storage: ImportStorage,
    options: ImportOptions,
    topic: cdk.aws_sns.ITopic | None,
) -> None:
    """Let the function reach buckets that nobody could name before, if it goes through endpoints of ours."""
    stack = stack_of(import_)
    network = network_of(stack)
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
    if "account" in differing_places(environment_of(output), environment_of(stack)):
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
        there, here = differing_places(environment_of(bucket), environment_of(stack)).get("Region", ("", ""))
        if there:
            Annotations.of(import_).add_warning_v2(
                "healthimaging-cdk:bucketBeyondEndpoint",
                f"{argument} is in Region {there}, and the endpoint of Amazon S3 leads to {here} alone: "
                "use a bucket there, or acknowledge this warning if the function's subnets have another way out",
            )
