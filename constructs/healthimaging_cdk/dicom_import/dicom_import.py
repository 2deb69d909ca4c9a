"""A DICOM import that runs on deploy, with everything it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import aws_cdk as cdk
from aws_cdk import Annotations, CfnElement, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct, IDependable

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.creation_order import CreationOrder
from healthimaging_cdk._common.messages import message
from healthimaging_cdk._provider.provider_resource import ProviderResource
from healthimaging_cdk.datastore.datastore import IDatastore
from healthimaging_cdk.dicom_import._exported_results import ExportedResults
from healthimaging_cdk.dicom_import._job import create_job
from healthimaging_cdk.dicom_import._metrics import ImportMetrics
from healthimaging_cdk.dicom_import._notifications import make_topic
from healthimaging_cdk.dicom_import._results import make_outputs
from healthimaging_cdk.dicom_import.options import (
    Completion,
    ImportQuotas,
    ImportTolerance,
    MetadataMapping,
    Notify,
    OnEmpty,
    TrustConditions,
)
from healthimaging_cdk.dicom_import.shared.import_options import DEFAULT_TIMEOUT, ImportOptions
from healthimaging_cdk.dicom_import.shared.permissions import open_endpoints
from healthimaging_cdk.dicom_import.source import ImportSource


class DicomImport(ImportMetrics):
    """Imports DICOM P10 files into a HealthImaging data store when the stack is deployed.

    Whatever is not given is created: a key, a data store, an input and an output bucket, and the role that
    HealthImaging assumes. All of them are attributes. A custom resource calls StartDICOMImportJob, waits for the
    job, and lets the deploy succeed only if the job's manifest says that files were imported.

    A deploy imports again when its meaning changes: the store, the source (for a directory: its files), the output,
    the metadata mappings, or ``run_id``. Anything else, a new version of this library included, does not.

    A job keeps the rights it was started with until it has ended: what the roles may do is in policies that are
    replaced and not changed. The records in the output bucket can be written by the import's own function alone, if the
    bucket is created here; docs/permissions.md says what to deny on a bucket of your own.

    ``execute_after(x)`` orders the job after ``x``, not the buckets and the store.

    If the first deploy of a stack fails, the rollback leaves behind what is retained: the data store, the buckets, the
    key and the log group. docs/recovering.md shows how to adopt or remove them. Keep data and import in two stacks, as
    this project's ``app.py`` does, and a failed import rolls back nothing that holds data.

    Example:
        >>> import_ = DicomImport(stack, "Import", source=ImportSource.bucket(images, "studies/2026/"))
        >>> CfnOutput(stack, "ImportedFiles", value=import_.number_of_imported_files)

    See:
        https://docs.aws.amazon.com/healthimaging/latest/APIReference/API_StartDICOMImportJob.html
    """

    @check_types
    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        datastore: IDatastore | None = None,
        source: ImportSource | None = None,
        output_bucket: s3.IBucket | None = None,
        output_prefix: str = "results/",
        data_access_role: iam.IRole | None = None,
        trust_conditions: TrustConditions = TrustConditions.ACCOUNT_AND_DATASTORE,
        encryption_key: kms.IKey | None = None,
        customer_managed_key: bool = True,
        job_name: str | None = None,
        run_id: str | None = None,
        metadata_mappings: Sequence[MetadataMapping] = (),
        on_empty: OnEmpty = OnEmpty.SKIP,
        completion: Completion = Completion.WAIT,
        timeout: Duration = DEFAULT_TIMEOUT,
        tolerance: ImportTolerance | None = None,
        quotas: ImportQuotas | None = None,
        notify: Notify | None = None,
        notification_topic: cdk.aws_sns.ITopic | None = None,
        results_expiration: Duration | None = None,
        access_logs_bucket: s3.IBucket | None = None,
        outputs: bool = True,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
    ) -> None:
        """Create an import.

        Args:
            scope: the parent construct.
            construct_id: the id in the scope.
            datastore: the data store to import into. Default: a store is created.
            source: the files to import. Default: an input bucket is created, to be filled under ``dicom/``.
            output_bucket: where HealthImaging writes job output and this import its records. Default: a bucket is
                created.
            output_prefix: where in the output bucket, ending in ``/``.
            data_access_role: the role that HealthImaging assumes, with the rights and the trust that
                :class:`DataAccessRole` describes. Default: a DataAccessRole is created.
            trust_conditions: as in :class:`DataAccessRole`, for the one that is created here.
            encryption_key: KMS key for the resources created here. Default: a key with rotation is created for each
                import that creates something to encrypt, also where the store has a key. Pass the store's key to
                have one key for both. The log of the stack's function has the key of the first import (or data
                store that the function serves) with one that is fit: its data store's, else this one, else the output
                bucket's. The key's policy then lets CloudWatch Logs use it. Not fit are keys that are only referred to
                (``Key.from_key_arn``), and keys that go with their stack, which the log does not.
            customer_managed_key: False uses the keys of S3 and HealthImaging for the resources created here.
                Default: True.
            job_name: how the names of the import's jobs begin, 1 to 43 characters of ``A-Z a-z 0-9 . _ / # -``. The
                function appends ``-`` and 20 hexadecimal digits that mark the attempt. Changing it does not import
                again. Default: the name of the stack and the logical id of the import.
            run_id: any text that is not empty. A value that is not the last one imports again on the next deploy.
                Default: the value of the CDK context key ``run_id``
                (``cdk deploy -c run_id=...``), else the import's latest run, so that a deploy without it does not
                import again.
            metadata_mappings: DICOM JSON metadata files to import with their studies or series
                (``importConfiguration``). Default: none.
            on_empty: what to do when there is nothing to import; the deploy succeeds unless this says otherwise.
            completion: when the deploy is done with the job: when it has ended, unless this says otherwise. The
                verdict on a job that nobody waits for reaches metrics (namespace ``HealthImagingCdk``) and the default
                event bus (:meth:`on_judged`), as every verdict does.
            timeout: how long to wait for the job, 1 to 55 minutes, since CloudFormation gives up after an hour.
            tolerance: what may go wrong in a job that still counts as good; anything but importing nothing unless
                given. Changing it does not import again.
            quotas: how much one job takes. Default: AWS's defaults.
            notify: which verdicts the function publishes to a topic, also when no deploy waits for them. Default:
                failures if ``notification_topic`` is given, else none.
            notification_topic: the topic that gets them. It is a standard topic in the stack's Region. One that a
                customer-managed key encrypts must know its key (``Topic.from_topic_attributes(key_arn=...)``). The
                policies of a topic in another account and of its key must let the ``request_role`` publish. Default:
                if ``notify`` is given, a topic is created, encrypted with the key for the resources created here.
            results_expiration: when the output of jobs expires in an output bucket that is created here.
                Default: never. Records and the manifests they name are kept in any case.
            access_logs_bucket: where S3 writes server access logs of the buckets that are created here, each under
                ``<account>/<Region>/<bucket>/<year>/<month>/<day>/``. Default: none are written. It is in the
                same account and Region, is encrypted with SSE-S3, and is let take them by its bucket policy, which the
                owner of an imported one sees to
                (https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html).
            outputs: whether the stack tells the data store, the job, what it did, and the manifest as outputs; they
                are attributes in any case, and a stack takes 200 outputs. The policies for the account of a foreign
                source are outputs always.
            removal_policy: what becomes of the store, the buckets and the key that are created here when they leave the
                stack; they are retained unless this says otherwise.

        Raises:
            TypeError: arguments are not of their types; the message names all of them.
            ValueError: arguments break rules; the message names all of them.
        """
        options = ImportOptions(
            scope=scope,
            construct_id=construct_id,
            datastore=datastore,
            source=source,
            output_bucket=output_bucket,
            output_prefix=output_prefix,
            data_access_role=data_access_role,
            trust_conditions=trust_conditions,
            encryption_key=encryption_key,
            customer_managed_key=customer_managed_key,
            job_name=job_name,
            run_id=run_id,
            metadata_mappings=metadata_mappings,
            on_empty=on_empty,
            completion=completion,
            timeout=timeout,
            tolerance=tolerance,
            quotas=quotas,
            notify=notify,
            notification_topic=notification_topic,
            results_expiration=results_expiration,
            access_logs_bucket=access_logs_bucket,
            removal_policy=removal_policy,
        )
        super().__init__(options, "Request")
        if encryption_key is not None and not options.creates_something:
            Annotations.of(self).add_warning_v2(
                "healthimaging-cdk:unusedKey",
                "encryption_key is for what this import creates, and it creates nothing that a key would encrypt: the "
                "store and the buckets have their own; omit it, or acknowledge this warning",
            )
        topic = make_topic(self, self._encryption_key) if options.creates_topic else notification_topic
        self._notification_topic = topic
        self._use_data_access_role(options)
        job = create_job(
            self,
            options,
            self._storage,
            datastore=self._datastore,
            data_access_role=self._data_access_role,
            role_name=self._request_role_name,
            topic=topic,
            encryption_key=self._encryption_key,
        )
        self._request_role = job.role
        self._resource = self._named_by = job.resource
        job.resource.node.add_dependency(*self._needs_of_job(options))
        open_endpoints(self, self._storage, options, topic)
        self._creation_order = CreationOrder(self, job.resource)
        exported = ExportedResults(self, cast("CfnElement", job.resource.node.default_child))
        for validation in (self._creation_order, exported):
            self.node.add_validation(validation)
        if outputs:
            make_outputs(self, self)
        if options.is_cross_account:
            self._source_policies.add_outputs()

    def _needs_of_job(self, options: ImportOptions) -> list[IDependable]:
        """What has to be there before the first request for the job, and until after the last."""
        needs: list[IDependable] = [self._data_access_role]  # with the policies that others attach to it
        image_set_deletion = self._datastore.node.try_find_child("ImageSetDeletion")
        if isinstance(image_set_deletion, ProviderResource):  # and not a rule of this name
            # On deletion the other way round: the job ends first, then its image sets are deleted.
            needs.append(image_set_deletion)
        if options.creates_topic:  # with its policy
            needs.append(self.node.find_child("Notifications"))
        return needs + self._admit_request_role()

    @check_types
    def execute_after(self, *dependencies: IDependable) -> None:
        """Start the job after other constructs are created, and let nothing else of this import wait for them.

        What fills the input bucket depends on that bucket, so the bucket must not wait for it:
        ``import_.node.add_dependency`` orders all that is created here, as for any construct. Synth fails if a
        dependency in turn waits for what waits for it.

        Args:
            dependencies: the constructs to wait for, with all that is in them.

        Raises:
            TypeError: a dependency is no construct.

        Example:
            >>> import_.execute_after(index, topic)
        """
        self._creation_order.is_ordered = True
        self._resource.node.add_dependency(*dependencies)

    @property
    def notification_topic(self) -> cdk.aws_sns.ITopic:
        """The topic that gets the verdicts on jobs.

        Raises:
            ValueError: the import notifies nobody.
        """
        if self._notification_topic is None:
            raise ValueError(
                message("DicomImport", ["there is no notification_topic: pass it, or notify"], self.node.path)
            )
        return self._notification_topic


__all__ = ["DicomImport"]
