"""The rule about what names HealthImaging elsewhere: endpoints and metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator

from healthimaging_cdk.review.facts import (
    ENDPOINT_SERVICES,
    METRIC_DIMENSIONS,
    METRIC_NAMESPACE,
    METRICS,
    SERVICE,
    is_meant,
)
from healthimaging_cdk.review.finding import Hit, Rule, Severity, Subject
from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.template import Node, call_of, normalized
from healthimaging_cdk.review.reading.text import Text, arn_parts

_PIECES = 4
"""Of the name of an endpoint's service: com, amazonaws, the Region, the service."""
_METRIC_TYPES = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::AnomalyDetector")


def _endpoints(subject: Subject) -> Iterator[Hit]:
    statements = subject.policies.statements
    for reader, logical_id, resource in subject.assembly.of_type("AWS::EC2::VPCEndpoint"):
        for node in reader.get(resource, "Properties", "ServiceName").nodes:
            for text in reader.texts(node):
                pieces = text.split(".")
                name = pieces[-1].literal or ""
                is_longer = text.starts_with(Text.of("com.amazonaws.")) and len(pieces) > _PIECES
                if (is_meant(name) and name not in ENDPOINT_SERVICES) or (name in ENDPOINT_SERVICES and is_longer):
                    wrong = f"there is no endpoint service {text}"
                    fix = f"use com.amazonaws.REGION followed by {', '.join(ENDPOINT_SERVICES)}"
                    yield Hit(reader.template, logical_id, "Properties/ServiceName", wrong, fix=fix)
                elif name in ENDPOINT_SERVICES:
                    yield from _wrong_kind(reader, logical_id, resource)
                    found = [
                        item
                        for item in statements
                        if item.template is reader.template and item.logical_id == logical_id and item.allows
                    ]
                    policy = reader.get(resource, "Properties", "PolicyDocument")
                    if policy.is_absent or any(map(_lets_all_pass, found)):
                        text_ = "the endpoint lets everybody's requests for every data store pass"
                        fix = "give it a PolicyDocument with the actions, the stores and the principals that need it"
                        path = "Properties/PolicyDocument"
                        yield Hit(reader.template, logical_id, path, text_, severity=Severity.WARNING, fix=fix)


def _wrong_kind(reader: Reader, logical_id: str, resource: dict[str, Node]) -> Iterator[Hit]:
    kind = reader.get(resource, "Properties", "VpcEndpointType")
    if kind.is_absent or any("Gateway" in _literals(reader, node) for node in kind.nodes):
        text = "the endpoint is a gateway, which HealthImaging does not have"
        fix = "set VpcEndpointType: Interface; without it CloudFormation creates a gateway"
        yield Hit(reader.template, logical_id, "Properties/VpcEndpointType", text, fix=fix)


def _lets_all_pass(statement: Node) -> bool:
    is_for_all = any(str(name) == "*" for _, name in statement.principals)
    is_any_action = any(name.lower() in {"*", "*:*", f"{SERVICE}:*"} for name in statement.actions)
    is_any_action = is_any_action or bool(statement.not_actions)
    is_anywhere = any(text.literal == "*" for text in statement.resources)
    has_conditions = bool(statement.conditions) or not statement.has_all_conditions
    return is_for_all and is_any_action and is_anywhere and not has_conditions


def _metrics(subject: Subject) -> Iterator[Hit]:
    for reader, logical_id, resource in subject.assembly.of_type(*_METRIC_TYPES):
        for properties in reader.get(resource, "Properties").nodes:
            for path, metric in _metric_nodes(properties, "Properties"):
                for place, text in _wrong_metric(reader, metric, path):
                    yield Hit(reader.template, logical_id, place, text)
    for reader, logical_id, resource in subject.assembly.of_type("AWS::CloudWatch::Dashboard"):
        for node in reader.get(resource, "Properties", "DashboardBody").nodes:
            found = reader.text(node)
            shown = "".join(part if isinstance(part, str) else "hole" for part in found.parts) if found else ""
            try:
                body = json.loads(shown)
            except (ValueError, RecursionError):
                continue
            for wrong in dict.fromkeys(_wrong_widgets(body)):
                yield Hit(reader.template, logical_id, "Properties/DashboardBody", wrong)


def _metric_nodes(node: Node, path: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Node]]]:
    """Whatever names a namespace, below a node."""
    if depth > 8:
        return
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _metric_nodes(item, f"{path}/{index}", depth + 1)
    elif isinstance(node, dict) and call_of(node) in (None, "Fn::If"):
        if "Namespace" in node:
            yield path, node
        for key, item in node.items():
            yield from _metric_nodes(item, f"{path}/{key}", depth + 1)


def _literals(reader: Reader, node: Node) -> list[str]:
    return [text.literal for text in reader.texts(node) if text.literal is not None]


def _wrong_metric(reader: Reader, metric: dict[str, Node], path: str) -> Iterator[tuple[str, str]]:
    for namespace in _literals(reader, metric.get("Namespace")):
        if _is_misspelt(namespace):
            yield f"{path}/Namespace", _wrong_namespace(namespace)
        if namespace != METRIC_NAMESPACE:
            continue
        for name in _literals(reader, metric.get("MetricName")):
            if name not in METRICS:
                yield f"{path}/MetricName", _wrong_name(name)
        for dimensions in reader.get(metric, "Dimensions").nodes:
            for item in reader.items(dimensions).nodes:
                for node in reader.get(item, "Name").nodes:
                    for name in _literals(reader, node):
                        if name not in METRIC_DIMENSIONS:
                            yield f"{path}/Dimensions", _wrong_dimension(name)
                        elif name == "DatastoreId":
                            yield from (
                                (f"{path}/Dimensions", f"the dimension DatastoreId is an id, not the ARN {text}")
                                for value in reader.get(item, "Value").nodes
                                for text in reader.texts(value)
                                if arn_parts(text) is not None
                            )


def _is_misspelt(namespace: str) -> bool:
    return namespace.lower().startswith("aws/") and "imaging" in normalized(namespace) and namespace != METRIC_NAMESPACE


def _wrong_namespace(name: str) -> str:
    return f"there is no namespace {name}: HealthImaging's is {METRIC_NAMESPACE}"


def _wrong_name(name: str) -> str:
    return f"HealthImaging has no metric {name}: nothing is ever measured"


def _wrong_dimension(name: str) -> str:
    return f"HealthImaging's metrics have no dimension {name}: nothing is ever measured"


def _wrong_widgets(node: Node, depth: int = 0) -> Iterator[str]:
    """What is wrong with the metrics of a dashboard's widgets."""
    if depth > 12:
        return
    if isinstance(node, dict):
        for key, item in node.items():
            if key == "metrics" and isinstance(item, list):
                yield from _wrong_rows(item)
            else:
                yield from _wrong_widgets(item, depth + 1)
    elif isinstance(node, list):
        for item in node:
            yield from _wrong_widgets(item, depth + 1)


def _wrong_rows(rows: list[Node]) -> Iterator[str]:
    before: list[str] = []
    for row in rows:
        names = [item for item in row if isinstance(item, str)] if isinstance(row, list) else []
        if names and names[0] == "...":
            names = before[: max(0, len(before) - len(names) + 1)] + names[1:]
        names = [before[index] if item == "." and index < len(before) else item for index, item in enumerate(names)]
        before = names
        if len(names) < 2:
            continue
        if _is_misspelt(names[0]):
            yield _wrong_namespace(names[0])
        elif names[0] == METRIC_NAMESPACE:
            if names[1] not in METRICS and names[1] != ".":
                yield _wrong_name(names[1])
            yield from (_wrong_dimension(name) for name in names[2::2] if name not in METRIC_DIMENSIONS and name != ".")


def _all(subject: Subject) -> Iterator[Hit]:
    yield from _endpoints(subject)
    yield from _metrics(subject)


RULES = (
    Rule(
        "HI801",
        Severity.ERROR,
        "Endpoints, metrics and dimensions of HealthImaging exist, and an endpoint says what may pass",
        f"use the namespace {METRIC_NAMESPACE} with the metrics and dimensions of AWS's page",
        _all,
    ),
)
