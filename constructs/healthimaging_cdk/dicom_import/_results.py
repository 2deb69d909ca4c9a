"""What a deploy knows of an import's job, as attributes of its custom resource."""

from __future__ import annotations

from aws_cdk import CfnOutput, CustomResource
from constructs import Construct

from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk.dicom_import.shared.import_base import ImportBase


class ImportResults(ImportBase):
    """What an import's job did, for outputs and other resources. Every value is text, as CloudFormation has it."""

    _resource: CustomResource

    def _attribute(self, name: contract.ImportAttribute) -> str:
        return self._resource.get_att_string(name.value)

    @property
    def job_id(self) -> str:
        """``jobId`` of the import job; ``none`` when there was nothing to import."""
        return self._attribute(contract.ImportAttribute.JOB_ID)

    @property
    def job_status(self) -> str:
        """``jobStatus`` of the import job; ``NOTHING_TO_IMPORT`` or, after a rollback, ``NOT_STARTED`` without one.

        ``UNKNOWN`` after a rollback that could not find out.
        """
        return self._attribute(contract.ImportAttribute.JOB_STATUS)

    @property
    def submitted_at(self) -> str:
        """``submittedAt`` of the import job as an ISO 8601 timestamp; ``none`` without a job."""
        return self._attribute(contract.ImportAttribute.SUBMITTED_AT)

    @property
    def datastore_id(self) -> str:
        """``datastoreId`` of the store that was imported into."""
        return self._attribute(contract.ImportAttribute.DATASTORE_ID)

    @property
    def number_of_scanned_files(self) -> str:
        """``numberOfScannedFiles`` of the manifest."""
        return self._attribute(contract.ImportAttribute.NUMBER_OF_SCANNED_FILES)

    @property
    def number_of_imported_files(self) -> str:
        """``numberOfImportedFiles`` of the manifest."""
        return self._attribute(contract.ImportAttribute.NUMBER_OF_IMPORTED_FILES)

    @property
    def number_of_files_with_customer_error(self) -> str:
        """``numberOfFilesWithCustomerError`` of the manifest."""
        return self._attribute(contract.ImportAttribute.NUMBER_OF_FILES_WITH_CUSTOMER_ERROR)

    @property
    def number_of_files_with_server_error(self) -> str:
        """``numberOfFilesWithServerError`` of the manifest."""
        return self._attribute(contract.ImportAttribute.NUMBER_OF_FILES_WITH_SERVER_ERROR)

    @property
    def number_of_generated_image_sets(self) -> str:
        """``numberOfGeneratedImageSets`` of the manifest."""
        return self._attribute(contract.ImportAttribute.NUMBER_OF_GENERATED_IMAGE_SETS)

    @property
    def number_of_primary_image_sets(self) -> str:
        """Image sets of the manifest that are primary."""
        return self._attribute(contract.ImportAttribute.NUMBER_OF_PRIMARY_IMAGE_SETS)

    @property
    def number_of_non_primary_image_sets(self) -> str:
        """Image sets of the manifest that are not primary: their metadata conflicts with what the store held."""
        return self._attribute(contract.ImportAttribute.NUMBER_OF_NON_PRIMARY_IMAGE_SETS)

    @property
    def warnings(self) -> str:
        """Files with warnings by code, for example ``45344 (2)``; ``none`` without any.

        Ends with ``not read`` where there may be more.
        """
        return self._attribute(contract.ImportAttribute.WARNINGS)

    @property
    def manifest_uri(self) -> str:
        """The S3 URI of the job's manifest, kept beside the import's record; ``none`` without a job."""
        return self._attribute(contract.ImportAttribute.MANIFEST_URI)

    @property
    def summary(self) -> str:
        """What the import did, in one line: status and counts."""
        return self._attribute(contract.ImportAttribute.SUMMARY)

    @property
    def next_step(self) -> str:
        """What to do next: with nothing to import, the command that imports later; where the reasons of rejections lie.

        ``none`` otherwise.
        """
        return self._attribute(contract.ImportAttribute.NEXT_STEP)


def make_outputs(scope: Construct, results: ImportResults) -> None:
    """Show whoever deploys the stack what the import did."""
    summary = f"{results.summary} (next step: {results.next_step})"
    CfnOutput(scope, "DatastoreId", value=results.datastore_id)
    CfnOutput(scope, "JobId", value=results.job_id)
    CfnOutput(scope, "Summary", value=summary)
    CfnOutput(scope, "ManifestUri", value=results.manifest_uri)


__all__ = ["ImportResults", "make_outputs"]
