"""Brings tags to a data store in place, where its resource in the template would be replaced by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import jsii
from aws_cdk import Annotations, Aspects, FeatureFlags, IAspect, Stage
from aws_cdk.aws_kms import IKey
from constructs import Construct, IConstruct

from healthimaging_cdk._common.iam_actions import key_rights
from healthimaging_cdk._common.kms_keys import key_statements
from healthimaging_cdk._common.policies import allow
from healthimaging_cdk._common.runtime import contract, service_model
from healthimaging_cdk.datastore._store_resource import PRIORITY, StoreResource

_ID = "Tags"
_REVISITS = "@aws-cdk/core:aspectStabilization"


@jsii.implements(IAspect)
class DatastoreTags:
    """Adds the custom resource that tags a store, if its tag manager has any tag once all aspects were there.

    It cannot be created earlier without giving every store a function, nor later than in an aspect.
    """

    def __init__(self, datastore: Construct, resource: StoreResource, key: IKey | None) -> None:
        self._datastore = datastore
        self._resource = resource
        self._key = key

    def visit(self, node: IConstruct) -> None:
        """Look at the tags of the store's resource."""
        tags = self._resource.tags.tag_values()
        if node.node.path != self._resource.tagged.node.path or not tags:
            return
        from healthimaging_cdk._provider.provider import Provider  # noqa: PLC0415 - a bare store needs none
        from healthimaging_cdk._provider.provider_resource import ProviderResource  # noqa: PLC0415 - as above

        child = self._datastore.node.try_find_child(_ID)
        if isinstance(child, ProviderResource):
            return
        if child is not None:
            # Another id for ours would take the tags away on the deploy that changes it.
            Annotations.of(self._datastore).add_error(
                f"Datastore: {child.node.path} has the id under which the tags of a store are kept: give it another"
            )
            return
        problems = service_model.ServiceModel.load().violations("TagMap", dict(tags), "tags")
        if problems:
            Annotations.of(self._datastore).add_error("Datastore: " + "; ".join(problems))
            return
        made = [] if Provider.exists_for(self._datastore) else [Provider.of(self._datastore)]
        arn, actions = self._resource.datastore_arn, ["medical-imaging:TagResource", "medical-imaging:UntagResource"]
        properties: contract.TagsProperties = {
            "DatastoreArn": arn,
            "Tags": cast("Mapping[str, str]", self._resource.tags.rendered_tags),
        }
        tagging = ProviderResource(
            self._datastore,
            _ID,
            resource_type=contract.ResourceType.TAGS,
            statements=[
                allow(["medical-imaging:ListTagsForResource", *actions], arn),
                *key_statements((self._key, key_rights(*actions))),
            ],
            keys=[self._key],
            properties=properties,
        )
        for new in (*made, tagging):
            _visit_late_comer(new)


def _visit_late_comer(construct: IConstruct) -> None:
    """Let the aspects see what was added after they went by, unless this CDK app makes another round anyway."""
    if FeatureFlags.of(construct).is_enabled(_REVISITS):
        return
    applications = []
    for ancestor in reversed(construct.node.scopes):
        applications += Aspects.of(ancestor).applied
        if Stage.is_stage(ancestor):
            break  # aspects do not cross stages
    applications.sort(key=lambda application: application.priority)
    for descendant in construct.node.find_all():
        for application in applications:
            if application.priority < PRIORITY:
                application.aspect.visit(descendant)
