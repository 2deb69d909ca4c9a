"""Creates the metrics of this library: the keyword arguments of aws-cdk's own ``metric_*`` methods, typed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import aws_cdk as cdk
from aws_cdk import Duration, Stack

from healthimaging_cdk._common.argument_types import check_options
from healthimaging_cdk._common.messages import is_unresolved
from healthimaging_cdk._common.runtime import contract


class MetricOptions(TypedDict, total=False):
    """What every ``metric_*`` method takes (``aws_cloudwatch.MetricOptions``). All of it may be omitted."""

    account: str
    """The account the metric comes from. Default: that of the construct."""
    color: str
    """The colour in graphs, as ``#00ff00``. Default: CloudWatch chooses one."""
    dimensions_map: Mapping[str, str]
    """Further dimensions, or other values of the ones there are. Default: none."""
    id: str
    """A name for the metric in math expressions. Default: CDK makes one."""
    label: str
    """The label in graphs. Default: CloudWatch makes one."""
    period: Duration
    """The time over which the statistic is taken. Default: 5 minutes."""
    region: str
    """The Region the metric comes from. Default: that of the construct."""
    statistic: str
    """The statistic; each method says its own."""
    unit: cdk.aws_cloudwatch.Unit
    """Only data of this unit. Default: of any."""
    visible: bool
    """Whether it is shown in graphs. Default: it is."""


class GraphOptions(TypedDict, total=False):
    """What a method takes that creates a math expression. All of it may be omitted."""

    color: str
    """The colour in graphs, as ``#00ff00``. Default: CloudWatch chooses one."""
    label: str
    """The label in graphs; each method says its own."""
    period: Duration
    """The time over which the statistics are taken. Default: 5 minutes."""


def make_metric(
    namespace: str,
    name: str,
    *,
    statistic: str,
    dimensions: Mapping[str, str],
    environment: cdk.interfaces.ResourceEnvironment | Stack | None,
    options: MetricOptions,
) -> cdk.aws_cloudwatch.Metric:
    """A metric of something in an environment, as far as synth knows it. Default: where it is used."""
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


def make_import_metric(
    name: str, import_name: str, environment: Stack, options: MetricOptions
) -> cdk.aws_cloudwatch.Metric:
    """A metric that the function writes of one import (dimension ``Import``): the sum unless given."""
    return make_metric(
        contract.METRIC_NAMESPACE,
        name,
        statistic="Sum",
        dimensions={contract.METRIC_DIMENSIONS[1]: import_name},
        environment=environment,
        options=options,
    )


def check_period(name: str, options: MetricOptions | GraphOptions) -> None:
    """Check that the period of a metric, if there is one, is a Duration."""
    check_options(f"metric {name}", GraphOptions, options)


def known(value: str | None) -> str | None:
    """The value, or None where only CloudFormation will know it."""
    return None if is_unresolved(value) else value
