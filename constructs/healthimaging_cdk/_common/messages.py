"""How errors at synth show what they are about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

from aws_cdk import Token

_SHOWN = 40
"""How much of a wrong value a message quotes: enough to find it, too little to give a secret away."""


def message(subject: str, violations: Sequence[str], path: str = "") -> str:
    """Say all that is wrong, and where."""
    return f"{subject}: {'; '.join(violations)}" + (f" (at {path})" if path else "")


def described(value: object) -> str:
    """A value for a message. Only of text and numbers is it known that they are short when they are cut."""
    if value is None:
        return "None"
    if isinstance(value, Enum):
        return str(value)
    if not isinstance(value, (str, int, float)):
        its_class = value if isinstance(value, type) else type(parts_of(value)[0])
        return its_class.__name__.strip("_").removesuffix("Proxy")
    return f"{type(value).__name__} {quoted(value)}"


def quoted(value: object) -> str:
    """A value as Python writes it, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def parts_of(value: object) -> list[object]:
    """The objects among which jsii's InterfaceDynamicProxy looks for its members; of all else, the object itself."""
    if isinstance(value, type):
        return []  # the class where an instance is meant
    delegates = getattr(value, "_delegates", None)
    return delegates if isinstance(delegates, list) and delegates else [value]


def is_number(value: object) -> bool:
    """Whether a value is a number, which True is to Python."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_token(number: float) -> bool:
    """Whether a number is a token. Asked about one that is not finite, jsii's kernel would end."""
    return math.isfinite(number) and Token.is_unresolved(number)


def is_unresolved(value: object) -> bool:
    """Whether a value is a token, or holds one. Text that can hold none is not put to jsii."""
    return ("${Token[" in value) if isinstance(value, str) else Token.is_unresolved(value)


__all__ = ["described", "is_number", "is_token", "is_unresolved", "message", "parts_of", "quoted"]
