"""What every import has, whatever starts its jobs: where it reads and writes, its roles, its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack, cast

import aws_cdk as cdk
from aws_cdk import CfnElement
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct

from healthimaging_cdk._common.environment import stack_of
from healthimaging_cdk._common.event_rules import OnEventOptions, make_rule
from healthimaging_cdk._common.metrics import MetricOptions, make_import_metric
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.validation import warn_of_region
from healthimaging_cdk.datastore.datastore import Datastore, IDatastore
from healthimaging_cdk.dicom_import.data_access_role import DataAccessRole
from healthimaging_cdk.dicom_import.shared.cross_account import SourcePolicies, fixed_role_name, role_arns
from healthimaging_cdk.dicom_import.shared.import_options import ImportOptions
from healthimaging_cdk.dicom_import.shared.records import RecordsExpiry, RecordsGuard
from healthimaging_cdk.dicom_import.shared.storage import create_storage, make_key
from healthimaging_cdk.dicom_import.shared.store_order import create_one_by_one


class ImportBase(Construct):
    """Creates what is not given, and has the attributes of an import.

    ``role_purpose`` is what a fixed name of the function's role for this import says.
    """

    _data_access_role: iam.IRole
    _request_role: iam.Role
    _named_by: IConstruct
    """Its logical id is in the name of the import."""

    def __init__(self, options: ImportOptions, role_purpose: str) -> None:
        super().__init__(options.scope, options.construct_id)
        warn_of_region(self)
        policy, stack = options.removal_policy, options.stack
        self._encryption_key = make_key(self, policy) if options.creates_key else options.encryption_key
        self._datastore: IDatastore = options.datastore or Datastore(
            self, "Datastore", encryption_key=self._encryption_key, removal_policy=policy
        )
        if options.datastore is None:
            create_one_by_one(self._datastore)
        self._storage = create_storage(self, options, self._encryption_key, self._datastore)
        given = options.output_bucket
        self._guard = RecordsGuard.of(self.output_bucket) if given else RecordsGuard(self.output_bucket)
        self.node.add_validation(RecordsExpiry(self, self.output_bucket, options.output_prefix))
        self._is_guarded_elsewhere = self._guard is not None and not self._guard.is_in(stack)
        # The other account names both roles in its policies, which it attaches before they exist. The policy of a
        # bucket in another stack names the function's role, too.
        foreign = options.is_cross_account
        self._data_access_role_name = fixed_role_name(self, "DataAccess") if foreign else None
        is_named = foreign or self._is_guarded_elsewhere
        self._request_role_name = fixed_role_name(self, role_purpose) if is_named else None

    def _use_data_access_role(self, options: ImportOptions) -> None:
        """Take the role that is given, or create one."""
        if options.data_access_role is not None:
            self._data_access_role_name = None
        self._data_access_role = options.data_access_role or DataAccessRole(
            self,
            "DataAccessRole",
            datastore=self._datastore,
            input_bucket=self.input_bucket,
            input_prefix=self.input_prefix,
            output_bucket=self.output_bucket,
            output_prefix=self.output_prefix,
            trust_conditions=options.trust_conditions,
            role_name=self._data_access_role_name,
        )

    def _admit_request_role(self) -> list[s3.BucketPolicy]:
        """Let the function's role write records, and say which policy has to be there before it does."""
        if self._guard is None:
            return []
        name = self._request_role_name
        arns = role_arns(self, name) if name and self._is_guarded_elsewhere else [self._request_role.role_arn]
        self._guard.admit(self.output_prefix, *arns)
        return [cast("s3.BucketPolicy", self.output_bucket.policy)]

    @property
    def _source_policies(self) -> SourcePolicies:
        readers, listers = (
            role_arns(self, name) if name else [role.role_arn]
            for name, role in (
                (self._data_access_role_name, self._data_access_role),
                (self._request_role_name, self._request_role),
            )
        )
        return SourcePolicies(self, self.input_bucket, self.input_prefix, readers, listers)

    @property
    def datastore(self) -> IDatastore:
        """The data store that is imported into."""
        return self._datastore

    @property
    def input_bucket(self) -> s3.IBucket:
        """The bucket that is read."""
        return self._storage.input_bucket

    @property
    def input_prefix(self) -> str:
        """The prefix that is read."""
        return self._storage.input_prefix

    @property
    def output_bucket(self) -> s3.IBucket:
        """The bucket that takes job output, and what the import itself writes."""
        return self._storage.output_bucket

    @property
    def output_prefix(self) -> str:
        """The prefix that takes job output, and what the import itself writes."""
        return self._storage.output_prefix

    @property
    def data_access_role(self) -> iam.IRole:
        """The role that HealthImaging assumes."""
        return self._data_access_role

    @property
    def request_role(self) -> iam.IRole:
        """The role that the function assumes for this import: it lists the source and starts jobs.

        A source bucket in another account has to let it list, as it has to let the data access role list and read.
        """
        return self._request_role

    @property
    def encryption_key(self) -> kms.IKey | None:
        """The customer-managed key of the resources created here, if there is one."""
        return self._encryption_key

    @property
    def import_name(self) -> str:
        """What the import is called in metrics and events: the name of its stack and a logical id."""
        named_by = cast("CfnElement", self._named_by.node.default_child)
        return contract.import_name(stack_of(self).stack_name, named_by.logical_id)

    @property
    def source_bucket_policy(self) -> iam.PolicyDocument:
        """What the policy of a source bucket in another account has to allow (docs/cross-account.md).

        The data access role lists and reads, the ``request_role`` lists the input prefix. Both are named by the
        condition ``aws:PrincipalArn``, so that the other account can attach this before they exist.
        """
        return self._source_policies.of_bucket()

    @property
    def source_key_policy(self) -> iam.PolicyDocument:
        """What the policy of the source bucket's key has to allow.

        Raises:
            ValueError: the source bucket is not known to have a key.
        """
        return self._source_policies.of_known_key()

    def _make_rule(
        self, construct_id: str, options: OnEventOptions, detail_type: str, detail: Mapping[str, Any]
    ) -> cdk.aws_events.Rule:
        """A rule for events that the function sends about this import."""
        return make_rule(
            self,
            construct_id,
            options,
            source=contract.EVENT_SOURCE,
            detail_type=detail_type,
            detail={contract.EVENT_IMPORT: [self.import_name], **detail},
        )

    def metric(self, metric_name: str, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Create a metric of this import (dimension ``Import``); a failed invocation may count a job twice.

        Args:
            metric_name: the name in the namespace ``HealthImagingCdk``.
            options: the members of ``aws_cloudwatch.MetricOptions``, as in every ``metric_*``; the sum over 5 minutes
                unless given.
        """
        return make_import_metric(metric_name, self.import_name, stack_of(self), options)

    def metric_files_imported(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Files that jobs have imported. Default statistic: the sum over 5 minutes."""
        return self.metric("FilesImported", **options)

    def metric_files_rejected(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Files that jobs have scanned and not imported. Default statistic: the sum over 5 minutes."""
        return self.metric("FilesRejected", **options)


__all__ = ["ImportBase"]
