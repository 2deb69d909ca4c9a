"""What the steps of one import share."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.importing.last_runs import LastRuns
from healthimaging_import.importing.mode import Mode
from healthimaging_import.importing.record import Owner, Records
from healthimaging_import.importing.request import ImportRequest


@dataclass
class ImportContext:
    """What the steps of one import share."""

    request: ImportRequest
    """What to import, with its run resolved."""
    aws: Aws
    records: Records
    last_runs: LastRuns
    mode: Mode
    me: Owner
    clock: Callable[[], float]
    is_current: bool = False
    """As in :func:`next_action`."""
    has_ended: bool = False
    """Whether this step has itself written how the attempt ended: what it reads of that is input."""
    has_new_rights: bool = False
    """Whether the deploy has created or changed rights, which IAM takes a while to know everywhere."""
    check_still_wanted: Callable[[], None] = lambda: None
    """Raises where it is not wanted any more. Called after the claim is visible, right before a job is started."""
    judge_until: float = float("inf")
    """Jobs that end later are left to a detached request."""
    time_left: Callable[[], float] = lambda: float("inf")
    """Returns the seconds that unpacking may take in this invocation."""
    carried: MutableMapping[str, Any] = field(default_factory=dict)
    """What the record cannot hold, changed in place: a workflow carries it from step to step as JSON."""
