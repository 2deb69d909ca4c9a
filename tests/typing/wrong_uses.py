"""What mypy --strict and pyright must both report, so that an editor says it while it is typed; nothing here is run.

An error that is expected and does not come is an error too (mypy's warn_unused_ignores; pyrightconfig.json).
"""

from pathlib import Path

from aws_cdk import App, Duration, Stack
from aws_cdk import aws_s3 as s3

import healthimaging_cdk
from healthimaging_cdk import (
    DataAccessRole,
    Datastore,
    DicomImport,
    ImportQuotas,
    ImportSource,
    ImportTolerance,
    LosslessStorageFormat,
    MetadataMapping,
    OnEmpty,
)
from healthimaging_cdk import Nonsense  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]

stack = Stack(App(), "Stack")
bucket = s3.Bucket(stack, "Bucket")
store = Datastore(stack, "Store")
import_ = DicomImport(stack, "Import")

# names that there are not
Nonsense(stack, "Nonsense")
print(healthimaging_cdk.BulkNonsense)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
print(store.datastore_ide)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
print(import_.number_of_files)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
print(OnEmpty.IGNORE)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
print(LosslessStorageFormat.JPEG)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]

# options that there are not
Datastore(stack, "A", name="radiology")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
DicomImport(stack, "B", bucket=bucket)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
ImportSource.bucket(bucket, owner="1")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
ImportTolerance(failed_files=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

# positions
Datastore(stack, "C", "radiology")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
DicomImport(stack, "D", store)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
ImportSource.bucket(bucket, "", "111122223333")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
Datastore.from_datastore_id(stack, "E", "0" * 32, None)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

# what is missing
DataAccessRole(stack, "F", datastore=store)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
MetadataMapping("1.2")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
Datastore(stack)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

# kinds
DicomImport(stack, "G", on_empty="fail")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
DicomImport(stack, "H", completion=OnEmpty.FAIL)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
DicomImport(stack, "I", datastore="0" * 32)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
DicomImport(stack, "J", source=bucket)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
DicomImport(stack, "K", source="s3://images/")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
DicomImport(stack, "L", output_bucket="results")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
DicomImport(stack, "M", timeout=50)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
DicomImport(stack, "N", data_access_role="arn:..")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
DicomImport(stack, "O", metadata_mappings=["1.2"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
Datastore(stack, "P", lossless_storage_format="HTJ2K")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
Datastore(stack, "Q", encryption_key=bucket)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
ImportSource.bucket("images")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
ImportSource.directory(bucket)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
ImportQuotas(total=10_000)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

# what is fixed once it is made
ImportTolerance().rejected_files = 1  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
ImportSource.directory("a").path = Path()  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
store.datastore_id = "0" * 32  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
import_.job_id = str(Duration.minutes(1))  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
