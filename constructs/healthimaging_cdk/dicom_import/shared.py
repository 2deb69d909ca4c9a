"""What an import of another kind shares with a DicomImport: its options, storage and rights."""

from healthimaging_cdk.dicom_import._cross_account import SourcePolicies, fixed_role_name, role_arns
from healthimaging_cdk.dicom_import._import_options import ImportOptions
from healthimaging_cdk.dicom_import._permissions import open_endpoints, provider_statements
from healthimaging_cdk.dicom_import._records import RecordsExpiry, RecordsGuard
from healthimaging_cdk.dicom_import._storage import ImportStorage, create_storage, make_key
from healthimaging_cdk.dicom_import._store_order import create_one_by_one

__all__ = [
    "ImportOptions",
    "ImportStorage",
    "RecordsExpiry",
    "RecordsGuard",
    "SourcePolicies",
    "create_one_by_one",
    "create_storage",
    "fixed_role_name",
    "make_key",
    "open_endpoints",
    "provider_statements",
    "role_arns",
]
