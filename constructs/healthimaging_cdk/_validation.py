"""Checks at synth: every violation in one message, and never a judgement about a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aws_cdk import Annotations, IResource, Stack, Token
from constructs import IConstruct

from healthimaging_cdk._runtime import rules


class Violations:
    """Collects what is wrong with a construct's arguments, to be raised at once."""

    def __init__(self, construct: str) -> None:
        """Take the name of the construct, for the message."""
        self._construct = construct
        self._found: list[str] = []

    def add(self, *messages: str) -> None:
        """Note violations that the caller has found."""
        self._found += messages

    def check_shape(self, argument: str, value: object, shape: str) -> None:
        """Check a value against a shape of the HealthImaging service model; None and tokens pass."""
        if value is not None and not Token.is_unresolved(value):
            self.add(*rules.ServiceModel.load().violations(shape, value, argument))

    def check_prefix(self, argument: str, prefix: str) -> None:
        """Check that a prefix names one folder; tokens pass."""
        self._when_known(lambda: rules.prefix_violations(argument, prefix), prefix)

    def check_overlap(self, input_prefix: str, output_prefix: str) -> None:
        """Check that results do not lie in the source of the next import, given that both share a bucket."""
        self._when_known(lambda: rules.overlap_violations(input_prefix, output_prefix), input_prefix, output_prefix)

    def check_bucket_uri(self, argument: str, bucket_name: str, prefix: str) -> None:
        """Check the S3 URI that a bucket and a prefix make."""
        if not Token.is_unresolved(bucket_name) and not Token.is_unresolved(prefix):
            self.check_shape(argument, rules.s3_uri(bucket_name, prefix), "S3Uri")

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
                self.add(f"{argument} lies in {what} {there} and {user} in {its_own}: {advice}")

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


def warn_of_region(construct: IConstruct) -> None:
    """Warn where HealthImaging was not known to be when this library was released."""
    region = Stack.of(construct).region
    if not Token.is_unresolved(region) and region not in rules.REGIONS:
        Annotations.of(construct).add_warning_v2(
            "healthimaging-cdk:regionWithoutHealthImaging",
            f"HealthImaging was not known in {region} when this library was released, only in "
            f"{', '.join(rules.REGIONS)}: deploy there, or acknowledge this warning if AWS has added the Region",
        )
