"""Data stores with what CloudFormation cannot express, created by the function."""

from __future__ import annotations

from typing import cast

import aws_cdk as cdk
import jsii
from aws_cdk import CfnResource, Duration, ITaggableV2, RemovalPolicy, Stack, TagManager, TagType
from aws_cdk import aws_iam as iam
from aws_cdk.aws_kms import IKey
from constructs import Construct

from healthimaging_cdk._common.kms_keys import key_statements
from healthimaging_cdk._common.policies import Conditions, Statement, allow
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._provider.provider_resource import ProviderResource
from healthimaging_cdk.datastore._store_resource import StoreResource

_TYPE = "AWS::HealthImaging::Datastore"
_OWNER_TAG = "healthimaging-cdk:stack"


def make_custom(
    scope: Construct,
    *,
    name: str | None,
    key: IKey | None,
    lossless_storage_format: str | None,
    lambda_authorizer: cdk.aws_lambda.IFunction | None,
    removal_policy: RemovalPolicy,
) -> StoreResource:
    """A store that our function makes with CreateDatastore, whose inputs CloudFormation does not all have."""
    tagged = _Taggable(scope, "Resource")
    if lambda_authorizer is not None:
        lambda_authorizer.add_permission(
            f"HealthImaging{scope.node.addr[:8]}",
            principal=iam.ServicePrincipal("medical-imaging.amazonaws.com"),
            source_account=Stack.of(scope).account,
        )
    properties: contract.DatastoreProperties = {
        "DatastoreName": name,
        "KmsKeyArn": key.key_arn if key else None,
        "LambdaAuthorizerArn": lambda_authorizer.function_arn if lambda_authorizer else None,
        "LosslessStorageFormat": lossless_storage_format,
        "OwnerTag": {_OWNER_TAG: Stack.of(scope).stack_id},
    }
    made = ProviderResource(
        tagged,
        "Store",
        resource_type=contract.ResourceType.DATASTORE,
        statements=_statements(scope, key),
        keys=[key],
        removal_policy=removal_policy,
        wait=Duration.minutes(15),
        properties=properties,
    )
    if lambda_authorizer is not None:
        made.resource.node.add_dependency(lambda_authorizer)
    resource = made.resource
    return StoreResource(
        datastore_id=resource.get_att_string(contract.DatastoreAttribute.DATASTORE_ID.value),
        datastore_arn=resource.get_att_string(contract.DatastoreAttribute.DATASTORE_ARN.value),
        tagged=tagged,
        resource=cast("CfnResource", resource.node.default_child),
        tags=tagged.cdk_tag_manager,
    )


def _statements(scope: Construct, key: IKey | None) -> list[Statement]:
    """The id of a store is not known before it is created: a tag that only this stack sets stands for it."""
    stack = Stack.of(scope)
    stores = stack.format_arn(service="medical-imaging", resource="datastore", resource_name="*")
    own = {"StringEquals": {f"aws:ResourceTag/{_OWNER_TAG}": stack.stack_id}}
    asked = {"StringEquals": {f"aws:RequestTag/{_OWNER_TAG}": stack.stack_id}}
    labelled: Conditions = {
        **asked,
        # A store that is being made has no tag yet. What has another stack's is not to be relabelled.
        "StringEqualsIfExists": {f"aws:ResourceTag/{_OWNER_TAG}": stack.stack_id},
        "ForAllValues:StringEquals": {"aws:TagKeys": [_OWNER_TAG]},
    }
    on_key = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey", "kms:RetireGrant"]
    return [
        allow("medical-imaging:CreateDatastore", "*", asked),
        allow("medical-imaging:TagResource", stores, labelled),
        allow("medical-imaging:DeleteDatastore", stores, own),
        # No condition: a store that is being deleted has no tags any more, and its end has to be seen.
        allow("medical-imaging:GetDatastore", stores),
        *key_statements((key, on_key)),
    ]


@jsii.implements(ITaggableV2)
class _Taggable(Construct):
    """Takes tags in the name of a data store, as CloudFormation's own resource does."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self._manager = TagManager(TagType.MAP, _TYPE)

    @property
    def cdk_tag_manager(self) -> TagManager:
        """Where tags are kept."""
        return self._manager
