"""Checks at synth: every violation in one message, and never a judgement about a token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from aws_cdk import Annotations, IResource, RemovalPolicy, Stack
from constructs import IConstruct

from healthimaging_cdk._common.environment import environment_of, stack_of
from healthimaging_cdk._common.messages import is_unresolved, message, quoted
from healthimaging_cdk._common.runtime import service_model


class Violations:
    """Collects what is wrong with a construct's arguments, to be raised at once."""

    def __init__(self, subject: str, scope: IConstruct | None = None, construct_id: str = "") -> None:
        """Take what is checked, for the message.

        Args:
            subject: the name of the class, or of the method with that of its class.
            scope: the construct that is called, or the scope of one that is to be created.
            construct_id: the id of one that is to be created.
        """
        self._subject = subject
        self._scope = scope
        self._construct_id = construct_id
        self._found: list[str] = []

    def add(self, *messages: str) -> None:
        """Note violations that the caller has found."""
        self._found += messages

    def check_choice(self, argument: str, value: Enum, *, but: Sequence[Enum]) -> None:
        """Check that a member of an enumeration is not one of some."""
        if value in but:
            allowed = ", ".join(str(member) for member in type(value) if member not in but)
            self.add(f"{argument} must be one of {allowed}, got {value}")

    def check_removal_policy(self, argument: str, value: RemovalPolicy) -> None:
        """Check a removal policy: neither data stores nor buckets nor keys know snapshots."""
        self.check_choice(argument, value, but=[RemovalPolicy.SNAPSHOT])

    def check_shape(self, argument: str, value: object, shape: str) -> None:
        """Check a value against a shape of the HealthImaging service model; None and tokens pass."""
        if value is not None and not is_unresolved(value):
            self.add(*service_model.ServiceModel.load().violations(shape, value, argument))

    def check_account_id(self, argument: str, value: str | None) -> None:
        """Check the id of an account; None and tokens pass."""
        if value is None or is_unresolved(value):
            return
        if service_model.ServiceModel.load().violations("AwsAccountId", value):
            self.add(f"{argument} must be 12 digits without hyphens, got {quoted(value)}")

    def check_prefix(self, argument: str, prefix: str) -> None:
        """Check that a prefix names one folder; tokens pass."""
        self._when_known(lambda: service_model.prefix_violations(argument, prefix), prefix)

    def check_overlap(self, input_prefix: str, output_prefix: str) -> None:
        """Check that results are not in the source of the next import, given that both share a bucket."""
        self._when_known(
            lambda: service_model.overlap_violations(input_prefix, output_prefix), input_prefix, output_prefix
        )

    def check_bucket_uri(self, argument: str, bucket_name: str, prefix: str) -> None:
        """Check the S3 URI that a bucket and a prefix make."""
        if not is_unresolved(bucket_name) and not is_unresolved(prefix):
            self.check_shape(argument, f"s3://{bucket_name}/{prefix}", "S3Uri")

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
            account: what to do if it is in another account, where that cannot work.
            region: what to do if it is in another Region, where that cannot work.
        """
        if resource is None:
            return
        for what, (there, its_own) in differing_places(environment_of(resource), here).items():
            advice = {"account": account, "Region": region}[what]
            if advice:
                self.add(f"{argument} is in {what} {there} and {user} in {its_own}: {advice}")

    def _when_known(self, check: Callable[[], list[str]], *values: str) -> None:
        if not any(map(is_unresolved, values)):
            self.add(*check())

    def raise_any(self) -> None:
        """Raise all that was found.

        Raises:
            ValueError: there is at least one violation.
        """
        if self._found:
            scope = self._scope.node.path if self._scope else ""
            raise ValueError(message(self._subject, self._found, "/".join(filter(None, (scope, self._construct_id)))))


class Place(Protocol):
    """What has an account and a Region: a stack, or the environment of a resource."""

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
    there, here = (environment_of(place) if isinstance(place, Stack) else place for place in (there, here))
    pairs = {"account": (there.account, here.account), "Region": (there.region, here.region)}
    return {what: (a, b) for what, (a, b) in pairs.items() if known_to_differ(a, b)}


def known_to_differ(a: str, b: str) -> bool:
    """Whether two values differ and neither is a token."""
    return a != b and not is_unresolved(a) and not is_unresolved(b)


_REGION_WARNING = "healthimaging-cdk:regionWithoutHealthImaging"


def warn_of_region(construct: IConstruct) -> None:
    """Warn where HealthImaging was not known to be when this library was released, once for what is in one another."""
    region = environment_of(stack_of(construct)).region
    if is_unresolved(region) or region in service_model.REGIONS:
        return
    warned = (str(entry.data) for scope in construct.node.scopes for entry in scope.node.metadata)
    if not any(_REGION_WARNING in data for data in warned):
        Annotations.of(construct).add_warning_v2(
            _REGION_WARNING,
            f"HealthImaging was not known in {region} when this library was released, only in "
            f"{', '.join(service_model.REGIONS)}: deploy there, or acknowledge this warning if AWS has added the "
            "Region",
        )
