"""Whose tags a data store has, where its construct moved: the old resource is deleted after the new one has tagged.

A store that is moved in the tree keeps its logical id, but the custom resources beside it have new ones. CloudFormation
creates those first and deletes the old ones in its clean-up, or, in a rollback, the new ones. So whoever finds its own
tags on the store already leaves a mark, and whoever finds the mark of another leaves the tags.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws

_EARLIER = "earlier"
"""Stands for an owner that has left no mark."""


@dataclass(frozen=True)
class TagOwner:
    """A custom resource that has set tags."""

    aws: Aws
    datastore_arn: str
    mark: str
    """The key of the tag that names the owner."""
    scope: str
    """The stack and the logical id of the resource."""

    def claim(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the mark to set with tags: none on a store that has none of them.

        Args:
            keys: those of the tags.
        """
        tags = self.tags()
        owner = _owner(tags.get(self.mark, ""))
        if owner == self._own:
            return {}  # as before
        if owner or not tags.keys().isdisjoint(keys):
            return {self.mark: f"{self._own}/{owner or _EARLIER}"}
        return {}

    def release(self, keys: Iterable[str], *, is_undone: bool) -> list[str]:
        """Return the keys to remove: none where the tags are another's, or are given back to another.

        Args:
            keys: those of the tags.
            is_undone: whether the resource is deleted by a rollback of the deploy that created it.
        """
        mark = self.tags().get(self.mark, "")
        owner, _, previous = mark.partition("/")
        if owner and owner != self._own:
            log.line("tags left", reason="another resource of this data store has set them since")
            return []
        if not is_undone or not previous:
            return [*keys, *([self.mark] if mark else [])]
        # What the one before has set is not set again.
        if previous == _EARLIER:
            self.aws.call("medical-imaging", "UntagResource", bool, resourceArn=self.datastore_arn, tagKeys=[self.mark])
        else:
            self.aws.call(
                "medical-imaging", "TagResource", bool, resourceArn=self.datastore_arn, tags={self.mark: previous}
            )
        log.line("tags left", reason="they were there before the deploy that is rolled back")
        return []

    def tags(self) -> dict[str, str]:
        """Return the tags that the store has."""
        return self.aws.call(
            "medical-imaging",
            "ListTagsForResource",
            lambda answer: {str(key): str(value) for key, value in answer["tags"].items()},
            resourceArn=self.datastore_arn,
        )

    @property
    def _own(self) -> str:
        return hashlib.sha256(self.scope.encode()).hexdigest()[:16]


def _owner(mark: str) -> str:
    return mark.partition("/")[0]
