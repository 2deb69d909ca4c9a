"""What a data store construct needs of its resource, and CloudFormation's own way to make one."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import CfnResource, RemovalPolicy, TagManager
from aws_cdk.aws_healthimaging import CfnDatastore
from aws_cdk.aws_kms import IKey
from constructs import Construct


@dataclass(frozen=True)
class StoreResource:
    """What a data store construct needs of its resource, whichever made it."""

    datastore_id: str
    datastore_arn: str
    tagged: Construct
    """The construct that tags reach."""
    tags: TagManager
    resource: CfnResource
    """What removal policies are set on, and what has the attributes."""

    def attribute(self, name: str) -> str:
        """An attribute that is rarely asked for."""
        return self.resource.get_att(name).to_string()


def make_native(
    scope: Construct, *, name: str | None, key: IKey | None, removal_policy: RemovalPolicy
) -> StoreResource:
    """``AWS::HealthImaging::Datastore``, without its tags."""
    resource = CfnDatastore(scope, "Resource", datastore_name=name, kms_key_arn=key.key_arn if key else None)
    resource.apply_removal_policy(removal_policy, apply_to_update_replace_policy=True)
    resource.add_property_deletion_override("Tags")
    return StoreResource(
        datastore_id=resource.attr_datastore_id,
        datastore_arn=resource.attr_datastore_arn,
        tagged=resource,
        resource=resource,
        tags=resource.cdk_tag_manager,
    )
