"""Imports with CDK's AwsCustomResource: one call of StartDICOMImportJob on deploy. Nothing waits for the job."""

from __future__ import annotations

from aws_cdk import CfnOutput, Stack
from aws_cdk import custom_resources as cr

from benchmarks.styles.by_hand import add_data_access_role, add_storage, job_parameters, job_statements


def add_imports(stack: Stack, count: int) -> None:
    """Add an import, and further ones into the same data store."""
    storage = add_storage(stack)
    for number in range(1, count + 1):
        name, prefix = f"Import{number}", f"dicom{number}/"
        role = add_data_access_role(stack, f"{name}Role", storage, prefix)
        job = cr.AwsCustomResource(
            stack,
            name,
            resource_type="Custom::DicomImport",
            install_latest_aws_sdk=False,
            on_update=cr.AwsSdkCall(
                service="medical-imaging",
                action="StartDICOMImportJob",
                parameters=job_parameters(name, storage, role, prefix),
                physical_resource_id=cr.PhysicalResourceId.from_response("jobId"),
            ),
            policy=cr.AwsCustomResourcePolicy.from_statements(
                job_statements(stack, storage, role, "medical-imaging:StartDICOMImportJob")
            ),
        )
        CfnOutput(stack, f"{name}JobId", value=job.get_response_field("jobId"))
