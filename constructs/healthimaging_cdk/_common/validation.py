"""Checks at synth: every violation in one message, and never a judgement about a token."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, KeysView, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field, replace
from enum import Enum
from os import PathLike
from typing import Any, Protocol

from aws_cdk import Annotations, Duration, IResource, RemovalPolicy, Stack, Token
from constructs import DependencyGroup, IConstruct

from healthimaging_cdk._common.runtime import service_model

_SHOWN = 40
"""How much of a wrong value a message quotes: enough to find it, too little to give a secret away."""


@dataclass(frozen=True)
class Kind:
    """What an argument has to be."""

    name: str
    fits: Callable[[Any], bool]
    advice: str = ""
    """What to do; ``(...)`` takes a number if one was given."""
    takes_none: bool = False
    items: Kind | None = None
    """What each item of a list has to be."""
    fields: Mapping[str, Kind] = field(default_factory=dict)
    """What the attributes of a dataclass have to be."""

    def violations(self, argument: str, value: Any) -> list[str]:  # noqa: ANN401 - anything can be passed
        """What is wrong with a value, and with what it holds."""
        if value is None and self.takes_none:
            return []
        if not self.fits(value):
            advice = self.advice.replace("(...)", f"({value})") if _is_number(value) else self.advice
            return [f"{argument} must be {self.name}, got {_described(value)}{advice and ': ' + advice}"]
        held = {f"{argument}.{name}": (kind, getattr(value, name)) for name, kind in self.fields.items()}
        if self.items is not None:
            held |= {f"{argument}[{index}]": (self.items, item) for index, item in enumerate(value)}
        return [found for name, (kind, it) in held.items() for found in kind.violations(name, it)]


def optional(kind: Kind) -> Kind:
    """The kind, or None."""
    return replace(kind, takes_none=True)


def list_of(kind: Kind) -> Kind:
    """A list, or whatever else has items and a length. Text has both, and is never meant as one."""
    return Kind(
        f"a list, each item {kind.name}",
        # A set has no order, and the template would have another one each time.
        lambda value: isinstance(value, (Sequence, KeysView, ValuesView)) and not isinstance(value, (str, bytes)),
        "put it in a list",
        items=kind,
    )


def instance_of(
    of: type | tuple[type, ...], name: str, advice: str = "", fields: Mapping[str, Kind] | None = None
) -> Kind:
    """An instance of a class, which may be a subclass of it."""
    return Kind(name, lambda value: isinstance(value, of), advice, fields=fields or {})


def one_of(choices: type[Enum], *, but: Sequence[Enum] = ()) -> Kind:
    """A member of an enumeration, but not one of some."""
    allowed = ", ".join(f"{choices.__name__}.{member.name}" for member in choices if member not in but)
    return Kind(f"one of {allowed}", lambda value: isinstance(value, choices) and value not in but)


def having(member: str, name: str, advice: str = "") -> Kind:
    """What has a member that nothing else has.

    The interfaces of jsii are protocols that ``isinstance`` refuses, and behind an object of one may be a proxy of no
    class in particular.
    """
    return Kind(name, lambda value: _has(value, member), advice)


def duration(example: str) -> Kind:
    """A Duration. In which unit a number was meant that is none, nobody knows."""
    return instance_of(Duration, "a Duration", f"use for example Duration.{example}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _has(value: object, member: str) -> bool:
    # Not hasattr: it reads properties, and that asks the kernel of jsii, which may raise.
    nothing = object()
    return any(inspect.getattr_static(part, member, nothing) is not nothing for part in _parts(value))


def _parts(value: object) -> list[object]:
    """The objects among which jsii's InterfaceDynamicProxy looks for its members; of all else, the object itself."""
    if isinstance(value, type):
        return []  # the class where an instance is meant
    delegates = getattr(value, "_delegates", None)
    return delegates if isinstance(delegates, list) and delegates else [value]


def _described(value: object) -> str:
    """A value for a message. Only of text and numbers is it known that they are short when they are cut."""
    if value is None:
        return "None"
    if isinstance(value, Enum):
        return str(value)
    if not isinstance(value, (str, int, float)):
        kind = value if isinstance(value, type) else type(_parts(value)[0])
        return kind.__name__.strip("_").removesuffix("Proxy")
    return f"{type(value).__name__} {quoted(value)}"


def quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


CONSTRUCT = having("node", "a construct", "pass the stack, or self within a construct")
DEPENDABLE = Kind(
    "a construct or a DependencyGroup",
    lambda value: isinstance(value, DependencyGroup) or _has(value, "node"),
    "pass the construct itself",
)
TEXT = instance_of(
    str, "a str", "pass str(...) of a number, value_as_string of a CfnParameter, Token.as_string(...) of a token"
)
PATH = instance_of((str, PathLike), "a str or a Path")
FLAG = instance_of(bool, "True or False")
NUMBER = Kind("a number", _is_number)
# CDK's tokens of numbers are floats, and are judged later.
WHOLE_NUMBER = Kind("an int", lambda value: _is_number(value) and (isinstance(value, int) or is_token(value)))
# Neither data stores nor buckets nor keys know snapshots.
REMOVAL_POLICY = one_of(RemovalPolicy, but=[RemovalPolicy.SNAPSHOT])
DATASTORE = having("datastore_arn", "a Datastore or IDatastore", "use Datastore.from_datastore_id")
BUCKET = having(
    "arn_for_objects", "an IBucket", "use s3.Bucket.from_bucket_attributes(bucket_name=..., encryption_key=...)"
)
KEY = having("grant_encrypt_decrypt", "an IKey", "use kms.Key.from_key_arn or kms.Alias.from_alias_name")
ROLE = having("grant_assume_role", "an IRole", "use iam.Role.from_role_arn")
GRANTEE = having("grant_principal", "an IGrantable, for example a role", "use iam.Role.from_role_arn")
TOPIC = having("grant_publish", "an ITopic", "use sns.Topic.from_topic_arn")
QUEUE = having("grant_consume_messages", "an IQueue", "use sqs.Queue.from_queue_arn")
FUNCTION = having("grant_invoke_url", "an IFunction", "use lambda_.Function.from_function_arn")
VPC = having("add_interface_endpoint", "an IVpc", "use ec2.Vpc.from_lookup or ec2.Vpc.from_vpc_attributes")
SECURITY_GROUP = having("add_ingress_rule", "an ISecurityGroup", "use ec2.SecurityGroup.from_security_group_id")
TARGET = having("bind", "an IRuleTarget", "use a class of aws_events_targets, for example targets.LambdaFunction")
CLIENT = having("connections", "an IConnectable, for example a security group")


class Violations:
    """Collects what is wrong with a construct's arguments, to be raised at once."""

    def __init__(self, construct: str) -> None:
        """Take the name of the construct, for the message."""
        self._construct = construct
        self._found: list[str] = []

    def add(self, *messages: str) -> None:
        """Note violations that the caller has found."""
        self._found += messages

    def require_kinds(self, kinds: Mapping[str, Kind], arguments: Mapping[str, object]) -> None:
        """Check of what kind arguments are, and raise at once: all other checks read what such objects have.

        Args:
            kinds: what each argument has to be, by its name.
            arguments: the values by their names, as ``locals()`` has them at the top of a function.
        """
        for name, kind in kinds.items():
            self.add(*kind.violations(name, arguments[name]))
        self.raise_any()

    def check_shape(self, argument: str, value: object, shape: str) -> None:
        """Check a value against a shape of the HealthImaging service model; None and tokens pass."""
        if value is not None and not Token.is_unresolved(value):
            self.add(*service_model.ServiceModel.load().violations(shape, value, argument))

    def check_account_id(self, argument: str, value: str | None) -> None:
        """Check the id of an account; None and tokens pass."""
        if value is None or Token.is_unresolved(value):
            return
        if service_model.ServiceModel.load().violations("AwsAccountId", value):
            self.add(f"{argument} takes 12 digits without hyphens, got {quoted(value)}")

    def check_prefix(self, argument: str, prefix: str) -> None:
        """Check that a prefix names one folder; tokens pass."""
        self._when_known(lambda: service_model.prefix_violations(argument, prefix), prefix)

    def check_overlap(self, input_prefix: str, output_prefix: str) -> None:
        """Check that results do not lie in the source of the next import, given that both share a bucket."""
        self._when_known(
            lambda: service_model.overlap_violations(input_prefix, output_prefix), input_prefix, output_prefix
        )

    def check_bucket_uri(self, argument: str, bucket_name: str, prefix: str) -> None:
        """Check the S3 URI that a bucket and a prefix make."""
        if not Token.is_unresolved(bucket_name) and not Token.is_unresolved(prefix):
            self.check_shape(argument, service_model.s3_uri(bucket_name, prefix), "S3Uri")

    def check_place(
        self,
        argument: str,
        resource: IResource | None,
        here: Place,
        *,
        user: str = "the stack",
        account: str = "",
        region: str = "",
    ) -> None:
        """Check that a resource lies where its user does, as far as both are known.

        Args:
            argument: its name, for the message.
            resource: the resource; None passes.
            here: where its user lies.
            user: what uses it, for the message.
            account: what to do if it lies in another account, where that cannot work.
            region: what to do if it lies in another Region, where that cannot work.
        """
        if resource is None:
            return
        for what, (there, its_own) in differing_places(resource.env, here).items():
            advice = {"account": account, "Region": region}[what]
            if advice:
                self.add(f"{argument} is in {what} {there} and {user} in {its_own}: {advice}")

    def _when_known(self, check: Callable[[], list[str]], *values: str) -> None:
        if not any(Token.is_unresolved(value) for value in values):
            self.add(*check())

    def raise_any(self) -> None:
        """Raise all that was found.

        Raises:
            ValueError: there is at least one violation.
        """
        if self._found:
            raise ValueError(f"{self._construct}: " + "; ".join(self._found))


def is_token(number: float) -> bool:
    """Whether a number is a token. Asked about one that is not finite, jsii's kernel would end."""
    return math.isfinite(number) and Token.is_unresolved(number)


class Place(Protocol):
    """What has an account and a Region: a stack, or a resource's environment."""

    @property
    def account(self) -> str:
        """The account's 12 digits, or a token."""
        ...

    @property
    def region(self) -> str:
        """The Region's name, or a token."""
        ...


def differing_places(there: Place, here: Place) -> dict[str, tuple[str, str]]:
    """In what two places are known to differ (``account``, ``Region``), with both values."""
    pairs = {"account": (there.account, here.account), "Region": (there.region, here.region)}
    return {what: (a, b) for what, (a, b) in pairs.items() if known_to_differ(a, b)}


def known_to_differ(a: str, b: str) -> bool:
    """Whether two values differ and neither is a token."""
    return a != b and not Token.is_unresolved(a) and not Token.is_unresolved(b)


_REGION_WARNING = "healthimaging-cdk:regionWithoutHealthImaging"


def warn_of_region(construct: IConstruct) -> None:
    """Warn where HealthImaging was not known to be when this library was released, once for what is in one another."""
    region = Stack.of(construct).region
    if Token.is_unresolved(region) or region in service_model.REGIONS:
        return
    warned = (str(entry.data) for scope in construct.node.scopes for entry in scope.node.metadata)
    if not any(_REGION_WARNING in data for data in warned):
        Annotations.of(construct).add_warning_v2(
            _REGION_WARNING,
            f"HealthImaging was not known in {region} when this library was released, only in "
            f"{', '.join(service_model.REGIONS)}: deploy there, or acknowledge this warning if AWS has added the "
            "Region",
        )
