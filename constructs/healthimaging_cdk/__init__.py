"""CDK constructs for AWS HealthImaging: data stores, and DICOM imports that run on deploy.

Names are resolved when first used (PEP 562), so that a stack with a bare data store does not pay for importing the
parts of aws-cdk-lib that only an import needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from healthimaging_cdk.data_access_role import DataAccessRole
    from healthimaging_cdk.datastore import Datastore, IDatastore, LosslessStorageFormat, StorageTier
    from healthimaging_cdk.dicom_import import (
        Completion,
        DicomImport,
        ImportQuotas,
        ImportTolerance,
        MetadataMapping,
        Notify,
        OnEmpty,
    )
    from healthimaging_cdk.health_imaging_endpoints import HealthImagingEndpoints
    from healthimaging_cdk.import_alarms import ImportAlarms
    from healthimaging_cdk.import_dashboard import ImportDashboard
    from healthimaging_cdk.import_network import ImportNetwork
    from healthimaging_cdk.import_source import ImportSource

__all__ = [
    "Completion",
    "DataAccessRole",
    "Datastore",
    "DicomImport",
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
    "StorageTier",
]

_MODULES = {
    "Completion": "dicom_import",
    "DataAccessRole": "data_access_role",
    "Datastore": "datastore",
    "DicomImport": "dicom_import",
    "HealthImagingEndpoints": "health_imaging_endpoints",
    "IDatastore": "datastore",
    "ImportNetwork": "import_network",
    "ImportAlarms": "import_alarms",
    "ImportDashboard": "import_dashboard",
    "ImportQuotas": "dicom_import",
    "ImportSource": "import_source",
    "ImportTolerance": "dicom_import",
    "LosslessStorageFormat": "datastore",
    "MetadataMapping": "dicom_import",
    "Notify": "dicom_import",
    "OnEmpty": "dicom_import",
    "StorageTier": "datastore",
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
