"""What CloudWatch knows about a data store: the namespace AWS/HealthImaging."""

from __future__ import annotations

import re
from enum import Enum
from typing import Unpack

import aws_cdk as cdk
from aws_cdk import Aws, Duration

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.messages import is_unresolved
from healthimaging_cdk._common.metrics import GraphOptions, MetricOptions, check_period, known, make_metric
from healthimaging_cdk._common.validation import Violations
from healthimaging_cdk.datastore._events import DatastoreEvents

_NAMESPACE = "AWS/HealthImaging"
# All but the calls are levels: their average is right however often HealthImaging reports them, a sum is not.
_STATISTIC = "Average"
_PERIOD_MINUTES = 5


class StorageTier(Enum):
    """The storage tiers by which CloudWatch counts the bytes of image sets.

    Example:
        >>> archived = store.metric_storage_bytes(StorageTier.ARCHIVE_INSTANT_ACCESS)
        >>> studies = store.metric("DICOMStudyCount")
    """

    ALL = "AllStorage"
    """All tiers together."""
    FREQUENT_ACCESS = "FrequentAccessStorage"
    """Frequent Access, where image sets begin."""
    ARCHIVE_INSTANT_ACCESS = "ArchiveInstantAccessStorage"
    """Archive Instant Access, where image sets go that nobody has read for a time."""


class DatastoreMetrics(DatastoreEvents):
    """The metrics of a data store, own or imported.

    HealthImaging reports them for data stores made after 2026-02-09, and only in an account that has its service-linked
    role. What an import does is measured by :class:`DicomImport`.

    See:
        https://docs.aws.amazon.com/healthimaging/latest/devguide/monitoring-cloudwatch.html,
        https://docs.aws.amazon.com/healthimaging/latest/devguide/security-iam-service-linked-roles.html
    """

    def metric(self, metric_name: str, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Create a metric of this data store (dimension ``DatastoreId``) in the store's own account and Region.

        Args:
            metric_name: the name in the namespace ``AWS/HealthImaging``.
            options: the members of ``aws_cloudwatch.MetricOptions``, as in every ``metric_*``. Dimensions are added to
                ``DatastoreId``. Default statistic: the average over 5 minutes.
        """
        return make_metric(
            _NAMESPACE,
            metric_name,
            statistic=_STATISTIC,
            dimensions={"DatastoreId": self.datastore_id},
            environment=self.env,
            options=options,
        )

    def metric_total_image_set_count(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """How many image sets the store holds. Default statistic: the average over 5 minutes."""
        return self.metric("TotalImageSetCount", **options)

    def metric_primary_image_set_count(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """How many primary image sets the store holds. Default statistic: the average over 5 minutes."""
        return self.metric("PrimaryImageSetCount", **options)

    def metric_small_image_set_count(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """How many image sets are smaller than 5 MB, the size they are billed at; the average over 5 minutes."""
        return self.metric("SmallImageSetCount", **options)

    @check_types
    def metric_storage_bytes(
        self, storage_tier: StorageTier = StorageTier.ALL, **options: Unpack[MetricOptions]
    ) -> cdk.aws_cloudwatch.Metric:
        """How many bytes the store's image sets take in a storage tier. Default statistic: the average over 5 minutes.

        Args:
            storage_tier: the tier. Default: all together.
            options: as in :meth:`metric`.
        """
        return self.metric("StorageBytes", **_of_tier(storage_tier, options))

    def metric_structured_storage_bytes(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """How many bytes of structured storage the store indexes. Default statistic: the average over 5 minutes."""
        return self.metric("StructuredStorageBytes", **options)

    def metric_dicom_study_count(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """How many DICOM studies the store holds. Default statistic: the average over 5 minutes."""
        return self.metric("DICOMStudyCount", **options)

    def metric_dicom_series_count(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """How many DICOM series the store holds. Default statistic: the average over 5 minutes."""
        return self.metric("DICOMSeriesCount", **options)

    def metric_dicom_instance_count(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """How many DICOM instances the store holds. Default statistic: the average over 5 minutes."""
        return self.metric("DICOMInstanceCount", **options)

    @check_types
    def metric_call_count(self, operation: str, **options: Unpack[GraphOptions]) -> cdk.aws_cloudwatch.MathExpression:
        """How often an API operation was called for this store. Default statistic: the sum over 5 minutes.

        AWS documents that ``CallCount`` has an operation, a data store and a type of data store, and neither the name
        nor the values of the last. The metric is therefore searched for by the other two, which graphs can do and
        alarms cannot.

        Args:
            operation: the operation as the API reference spells it, for example ``GetImageFrame``.
            options: ``period``, ``label`` (the operation unless given) and ``color``.

        Raises:
            ValueError: the operation is not a name.
        """
        violations = Violations("Datastore.metric_call_count", self)
        if not is_unresolved(operation) and not re.fullmatch("[A-Za-z]+", operation):
            violations.add(f"operation must be the name of an API operation such as GetImageFrame, got {operation!r}")
        violations.raise_any()
        check_period("CallCount", options)
        from aws_cdk import aws_cloudwatch as cloudwatch  # noqa: PLC0415 - slow, and few stacks need it

        wanted: GraphOptions = {"period": Duration.minutes(_PERIOD_MINUTES), "label": operation, **options}
        found = (
            f'Namespace="{_NAMESPACE}" MetricName="CallCount" Operation="{operation}" DatastoreId="{self.datastore_id}"'
        )
        env = self.env
        return cloudwatch.MathExpression(
            expression=f"SUM(SEARCH('{found}', 'Sum', {int(wanted['period'].to_seconds())}))",
            search_account=known(env.account),
            search_region=known(env.region),
            **wanted,
        )

    @staticmethod
    def metric_all(metric_name: str, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Create a metric of all data stores of an account and Region (dimension ``AccountId``).

        Args:
            metric_name: the name in the namespace ``AWS/HealthImaging``.
            options: as in :meth:`metric`. Default: account and Region are those of the stack that uses it.
        """
        return make_metric(
            _NAMESPACE,
            metric_name,
            statistic=_STATISTIC,
            dimensions={"AccountId": options.get("account", Aws.ACCOUNT_ID)},
            environment=None,
            options=options,
        )

    @staticmethod
    def metric_all_data_store_count(**options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """How many active data stores an account has in a Region. Default statistic: the average over 5 minutes."""
        return DatastoreMetrics.metric_all("DataStoreCount", **options)

    @staticmethod
    def metric_all_image_set_count(**options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """How many image sets all data stores hold together. Default statistic: the average over 5 minutes."""
        return DatastoreMetrics.metric_all("ImageSetCount", **options)

    @staticmethod
    @check_types
    def metric_all_storage_bytes(
        storage_tier: StorageTier = StorageTier.ALL, **options: Unpack[MetricOptions]
    ) -> cdk.aws_cloudwatch.Metric:
        """How many bytes the image sets of all data stores take in a storage tier; the average over 5 minutes.

        Args:
            storage_tier: the tier. Default: all together.
            options: as in :meth:`metric_all`.
        """
        return DatastoreMetrics.metric_all("StorageBytes", **_of_tier(storage_tier, options))


def _of_tier(storage_tier: StorageTier, options: MetricOptions) -> MetricOptions:
    return {**options, "dimensions_map": {"StorageTier": storage_tier.value, **options.get("dimensions_map", {})}}


__all__ = ["DatastoreMetrics", "StorageTier"]
