"""Stacks, and accounts with Regions, asked of jsii once: they never change, and each question costs a third of a ms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from aws_cdk import IResource, Stack
from constructs import IConstruct

K = TypeVar("K")
V = TypeVar("V")


def ask_once(question: Callable[[K], V]) -> Callable[[K], V]:
    """Remember the answers of a function about constructs.

    As ``functools.cache``, which takes nothing that a type checker does not know to be hashable.
    """
    answers: dict[Any, V] = {}

    @wraps(question)
    def ask(about: K) -> V:
        if about not in answers:
            answers[about] = question(about)
        return answers[about]

    return ask


@dataclass(frozen=True)
class Environment:
    """An account and a Region, each perhaps a token."""

    account: str
    region: str


@ask_once
def stack_of(construct: IConstruct) -> Stack:
    """The stack of a construct."""
    return Stack.of(construct)


@ask_once
def environment_of(resource: IResource | Stack) -> Environment:
    """The environment of a stack, or of a resource, which may be elsewhere than its stack."""
    place = resource if isinstance(resource, Stack) else resource.env
    return Environment(place.account, place.region)


__all__ = ["Environment", "ask_once", "environment_of", "stack_of"]
