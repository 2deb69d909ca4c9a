"""CDK constructs for AWS HealthImaging: data stores, and DICOM imports that run on deploy.

Names are resolved when first used (PEP 562), so that a stack with a bare data store does not pay for importing the
parts of aws-cdk-lib that only an import needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from healthimaging_cdk.bulk_import.bulk_dicom_import import BulkDicomImport
    from healthimaging_cdk.bulk_import.options import BulkPace
    from healthimaging_cdk.datastore.datastore import Datastore, IDatastore, LosslessStorageFormat, StorageTier
    from healthimaging_cdk.datastore.datastore_grants import DatastoreGrants
    from healthimaging_cdk.datastore.retain_datastores import RetainDatastores
    from healthimaging_cdk.dicom_import.data_access_role import DataAccessRole
    from healthimaging_cdk.dicom_import.dicom_import import DicomImport
    from healthimaging_cdk.dicom_import.options import (
        Completion,
        ImportQuotas,
        ImportTolerance,
        MetadataMapping,
        Notify,
        OnEmpty,
        TrustConditions,
    )
    from healthimaging_cdk.dicom_import.source import ImportSource
    from healthimaging_cdk.monitoring.import_alarms import ImportAlarms
    from healthimaging_cdk.monitoring.import_dashboard import ImportDashboard
    from healthimaging_cdk.network.health_imaging_endpoints import HealthImagingEndpoints
    from healthimaging_cdk.network.import_network import ImportNetwork
    from healthimaging_cdk.review.plugin import HealthImagingChecks

__version__ = "1.0.0rc1"

__all__ = [
    "BulkDicomImport",
    "BulkPace",
    "Completion",
    "DataAccessRole",
    "Datastore",
    "DatastoreGrants",
    "DicomImport",
    "HealthImagingChecks",
    "HealthImagingEndpoints",
    "IDatastore",
    "ImportAlarms",
    "ImportDashboard",
    "ImportNetwork",
    "ImportQuotas",
    "ImportSource",
    "ImportTolerance",
    "LosslessStorageFormat",
    "MetadataMapping",
    "Notify",
    "OnEmpty",
    "RetainDatastores",
    "StorageTier",
    "TrustConditions",
]

_MODULES = {
    "BulkDicomImport": "bulk_import.bulk_dicom_import",
    "BulkPace": "bulk_import.options",
    "Completion": "dicom_import.options",
    "DataAccessRole": "dicom_import.data_access_role",
    "Datastore": "datastore.datastore",
    "DatastoreGrants": "datastore.datastore_grants",
    "DicomImport": "dicom_import.dicom_import",
    "HealthImagingChecks": "review.plugin",
    "HealthImagingEndpoints": "network.health_imaging_endpoints",
    "IDatastore": "datastore.datastore",
    "ImportAlarms": "monitoring.import_alarms",
    "ImportDashboard": "monitoring.import_dashboard",
    "ImportNetwork": "network.import_network",
    "ImportQuotas": "dicom_import.options",
    "ImportSource": "dicom_import.source",
    "ImportTolerance": "dicom_import.options",
    "LosslessStorageFormat": "datastore.datastore",
    "MetadataMapping": "dicom_import.options",
    "Notify": "dicom_import.options",
    "OnEmpty": "dicom_import.options",
    "RetainDatastores": "datastore.retain_datastores",
    "StorageTier": "datastore.datastore",
    "TrustConditions": "dicom_import.options",
}


if not TYPE_CHECKING:
    # Type checkers know the names from above; told of this function they would take any name for granted.
    def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        if name not in _MODULES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
