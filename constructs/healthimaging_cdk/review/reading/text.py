"""Text with holes: the characters of a value that a template shows, and a hole for what only CloudFormation knows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cached_property
from itertools import product

_MAX_ALTERNATIVES = 16
_FIRST_PRIVATE_CHARACTER = 0xF0000
_ARN_PARTS = 6


class HoleKind(StrEnum):
    """Where the value of a hole comes from."""

    RESOURCE = "resource"
    """A name or an attribute of a resource: two different ones are two different values."""
    PSEUDO = "pseudo"
    """A pseudo parameter, as ``AWS::Region``."""
    PARAMETER = "parameter"
    """A parameter: whoever deploys decides."""
    UNKNOWN = "unknown"
    """An expression that cannot be read here."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A value that a template does not show. Equal holes have equal values."""

    kind: HoleKind
    scope: str
    """The template it stands in; empty for a pseudo parameter."""
    name: str
    """Logical id, parameter, pseudo parameter, or the expression as JSON."""
    attribute: str = ""

    def __str__(self) -> str:
        """The hole as ``Fn::Sub`` writes it."""
        if self.kind is HoleKind.UNKNOWN:
            return "${...}"
        return f"${{{self.name}{'.' if self.attribute else ''}{self.attribute}}}"


@dataclass(frozen=True)
class Text:
    """Characters and holes, in order."""

    parts: tuple[str | Hole, ...] = ()

    @classmethod
    def of(cls, *parts: str | Hole | Text) -> Text:
        """Join parts, so that equal texts have equal parts."""
        flat: list[str | Hole] = []
        for part in parts:
            for piece in part.parts if isinstance(part, Text) else (part,):
                if piece == "":
                    continue
                if isinstance(piece, str) and flat and isinstance(flat[-1], str):
                    flat[-1] += piece
                else:
                    flat.append(piece)
        return cls(tuple(flat))

    @cached_property
    def literal(self) -> str | None:
        """The text if it has no hole."""
        if not self.parts:
            return ""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], str) else None

    @property
    def holes(self) -> list[Hole]:
        """Its holes, in order."""
        return [part for part in self.parts if isinstance(part, Hole)]

    @property
    def is_open(self) -> bool:
        """Whether part of it is decided by a parameter, or cannot be read: then it may be anything."""
        return any(hole.kind in (HoleKind.PARAMETER, HoleKind.UNKNOWN) for hole in self.holes)

    def __str__(self) -> str:
        """The text as ``Fn::Sub`` writes it."""
        return "".join(str(part) for part in self.parts)

    def split(self, separator: str, maximum: int = -1) -> list[Text]:
        """Split at a separator that the text shows; holes are taken to hold none."""
        pieces: list[list[str | Hole]] = [[]]
        for part in self.parts:
            if isinstance(part, Hole):
                pieces[-1].append(part)
                continue
            left = -1 if maximum < 0 else maximum - len(pieces) + 1
            first, *others = part.split(separator, left) if left else [part]
            pieces[-1].append(first)
            pieces += [[other] for other in others]
        return [Text.of(*piece) for piece in pieces]

    def ends_with(self, suffix: str) -> bool | None:
        """Whether it ends so; None where a hole decides."""
        last = self.parts[-1] if self.parts else ""
        if isinstance(last, Hole):
            return None
        if len(last) >= len(suffix) or len(self.parts) == 1:
            return last.endswith(suffix)
        return None if suffix.endswith(last) else False

    def starts_with(self, prefix: Text) -> bool:
        """Whether it is known to begin with another text."""
        codes: dict[Hole, str] = {}
        return _encoded(self, codes).startswith(_encoded(prefix, codes))

    def without_prefix(self, prefix: str) -> Text | None:
        """What follows a prefix that it shows; None where it shows another."""
        first = self.parts[0] if self.parts else ""
        if not isinstance(first, str) or not first.startswith(prefix):
            return None
        return Text.of(first[len(prefix) :], *self.parts[1:])


def combinations(pieces: Iterable[Iterable[Text]]) -> list[Text]:
    """Every way to join alternatives, or as many as can be looked at."""
    found: list[Text] = []
    for chosen in product(*pieces):
        found.append(Text.of(*chosen))
        if len(found) == _MAX_ALTERNATIVES:
            break
    return list(dict.fromkeys(found))


class Covers(Enum):
    """Whether a pattern of IAM covers a value."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


def _encoded(text: Text, codes: dict[Hole, str]) -> str:
    return "".join(
        part if isinstance(part, str) else codes.setdefault(part, chr(_FIRST_PRIVATE_CHARACTER + len(codes)))
        for part in text.parts
    )


def matches(pattern: Text, value: Text) -> Covers:
    """Compare a pattern with ``*`` and ``?`` with a value; a hole is equal to itself only."""
    codes: dict[Hole, str] = {}
    shown = _encoded(value, codes)
    holes_of_value = set(codes)
    wanted = re.sub(r"\*+", "*", _encoded(pattern, codes))  # runs of stars mean one, and cost time
    expression = "".join(".*" if char == "*" else "." if char == "?" else re.escape(char) for char in wanted)
    if re.fullmatch(expression, shown, re.DOTALL):
        return Covers.YES
    strange = [hole for hole in codes if (hole in holes_of_value) != (hole in pattern.holes)]
    is_open = any(hole.kind is not HoleKind.RESOURCE for hole in strange)
    return Covers.MAYBE if is_open else Covers.NO


def arn_parts(text: Text) -> list[Text] | None:
    """The six parts of an ARN; None where the text shows none."""
    parts = text.split(":", _ARN_PARTS - 1)
    return parts if len(parts) == _ARN_PARTS and parts[0].literal == "arn" else None


def arn_covers(pattern: Text, arn: Text) -> Covers:
    """Compare a pattern of a policy with an ARN: of partition, Region and account only what both show counts."""
    if pattern.literal == "*":
        return Covers.YES
    wanted, given = arn_parts(pattern), arn_parts(arn)
    if wanted is None or given is None:
        return matches(pattern, arn)
    answers = [matches(wanted[2], given[2]), matches(wanted[5], given[5])]
    answers += [matches(wanted[at], given[at]) for at in (3, 4) if wanted[at].literal and given[at].literal]
    if Covers.NO in answers:
        return Covers.NO
    return Covers.MAYBE if Covers.MAYBE in answers else Covers.YES
