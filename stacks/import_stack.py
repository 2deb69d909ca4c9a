"""What imports: it can fail, be rolled back and be deleted without touching the data."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_s3 as s3
from constructs import Construct

from healthimaging_cdk import DicomImport, IDatastore, ImportSource


class ImportStack(Stack):
    """One import of everything under ``dicom/`` in the input bucket."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        datastore: IDatastore,
        input_bucket: s3.IBucket,
        output_bucket: s3.IBucket,
        description: str | None = None,
    ) -> None:
        """Make the stack."""
        super().__init__(scope, construct_id, description=description)
        self.dicom_import = DicomImport(
            self,
            "Import",
            datastore=datastore,
            source=ImportSource.bucket(input_bucket, "dicom/"),
            output_bucket=output_bucket,
        )
