"""Image set deletion: the function deletes a store's image sets before CloudFormation deletes the store."""

from __future__ import annotations

import jsii
from aws_cdk import CfnDeletionPolicy, CfnResource, Duration
from aws_cdk.aws_kms import IKey
from constructs import Construct, IValidation

from healthimaging_cdk._common.iam_actions import key_rights
from healthimaging_cdk._common.kms_keys import key_statements
from healthimaging_cdk._common.policies import allow
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._provider.provider_resource import ProviderResource
from healthimaging_cdk.datastore._store_resource import StoreResource

_LONGEST_EMPTYING = Duration.minutes(55)


def delete_image_sets(scope: Construct, store: StoreResource, key: IKey | None) -> None:
    """Delete the store's image sets before the store, when the whole stack is deleted."""
    arn = store.datastore_arn
    properties: contract.ImageSetDeletionProperties = {"DatastoreArn": arn, "DatastoreId": store.datastore_id}
    ProviderResource(
        scope,
        "ImageSetDeletion",
        resource_type=contract.ResourceType.IMAGE_SET_DELETION,
        statements=[
            allow(
                [
                    "medical-imaging:ListTagsForResource",
                    "medical-imaging:SearchImageSets",
                    "medical-imaging:TagResource",
                    "medical-imaging:UntagResource",
                ],
                arn,
            ),
            allow(["medical-imaging:DeleteImageSet", "medical-imaging:GetImageSet"], [arn, f"{arn}/imageset/*"]),
            *key_statements(
                (
                    key,
                    key_rights(
                        "medical-imaging:DeleteImageSet",
                        "medical-imaging:GetImageSet",
                        "medical-imaging:SearchImageSets",
                    ),
                )
            ),
        ],
        keys=[key],
        wait=_LONGEST_EMPTYING,
        properties=properties,
    )
    scope.node.add_validation(_DeletedWithItsImageSets(scope, store.resource))


@jsii.implements(IValidation)
class _DeletedWithItsImageSets:
    """Refuses to delete the image sets of a store that is kept. Asked after all aspects, which may change that."""

    def __init__(self, datastore: Construct, resource: CfnResource) -> None:
        self._datastore = datastore
        self._resource = resource

    def validate(self) -> list[str]:
        """Compare what becomes of the store with what becomes of its image sets."""
        policy = self._resource.cfn_options.deletion_policy
        if policy in {None, CfnDeletionPolicy.DELETE}:
            return []
        problem = f"auto_delete_image_sets=True needs RemovalPolicy.DESTROY, got deletion policy {policy.value}"
        advice = "omit auto_delete_image_sets, or keep RemovalPolicy.DESTROY"
        return [f"Datastore {self._datastore.node.path}: {problem}: {advice}"]
