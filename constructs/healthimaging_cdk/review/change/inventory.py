"""What an assembly holds: resources, what is encrypted with what, what stays, and what it costs when nothing runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from healthimaging_cdk.review.change.compare import Placed, Side
from healthimaging_cdk.review.change.data import DATA_TYPES
from healthimaging_cdk.review.reading.template import Node, call_of, normalized
from healthimaging_cdk.review.rules.stores import keys_named, lacking_policies

_KEY_NAMES = ("kmskeyarn", "kmskeyid", "kmsmasterkeyid", "encryptionkey", "encryptionkeyarn", "kmskey")
_ENCRYPTED = (
    *DATA_TYPES[:2],
    "AWS::Logs::LogGroup",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
    "AWS::DynamoDB::Table",
    "AWS::StepFunctions::StateMachine",
    "AWS::Lambda::Function",
)

_DOLLARS_A_MONTH = {
    "AWS::KMS::Key": 1.0,
    "AWS::KMS::ReplicaKey": 1.0,
    "AWS::CloudWatch::Alarm": 0.1,
    "AWS::CloudWatch::CompositeAlarm": 0.5,
    "AWS::CloudWatch::Dashboard": 3.0,
    "AWS::EC2::NatGateway": 32.85,
    "AWS::SecretsManager::Secret": 0.4,
}
"""List prices in us-east-1 of 2026-11 for what is billed while nothing runs. Storage is billed by what is stored."""

_ENDPOINT = 7.3
"""An interface endpoint, for each subnet's Availability Zone."""


@dataclass(frozen=True)
class Cost:
    """What resources of one type cost a month when nothing runs."""

    type: str
    count: int
    dollars_a_month: float


@dataclass(frozen=True)
class Encryption:
    """What a resource is encrypted with."""

    stack: str
    resource: str
    type: str
    key: str
    """The key's logical id, or its ARN; "AWS" for a key of AWS."""


@dataclass(frozen=True)
class Stays:
    """A resource that stays when its stack is deleted."""

    stack: str
    resource: str
    type: str


def resource_counts(side: Side) -> dict[str, dict[str, int]]:
    """How many resources of which type each stack has."""
    found: dict[str, Counter[str]] = {}
    for placed in side.resources.values():
        found.setdefault(placed.stack, Counter())[placed.type] += 1
    return {stack: dict(sorted(types.items())) for stack, types in found.items()}


def encryption(side: Side) -> list[Encryption]:
    """What each resource that can be encrypted is encrypted with."""
    return [
        Encryption(placed.stack, placed.logical_id, placed.type, _key_of(side, placed))
        for placed in side.resources.values()
        if placed.type in _ENCRYPTED or _is_store(side, placed)
    ]


def _is_store(side: Side, placed: Placed) -> bool:
    return any(store.resource is placed.resource for store in side.subject.uses.stores)


def _key_of(side: Side, placed: Placed) -> str:
    for node in _key_nodes(dict(placed.properties)):
        for text in placed.reader.texts(node):
            keys = [logical_id for _, logical_id, _ in keys_named(side.subject, [text])]
            return keys[0] if keys else str(text)
    return "AWS"


def _key_nodes(node: Node, depth: int = 0) -> Iterator[Node]:
    if isinstance(node, dict) and depth < 8 and call_of(node) in (None, "Fn::If"):
        for name, item in node.items():
            if normalized(name) in _KEY_NAMES and not (isinstance(item, dict) and call_of(item) is None):
                yield item
            else:
                yield from _key_nodes(item, depth + 1)
    elif isinstance(node, list) and depth < 8:
        for item in node:
            yield from _key_nodes(item, depth + 1)


def retained(side: Side) -> list[Stays]:
    """What stays when the stacks are deleted."""
    return [
        Stays(placed.stack, placed.logical_id, placed.type)
        for placed in side.resources.values()
        if "DeletionPolicy" in placed.resource and "DeletionPolicy" not in lacking_policies(placed.resource)
    ]


def idle_cost(side: Side) -> list[Cost]:
    """What is billed while nothing runs, without what is stored."""
    counts: Counter[str] = Counter()
    dollars: dict[str, float] = {}
    for placed in side.resources.values():
        price = _DOLLARS_A_MONTH.get(placed.type, 0.0)
        if placed.type == "AWS::EC2::VPCEndpoint":
            kind = placed.reader.text(placed.properties.get("VpcEndpointType"))
            zones = len(placed.reader.items(placed.properties.get("SubnetIds")).nodes)
            price = _ENDPOINT * max(1, zones) if kind is not None and kind.literal == "Interface" else 0.0
        if price:
            counts[placed.type] += 1
            dollars[placed.type] = dollars.get(placed.type, 0.0) + price
    return [Cost(name, count, round(dollars[name], 2)) for name, count in sorted(counts.items())]
