"""A mixin for data stores that are CloudFormation's own resources, written as ``CfnDatastore``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import jsii
from aws_cdk import Aspects, RemovalPolicy
from aws_cdk.aws_healthimaging import CfnDatastore
from aws_cdk.aws_kms import IKey
from constructs import Construct, IConstruct, IMixin

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.validation import Violations
from healthimaging_cdk.datastore._store_resource import PRIORITY, StoreResource, keep_tags
from healthimaging_cdk.datastore._tags import DatastoreTags
from healthimaging_cdk.datastore.datastore import Datastore


@jsii.implements(IMixin)
class RetainDatastores:
    """Retains every ``CfnDatastore``, and on request lets its tags change in place.

    A store is retained when it leaves the stack and when it is replaced. Its tags are left as they are, since a store
    is replaced when they are taken out of its resource in the template. ``tags_in_place=True`` takes them out: all
    but ``deployed_tags`` then reach the store by TagResource, as those of a :class:`Datastore` do.

    Example:
        >>> Mixins.of(stack).apply(RetainDatastores())
        >>> RetainDatastores().supports(store)
        False
        >>> RetainDatastores(tags_in_place=True).apply_to(healthimaging.CfnDatastore(stack, "Own"))
    """

    @check_types
    def __init__(
        self,
        *,
        tags_in_place: bool = False,
        deployed_tags: Mapping[str, str] | None = None,
        encryption_key: IKey | None = None,
    ) -> None:
        """Make the mixin.

        Args:
            tags_in_place: whether tags change in place. For a store that is deployed, give its ``deployed_tags``.
                Default: False, tags stay in the template and a change of them replaces the store.
            deployed_tags: the tags that the deployed template gives to the store; they stay in the template as they
                are. Default: none.
            encryption_key: the key of the stores, which their tags take rights on. Default: none.

        Raises:
            ValueError: there are deployed_tags without tags_in_place.
        """
        violations = Violations("RetainDatastores")
        if deployed_tags is not None and not tags_in_place:
            violations.add("deployed_tags are for tags_in_place=True: without it all tags stay in the template")
        violations.raise_any()
        self._tags_in_place = tags_in_place
        self._deployed_tags = dict(deployed_tags or {})
        self._key = encryption_key

    def supports(self, construct: IConstruct) -> bool:
        """Whether a construct is a data store's own resource, and not that of a :class:`Datastore`."""
        return isinstance(construct, CfnDatastore) and not isinstance(construct.node.scope, Datastore)

    def apply_to(self, construct: IConstruct) -> None:
        """Retain a data store."""
        resource = cast("CfnDatastore", construct)
        resource.apply_removal_policy(RemovalPolicy.RETAIN, apply_to_update_replace_policy=True)
        if not self._tags_in_place:
            return
        keep_tags(resource, self._deployed_tags)
        store = StoreResource.of(resource)
        Aspects.of(resource).add(DatastoreTags(cast("Construct", resource), store, self._key), priority=PRIORITY)


__all__ = ["RetainDatastores"]
