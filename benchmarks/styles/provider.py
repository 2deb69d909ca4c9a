"""Imports with CDK's Provider framework: one function starts the job, another is asked whether it has ended."""

from __future__ import annotations

from aws_cdk import CfnOutput, CustomResource, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import custom_resources as cr

from benchmarks.styles.by_hand import add_data_access_role, add_storage, job_parameters, job_statements

_ON_EVENT = """
import boto3

def handle(event, context):
    if event["RequestType"] == "Delete":
        return {}
    parameters = {k: v for k, v in event["ResourceProperties"].items() if k not in ("ServiceToken", "ServiceTimeout")}
    job = boto3.client("medical-imaging").start_dicom_import_job(**parameters)
    return {"PhysicalResourceId": job["jobId"], "Data": {"JobId": job["jobId"]}}
"""
_IS_COMPLETE = """
import boto3

def handle(event, context):
    if event["RequestType"] == "Delete":
        return {"IsComplete": True}
    job = boto3.client("medical-imaging").get_dicom_import_job(
        datastoreId=event["ResourceProperties"]["datastoreId"], jobId=event["PhysicalResourceId"]
    )["jobProperties"]
    if job["jobStatus"] == "FAILED":
        raise RuntimeError(job["message"])
    return {"IsComplete": job["jobStatus"] == "COMPLETED"}
"""


def add_imports(stack: Stack, count: int) -> None:
    """Add an import, and further ones into the same data store, all served by one provider."""
    storage = add_storage(stack)
    on_event, is_complete = _add_function(stack, "OnEvent", _ON_EVENT), _add_function(stack, "Done", _IS_COMPLETE)
    provider = cr.Provider(
        stack,
        "Provider",
        on_event_handler=on_event,
        is_complete_handler=is_complete,
        total_timeout=Duration.minutes(55),
    )
    is_complete.add_to_role_policy(
        iam.PolicyStatement(
            actions=["medical-imaging:GetDICOMImportJob"], resources=[storage.datastore.attr_datastore_arn]
        )
    )
    for number in range(1, count + 1):
        name, prefix = f"Import{number}", f"dicom{number}/"
        role = add_data_access_role(stack, f"{name}Role", storage, prefix)
        for statement in job_statements(stack, storage, role, "medical-imaging:StartDICOMImportJob"):
            on_event.add_to_role_policy(statement)
        job = CustomResource(
            stack,
            name,
            resource_type="Custom::DicomImport",
            service_token=provider.service_token,
            properties=job_parameters(name, storage, role, prefix),
        )
        CfnOutput(stack, f"{name}JobId", value=job.get_att_string("JobId"))


def _add_function(stack: Stack, name: str, code: str) -> lambda_.Function:
    return lambda_.Function(
        stack,
        name,
        code=lambda_.Code.from_inline(code),
        handler="index.handle",
        runtime=lambda_.Runtime.PYTHON_3_14,
        timeout=Duration.minutes(1),
    )
