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
    "Grants",
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

    def remaining(self, event: Event) -> float:
        """Seconds that the request may still take; a job that nobody waits for may take a day."""
        wait = float(event.properties.get("WaitSeconds") or DEFAULT_WAIT_SECONDS)
        return (_LONGEST_FOLLOWING_SECONDS if self.answered else wait) - self.elapsed


Step = Answer | float
"""What a step leads to: an answer, or the seconds to wait before the next step."""


def is_settling(event: Event, turn: Turn) -> bool:
    """Whether IAM may still be catching up with what this deploy made or changed."""
    changed = any(event.properties.get(name) != event.old_properties.get(name) for name in _GRANTED_ON)
    return changed and event.request_type != "Delete" and turn.elapsed < _SETTLING_SECONDS


def clients_of(event: Event, turn: Turn) -> Clients:
    """The clients with the rights of this request's resource."""
    return Clients(event.properties.get("RoleArn"), settling=is_settling(event, turn))


def stack_status(clients: Clients, event: Event, *, settling: bool = False) -> tuple[str, str]:
    """What CloudFormation is doing with the stack, and since when (a token of one deploy).

    It must be known: a rollback taken for an update would import.
    """
    with explained("cloudformation", "DescribeStacks", settling=settling):
        stack = clients.cloudformation.describe_stacks(StackName=event.stack_id)["Stacks"][0]
        return str(stack["StackStatus"]), str(stack.get("LastUpdatedTime") or stack.get("CreationTime") or "")


def tag_map(properties: Mapping[str, Any]) -> dict[str, str]:
    """The tags among a resource's properties."""
    return {str(key): str(value) for key, value in (properties.get("Tags") or {}).items()}
