"""The import of an archive that outgrows one import job."""

from __future__ import annotations

from typing import Any, Unpack, cast

import aws_cdk as cdk
from aws_cdk import ArnFormat, CfnElement, CfnResource, CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct, IDependable

from healthimaging_cdk._common.added_grants import warn_unless_added
from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.environment import stack_of
from healthimaging_cdk._common.event_rules import OnEventOptions, make_rule
from healthimaging_cdk._common.kms_keys import grant_on_key
from healthimaging_cdk._common.metrics import MetricOptions, make_import_metric, make_metric
from healthimaging_cdk._common.policies import allow
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.validation import warn_of_region
from healthimaging_cdk._provider.provider import Provider
from healthimaging_cdk._provider.rights_policy import RightsPolicy, digest_together
from healthimaging_cdk.bulk_import._bulk_options import BulkOptions
from healthimaging_cdk.bulk_import._definition import make_definition
from healthimaging_cdk.bulk_import.options import BulkPace
from healthimaging_cdk.datastore.datastore import Datastore, IDatastore
from healthimaging_cdk.dicom_import.data_access_role import DataAccessRole, rights_of
from healthimaging_cdk.dicom_import.options import (
    Completion,
    ImportQuotas,
    ImportTolerance,
    OnEmpty,
    TrustConditions,
)
from healthimaging_cdk.dicom_import.shared import (
    RecordsExpiry,
    RecordsGuard,
    SourcePolicies,
    create_one_by_one,
    create_storage,
    fixed_role_name,
    make_key,
    open_endpoints,
    provider_statements,
    role_arns,
)
from healthimaging_cdk.dicom_import.source import ImportSource

_START_SECONDS = 300


class BulkDicomImport(Construct):
    """Imports an archive of any size into a HealthImaging data store: as many jobs as it takes, at the account's pace.

    A state machine lists the source, plans the fewest jobs that fit into the quotas, starts them as fast as the account
    may, judges each by its manifest, and accounts for every file. It can be stopped, redriven and started again at any
    moment: what was started is found again, and nothing is started twice. The plan, the state and the report are files
    in the output bucket (docs/bulk-import.md).

    Whatever is not given is made, as by a :class:`DicomImport`. Nothing is imported on deploy, unless
    ``start_on_deploy`` says so: start an execution of ``state_machine_arn``.

    Example:
        >>> archive = BulkDicomImport(stack, "Archive", datastore=store, source=ImportSource.bucket(images, "archive/"))
        >>> archive.on_failed("Failed")

    See:
        https://docs.aws.amazon.com/healthimaging/latest/devguide/endpoints-quotas.html
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
        tolerance: ImportTolerance | None = None,
        quotas: ImportQuotas | None = None,
        pace: BulkPace | None = None,
        folders_per_job: int = 10_000,
        attempts: int = 3,
        prefixes_without_slash: bool = False,
        plan_only: bool = False,
        start_on_deploy: bool = False,
        results_expiration: Duration | None = None,
        access_logs_bucket: s3.IBucket | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
    ) -> None:
        """Create the state machine and what it needs.

        Args:
            scope: the parent construct.
            construct_id: the id in the scope.
            datastore: the data store to import into. Default: a store is created.
            source: the bucket and prefix to import. Default: an input bucket is created, to be filled under ``dicom/``.
            output_bucket: takes job output, plans, states and reports. Default: a bucket is created.
            output_prefix: where in the output bucket, ending in ``/``.
            data_access_role: the role that HealthImaging assumes. Default: a :class:`DataAccessRole` is created.
            trust_conditions: as in :class:`DataAccessRole`, for the one that is created here.
            encryption_key: KMS key for the resources created here. Default: a key with rotation is created.
            customer_managed_key: False uses the keys of S3 and HealthImaging for what is created here.
            job_name: how the names of the jobs begin, as in :class:`DicomImport`. Default: the name of the stack and
                the logical id of ``request_role``.
            tolerance: what may go wrong in the whole run. Files that no job has imported count as rejected, those that
                no prefix covers included. Default: anything, except that a job fails in all its attempts or that
                nothing is imported.
            quotas: how much one job takes. Default: AWS's defaults.
            pace: how fast jobs may be started, and how many at once. Default: AWS's defaults.
            folders_per_job: nested folders under the prefix of one job.
            attempts: how often a job is started that HealthImaging ends as FAILED, 1 to 10.
            prefixes_without_slash: whether a job's prefix may end anywhere, so that large folders can be cut. Whether
                HealthImaging takes such prefixes is not documented: try it with one job first.
            plan_only: whether executions end with the plan.
            start_on_deploy: whether a deploy starts an execution, without waiting for it: the first deploy, and each
                that changes what is imported.
            results_expiration: as in :class:`DicomImport`. Default: job output never expires.
            access_logs_bucket: as in :class:`DicomImport`. Default: no access logs are written.
            removal_policy: what becomes of store, buckets and key that are created here when they leave the stack.

        Raises:
            TypeError: arguments are not of their types; the message names all of them.
            ValueError: arguments break rules; the message names all of them.
        """
        options = BulkOptions(
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
            tolerance=tolerance,
            quotas=quotas,
            pace=pace,
            folders_per_job=folders_per_job,
            attempts=attempts,
            prefixes_without_slash=prefixes_without_slash,
            plan_only=plan_only,
            start_on_deploy=start_on_deploy,
            results_expiration=results_expiration,
            access_logs_bucket=access_logs_bucket,
            removal_policy=removal_policy,
            run_id=None,
            metadata_mappings=(),
            on_empty=OnEmpty.SKIP,
            completion=Completion.SUBMIT,
            timeout=Duration.minutes(50),
            notify=None,
            notification_topic=None,
            outputs=False,
        )
        super().__init__(scope, construct_id)
        warn_of_region(self)
        self._encryption_key = make_key(self, removal_policy) if options.creates_key else encryption_key
        self._datastore: IDatastore = datastore or Datastore(
            self, "Datastore", encryption_key=self._encryption_key, removal_policy=removal_policy
        )
        if datastore is None:
            create_one_by_one(self._datastore)
        self._storage = create_storage(self, options, self._encryption_key, self._datastore)
        guard = RecordsGuard.of(self.output_bucket) if output_bucket else RecordsGuard(self.output_bucket)
        self.node.add_validation(RecordsExpiry(self, self.output_bucket, output_prefix))
        foreign = options.is_cross_account
        access_name = fixed_role_name(self, "DataAccess") if foreign else None
        is_named = foreign or (guard is not None and not guard.is_in(stack_of(self)))
        role_name = fixed_role_name(self, "Bulk") if is_named else None
        self._data_access_role = data_access_role or DataAccessRole(
            self,
            "DataAccessRole",
            datastore=self._datastore,
            input_bucket=self.input_bucket,
            input_prefix=self.input_prefix,
            output_bucket=self.output_bucket,
            output_prefix=self.output_prefix,
            trust_conditions=trust_conditions,
            role_name=access_name,
        )
        provider = Provider.of(self)
        provider.encrypt_log([self._datastore.encryption_key, self._encryption_key, self.output_bucket.encryption_key])
        self._role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ArnPrincipal(provider.function_role.role_arn),
            description="What the function of healthimaging-cdk may do for one bulk import",
            role_name=role_name,
        )
        self._state_machine = self._create_state_machine(provider, options)
        policy = self._create_policy(options)
        needs: list[IDependable] = [self._data_access_role, policy]
        if guard is not None:
            is_elsewhere = role_name is not None and not guard.is_in(stack_of(self))
            arns = role_arns(self, role_name) if role_name and is_elsewhere else [self._role.role_arn]
            guard.admit(self.output_prefix, *arns)
            needs.append(cast("s3.BucketPolicy", self.output_bucket.policy))
        open_endpoints(self, self._storage, options, None)
        self._role_names = None if data_access_role else access_name, role_name
        if foreign:
            self._source_policies.add_outputs()
        if start_on_deploy:
            self._start_on_deploy(provider, policy, needs)

    @property
    def _source_policies(self) -> SourcePolicies:
        roles = zip(self._role_names, (self._data_access_role, self._role), strict=True)
        readers, listers = (role_arns(self, name) if name else [role.role_arn] for name, role in roles)
        return SourcePolicies(self, self.input_bucket, self.input_prefix, readers, listers)

    def _create_state_machine(self, provider: Provider, options: BulkOptions) -> CfnResource:
        settings: dict[str, Any] = {
            **options.settings(),
            "RoleArn": self._role.role_arn,
            "DatastoreId": self._datastore.datastore_id,
            "DataAccessRoleArn": self._data_access_role.role_arn,
            "InputBucket": self.input_bucket.bucket_name,
            "InputPrefix": self.input_prefix,
            "OutputBucket": self.output_bucket.bucket_name,
            "OutputPrefix": self.output_prefix,
            "ImportName": self.import_name,
        }
        definition, substitutions = make_definition(settings)
        return provider.create_state_machine(self, definition, substitutions)

    def _create_policy(self, options: BulkOptions) -> RightsPolicy:
        statements = provider_statements(
            self,
            self._storage,
            datastore=self._datastore,
            data_access_role=self._data_access_role,
            topic=None,
            topic_key=None,
        )
        # An execution that grows long goes on in another one.
        statements.append(allow("states:StartExecution", self.state_machine_arn))
        if options.start_on_deploy:
            statements.append(allow("cloudformation:DescribeStacks", stack_of(self).stack_id))
        return RightsPolicy(self._role, "Bulk", statements)

    def _start_on_deploy(self, provider: Provider, policy: RightsPolicy, needs: list[IDependable]) -> None:
        properties = {
            "RoleArn": self._role.role_arn,
            "BulkStateMachineArn": self.state_machine_arn,
            # A change of any of these starts an execution.
            "DatastoreId": self._datastore.datastore_id,
            "InputBucket": self.input_bucket.bucket_name,
            "InputPrefix": self.input_prefix,
            "Grants": digest_together([policy, *rights_of(self._data_access_role)]),
        }
        start = CustomResource(
            self,
            "Start",
            resource_type=contract.ResourceType.BULK_START.value,
            service_token=provider.function_arn,
            service_timeout=Duration.seconds(_START_SECONDS),
            properties=properties,
        )
        start.node.add_dependency(*needs)

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
        """The bucket that takes job output, plans, states and reports."""
        return self._storage.output_bucket

    @property
    def output_prefix(self) -> str:
        """The prefix that takes job output, plans, states and reports."""
        return self._storage.output_prefix

    @property
    def data_access_role(self) -> iam.IRole:
        """The role that HealthImaging assumes."""
        return self._data_access_role

    @property
    def request_role(self) -> iam.IRole:
        """The role that the function assumes for this import: it lists the source and starts the jobs."""
        return self._role

    @property
    def encryption_key(self) -> kms.IKey | None:
        """The customer-managed key of what is created here, if there is one."""
        return self._encryption_key

    @property
    def state_machine_arn(self) -> str:
        """The ARN of the state machine. Start an execution of it, with ``{}`` as input, to import."""
        return self._state_machine.get_att("Arn").to_string()

    @property
    def import_name(self) -> str:
        """What the import is called in metrics and events: the name of its stack and the logical id of its role."""
        role = cast("CfnElement", self._role.node.default_child)
        return contract.import_name(stack_of(self).stack_name, role.logical_id)

    @property
    def source_bucket_policy(self) -> iam.PolicyDocument:
        """What the policy of a source bucket in another account has to allow (docs/cross-account.md)."""
        return self._source_policies.of_bucket()

    @property
    def source_key_policy(self) -> iam.PolicyDocument:
        """What the policy of the source bucket's key has to allow.

        Raises:
            ValueError: the source bucket is not known to have a key.
        """
        return self._source_policies.of_known_key()

    @check_types
    def grant_start(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody start, stop and redrive executions, and see how they are.

        Args:
            grantee: who may.

        Example:
            >>> grant = archive.grant_start(scheduler)
        """
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["states:DescribeExecution", "states:RedriveExecution", "states:StopExecution"],
            resource_arns=[self._executions_arn],
        )
        grant = iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["states:DescribeStateMachine", "states:ListExecutions", "states:StartExecution"],
            resource_arns=[self.state_machine_arn],
        )
        return warn_unless_added(self, "grant_start", grantee, grant)

    @check_types
    def grant_read_report(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody read plans, states, results and reports; plans hold object keys, which may name patients.

        Args:
            grantee: who may.

        Example:
            >>> grant = archive.grant_read_report(viewer)
        """
        key = self.output_bucket.encryption_key
        if key is not None:
            grant_on_key(grantee, key, ["kms:Decrypt"])
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["states:DescribeStateMachine", "states:ListExecutions"],
            resource_arns=[self.state_machine_arn],
        )
        folder = f"{self.output_prefix}{contract.RECORDS_FOLDER}{contract.BULK_FOLDER}*"
        grant = iam.Grant.add_to_principal(
            grantee=grantee, actions=["s3:GetObject"], resource_arns=[self.output_bucket.arn_for_objects(folder)]
        )
        return warn_unless_added(self, "grant_read_report", grantee, grant)

    def on_completed(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for runs that have ended well: within the tolerance.

        Args:
            construct_id: the rule's id in the import's scope.
            **options: as every ``on_*`` method takes them.
        """
        return make_rule(
            self,
            construct_id,
            options,
            source=contract.EVENT_SOURCE,
            detail_type=contract.BULK_DETAIL_TYPE,
            detail={"import": [self.import_name], "outcome": [contract.Verdict.SUCCEEDED.value]},
        )

    def on_failed(self, construct_id: str, **options: Unpack[OnEventOptions]) -> cdk.aws_events.Rule:
        """A rule for executions that failed, were stopped, or ended a run that is not within the tolerance.

        Args:
            construct_id: the rule's id in the import's scope.
            **options: as every ``on_*`` method takes them.
        """
        return make_rule(
            self,
            construct_id,
            options,
            source="aws.states",
            detail_type="Step Functions Execution Status Change",
            detail={"stateMachineArn": [self.state_machine_arn], "status": ["ABORTED", "FAILED", "TIMED_OUT"]},
        )

    def metric(self, metric_name: str, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Make a metric of this import's jobs (dimension ``Import``); a failed invocation may count a job twice.

        Args:
            metric_name: the name in the namespace ``HealthImagingCdk``.
            options: the members of ``aws_cloudwatch.MetricOptions``, as in every ``metric_*``; the sum over 5 minutes
                unless given.
        """
        return make_import_metric(metric_name, self.import_name, stack_of(self), options)

    def metric_files_imported(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Files that jobs have imported; the sum over 5 minutes unless given."""
        return self.metric("FilesImported", **options)

    def metric_files_rejected(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Files that jobs have scanned and not imported; the sum over 5 minutes unless given."""
        return self.metric("FilesRejected", **options)

    def metric_jobs_succeeded(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Jobs that ran to their end and imported files; the sum over 5 minutes unless given."""
        return self.metric("ImportsSucceeded", **options)

    def metric_jobs_failed(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Attempts at jobs that failed or could not be judged; the sum over 5 minutes unless given."""
        return self.metric("ImportsFailed", **options)

    def metric_executions_failed(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Executions that failed, or ended a run that is not within the tolerance; the sum over 5 minutes.

        Args:
            options: the members of ``aws_cdk.aws_cloudwatch.MetricOptions``, as in every ``metric_*``.
        """
        return self._metric_of_states("ExecutionsFailed", options)

    def metric_executions_started(self, **options: Unpack[MetricOptions]) -> cdk.aws_cloudwatch.Metric:
        """Executions that were started; the sum over 5 minutes."""
        return self._metric_of_states("ExecutionsStarted", options)

    def _metric_of_states(self, name: str, options: MetricOptions) -> cdk.aws_cloudwatch.Metric:
        return make_metric(
            "AWS/States",
            name,
            statistic="Sum",
            dimensions={"StateMachineArn": self.state_machine_arn},
            environment=stack_of(self),
            options=options,
        )

    @property
    def _executions_arn(self) -> str:
        return stack_of(self).format_arn(
            service="states",
            resource="execution",
            resource_name=f"{self._state_machine.get_att('Name').to_string()}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )


__all__ = ["BulkDicomImport"]
