"""The custom resource of an import, which starts its job."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._provider.provider_resource import ProviderResource
from healthimaging_cdk.datastore.datastore import IDatastore
from healthimaging_cdk.dicom_import._notifications import notification_properties
from healthimaging_cdk.dicom_import.data_access_role import rights_of
from healthimaging_cdk.dicom_import.options import mapping_member, quota_properties, tolerance_properties
from healthimaging_cdk.dicom_import.shared.import_options import ImportOptions
from healthimaging_cdk.dicom_import.shared.permissions import provider_statements
from healthimaging_cdk.dicom_import.shared.storage import ImportStorage


def create_job(
    scope: Construct,
    options: ImportOptions,
    storage: ImportStorage,
    *,
    datastore: IDatastore,
    data_access_role: iam.IRole,
    role_name: str | None,
    topic: cdk.aws_sns.ITopic | None,
    encryption_key: kms.IKey | None,
) -> ProviderResource:
    """Create the custom resource, with what the function may do for it."""
    given, asset = options.notification_topic, storage.asset
    properties: contract.ImportProperties = {
        "DatastoreId": datastore.datastore_id,
        "DataAccessRoleArn": data_access_role.role_arn,
        "InputBucket": storage.input_bucket.bucket_name,
        "InputPrefix": storage.input_prefix,
        "InputOwnerAccountId": options.owner_to_send,
        "OutputBucket": storage.output_bucket.bucket_name,
        "OutputPrefix": storage.output_prefix,
        "JobName": options.job_name,
        "RunId": options.effective_run_id,
        "MetadataMappings": [mapping_member(mapping) for mapping in options.metadata_mappings] or None,
        "AssetBucket": asset.s3_bucket_name if asset else None,
        "AssetKey": asset.s3_object_key if asset else None,
        "OnEmpty": options.on_empty.value,
        **quota_properties(options.quotas),
        "Completion": options.completion.value,
        **tolerance_properties(options.tolerance),
        "ImportAgain": options.how_to_import_again,
        **notification_properties(topic, options.notify),
    }
    return ProviderResource(
        scope,
        "Job",
        resource_type=contract.ResourceType.IMPORT,
        role_name=role_name,
        statements=provider_statements(
            scope,
            storage,
            datastore=datastore,
            data_access_role=data_access_role,
            topic=topic,
            topic_key=encryption_key if given is None else given.master_key,
        ),
        rights=rights_of(data_access_role),
        # A store never changes its key, whatever else is created here later.
        keys=[datastore.encryption_key, encryption_key, storage.output_bucket.encryption_key],
        wait=options.timeout,
        properties=properties,
    )


__all__ = ["create_job"]
