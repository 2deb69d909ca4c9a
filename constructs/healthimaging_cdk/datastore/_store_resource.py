"""What a data store construct needs of its resource, and CloudFormation's own way to make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jsii
from aws_cdk import Aspects, CfnResource, IAspect, RemovalPolicy, TagManager
from aws_cdk.aws_healthimaging import CfnDatastore
from aws_cdk.aws_kms import IKey
from constructs import Construct, IConstruct

PRIORITY = 100_000
"""After every other aspect, whose priorities run from 200 to 1,000 (aws_cdk.AspectPriority)."""


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

    @staticmethod
    def of(resource: CfnDatastore) -> StoreResource:
        """What is needed of CloudFormation's own resource."""
        return StoreResource(
            datastore_id=resource.attr_datastore_id,
            datastore_arn=resource.attr_datastore_arn,
            tagged=resource,
            resource=resource,
            tags=resource.cdk_tag_manager,
        )


def keep_tags(resource: CfnDatastore, tags: Mapping[str, str]) -> None:
    """Have the resource in the template hold these tags, whatever its tag manager has."""
    if not tags:
        resource.add_property_deletion_override("Tags")
        return
    resource.add_property_override("Tags", dict(tags))
    Aspects.of(resource).add(_OtherTags(resource, tags), priority=PRIORITY - 1)


@jsii.implements(IAspect)
class _OtherTags:
    """Takes further tags out of the template, once all aspects were there: an override is merged with them."""

    def __init__(self, resource: CfnDatastore, kept: Mapping[str, str]) -> None:
        self._resource = resource
        self._kept = kept

    def visit(self, node: IConstruct) -> None:
        """Look at the tags of the resource."""
        if node.node.path == self._resource.node.path:
            for name in self._resource.cdk_tag_manager.tag_values():
                if name not in self._kept:
                    self._resource.add_property_deletion_override("Tags." + name.replace(".", "\\."))


def make_native(
    scope: Construct, *, name: str | None, key: IKey | None, removal_policy: RemovalPolicy
) -> StoreResource:
    """``AWS::HealthImaging::Datastore``, without its tags."""
    resource = CfnDatastore(scope, "Resource", datastore_name=name, kms_key_arn=key.key_arn if key else None)
    resource.apply_removal_policy(removal_policy, apply_to_update_replace_policy=True)
    keep_tags(resource, {})
    return StoreResource.of(resource)
