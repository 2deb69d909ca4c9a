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
from healthimaging_cdk._common.environment import stack_of
from healthimaging_cdk._common.messages import message
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.validation import warn_of_region
from healthimaging_cdk._provider.provider_resource import ProviderResource
from healthimaging_cdk.datastore.datastore import Datastore, IDatastore
from healthimaging_cdk.dicom_import._cross_account import SourcePolicies, fixed_role_name, role_arns
from healthimaging_cdk.dicom_import._exported_results import ExportedResults
from healthimaging_cdk.dicom_import._import_options import ImportOptions
from healthimaging_cdk.dicom_import._metrics import ImportMetrics
from healthimaging_cdk.dicom_import._notifications import make_topic, notification_properties
from healthimaging_cdk.dicom_import._permissions import open_endpoints, provider_statements
from healthimaging_cdk.dicom_import._records import RecordsExpiry, RecordsGuard
from healthimaging_cdk.dicom_import._results import make_outputs
from healthimaging_cdk.dicom_import._storage import create_storage, make_key
from healthimaging_cdk.dicom_import._store_order import create_one_by_one
from healthimaging_cdk.dicom_import.data_access_role import DataAccessRole, rights_of
from healthimaging_cdk.dicom_import.options import (
    Completion,
    ImportQuotas,
    ImportTolerance,
    MetadataMapping,
    Notify,
    OnEmpty,
    TrustConditions,
    mapping_member,
    quota_properties,
    tolerance_properties,
)
from healthimaging_cdk.dicom_import.source import ImportSource

_DEFAULT_TIMEOUT = Duration.minutes(50)


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
        timeout: Duration = _DEFAULT_TIMEOUT,
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
            outputs=outputs,
            removal_policy=removal_policy,
        )
        super().__init__(scope, construct_id)
        warn_of_region(self)
        if encryption_key is not None and not options.creates_something:
            Annotations.of(self).add_warning_v2(
                "healthimaging-cdk:unusedKey",
                "encryption_key is for what this import creates, and it creates nothing that a key would encrypt: the "
                "store and the buckets have their own; omit it, or acknowledge this warning",
            )
        self._encryption_key = make_key(self, removal_policy) if options.creates_key else encryption_key
        self._datastore: IDatastore = datastore or Datastore(
            self, "Datastore", encryption_key=self._encryption_key, removal_policy=removal_policy
        )
        if datastore is None:
            create_one_by_one(self._datastore)
        self._storage = create_storage(self, options, self._encryption_key, self._datastore)
        guard = RecordsGuard.of(self.output_bucket) if output_bucket else RecordsGuard(self.output_bucket)
        self._creates_topic = options.creates_topic
        self._notification_topic = make_topic(self, self._encryption_key) if self._creates_topic else notification_topic
        # The other account names both roles in its policies, which it attaches before they exist. The policy of a
        # bucket in another stack names the provider role, too.
        foreign = options.is_cross_account
        reader_name = fixed_role_name(self, "DataAccess") if foreign else None
        is_named = foreign or (guard is not None and not guard.is_in(stack_of(self)))
        provider_name = fixed_role_name(self, "Request") if is_named else None
        self._data_access_role = data_access_role or self._create_data_access_role(options, reader_name)
        job = self._create_job(options, provider_name)
        self._order(job, guard, provider_name)
        open_endpoints(self, self._storage, options, self._notification_topic)
        self._request_role = job.role
        self._resource = job.resource
        self._creation_order = CreationOrder(self, job.resource)
        exported = ExportedResults(self, cast("CfnElement", job.resource.node.default_child))
        expiry = RecordsExpiry(self, self.output_bucket, output_prefix)
        for validation in (self._creation_order, exported, expiry):
            self.node.add_validation(validation)
        self._role_names = None if data_access_role else reader_name, provider_name
        if outputs:
            make_outputs(self, self)
        if foreign:
            self._source_policies.add_outputs()

    @property
    def _source_policies(self) -> SourcePolicies:
        roles = zip(self._role_names, (self._data_access_role, self._request_role), strict=True)
        readers, listers = (role_arns(self, name) if name else [role.role_arn] for name, role in roles)
        return SourcePolicies(self, self.input_bucket, self.input_prefix, readers, listers)

    def _create_data_access_role(self, options: ImportOptions, role_name: str | None) -> DataAccessRole:
        return DataAccessRole(
            self,
            "DataAccessRole",
            datastore=self._datastore,
            input_bucket=self.input_bucket,
            input_prefix=self.input_prefix,
            output_bucket=self.output_bucket,
            output_prefix=self.output_prefix,
            trust_conditions=options.trust_conditions,
            role_name=role_name,
        )

    def _create_job(self, options: ImportOptions, role_name: str | None) -> ProviderResource:
        given, asset = options.notification_topic, self._storage.asset
        properties: contract.ImportProperties = {
            "DatastoreId": self._datastore.datastore_id,
            "DataAccessRoleArn": self._data_access_role.role_arn,
            "InputBucket": self.input_bucket.bucket_name,
            "InputPrefix": self.input_prefix,
            "InputOwnerAccountId": options.owner_to_send,
            "OutputBucket": self.output_bucket.bucket_name,
            "OutputPrefix": self.output_prefix,
            "JobName": options.job_name,
            "RunId": options.effective_run_id,
            "MetadataMappings": [mapping_member(mapping) for mapping in options.metadata_mappings] or None,
            "AssetBucket": asset.s3_bucket_name if asset else None,
            "AssetKey": asset.s3_object_key if asset else None,
            "OnEmpty": options.on_empty.value,
            **quota_properties(options.quotas),
            "Completion": options.completion.value,
            **tolerance_properties(options.tolerance),
            "ImportAgain": options.how_to_import_again,
            **notification_properties(self._notification_topic, options.notify),
        }
        return ProviderResource(
            self,
            "Job",
            resource_type=contract.ResourceType.IMPORT,
            role_name=role_name,
            statements=provider_statements(
                self,
                self._storage,
                datastore=self._datastore,
                data_access_role=self._data_access_role,
                topic=self._notification_topic,
                topic_key=self._encryption_key if given is None else given.master_key,
            ),
            rights=rights_of(self._data_access_role),
            # A store never changes its key, whatever else is created here later.
            keys=[self._datastore.encryption_key, self._encryption_key, self.output_bucket.encryption_key],
            wait=options.timeout,
            properties=properties,
        )

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
        """The bucket that takes results and records."""
        return self._storage.output_bucket

    @property
    def output_prefix(self) -> str:
        """The prefix that takes results and records."""
        return self._storage.output_prefix

    @property
    def data_access_role(self) -> iam.IRole:
        """The role that HealthImaging assumes."""
        return self._data_access_role

    @property
    def request_role(self) -> iam.IRole:
        """The role of this import's own function, which lists the source before a job is started.

        A source bucket in another account has to let it list, as it has to let the data-access role list and read.
        """
        return self._request_role

    @property
    def source_bucket_policy(self) -> iam.PolicyDocument:
        """What the policy of a source bucket in another account has to allow (docs/cross-account.md).

        The data-access role lists and reads, the ``request_role`` lists the input prefix. Both are named by the
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

    @property
    def encryption_key(self) -> kms.IKey | None:
        """The customer-managed key of the resources created here, if there is one."""
        return self._encryption_key

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

    def _order(self, job: ProviderResource, guard: RecordsGuard | None, role_name: str | None) -> None:
        """Have everything the job needs there before its first request, and until after its last."""
        needs: list[IDependable] = [self._data_access_role]  # with the policies that others attach to it
        image_set_deletion = self._datastore.node.try_find_child("ImageSetDeletion")
        if isinstance(image_set_deletion, ProviderResource):  # and not a rule of this name
            # On deletion the other way round: the job ends first, then its image sets are deleted.
            needs.append(image_set_deletion)
        if self._creates_topic:  # with its policy
            needs.append(self.node.find_child("Notifications"))
        if guard is not None:
            if role_name is not None and not guard.is_in(stack_of(self)):
                guard.admit(self.output_prefix, *role_arns(self, role_name))
            else:
                guard.admit(self.output_prefix, job.role_arn)
            needs.append(cast("s3.BucketPolicy", self.output_bucket.policy))
        job.resource.node.add_dependency(*needs)


__all__ = ["DicomImport"]
