"""What a change imports again, and why: by the meaning by which the function decides.

A bulk run is started by every change of the custom resource that starts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk.review.change.compare import Comparison, Placed, ResourceKey, Side, holes_in
from healthimaging_cdk.review.reading.imports import ImportKind, ImportUse, Place
from healthimaging_cdk.review.reading.text import Text

_WORDS = {
    "scope": "its logical id or its stack",
    "datastoreId": "the data store",
    "input": "the source",
    "output": "the output",
    "metadataMappings": "the metadata mappings",
}
_NAMES = {
    "datastoreId": ("DatastoreId",),
    "input": ("InputBucket", "InputPrefix", "InputOwnerAccountId"),
    "output": ("OutputBucket", "OutputPrefix"),
    "metadataMappings": ("MetadataMappings",),
}
_NOT_ASKED = {"ServiceTimeout", "ServiceToken"}
_ON_DEPLOY = {ImportKind.RESOURCE, ImportKind.BULK}


@dataclass(frozen=True)
class ImportFact:
    """An import that a deploy starts."""

    stack: str
    resource: str
    kind: str
    """``custom resource``, or ``bulk import`` for a run of one."""
    is_again: bool
    """Whether it has imported before; a first import is none."""
    is_certain: bool
    """Whether it is known to start a job; somebody else's function decides by itself."""
    because: tuple[str, ...]
    source: str
    datastore: str


def import_facts(change: Comparison, replaced: Mapping[ResourceKey, str]) -> list[ImportFact]:
    """The imports that a deploy of the newer assembly starts."""
    found = []
    before = {_key(change.before, use): use for use in _uses(change.before)}
    for use in _uses(change.after):
        key = _key(change.after, use)
        new = change.after.resources[key]
        if key not in before:
            alike = [other for other, old in before.items() if _is_alike(change, old, use) and other not in change.kept]
            reason = (
                f"its logical id or its stack changes: it was {alike[0][0]}/{alike[0][1]}" if alike else "it is new"
            )
            found.append(_fact(use, key, (reason,), is_again=bool(alike), is_certain=True))
            continue
        old = change.before.resources[key]
        if use.kind is ImportKind.BULK:
            reasons = tuple(_called(change, key, new, replaced))
        elif use.is_own:
            reasons = tuple(_own(change, old, new, replaced))
        else:
            reasons = tuple(
                f"{why}: its function is called, and may start a job" for why in _called(change, key, new, replaced)
            )
        if reasons:
            found.append(_fact(use, key, reasons, is_again=True, is_certain=use.is_own))
    return found


def _uses(side: Side) -> Iterator[ImportUse]:
    return (use for use in side.subject.uses.imports if use.kind in _ON_DEPLOY)


def _key(side: Side, use: ImportUse) -> ResourceKey:
    return side.name(use.template.name), use.logical_id


def _fact(
    use: ImportUse, key: ResourceKey, reasons: tuple[str, ...], *, is_again: bool, is_certain: bool
) -> ImportFact:
    store = use.reader.texts(use.resource.get("Properties", {}).get("DatastoreId"))
    return ImportFact(
        *key, use.kind.value, is_again, is_certain, reasons, uri(use.source), str(store[0]) if store else ""
    )


def uri(place: Place | None) -> str:
    """A place as an S3 URI."""
    return "" if place is None else f"s3://{place.bucket}/{place.prefix}"


def _meaning(side: Side, placed: Placed) -> dict[str, Any]:
    """What the function takes for the meaning of an import, with holes for what it will be told."""
    given = {
        str(name): side.canonical(placed.reader, node)
        for name, node in placed.properties.items()
        if node not in (None, "")
    }
    mappings = given.get("MetadataMappings")
    mappings = mappings if isinstance(mappings, list) else []
    return contract.import_meaning(
        f"{side.name(placed.stack)}/{placed.logical_id}",
        given.get("DatastoreId"),
        (given.get("InputBucket"), given.get("InputPrefix") or "", given.get("InputOwnerAccountId")),
        (given.get("OutputBucket"), given.get("OutputPrefix") or ""),
        [item for item in mappings if isinstance(item, dict)],
    )


def _own(change: Comparison, old: Placed, new: Placed, replaced: Mapping[ResourceKey, str]) -> Iterator[str]:
    before, after = _meaning(change.before, old), _meaning(change.after, new)
    for name, word in _WORDS.items():
        if before[name] != after[name]:
            yield f"{word} changes{_from_to(old, new, name)}"
        else:
            for hole in holes_in(new.reader, [new.properties.get(item) for item in _NAMES.get(name, ())]):
                if (hole.scope, hole.name) in replaced:
                    yield f"{word} is new: {hole.name} is replaced"
                    break
    run_before = change.before.canonical(old.reader, old.properties.get("RunId"))
    run_after = change.after.canonical(new.reader, new.properties.get("RunId"))
    # Without a run id a deploy means the run that was last: it imports nothing again.
    if run_after and run_after not in (("",), run_before):
        yield f"run_id changes to {'/'.join(map(str, run_after))}"


def _from_to(old: Placed, new: Placed, name: str) -> str:
    shown = []
    for placed in (old, new):
        texts = [placed.reader.texts(placed.properties.get(item)) for item in _NAMES.get(name, ())[:2]]
        shown.append("/".join(str(text[0]) for text in texts if text))
    return f" from {shown[0]} to {shown[1]}" if all(shown) and shown[0] != shown[1] else ""


def _called(change: Comparison, key: ResourceKey, new: Placed, replaced: Mapping[ResourceKey, str]) -> Iterator[str]:
    """Why CloudFormation calls the function of a custom resource."""
    names = [name for name in change.changed_properties(key) if name not in _NOT_ASKED]
    if names:
        yield f"{', '.join(names)} changes"
    for hole in holes_in(new.reader, dict(new.properties)):
        if (hole.scope, hole.name) in replaced:
            yield f"it names {hole.name}, which is replaced"
            return


def _is_alike(change: Comparison, old: ImportUse, new: ImportUse) -> bool:
    def place(side: Side, found: Place | None) -> tuple[str, str] | None:
        return None if found is None else (side.shown(found.bucket), side.shown(found.prefix or Text()))

    return place(change.before, old.source) == place(change.after, new.source)
