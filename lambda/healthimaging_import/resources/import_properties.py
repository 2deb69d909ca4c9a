"""The properties of an import's custom resource, as the types that the import logic takes."""

from __future__ import annotations

from healthimaging_import.contract import ImportProperties, OnEmpty
from healthimaging_import.importing.request import Asset, ImportRequest
from healthimaging_import.importing.verdict import Tolerance
from healthimaging_import.service_model import Quotas


def import_request(scope: str, properties: ImportProperties) -> ImportRequest:
    """Read the typed request in an import's properties. CloudFormation sends every number as a string."""
    asset = None
    if properties.get("AssetBucket"):
        asset = Asset(str(properties["AssetBucket"]), str(properties["AssetKey"]))
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
        asset=asset,
        on_empty=OnEmpty(str(properties.get("OnEmpty") or OnEmpty.SKIP)),
        quotas=Quotas(
            files=int(properties.get("MaxFiles") or Quotas.files),
            total_bytes=int(properties.get("MaxBytes") or Quotas.total_bytes),
            file_bytes=int(properties.get("MaxFileBytes") or Quotas.file_bytes),
        ),
    )


def tolerance(properties: ImportProperties) -> Tolerance:
    """Read what is tolerated in an import's properties."""
    files, percent = properties.get("MaxRejectedFiles"), properties.get("MaxRejectedPercent")
    return Tolerance(
        rejected_files=None if files is None else int(files),
        rejected_percent=None if percent is None else float(percent),
        non_primary_image_sets=str(properties.get("FailOnNonPrimary") or "false") != "true",
        warnings=str(properties.get("FailOnWarnings") or "false") != "true",
    )
