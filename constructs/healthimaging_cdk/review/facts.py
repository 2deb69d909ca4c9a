"""What AWS's pages say of HealthImaging, as the rules need it. Tests compare it with the packages that hold it too."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import cache

from healthimaging_cdk._common.runtime import service_model

SERVICE = "medical-imaging"
_LIKENESS = 0.8

EVENT_SOURCE = "aws.medical-imaging"

_JOB_FIELDS = {"datastoreId", "imagingVersion", "inputS3Uri", "jobId", "jobName", "jobStatus", "outputS3Uri"}
_STORE_FIELDS = {"datastoreId", "datastoreName", "datastoreStatus", "imagingVersion"}
_IMAGE_SET_FIELDS = {
    "datastoreId",
    "imageSetId",
    "imageSetState",
    "imageSetVersion",
    "imageSetWorkflowStatus",
    "imagesetId",
    "imagingVersion",
    "isPrimary",
}

EVENT_FIELDS: dict[str, frozenset[str]] = {
    **{f"Import Job {state}": frozenset(_JOB_FIELDS) for state in ("Submitted", "In Progress", "Completed", "Failed")},
    **{
        f"Data Store {state}": frozenset(_STORE_FIELDS)
        for state in ("Creating", "Creation Failed", "Created", "Deleting", "Deleted")
    },
    **{
        f"Image Set {state}": frozenset(_IMAGE_SET_FIELDS)
        for state in (
            "Created",
            "Copying",
            "Copying With Read Only Access",
            "Copied",
            "Copy Failed",
            "Updating",
            "Updated",
            "Update Failed",
            "Deleting",
            "Deleted",
        )
    },
}
"""The fields of ``detail`` by detail type.

https://docs.aws.amazon.com/healthimaging/latest/devguide/event-notifications.html; the id of an image set is
``imagesetId`` there and ``imageSetId`` in EventBridge's schema."""

STORE_FILTERS = frozenset({"datastoreId", "datastoreName", "inputS3Uri", "jobId", "outputS3Uri"})
"""The fields that tell one store from others."""

ENDPOINT_SERVICES = ("medical-imaging", "runtime-medical-imaging", "dicom-medical-imaging")
"""What follows ``com.amazonaws.REGION.``: https://docs.aws.amazon.com/healthimaging/latest/devguide/vpc-endpoint.html."""

METRIC_NAMESPACE = "AWS/HealthImaging"

METRICS = frozenset(
    {
        "CallCount",
        "DICOMInstanceCount",
        "DICOMSeriesCount",
        "DICOMStudyCount",
        "DataStoreCount",
        "ImageSetCount",
        "PrimaryImageSetCount",
        "SmallImageSetCount",
        "StorageBytes",
        "StructuredStorageBytes",
        "TotalImageSetCount",
    }
)
"""https://docs.aws.amazon.com/healthimaging/latest/devguide/monitoring-cloudwatch.html."""

METRIC_DIMENSIONS = frozenset({"AccountId", "DatastoreId", "Operation", "StorageTier"})

CONDITION_KEYS = frozenset(
    f"aws:{name}".lower()
    for name in (
        "AssumedRoot",
        "CalledVia",
        "CalledViaAWSMCP",
        "CalledViaFirst",
        "CalledViaLast",
        "ChatbotSourceArn",
        "CurrentTime",
        "Ec2InstanceSourceVpc",
        "Ec2InstanceSourcePrivateIPv4",
        "EpochTime",
        "FederatedProvider",
        "IsMcpServiceAction",
        "MultiFactorAuthAge",
        "MultiFactorAuthPresent",
        "PrincipalAccount",
        "PrincipalArn",
        "PrincipalIsAWSService",
        "PrincipalOrgID",
        "PrincipalOrgPaths",
        "PrincipalServiceName",
        "PrincipalServiceNamesList",
        "PrincipalType",
        "Referer",
        "RequestedRegion",
        "ResourceAccount",
        "ResourceOrgID",
        "ResourceOrgPaths",
        "SecureTransport",
        "SourceAccount",
        "SourceArn",
        "SourceIdentity",
        "SourceIp",
        "SourceOrgID",
        "SourceOrgPaths",
        "SourceOwner",
        "SourceVpc",
        "SourceVpcArn",
        "SourceVpce",
        "TagKeys",
        "TokenIssueTime",
        "UserAgent",
        "UserId",
        "Username",
        "ViaAWSMCPService",
        "ViaAWSService",
        "VpceAccount",
        "VpceOrgID",
        "VpceOrgPaths",
        "VpcSourceIp",
    )
)
"""The global condition keys, in lower case: IAM does not tell their letter case apart.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html."""

CONDITION_KEY_FAMILIES = ("aws:principaltag/", "aws:requesttag/", "aws:resourcetag/")

STS_CONDITION_KEYS = frozenset(
    f"sts:{name}".lower()
    for name in (
        "AWSServiceName",
        "DurationSeconds",
        "ExternalId",
        "IdentityTokenAudience",
        "RequestContext/${ContextKey}",
        "RequestContextProviders",
        "RoleAuthorizedByIdp",
        "RoleSessionName",
        "SigningAlgorithm",
        "SourceIdentity",
        "TaskPolicyArn",
        "TransitiveTagKeys",
    )
)

CREATE_ONLY: dict[str, frozenset[str]] = {
    "AWS::HealthImaging::Datastore": frozenset({"DatastoreName", "KmsKeyArn", "Tags"}),
    "AWS::S3::Bucket": frozenset({"BucketName", "BucketNamePrefix", "BucketNamespace"}),
    "AWS::KMS::Alias": frozenset({"AliasName"}),
    "AWS::KMS::ReplicaKey": frozenset({"PrimaryKeyArn"}),
    "AWS::IAM::Role": frozenset({"Path", "RoleName"}),
    "AWS::SNS::Topic": frozenset({"FifoTopic", "TopicName"}),
    "AWS::SQS::Queue": frozenset({"FifoQueue", "QueueName"}),
    "AWS::Logs::LogGroup": frozenset({"LogGroupName"}),
    "AWS::Lambda::Function": frozenset({"FunctionName", "PackageType", "TenancyConfig"}),
    "AWS::StepFunctions::StateMachine": frozenset({"StateMachineName", "StateMachineType"}),
    "AWS::DynamoDB::Table": frozenset({"ImportSourceSpecification", "TableName"}),
}
"""The properties whose change replaces a resource, of the types that hold data or that an import needs.

They are ``createOnlyProperties`` of CloudFormation's registry schemas."""


@cache
def is_meant(name: str) -> bool:
    """Whether a name is meant for HealthImaging, however it is spelt."""
    shown = re.sub(r"[^a-z0-9]", "", name.lower())
    return "imaging" in shown or SequenceMatcher(None, shown, SERVICE.replace("-", "")).ratio() >= _LIKENESS


@cache
def operations() -> frozenset[str]:
    """The operations of the API as Step Functions and EventBridge Scheduler name them."""
    names = service_model.ServiceModel.load().document["operations"]
    return frozenset(name[0].lower() + name[1:] for name in names)


@cache
def job_statuses() -> frozenset[str]:
    """The statuses of an import job."""
    return frozenset(service_model.ServiceModel.load().shapes["JobStatus"]["enum"])


REGIONS: tuple[str, ...] = service_model.REGIONS
