"""The rule about rules of EventBridge."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from healthimaging_cdk.review.facts import EVENT_FIELDS, EVENT_SOURCE, STORE_FILTERS, job_statuses
from healthimaging_cdk.review.finding import Hit, Rule, Severity, Subject
from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.template import Node, call_of, normalized, structure_of
from healthimaging_cdk.review.reading.text import arn_parts

_CLOUDTRAIL = "via CloudTrail"
_ENVELOPE = (
    "version",
    "id",
    "detail-type",
    "source",
    "account",
    "time",
    "region",
    "resources",
    "detail",
    "replay-name",
    "$or",
)
"""The fields of every event: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html."""
_SERVERLESS = ("AWS::Serverless::Function", "AWS::Serverless::StateMachine")
_WITHOUT_STORE = ("Data Store Creating", "Data Store Created", "Data Store Creation Failed")


class _Pattern:
    """An event pattern of a rule."""

    def __init__(self, reader: Reader, node: dict[str, Node], path: str) -> None:
        self.reader = reader
        self.path = path
        self.node = node
        self.sources, self.has_all_sources = self._literals("source")
        self.detail_types, self.has_all_types = self._literals("detail-type")

    def _literals(self, key: str) -> tuple[list[str], bool]:
        found: list[str] = []
        is_complete = key in self.node
        for node in self.reader.get(self.node, key).nodes:
            items = self.reader.items(node)
            for item in items.nodes:
                texts = self.reader.texts(item)
                literals = [text.literal for text in texts if text.literal is not None]
                found += literals
                is_complete = is_complete and bool(texts) and len(literals) == len(texts)
            is_complete = is_complete and items.is_certain
        return found, is_complete

    @property
    def is_from_healthimaging(self) -> bool:
        return EVENT_SOURCE in self.sources

    @property
    def is_only_from_healthimaging(self) -> bool:
        return self.is_from_healthimaging and self.has_all_sources and set(self.sources) == {EVENT_SOURCE}

    @property
    def is_cloudtrail(self) -> bool:
        return any(_CLOUDTRAIL in name for name in self.detail_types)

    def type_nodes(self) -> Iterator[Node]:
        for node in self.reader.get(self.node, "detail-type").nodes:
            yield from self.reader.items(node).nodes

    def fields(self) -> Iterator[tuple[str, Node, str]]:
        """The fields of detail, also those in an ``$or``, with where they stand."""
        for detail in self.reader.get(self.node, "detail").nodes:
            yield from _fields(self.reader, detail, "detail")

    def allowed_fields(self) -> frozenset[str] | None:
        """The fields that its events have; None where its detail types are not known."""
        if not self.has_all_types and "detail-type" in self.node:
            return None
        names = self.detail_types or list(EVENT_FIELDS)
        if any(name not in EVENT_FIELDS for name in names):
            return None
        return frozenset().union(*(EVENT_FIELDS[name] for name in names))


def _fields(reader: Reader, node: Node, path: str, depth: int = 0) -> Iterator[tuple[str, Node, str]]:
    if not isinstance(node, dict) or call_of(node) or depth > 8:
        return
    for key, value in node.items():
        if key == "$or":
            for item in reader.items(value).nodes:
                yield from _fields(reader, item, f"{path}/$or", depth + 1)
        elif key != "Fn::Transform":
            yield str(key), value, f"{path}/{key}"


def _patterns(subject: Subject) -> Iterator[tuple[_Pattern, str, dict[str, Node]]]:
    for reader, logical_id, resource, path, nodes in _pattern_nodes(subject):
        for node in nodes:
            found = structure_of(node)
            if isinstance(found, dict) and call_of(found) is None and "Fn::Transform" not in found:
                yield _Pattern(reader, found, path), logical_id, resource


def _pattern_nodes(subject: Subject) -> Iterator[tuple[Reader, str, dict[str, Node], str, list[Node]]]:
    """Where event patterns stand: in rules, and in the events of SAM's functions and state machines."""
    for reader, logical_id, resource in subject.assembly.of_type("AWS::Events::Rule"):
        path = "Properties/EventPattern"
        yield reader, logical_id, resource, path, reader.get(resource, "Properties", "EventPattern").nodes
    for reader, logical_id, resource in subject.assembly.of_type(*_SERVERLESS):
        for events in reader.get(resource, "Properties", "Events").nodes:
            for name, event in events.items() if isinstance(events, dict) else ():
                path = f"Properties/Events/{name}/Properties/Pattern"
                yield reader, logical_id, {}, path, reader.get(event, "Properties", "Pattern").nodes


def _events(subject: Subject) -> Iterator[Hit]:
    for pattern, logical_id, resource in _patterns(subject):
        template = pattern.reader.template
        path = pattern.path
        for place, text in (*_wrong_source(pattern), *_wrong_values(pattern), *_wrong_paths(pattern, resource)):
            yield Hit(template, logical_id, place, text)
        if _lacks_store(pattern):
            text = "the rule matches the events of every data store of the account"
            fix = "add detail.datastoreId with the store's id"
            yield Hit(template, logical_id, path, text, severity=Severity.WARNING, fix=fix)


def _wrong_source(pattern: _Pattern) -> Iterator[tuple[str, str]]:
    for source in pattern.sources:
        is_meant = "imaging" in normalized(source) and (
            source.lower().startswith("aws.") or source.endswith(".amazonaws.com")
        )
        has_our_types = (
            bool(pattern.detail_types) and pattern.has_all_types and set(pattern.detail_types) <= set(EVENT_FIELDS)
        )
        is_of_aws = source.startswith("aws.") and has_our_types and len(pattern.sources) == 1
        is_bare = has_our_types and normalized(source) in {"medicalimaging", "healthimaging", "awsmedicalimaging"}
        if source != EVENT_SOURCE and (is_meant or is_of_aws or is_bare):
            yield (
                f"{pattern.path}/source",
                f"no event has the source {source}: HealthImaging's is {EVENT_SOURCE}",
            )


def _wrong_values(pattern: _Pattern) -> Iterator[tuple[str, str]]:
    known_types = (
        bool(pattern.detail_types) and pattern.has_all_types and set(pattern.detail_types) <= set(EVENT_FIELDS)
    )
    is_own = pattern.is_only_from_healthimaging or ("source" not in pattern.node and known_types)
    if not is_own or pattern.is_cloudtrail:
        return
    for key in pattern.node:
        if key not in _ENVELOPE:
            near = {normalized(name): name for name in _ENVELOPE}.get(normalized(key))
            yield f"{pattern.path}/{key}", f"events have no field {key}" + (f": write {near}" if near else "")
    for node in pattern.type_nodes():
        wrong = _impossible_type(pattern.reader, node)
        if wrong:
            yield f"{pattern.path}/detail-type", f"HealthImaging sends no event of the detail type {wrong}"
    allowed = pattern.allowed_fields()
    for name, value, path in pattern.fields():
        if allowed is not None and name not in allowed:
            near = {normalized(item): item for item in allowed}.get(normalized(name))
            advice = f": write {near}" if near else ""
            yield f"{pattern.path}/{path}", f"these events have no field detail.{name}{advice}"
        elif name == "datastoreId":
            for item in pattern.reader.items(value).nodes:
                for text in pattern.reader.texts(item):
                    if arn_parts(text) is not None:
                        yield f"{pattern.path}/{path}", f"detail.datastoreId is an id, not the ARN {text}"
        elif name == "jobStatus":
            for item in pattern.reader.items(value).nodes:
                for text in pattern.reader.texts(item):
                    if text.literal is not None and text.literal not in job_statuses():
                        yield f"{pattern.path}/{path}", f"no job has the status {text.literal}"


def _impossible_type(reader: Reader, node: Node) -> str:
    """A detail type, or a part of one, that no event of HealthImaging has."""
    for text in reader.texts(node):
        if text.literal is not None and text.literal not in EVENT_FIELDS:
            return text.literal
    if not isinstance(node, dict) or len(node) != 1:
        return ""
    ((matcher, value),) = node.items()
    if not isinstance(value, str):
        return ""
    tests = {
        "prefix": lambda name: name.startswith(value),
        "suffix": lambda name: name.endswith(value),
        "wildcard": lambda name: fnmatchcase(name, value),
        "equals-ignore-case": lambda name: name.lower() == value.lower(),
    }
    test = tests.get(str(matcher))
    return "" if test is None or any(map(test, EVENT_FIELDS)) else f"{matcher} {value}"


def _wrong_paths(pattern: _Pattern, resource: dict[str, Node]) -> Iterator[tuple[str, str]]:
    """The fields that a target's input reads and no event has."""
    allowed = pattern.allowed_fields()
    if not pattern.is_only_from_healthimaging or pattern.is_cloudtrail or allowed is None:
        return
    reader = pattern.reader
    for targets in reader.get(resource, "Properties", "Targets").nodes:
        for index, target in enumerate(reader.items(targets).nodes):
            for paths in reader.get(target, "InputTransformer", "InputPathsMap").nodes:
                for key, node in paths.items() if isinstance(paths, dict) else ():
                    name = str(node).removeprefix("$.detail.").split(".")[0].split("[")[0]
                    if str(node).startswith("$.detail.") and name not in allowed:
                        path = f"Properties/Targets/{index}/InputTransformer/InputPathsMap/{key}"
                        yield path, f"these events have no field detail.{name}"


def _lacks_store(pattern: _Pattern) -> bool:
    if not pattern.is_only_from_healthimaging or pattern.is_cloudtrail:
        return False
    if pattern.detail_types and pattern.has_all_types and set(pattern.detail_types) <= set(_WITHOUT_STORE):
        return False
    detail = pattern.reader.get(pattern.node, "detail")
    if "resources" in pattern.node or not detail.is_certain or any(call_of(item) for item in detail.nodes):
        return False
    if "$or" in pattern.node:
        return False
    near = {normalized(name) for name in STORE_FILTERS}
    return not any(
        normalized(name) in near and not _matches_all(pattern.reader, value) for name, value, _ in pattern.fields()
    )


def _matches_all(reader: Reader, node: Node) -> bool:
    """Whether a filter lets every value pass."""
    everything: tuple[Node, ...] = ({"exists": True}, {"prefix": ""}, {"wildcard": "*"}, {"anything-but": []})
    return any(item in everything for item in reader.items(node).nodes)


RULES = (
    Rule(
        "HI701",
        Severity.ERROR,
        "A rule for HealthImaging's events can match, and names its data store",
        "spell source, detail type and fields as HealthImaging's events have them",
        _events,
    ),
)
