"""One step of a request: the time it has, the clients it may use, and what it can lead to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from healthimaging_import.aws import Clients
from healthimaging_import.cloudformation import Answer, Event
from healthimaging_import.faults import explained
from healthimaging_import.rules import DEFAULT_WAIT_SECONDS

_SETTLING_SECONDS = 120
_LONGEST_FOLLOWING_SECONDS = 24 * 3600
UNKNOWN = "unknown"
"""Stands for what is not known (yet) in an attribute, which may not be missing."""
_GRANTED_ON = (
    "RoleArn",
    "DataAccessRoleArn",
    "DatastoreId",
    "DatastoreArn",
    "InputBucket",
    "InputPrefix",
    "OutputBucket",
    "OutputPrefix",
)


@dataclass(frozen=True)
class Turn:
    """One invocation for an event: how long the request has been at work, and what this invocation may use."""

    now: float
    began_at: float
    time_left: Callable[[], float]
    answered: bool = False
    """CloudFormation has its answer, and the job is followed for metrics and events alone."""

    @property
    def elapsed(self) -> float:
        """Seconds since the request was taken up."""
        return self.now - self.began_at


@dataclass(frozen=True)
class AnswerAndFollow:
    """CloudFormation is answered now, and the job is followed to its end."""

    answer: Answer


Step = Answer | AnswerAndFollow | float
"""What a step leads to: an answer, or the seconds to wait before the next step."""


def patience(event: Event, turn: Turn) -> float:
    """How long a request may take, in seconds."""
    if turn.answered:
        return _LONGEST_FOLLOWING_SECONDS
    return float(event.properties.get("WaitSeconds") or DEFAULT_WAIT_SECONDS)


def is_settling(event: Event, turn: Turn) -> bool:
    """Whether IAM may still be catching up with what this deploy made or changed."""
    changed = any(event.properties.get(name) != event.old_properties.get(name) for name in _GRANTED_ON)
    return changed and turn.elapsed < _SETTLING_SECONDS


def clients_of(event: Event, turn: Turn) -> Clients:
    """The clients with the rights of this request's resource."""
    return Clients(event.properties.get("RoleArn"), settling=is_settling(event, turn))


def stack_status(clients: Clients, event: Event, *, settling: bool = False) -> str:
    """What CloudFormation is doing with the stack. It must be known: a rollback taken for an update would import."""
    with explained("cloudformation", "DescribeStacks", settling=settling):
        return str(clients.cloudformation.describe_stacks(StackName=event.stack_id)["Stacks"][0]["StackStatus"])


def tag_map(properties: Mapping[str, Any]) -> dict[str, str]:
    """The tags among a resource's properties."""
    return {str(key): str(value) for key, value in (properties.get("Tags") or {}).items()}
