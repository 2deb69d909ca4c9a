"""A finding of a rule, and what rules are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from healthimaging_cdk.review.reading.assembly import Assembly
from healthimaging_cdk.review.reading.imports import Uses
from healthimaging_cdk.review.reading.policies import Policies
from healthimaging_cdk.review.reading.template import Template


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """What a rule found at one place."""

    id: str
    severity: Severity
    stack: str
    """The stack's name; for a nested stack, that of its parent and its logical id there."""
    resource: str
    """The logical id."""
    path: str
    """Where it is in the template, as ``Resources/Store/Properties/Tags``."""
    text: str
    fix: str
    construct: str = ""
    """The construct's path, as far as the assembly says."""
    acknowledged: str = ""
    """The reason for which it is acknowledged; empty where it is not."""
    template: Template | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Hit:
    """What a rule says of a place, before it becomes a finding."""

    template: Template
    resource: str
    path: str
    """Below the resource, or below the template's root where it begins with ``Resources/``."""
    text: str
    severity: Severity | None = None
    fix: str = ""


class Subject:
    """What rules look at: an assembly, its policies, and what it does with HealthImaging."""

    def __init__(self, assembly: Assembly) -> None:
        """Look at an assembly."""
        self.assembly: Assembly = assembly
        self.policies: Policies = Policies(assembly)
        self.uses: Uses = Uses(assembly, self.policies)

    @cached_property
    def is_relevant(self) -> bool:
        """Whether there is anything to look at."""
        return self.uses.has_any


@dataclass(frozen=True)
class Rule:
    """A rule: what it looks for, why, and what to do."""

    id: str
    severity: Severity
    title: str
    fix: str
    check: Callable[[Subject], Iterator[Hit]]
    reason: str = ""
    page: str = ""
    """The page of AWS that the rule comes from."""
