"""The events of HealthImaging as the developer guide shows them, and the method that waits for each."""

from __future__ import annotations

from typing import Any

ACCOUNT = "111122223333"
REGION = "us-east-1"

METHODS = {
    "on_import_job_submitted": "Import Job Submitted",
    "on_import_job_in_progress": "Import Job In Progress",
    "on_import_job_completed": "Import Job Completed",
    "on_import_job_failed": "Import Job Failed",
    "on_image_set_created": "Image Set Created",
    "on_image_set_copying": "Image Set Copying",
    "on_image_set_copying_with_read_only_access": "Image Set Copying With Read Only Access",
    "on_image_set_copied": "Image Set Copied",
    "on_image_set_copy_failed": "Image Set Copy Failed",
    "on_image_set_updating": "Image Set Updating",
    "on_image_set_updated": "Image Set Updated",
    "on_image_set_update_failed": "Image Set Update Failed",
    "on_image_set_deleting": "Image Set Deleting",
    "on_image_set_deleted": "Image Set Deleted",
    "on_data_store_deleting": "Data Store Deleting",
    "on_data_store_deleted": "Data Store Deleted",
}
"""The methods of a data store that wait for one detail type, in the guide's order."""

OTHERS = ("Data Store Creating", "Data Store Created", "Data Store Creation Failed")
"""Detail types without a method: the rule of a store in a template is made after the store."""

SPELLINGS = ("imagesetId", "imageSetId")
"""The guide's and the schema's name for the id of an image set."""


def sample(detail_type: str, datastore_id: str, *, spelling: str = SPELLINGS[0]) -> dict[str, Any]:
    """One event of a data store."""
    kind = next(kind for kind in ("Image Set", "Import Job", "Data Store") if detail_type.startswith(kind))
    state = detail_type.removeprefix(f"{kind} ").upper().replace(" ", "_")
    arn = f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/{datastore_id}"
    detail: dict[str, Any] = {"imagingVersion": "1.0", "datastoreId": datastore_id}
    if kind == "Image Set":
        image_set = "f" * 32
        arn += f"/imageset/{image_set}"
        detail |= {spelling: image_set, "imageSetState": "ACTIVE", "imageSetWorkflowStatus": state}
    elif kind == "Import Job":
        detail |= {
            "jobId": "e" * 32,
            "jobName": "nightly",
            "jobStatus": state,
            "inputS3Uri": "s3://amzn-images/dicom/",
            "outputS3Uri": f"s3://amzn-results/{datastore_id}-DicomImport-{'e' * 32}/",
        }
    else:
        detail |= {"datastoreName": "radiology", "datastoreStatus": state}
    return {**_envelope("aws.medical-imaging", detail_type), "resources": [arn], "detail": detail}


def verdict(import_name: str, *, outcome: str = "SUCCEEDED", rejected: int = 0) -> dict[str, Any]:
    """One event of this library about an import."""
    detail = {"import": import_name, "datastoreId": "d" * 32, "outcome": outcome, "counts": {"rejected": rejected}}
    return {**_envelope("healthimaging-cdk", "DICOM Import Judged"), "resources": [], "detail": detail}


def _envelope(source: str, detail_type: str) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": "2026-11-01T00:00:00Z",
        "region": REGION,
    }
