"""The tags of a data store, as a custom resource: in the template they would replace the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.cfn import Response
from healthimaging_import.contract import TAGS_OWNER_TAG
from healthimaging_import.errors import TerminalError
from healthimaging_import.resources.step import StepContext, StepResult

_EARLIER = "earlier"
"""Stands for an owner that has left no mark."""
_LONGEST_MARK = 256
_DIGITS = 4
"""Hexadecimal digits that stand for a key in a mark: those of fifty tags, which a store can have, fit into a value."""


def step(context: StepContext) -> StepResult:
    """Set or remove the tags."""
    request = context.request
    new, old = request.resource_properties, request.old_resource_properties
    owner = TagOwner(context.aws, str(new["DatastoreArn"]), TAGS_OWNER_TAG, request.scope)
    tags: dict[str, str] = new.get("Tags") or {}
    if request.request_type != "Delete":
        context.describe_deploy().check_in_progress()
        before = old.get("Tags") if old.get("DatastoreArn") == owner.datastore_arn else None
        owner.tag(tags, before=before or (), is_new=request.request_type == "Create")
        return Response(success=True)
    try:
        deploy = context.describe_deploy()
    except TerminalError:
        return Response(success=True)  # nothing is known to be taken out of the stack
    # When the whole stack goes, a store that is retained keeps its tags.
    if deploy.is_update:
        owner.untag(tags, is_undone=deploy.is_undone)
    return Response(success=True)


@dataclass(frozen=True)
class TagOwner:
    """A custom resource that has set tags of a data store, where its construct may have moved.

    A store that is moved in the tree keeps its logical id, but the custom resources beside it have new ones.
    CloudFormation creates those first and deletes the old ones in its clean-up, or, in a rollback, the new ones. So
    whoever finds its tags on the store already leaves a mark with the keys that it has set, and whoever finds the mark
    of another removes only what that one has not set.
    """

    aws: Aws
    datastore_arn: str
    mark: str
    """The key of the tag that names the owner."""
    scope: str
    """The stack and the logical id of the resource."""

    def read(self) -> dict[str, str]:
        """Return the tags that the store has."""
        return self.aws.call(
            "medical-imaging", "ListTagsForResource", lambda answer: dict(answer["tags"]),
            resourceArn=self.datastore_arn,
        )  # fmt: skip

    def tag(self, tags: Mapping[str, str], *, before: Iterable[str] = (), is_new: bool) -> None:
        """Set tags and remove those of ``before`` that are not among them; other tags stay as they are.

        A resource that is created (``is_new``) leaves its mark on a store that has some of its tags already.
        """
        mark = self._new_mark(tags) if is_new and tags else {}
        self._change(removed=set(before) - set(tags), new={**tags, **mark})

    def untag(self, keys: Iterable[str], *, is_undone: bool) -> None:
        """Remove tags: none that another has set since, or that are given back to another.

        A rollback (``is_undone``) deletes a resource that its deploy has created.
        """
        mark = self.read().get(self.mark, "")
        owner, previous, set_since, *_ = [*mark.split("/"), "", ""]
        if owner and owner != self._own:
            log.line("tags left", reason="another resource of this data store has set them since")
            digests = {set_since[at : at + _DIGITS] for at in range(0, len(set_since), _DIGITS)}
            # The mark of an earlier version of this function has no keys.
            is_known = bool(digests) and not is_undone
            self._change(removed=[key for key in keys if is_known and _digest(key) not in digests])
        elif is_undone and previous:
            log.line("tags left", reason="they were there before the deploy that is rolled back")
            # What the one before has set is not set again.
            if previous == _EARLIER:
                self._change(removed=[self.mark])
            else:
                self._change(new={self.mark: previous})
        else:
            self._change(removed=[*keys, *([self.mark] if mark else [])])

    def _new_mark(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the mark to set with tags of those keys: none on a store that has none of them."""
        tags = self.read()
        owner = tags.get(self.mark, "").partition("/")[0]
        if owner == self._own or (not owner and tags.keys().isdisjoint(keys)):
            return {}
        mark = f"{self._own}/{owner or _EARLIER}"
        with_keys = f"{mark}/{''.join(sorted(_digest(key) for key in keys))}"
        return {self.mark: with_keys if len(with_keys) <= _LONGEST_MARK else mark}

    def _change(self, *, removed: Iterable[str] = (), new: Mapping[str, str] | None = None) -> None:
        keys, tags = sorted(set(removed)), dict(new or {})
        if keys:
            self.aws.call("medical-imaging", "UntagResource", bool, resourceArn=self.datastore_arn, tagKeys=keys)
        if tags:
            self.aws.call("medical-imaging", "TagResource", bool, resourceArn=self.datastore_arn, tags=tags)
        log.line("tagged", set=len(tags), removed=len(keys))

    @property
    def _own(self) -> str:
        return hashlib.sha256(self.scope.encode()).hexdigest()[:16]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]
