"""The import of an archive that outgrows one import job."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnResource, CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct, IDependable

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.environment import stack_of
from healthimaging_cdk._common.policies import allow
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._provider.provider import Provider
from healthimaging_cdk._provider.rights_policy import RightsPolicy
from healthimaging_cdk.bulk_import._bulk_access import BulkAccess
from healthimaging_cdk.bulk_import._bulk_options import BulkOptions
from healthimaging_cdk.bulk_import._definition import make_definition
from healthimaging_cdk.bulk_import.options import BulkPace
from healthimaging_cdk.datastore.datastore import IDatastore
from healthimaging_cdk.dicom_import.options import ImportQuotas, ImportTolerance, TrustConditions
from healthimaging_cdk.dicom_import.shared.permissions import open_endpoints, provider_statements
from healthimaging_cdk.dicom_import.source import ImportSource

_START_SECONDS = 300


class BulkDicomImport(BulkAccess):
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
        )
        super().__init__(options, "Bulk")
        self._use_data_access_role(options)
        provider = Provider.of(self)
        provider.encrypt_log([self._datastore.encryption_key, self._encryption_key, self.output_bucket.encryption_key])
        self._request_role = self._named_by = iam.Role(
            self,
            "Role",
            assumed_by=iam.ArnPrincipal(provider.function_role.role_arn),
            description="What the function of healthimaging-cdk may do for one bulk import",
            role_name=self._request_role_name,
        )
        self._state_machine = self._create_state_machine(provider, options)
        policy = self._create_policy(options)
        needs: list[IDependable] = [self._data_access_role, policy, *self._admit_request_role()]
        open_endpoints(self, self._storage, options, None)
        if options.is_cross_account:
            self._source_policies.add_outputs()
        if start_on_deploy:
            self._start_on_deploy(provider, needs)

    def _create_state_machine(self, provider: Provider, options: BulkOptions) -> CfnResource:
        settings: dict[str, Any] = {
            **options.settings(),
            "RoleArn": self._request_role.role_arn,
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
        return RightsPolicy(self._request_role, "Bulk", statements)

    def _start_on_deploy(self, provider: Provider, needs: list[IDependable]) -> None:
        properties: contract.BulkStartProperties = {
            "RoleArn": self._request_role.role_arn,
            "BulkStateMachineArn": self.state_machine_arn,
            # A change of any of these starts an execution: nothing is here that does not say what is imported.
            "DatastoreId": self._datastore.datastore_id,
            "InputBucket": self.input_bucket.bucket_name,
            "InputPrefix": self.input_prefix,
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


__all__ = ["BulkDicomImport"]
