"""Checks the types of arguments: the annotations of a public function are the table of what it takes."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, KeysView, Mapping, Sequence, ValuesView
from enum import Enum
from functools import cache, wraps
from os import PathLike
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

import jsii
from constructs import DependencyGroup, IConstruct

from healthimaging_cdk._common.messages import described, is_number, is_token, message, parts_of

P = ParamSpec("P")
R = TypeVar("R")

_NAMES = {
    "Construct": "a construct",
    "IConnectable": "an IConnectable, for example a security group",
    "IDatastore": "a Datastore or IDatastore",
    "IDependable": "a construct or a DependencyGroup",
    "IGrantable": "an IGrantable, for example a role",
    "StoreBase": "a Datastore or IDatastore",
    "bool": "True or False",
    "float": "a number",
}
"""What a type is called, where that is not its name."""

_ADVICE = {
    "Construct": "pass the stack, or self within a construct",
    "Duration": "use for example Duration.minutes(50) or Duration.days(90)",
    "IBucket": "use s3.Bucket.from_bucket_attributes(bucket_name=..., encryption_key=...)",
    "IDatastore": "use Datastore.from_datastore_id",
    "IDependable": "pass the construct itself",
    "IFunction": "use lambda_.Function.from_function_arn",
    "IGrantable": "use iam.Role.from_role_arn",
    "IKey": "use kms.Key.from_key_arn or kms.Alias.from_alias_name",
    "IQueue": "use sqs.Queue.from_queue_arn",
    "IRole": "use iam.Role.from_role_arn",
    "IRuleTarget": "use a class of aws_events_targets, for example targets.LambdaFunction",
    "ISecurityGroup": "use ec2.SecurityGroup.from_security_group_id",
    "ITopic": "use sns.Topic.from_topic_arn",
    "IVpc": "use ec2.Vpc.from_lookup or ec2.Vpc.from_vpc_attributes",
    "ImportQuotas": "use for example ImportQuotas(files=20_000)",
    "ImportSource": "use ImportSource.bucket or ImportSource.directory",
    "ImportTolerance": "use for example ImportTolerance(rejected_files=0)",
    "Path": "use ImportSource.directory",
    "MetadataMapping": "use MetadataMapping(study_instance_uid, metadata_file_path)",
    "StoreBase": "use Datastore.from_datastore_id",
    "Size": "use for example Size.gibibytes(20)",
    "str": "pass str(...) of a number, value_as_string of a CfnParameter, Token.as_string(...) of a token",
}
"""What to do instead, by the type; ``(...)`` takes a number if one was given."""


def check_types(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function check the types of its arguments before it does anything.

    Raises:
        TypeError: when called with arguments that are not what the annotations say; the message names all of them.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        found = [it for name, value in given.items() for it in _argument(function, signature.parameters[name], value)]
        if found:
            raise TypeError(message(_subject(function, given), found, _path(given)))
        return function(*args, **kwargs)

    return checked


def check_options(subject: str, options_type: type, options: Mapping[str, Any], construct: object = None) -> None:
    """Check the types of keyword arguments that a TypedDict names; those it does not know pass, and so does None.

    Raises:
        TypeError: there is at least one of another type.
    """
    given = {name: value for name, value in options.items() if value is not None}
    found = [it for name, value in given.items() for it in type_violations(name, _hint(options_type, name), value)]
    if found:
        raise TypeError(message(subject, found, _path({"self": construct})))


def check_fields(instance: Any) -> None:  # noqa: ANN401 - an instance of any dataclass
    """Check the types of all fields of a dataclass that is being created.

    Raises:
        TypeError: there is at least one of another type.
    """
    fields = _fields(type(instance))
    found = [it for name, hint in fields for it in type_violations(name, hint, getattr(instance, name))]
    if found:
        raise TypeError(message(type(instance).__name__, found))


def type_violations(name: str, hint: Any, value: Any) -> list[str]:  # noqa: ANN401, PLR0911 - one for each kind of type
    """What is wrong with the type of a value, and of what it holds."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        if value is None and NoneType in arguments:
            return []
        hints = [it for it in arguments if it is not NoneType]
        found = [type_violations(name, it, value) for it in hints]
        return [] if [] in found else found[0] if len(hints) == 1 else [_refusal(name, hints, value)]
    if origin is Sequence:
        # Text is a sequence and never meant as one. A set has no order: the template would have another each time.
        if not isinstance(value, (Sequence, KeysView, ValuesView)) or isinstance(value, (str, bytes)):
            return [f"{name} must be a list, each item {_name(arguments[0])}, got {described(value)}: put it in a list"]
        items = enumerate(value)
        return [it for index, item in items for it in type_violations(f"{name}[{index}]", arguments[0], item)]
    if origin is not None:
        return [] if isinstance(value, origin) else [f"{name} must be a {origin.__name__}, got {described(value)}"]
    if not _fits(hint, value):
        return [_refusal(name, [hint], value)]
    return [
        it for field, held in _fields(hint) for it in type_violations(f"{name}.{field}", held, getattr(value, field))
    ]


def _argument(function: Callable[..., object], parameter: inspect.Parameter, value: Any) -> Iterator[str]:  # noqa: ANN401
    # A default is right, as a type checker has seen, and its type need not be imported.
    if parameter.annotation is inspect.Parameter.empty or value is parameter.default:
        return
    hint = _hint(function, parameter.name)
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        yield from type_violations(parameter.name, Sequence[hint], value)  # type: ignore[valid-type] # known at run time alone
    elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:  # those are checked where they are used
        yield from type_violations(parameter.name, hint, value)


def _hint(annotated: Callable[..., object] | type, name: str) -> Any:  # noqa: ANN401 - any type
    """The type of one argument. Of the others nothing is imported."""
    if is_typeddict(annotated):
        return get_type_hints(annotated).get(name, Any)
    one = SimpleNamespace(__annotations__={name: annotated.__annotations__[name]})
    return get_type_hints(one, globalns=getattr(annotated, "__globals__"))[name]  # noqa: B009 - a class has none


def _fields(hint: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - any type
    if not dataclasses.is_dataclass(hint):
        return []
    hints = get_type_hints(hint)
    return [(field.name, hints[field.name]) for field in dataclasses.fields(hint) if field.init]


def _fits(hint: Any, value: Any) -> bool:  # noqa: ANN401, PLR0911 - one for each kind of type
    if hint is Any:
        return True
    if hint is int:  # CDK's tokens of numbers are floats, and are checked later.
        return is_number(value) and (isinstance(value, int) or is_token(value))
    if hint is float:
        return is_number(value)
    if hint is Path:
        return isinstance(value, PathLike)
    if hint.__name__ == "IDependable":  # it has no members
        return isinstance(value, DependencyGroup) or _has_all(_members(IConstruct), value)
    if getattr(hint, "_is_protocol", False):
        return _has_all(_members(hint), value)
    if hasattr(hint, "__jsii_type__") and not isinstance(hint, jsii.JSIIMeta) and not issubclass(hint, Enum):
        return isinstance(value, (hint, dict))  # a structure, which jsii also takes as a dictionary
    return any(isinstance(part, hint) for part in parts_of(value))


@cache
def _members(interface: type) -> list[str]:
    """The members of an interface of jsii, which is a protocol that ``isinstance`` refuses."""
    return [
        name for part in interface.__mro__ if "__jsii_type__" in vars(part) for name in vars(part) if name[0] != "_"
    ]


def _has_all(members: Sequence[str], value: object) -> bool:
    # Not hasattr: it reads properties, and that asks jsii, which may raise.
    nothing = object()
    parts = parts_of(value)
    return all(any(inspect.getattr_static(part, name, nothing) is not nothing for part in parts) for name in members)


def _refusal(name: str, hints: Sequence[Any], value: object) -> str:
    advice = "; ".join(filter(None, (_ADVICE.get(hint.__name__) for hint in hints[:1])))
    if is_number(value):
        advice = advice.replace("(...)", f"({value})")
    return f"{name} must be {' or '.join(map(_name, hints))}, got {described(value)}{advice and ': ' + advice}"


def _name(hint: Any) -> str:  # noqa: ANN401 - any type
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(f'{hint.__name__}.{member.name}' for member in hint)}"
    name: str = hint.__name__
    return _NAMES.get(name, f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}")


def _subject(function: Callable[..., object], given: Mapping[str, Any]) -> str:
    owner, _, name = function.__qualname__.rpartition(".")
    if name == "__init__":
        return owner
    return f"{type(given['self']).__name__.lstrip('_') if 'self' in given else owner}.{name}"


def _path(given: Mapping[str, Any]) -> str:
    """The path of the construct that was to be created, or is called."""
    scope = given.get("scope", given.get("self"))
    if not _has_all(_members(IConstruct), scope) or not getattr(scope, "__jsii_ref__", None):
        return ""
    return "/".join(filter(None, (scope.node.path, str(given.get("construct_id", "")) if "scope" in given else "")))


__all__ = ["check_fields", "check_options", "check_types", "type_violations"]
