"""Who may do what, and which rights of a newer assembly those of an older one did not cover."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from healthimaging_cdk.review.change.compare import Comparison, Side
from healthimaging_cdk.review.reading.policies import Principal
from healthimaging_cdk.review.reading.statements import Condition, PolicyKind, Statement
from healthimaging_cdk.review.reading.text import Covers, Hole, Text, arn_covers

_BROADER_WITHOUT = "the Deny is gone"


@dataclass(frozen=True)
class Right:
    """One action on one resource, that somebody has."""

    stack: str
    resource: str
    """The logical id of who has it: a role, or the resource whose policy gives it."""
    kind: PolicyKind
    effect: str
    principal: str
    """Who gets it, where a trust or a resource's policy says so."""
    action: str
    on: str
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class RightFact:
    """A right that is new."""

    right: Right
    because: str


@dataclass(frozen=True, eq=False)
class _Held:
    """A right, with what it takes to compare it."""

    right: Right
    pattern: str
    on: Text
    conditions: tuple[Condition, ...]
    principal: Text | None
    is_exact: bool
    """Whether it can only be compared as it is written: NotAction, NotResource."""


def rights_of(side: Side) -> list[Right]:
    """Every right, by who has it."""
    return list(dict.fromkeys(held.right for held in _held(side)))


def _held(side: Side) -> Iterator[_Held]:
    policies = side.subject.policies
    for principal in policies.principals.values():
        for statement in (*principal.trust, *principal.statements):
            yield from _of(side, statement, principal)
    attached = {id(item) for owner in policies.principals.values() for item in (*owner.trust, *owner.statements)}
    for statement in policies.statements:
        if id(statement) not in attached:
            yield from _of(side, statement, None)


def _of(side: Side, statement: Statement, principal: Principal | None) -> Iterator[_Held]:
    owner = (principal or statement).logical_id
    template = (principal or statement).template
    who: list[tuple[str, Text] | None] = list(statement.principals) or [None]
    on: list[tuple[str, Text]] = [("", text) for text in statement.resources]
    on += [("all but ", text) for text in statement.not_resources]
    names = [("", name) for name in statement.actions] + [("all but ", name) for name in statement.not_actions]
    for name in who:
        for negation, action in names:
            for besides, resource in on or [("", Text.of("*"))]:
                right = Right(
                    stack=side.name(template.name),
                    resource=owner,
                    kind=statement.kind,
                    effect="Allow" if statement.allows else "Deny",
                    principal="" if name is None else f"{name[0]} {_shown(name[1])}".removeprefix("* "),
                    action=f"{negation}{action}",
                    on=f"{besides}{_shown(resource)}",
                    conditions=tuple(sorted(map(_condition, statement.conditions))),
                )
                yield _Held(
                    right,
                    action.lower(),
                    _renamed(side, resource),
                    statement.conditions,
                    None if name is None else _renamed(side, name[1]),
                    is_exact=bool(negation or besides) or not statement.allows,
                )


def _shown(text: Text) -> str:
    return str(text)


def _condition(condition: Condition) -> str:
    return f"{condition.operator} {condition.key} {', '.join(sorted(map(_shown, condition.values)))}"


def _renamed(side: Side, text: Text) -> Text:
    """A text with the names that the newer assembly has for its templates."""
    return Text.of(
        *(
            Hole(part.kind, side.name(part.scope), part.name, part.attribute) if isinstance(part, Hole) else part
            for part in text.parts
        )
    )


def new_rights(change: Comparison) -> list[RightFact]:
    """The rights of the newer assembly that no right of the older one covers, and the denials that are gone."""
    before: dict[tuple[str, str], list[_Held]] = {}
    everything = list(_held(change.before))
    for held in everything:
        before.setdefault((held.right.stack, held.right.resource), []).append(held)
    after = list(_held(change.after))
    there = {(held.right.stack, held.right.resource) for held in after}
    gone = [held for held in everything if (held.right.stack, held.right.resource) not in there]
    found: dict[Right, str] = {}
    for held in after:
        owner = (held.right.stack, held.right.resource)
        if held.right.effect != "Allow":
            continue
        if owner in before:
            if not any(_covers(old, held) for old in before[owner]):
                found.setdefault(held.right, _because(before[owner], held))
        elif not _had_another(gone, after, owner, held):
            found.setdefault(held.right, "nobody had it: its holder is new")
    denied = {(held.right.stack, held.right.resource): set[str]() for held in after}
    for held in after:
        if held.right.effect == "Deny":
            denied[held.right.stack, held.right.resource].add(_key(held))
    for held in everything:
        owner = (held.right.stack, held.right.resource)
        if held.right.effect == "Deny" and owner in denied and _key(held) not in denied[owner]:
            found.setdefault(held.right, _BROADER_WITHOUT)
    return [RightFact(right, because) for right, because in found.items()]


def _key(held: _Held) -> str:
    return f"{held.right.principal}|{held.right.action.lower()}|{held.on}|{held.right.conditions}"


def _had_another(gone: Iterable[_Held], after: Iterable[_Held], owner: tuple[str, str], held: _Held) -> bool:
    """Whether somebody had the right who is gone, and whom the same may assume: a holder that was renamed."""
    del after, owner
    return any(old.right.kind == held.right.kind and _covers(old, held) for old in gone)


def _covers(old: _Held, new: _Held) -> bool:
    if old.right.kind != new.right.kind or old.right.effect != new.right.effect:
        return False
    if old.is_exact or new.is_exact:
        return _key(old) == _key(new)
    if not fnmatchcase(new.pattern, old.pattern) or not _same_principal(old, new):
        return False
    if old.right.kind is not PolicyKind.TRUST and arn_covers(old.on, new.on) is not Covers.YES:
        return False
    return all(any(_is_as_strict(one, item) for item in new.conditions) for one in old.conditions)


def _same_principal(old: _Held, new: _Held) -> bool:
    if old.principal is None or new.principal is None:
        return old.principal is new.principal
    return str(old.principal) == "*" or old.right.principal == new.right.principal


def _is_as_strict(old: Condition, new: Condition) -> bool:
    """Whether a new condition lets no more pass than an old one."""
    if old.operator.lower() != new.operator.lower() or old.key.lower() != new.key.lower():
        return False
    had, has = set(map(str, old.values)), set(map(str, new.values))
    return has <= had if "not" not in old.plain_operator else has >= had


def _because(before: Iterable[_Held], new: _Held) -> str:
    """What is new of a right."""
    same_kind = [old for old in before if old.right.kind == new.right.kind and not old.is_exact]
    same_action = [old for old in same_kind if fnmatchcase(new.pattern, old.pattern) and _same_principal(old, new)]
    if new.right.kind is PolicyKind.TRUST and not any(_same_principal(old, new) for old in same_kind):
        return "it could not assume the role"
    if not same_action:
        return "the action was not allowed"
    covering = [old for old in same_action if arn_covers(old.on, new.on) is Covers.YES]
    return "a condition is gone or wider" if covering or new.right.kind is PolicyKind.TRUST else "the resource is wider"
