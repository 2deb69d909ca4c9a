"""What the resources of a policy statement stand for: data stores, image sets, or anything."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from healthimaging_cdk.review.reading.text import HoleKind, Text, arn_parts

_ANY = Text.of("*")


@dataclass(frozen=True)
class Shape:
    """The data store that a pattern names."""

    store: Text

    def may_be(self, other: Shape) -> bool:
        """Whether both may be one store."""
        if self.store == other.store or _ANY in (self.store, other.store):
            return True
        if "*" in str(self.store) or "*" in str(other.store):
            return True
        both = self.store.holes + other.store.holes
        return any(hole.kind is not HoleKind.RESOURCE for hole in both)


@dataclass
class Shapes:
    """What the patterns of some statements cover together."""

    stores: list[Shape] = field(default_factory=list)
    image_sets: list[Shape] = field(default_factory=list)
    is_any: bool = False
    """Whether one covers every resource."""
    is_unknown: bool = False
    """Whether one cannot be read."""


def shapes(patterns: Iterable[Text]) -> Shapes:
    """Read the patterns of statements."""
    found = Shapes()
    for pattern in patterns:
        literal = pattern.literal
        if literal is not None and (set(literal) == {"*"} or literal in {"arn:*", "arn:aws:*"}):
            found.is_any = True
            continue
        if any(hole.kind is HoleKind.UNKNOWN for hole in pattern.holes):
            found.is_unknown = True
            continue
        _add(pattern, found)
    return found


def _add(pattern: Text, found: Shapes) -> None:
    parts = arn_parts(pattern)
    if parts is None:
        # The store's ARN may be a parameter: then only what follows it is known.
        before, *after = pattern.split("/imageset/", 1)
        if after and before.holes:
            found.image_sets.append(Shape(before))
        elif pattern.holes and pattern.literal is None:
            found.is_unknown = True
        return
    service = parts[2].literal
    if service is None or "*" in service or "?" in service:
        found.is_unknown = True
        return
    if service != "medical-imaging":
        return
    rest = parts[5]
    if rest.literal == "*":
        found.is_any = True
        return
    if not _may_be_a_store(rest):
        return
    store = rest.without_prefix("datastore/")
    if store is None:
        found.is_unknown = found.is_unknown or rest.literal is None or "*" in rest.literal
        return
    store_id, *below = store.split("/", 1)
    if below:
        below_is_image_sets = str(below[0]).startswith("imageset/") or below[0].literal in {"*", None}
        if below_is_image_sets:
            found.image_sets.append(Shape(store_id))
        return
    found.stores.append(Shape(store_id))
    last = store_id.parts[-1] if store_id.parts else ""
    if isinstance(last, str) and last.endswith("*"):
        found.image_sets.append(Shape(store_id))


def _may_be_a_store(rest: Text) -> bool:
    """Whether the last part of an ARN can begin as that of a data store: nothing else has an ARN."""
    first = rest.parts[0] if rest.parts else ""
    if not isinstance(first, str):
        return True
    start = re.split(r"[*?]", first)[0]
    is_whole = start == first and len(rest.parts) == 1
    return start.startswith("datastore/") or (not is_whole and "datastore/".startswith(start))


def any_store(pattern: Text) -> bool:
    """Whether a pattern covers every data store of an account, or all image sets of all of them."""
    literal = pattern.literal
    if literal is not None and set(literal) == {"*"}:
        return True
    parts = arn_parts(pattern)
    if parts is None or parts[2].literal != "medical-imaging":
        return False
    return (parts[5].literal or "") in {"*", "datastore/*", "datastore/*/imageset/*", "datastore*"}
