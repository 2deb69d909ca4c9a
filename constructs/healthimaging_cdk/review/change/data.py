"""What a change does to data: stores, buckets and keys that are replaced, renamed away or removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk.review.change.compare import Comparison, Placed, ResourceKey, holes_in
from healthimaging_cdk.review.facts import CREATE_ONLY
from healthimaging_cdk.review.reading.imports import STORE_TYPE
from healthimaging_cdk.review.rules.stores import lacking_policies

DATA_TYPES = (STORE_TYPE, "AWS::S3::Bucket", "AWS::KMS::Key", "AWS::DynamoDB::Table")
"""The types of CloudFormation's that hold data, or without which data cannot be read."""

_REFUSED = {"DatastoreName", "KmsKeyArn", "LambdaAuthorizerArn", "LosslessStorageFormat"}


class DataChange(StrEnum):
    """What becomes of a resource that holds data."""

    REPLACED = "replaced"
    """The same logical id gets a new, empty one."""
    RENAMED = "renamed"
    """Another logical id, or another stack, gets a new, empty one."""
    REMOVED = "removed"
    """It leaves the template."""
    REFUSED = "refused"
    """The deploy fails before anything is changed."""


class Fate(StrEnum):
    """Where the old data is afterwards."""

    DELETED = "deleted"
    ORPHANED = "orphaned"
    """It stays, and no stack has it."""
    STAYS = "stays"
    """It stays where it is."""


@dataclass(frozen=True)
class DataFact:
    """What a change does to one resource that holds data."""

    kind: DataChange
    fate: Fate
    stack: str
    resource: str
    type: str
    because: str
    becomes: str = ""
    """The stack and the logical id of what takes its place."""

    @property
    def is_loss(self) -> bool:
        """Whether the stack no longer has the data afterwards."""
        return self.fate is not Fate.STAYS


def replacements(change: Comparison) -> dict[ResourceKey, str]:
    """The kept resources that are replaced, each with the reason; also through what they name."""
    found: dict[ResourceKey, str] = {}
    for key, (old, new) in change.kept.items():
        if old.type != new.type:
            found[key] = f"its type changes from {old.type} to {new.type}"
            continue
        names = [name for name in change.changed_properties(key) if name in CREATE_ONLY.get(new.type, ())]
        if names:
            found[key] = f"{', '.join(names)} changes, which only a new one can have"
    while True:
        further = dict(_through(change, found))
        if not further:
            return found
        found |= further


def _through(change: Comparison, replaced: Mapping[ResourceKey, str]) -> Iterator[tuple[ResourceKey, str]]:
    """What names something replaced in a property that only a new resource can have otherwise."""
    for key, (_, new) in change.kept.items():
        if key in replaced:
            continue
        for name in sorted(CREATE_ONLY.get(new.type, ())):
            hit = [
                hole.name
                for hole in holes_in(new.reader, new.properties.get(name))
                if (hole.scope, hole.name) in replaced
            ]
            if hit:
                yield key, f"{name} names {hit[0]}, which is replaced"
                break


def data_facts(change: Comparison, replaced: Mapping[ResourceKey, str]) -> list[DataFact]:
    """Everything that becomes of data."""
    found = []
    is_data = _data_keys(change)
    for key, (old, new) in change.kept.items():
        if key in replaced and key in is_data:
            lacking = lacking_policies(old.resource) + lacking_policies(new.resource)
            is_kept = "UpdateReplacePolicy" not in lacking
            fate = Fate.ORPHANED if is_kept else Fate.DELETED
            found.append(DataFact(DataChange.REPLACED, fate, *key, old.type, replaced[key]))
        elif new.type == contract.ResourceType.DATASTORE:
            names = [name for name in change.changed_properties(key) if name in _REFUSED]
            if names:
                text = f"{', '.join(names)} of a data store cannot be changed: the deploy fails and keeps the store"
                found.append(DataFact(DataChange.REFUSED, Fate.STAYS, *key, old.type, text))
    left = {key: new for key, new in change.added.items() if key in is_data}
    stacks = {change.after.name(template.name) for template in change.after.assembly.templates}
    for key, old in change.removed.items():
        if key not in is_data:
            continue
        heir = _heir(change, key, old, left)
        if heir is not None:
            left.pop(heir)
        is_deployed = key[0].partition("/")[0] in stacks
        fate = Fate.DELETED if "DeletionPolicy" in lacking_policies(old.resource) else Fate.ORPHANED
        if not is_deployed:
            fate = Fate.ORPHANED if heir is not None else Fate.STAYS
        kind = DataChange.REMOVED if heir is None else DataChange.RENAMED
        because = "its logical id leaves the template" if is_deployed else f"the app has no stack {key[0]} any more"
        if heir is not None:
            because += f", and {heir[1]} of {heir[0]} is created instead"
        found.append(DataFact(kind, fate, *key, old.type, because, "/".join(heir) if heir else ""))
    return found


def _data_keys(change: Comparison) -> set[ResourceKey]:
    found = set()
    for side in (change.before, change.after):
        found |= {key for key, placed in side.resources.items() if placed.type in DATA_TYPES}
        found |= {(side.name(store.template.name), store.logical_id) for store in side.subject.uses.stores}
    return found


def _heir(change: Comparison, key: ResourceKey, old: Placed, added: Mapping[ResourceKey, Placed]) -> ResourceKey | None:
    """What takes the place of a resource that is gone: one of its type, of its stack first, like it first."""
    candidates = [other for other, new in added.items() if new.type == old.type]

    def unlikeness(other: ResourceKey) -> tuple[int, bool, str]:
        new = added[other]
        names = dict.fromkeys((*old.properties, *new.properties))
        differing = sum(
            change.before.canonical(old.reader, old.properties.get(name))
            != change.after.canonical(new.reader, new.properties.get(name))
            for name in names
        )
        return differing, other[0] != key[0], other[1]

    ranked = sorted(candidates, key=unlikeness)
    same_stack = [other for other in ranked if other[0] == key[0]]
    if ranked and (unlikeness(ranked[0])[0] == 0 or not same_stack):
        is_alike = unlikeness(ranked[0])[0] == 0
        return ranked[0] if is_alike or len(candidates) == 1 else None
    return same_stack[0] if same_stack else None
