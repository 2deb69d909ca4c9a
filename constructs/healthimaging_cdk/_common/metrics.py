"""How the metrics of this library are made: the keyword arguments of aws-cdk's own ``metric_*`` methods, typed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import aws_cdk as cdk
from aws_cdk import Duration, Stack

from healthimaging_cdk._common.argument_types import check_options
from healthimaging_cdk._common.messages import is_unresolved


class MetricOptions(TypedDict, total=False):
    """What every ``metric_*`` method takes (``aws_cloudwatch.MetricOptions``). All of it may be left away."""

    account: str
    """The account the metric comes from; that of the construct unless given."""
    color: str
    """The colour in graphs, as ``#00ff00``; CloudWatch chooses one unless given."""
    dimensions_map: Mapping[str, str]
    """Further dimensions, or other values of the ones there are; none unless given."""
    id: str
    """A name for the metric in math expressions; CDK makes one unless given."""
    label: str
    """The label in graphs; CloudWatch makes one unless given."""
    period: Duration
    """The time over which the statistic is taken; 5 minutes unless given."""
    region: str
    """The Region the metric comes from; that of the construct unless given."""
    statistic: str
    """The statistic; each method says its own."""
    unit: cdk.aws_cloudwatch.Unit
    """Only data of this unit; of any unless given."""
    visible: bool
    """Whether it is shown in graphs; it is unless given."""


class GraphOptions(TypedDict, total=False):
    """What a method takes that makes a math expression. All of it may be left away."""

    color: str
    """The colour in graphs, as ``#00ff00``; CloudWatch chooses one unless given."""
    label: str
    """The label in graphs; each method says its own."""
    period: Duration
    """The time over which the statistics are taken; 5 minutes unless given."""


def make_metric(
    namespace: str,
    name: str,
    *,
    statistic: str,
    dimensions: Mapping[str, str],
    environment: cdk.interfaces.ResourceEnvironment | Stack | None,
    options: MetricOptions,
) -> cdk.aws_cloudwatch.Metric:
    """A metric of something that lies in an environment, as far as synth knows it; without one where it is used."""
    from aws_cdk import aws_cloudwatch as cloudwatch  # noqa: PLC0415 - slow, and few stacks need it

    check_period(name, options)
    merged: MetricOptions = {
        "statistic": statistic,
        **options,
        "dimensions_map": {**dimensions, **options.get("dimensions_map", {})},
    }
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        stack_account=known(environment.account if environment else None),
        stack_region=known(environment.region if environment else None),
        **merged,
    )


def check_period(name: str, options: MetricOptions | GraphOptions) -> None:
    """Check that the period of a metric, if there is one, is a Duration."""
    check_options(f"metric {name}", GraphOptions, options)


def known(value: str | None) -> str | None:
    """The value, or None where only CloudFormation will know it."""
    return None if is_unresolved(value) else value
