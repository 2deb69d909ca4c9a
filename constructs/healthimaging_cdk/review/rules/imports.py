"""Rules about imports: custom resources, state machines and schedules that start jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from healthimaging_cdk._common.runtime import contract, service_model
from healthimaging_cdk.review.facts import operations
from healthimaging_cdk.review.finding import Hit, Rule, Severity, Subject
from healthimaging_cdk.review.reading.definitions import Integration
from healthimaging_cdk.review.reading.imports import ImportKind, ImportUse, Place
from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.template import Node, is_custom, normalized, references

_AT_ONCE = 2
_NO_TIME = re.compile(
    "bytes|size|max|min|limit|quota|capacity|account|mappings|arn|bucket|studyinstance|seriesinstance"
)
_BUCKET = re.compile("^s3://[^/]*")
_SOURCE = re.compile(r"^(input|source)(s3)?(uri|url|prefix|location|path|key)?$")
"""What is imported is where somebody has put it: a time in its name is no clock of the synth."""
_TIMES = re.compile(
    r"\b\d\d?:\d\d:\d\d\b"
    r"|\d{4}-\d\d-\d\d[T _]\d\d[:.-]?\d\d"  # ISO 8601, also without its punctuation
    r"|(?<!\d)20\d{6}[T_-]?\d{6}(?!\d)"
    r"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? (?:[A-Z][a-z]{2} \d\d?|\d\d? [A-Z][a-z]{2}) \d{4}"
    r"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} +\d\d? \d\d:\d\d"
)
_EPOCH = re.compile(r"(?<![\w.])(1[6-9]\d{8}(?:\.\d+)?|1[6-9]\d{11}|1[6-9]\d{14}|1[6-9]\d{17})(?![\w])")


def _custom(subject: Subject) -> list[ImportUse]:
    return [use for use in subject.uses.imports if use.kind is ImportKind.RESOURCE]


def _timeout(subject: Subject) -> Iterator[Hit]:
    for use in _custom(subject):
        if use.reader.get(use.resource, "Properties", "ServiceTimeout").is_absent:
            text = "the import has no ServiceTimeout: a function that cannot start makes the deploy wait an hour"
            yield Hit(use.template, use.logical_id, "Properties", text)


def _time(subject: Subject) -> Iterator[Hit]:
    imports = {(use.template.name, use.logical_id) for use in _custom(subject)}
    stores = {(store.template.name, store.logical_id) for store in subject.uses.stores if not store.is_native}
    for reader, logical_id, resource in subject.assembly.resources():
        is_ours = (reader.template.name, logical_id) in imports | stores
        if not is_custom(resource["Type"]) or not (is_ours or resource["Type"] in set(contract.ResourceType)):
            continue
        for path, value in _values(reader, resource.get("Properties"), "Properties"):
            name = normalized(path.rpartition("/")[2])
            if not _NO_TIME.search(name) and not _SOURCE.search(name) and is_time(_BUCKET.sub("", value)):
                text = f"{value} is a point in time: every synth changes the template and calls the function"
                yield Hit(reader.template, logical_id, path, text)


def is_time(value: str) -> bool:
    """Whether a value holds a point in time, and not a date alone."""
    match = _EPOCH.search(value)
    if match:
        seconds = float(match[1][:10])
        return datetime.fromtimestamp(seconds).year >= 2020  # noqa: DTZ006 - the year alone
    return bool(_TIMES.search(value))


def _values(reader: Reader, node: Node, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """The literal values below a node."""
    if depth > 8:
        return
    if isinstance(node, list):
        for item in node:
            yield from _values(reader, item, path, depth + 1)
        return
    texts = reader.texts(node)
    if texts:
        yield from ((path, "".join(part for part in text.parts if isinstance(part, str))) for text in texts)
    elif isinstance(node, dict):
        for key, item in node.items():
            yield from _values(reader, item, f"{path}/{key}", depth + 1)


def _prefixes(subject: Subject) -> Iterator[Hit]:
    for use in subject.uses.imports:
        for what, place in (("input", use.source), ("output", use.output)):
            if place is not None and place.prefix.parts and place.prefix.ends_with("/") is False:
                taken = "siblings that begin alike are imported, too" if what == "input" else "it is no folder"
                text = f"the {what} prefix {place.prefix} does not end with '/': {taken}"
                yield Hit(use.template, use.logical_id, place.path, text)


def _overlap(subject: Subject) -> Iterator[Hit]:
    for use in subject.uses.imports:
        source, output = use.source, use.output
        if source is not None and output is not None and _is_under(output, source):
            text = (
                f"the output {output.prefix} is under the input {source.prefix or 'bucket'}: the next import scans it"
            )
            yield Hit(use.template, use.logical_id, output.path, text)


def _is_under(output: Place, source: Place) -> bool:
    return output.bucket == source.bucket and output.prefix.starts_with(source.prefix)


def _at_once(subject: Subject) -> Iterator[Hit]:
    for template in subject.assembly.templates:
        # This library's own function keeps to the service's rates: it waits its turn.
        uses = [use for use in _custom(subject) if use.template is template and not use.is_own]
        after = _closure(subject.assembly.reader(template)) if len(uses) > _AT_ONCE else {}
        first = [use for use in uses if _is_unconditional(use, uses)]
        together: list[ImportUse] = []
        for use in first:
            if all(
                other.logical_id not in after.get(use.logical_id, ())
                and use.logical_id not in after.get(other.logical_id, ())
                for other in together
            ):
                together.append(use)
        together = _widest(first, after) if len(together) <= _AT_ONCE < len(first) else together
        for use in together[_AT_ONCE:]:
            names = ", ".join(item.logical_id for item in together)
            text = f"{len(together)} imports start at once ({names}); HealthImaging takes one start a second at most"
            yield Hit(template, use.logical_id, "DependsOn", text)


def _is_unconditional(use: ImportUse, uses: list[ImportUse]) -> bool:
    """Whether it is there together with the others: without a condition, or all under one."""
    conditions = {str(item.resource["Condition"]) for item in uses if item.reader.may_be_absent(item.resource)}
    return not use.reader.may_be_absent(use.resource) or len(conditions) == 1


def _closure(reader: Reader) -> dict[str, set[str]]:
    """What each resource of a template waits for, by whatever way."""
    direct = {}
    for logical_id, resource in reader.resources.items():
        explicit = resource.get("DependsOn")
        given = explicit if isinstance(explicit, list) else [explicit]
        named = {str(item) for item in given if isinstance(item, str)}
        direct[logical_id] = (named | references(resource.get("Properties"))) & set(reader.resources)
    found: dict[str, set[str]] = {}
    for logical_id, first in direct.items():
        seen: set[str] = set()
        queue = list(first)
        while queue:
            name = queue.pop()
            if name not in seen:
                seen.add(name)
                queue += direct[name]
        found[logical_id] = seen
    return found


def _widest(uses: list[ImportUse], after: dict[str, set[str]]) -> list[ImportUse]:
    """Three imports of which none waits for another, if there are any."""
    for index, one in enumerate(uses):
        for place, two in enumerate(uses[index + 1 :], index + 1):
            for three in uses[place + 1 :]:
                names = {one.logical_id, two.logical_id, three.logical_id}
                if not any(after.get(name, set()) & names for name in names):
                    return [one, two, three]
    return []


def _integrations(subject: Subject) -> Iterator[Hit]:
    for call in subject.uses.integrations:
        text = _unknown_call(call)
        if text:
            yield Hit(call.reader.template, call.logical_id, call.path, text)


def _unknown_call(call: Integration) -> str:
    name = f"aws-sdk:{call.service}:{call.operation}"
    if call.service != "medicalimaging":
        return (
            f"there is no integration {name}: the service is medicalimaging"
            if "imaging" in call.service.lower()
            else ""
        )
    if call.operation not in operations():
        meant = {item.lower(): item for item in operations()}.get(call.operation.lower())
        return f"there is no integration {name}" + (f": write {meant}" if meant else "")
    model = service_model.ServiceModel.load()
    operation = call.operation[0].upper() + call.operation[1:]
    members = model.shapes[model.document["operations"][operation]["input"]["shape"]]["members"]
    known = {member[0].upper() + member[1:] for member in members}
    strange = sorted(key for key in map(str, call.arguments) if key.removesuffix(".$") not in known)
    return f"{name} takes no {', '.join(strange)}; it takes {', '.join(sorted(known))}" if strange else ""


RULES = (
    Rule(
        "HI501",
        Severity.WARNING,
        "An import has a ServiceTimeout",
        "set ServiceTimeout to the seconds that the import may take, 3600 at most",
        _timeout,
    ),
    Rule(
        "HI502",
        Severity.ERROR,
        "No property of an import is a point in time",
        "use a run id that a person changes to import again",
        _time,
    ),
    Rule("HI503", Severity.ERROR, "The prefixes of an import end with a slash", "append '/'", _prefixes),
    Rule(
        "HI504",
        Severity.ERROR,
        "The output of an import is outside its input",
        "choose a sibling prefix or another bucket for the output",
        _overlap,
    ),
    Rule(
        "HI506",
        Severity.WARNING,
        "At most two imports start at once",
        "order the imports with DependsOn",
        _at_once,
    ),
    Rule(
        "HI507",
        Severity.ERROR,
        "The SDK integrations of HealthImaging exist",
        "spell the operation as the API does, with a small first letter: startDICOMImportJob",
        _integrations,
    ),
)
