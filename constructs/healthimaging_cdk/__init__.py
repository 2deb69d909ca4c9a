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
    from healthimaging_cdk.dicom_import import DicomImport
    from healthimaging_cdk.health_imaging_endpoints import HealthImagingEndpoints
    from healthimaging_cdk.import_alarms import ImportAlarms
    from healthimaging_cdk.import_dashboard import ImportDashboard
    from healthimaging_cdk.import_network import ImportNetwork
    from healthimaging_cdk.import_options import (
        Completion,
        ImportQuotas,
        ImportTolerance,
        MetadataMapping,
        Notify,
        OnEmpty,
    )
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
    "Completion": "import_options",
    "DataAccessRole": "data_access_role",
    "Datastore": "datastore",
    "DicomImport": "dicom_import",
    "HealthImagingEndpoints": "health_imaging_endpoints",
    "IDatastore": "datastore",
    "ImportAlarms": "import_alarms",
    "ImportDashboard": "import_dashboard",
    "ImportNetwork": "import_network",
    "ImportQuotas": "import_options",
    "ImportSource": "import_source",
    "ImportTolerance": "import_options",
    "LosslessStorageFormat": "datastore",
    "MetadataMapping": "import_options",
    "Notify": "import_options",
    "OnEmpty": "import_options",
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
