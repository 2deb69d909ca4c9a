"""What the library itself measures of an import, whatever started it and whoever waits for it."""

from __future__ import annotations

from typing import Unpack

import aws_cdk as cdk
from aws_cdk import Duration

from healthimaging_cdk._common.metrics import GraphOptions, MetricOptions, check_period
from healthimaging_cdk.dicom_import._events import ImportEvents


class ImportMetrics(ImportEvents):
    """The metrics of one import: one value for each job that has ended, written by the import's own function.

    The dimension ``Import`` is the name of the stack and the logical id of the import: a stack that is deleted and made
    again has the same metrics. The values come from log lines (CloudWatch's embedded metric format). A failed
    invocation is repeated, so a job may very rarely be counted twice.
    """

    def metric_files_scanned(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Files that jobs have found under the input prefix. Default statistic: the sum over 5 minutes."""
        return self.metric("FilesScanned", **options)

    def metric_image_sets_generated(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Image sets that jobs have generated. Default statistic: the sum over 5 minutes."""
        return self.metric("ImageSetsGenerated", **options)

    def metric_imports_succeeded(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Jobs that imported what they should. Default statistic: the sum over 5 minutes."""
        return self.metric("ImportsSucceeded", **options)

    def metric_imports_failed(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Jobs whose verdict is FAILED or could not be determined. Default statistic: the sum over 5 minutes."""
        return self.metric("ImportsFailed", **options)

    def metric_duration(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Seconds from the submission of a job to its end. Default statistic: the maximum over 5 minutes."""
        wanted: MetricOptions = {"statistic": "Maximum", **options}
        return self.metric("Duration", **wanted)

    def metric_rejected_rate(self, **options: Unpack[GraphOptions]) -> cdk.aws_cloudwatch.MathExpression:
        """How many of the scanned files were rejected, in percent; no value while no file was scanned.

        Args:
            options: ``period`` (5 minutes unless given), ``label`` (``Rejected files (%)`` unless given) and ``color``.
        """
        from aws_cdk import aws_cloudwatch as cloudwatch  # noqa: PLC0415 - slow, and few stacks need it

        check_period("RejectedRate", options)
        wanted: GraphOptions = {"period": Duration.minutes(5), "label": "Rejected files (%)", **options}
        # Ids are shared by everything in one graph, and another import or period must not have the same.
        suffix = f"{self.node.addr[-8:]}_{int(wanted['period'].to_seconds())}"
        rejected, scanned = f"rejected_{suffix}", f"scanned_{suffix}"
        return cloudwatch.MathExpression(
            expression=f"100 * {rejected} / {scanned}",
            using_metrics={rejected: self.metric_files_rejected(), scanned: self.metric_files_scanned()},
            **wanted,
        )


__all__ = ["ImportMetrics"]
