"""Who may run a bulk import, and what is heard of its runs."""

from __future__ import annotations

from typing import Unpack

import aws_cdk as cdk
from aws_cdk import ArnFormat, CfnResource
from aws_cdk import aws_iam as iam

from healthimaging_cdk._common.added_grants import warn_unless_added
from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.environment import stack_of
from healthimaging_cdk._common.event_rules import OnEventOptions, make_rule
from healthimaging_cdk._common.kms_keys import grant_on_key
from healthimaging_cdk._common.metrics import MetricOptions, make_metric
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk.dicom_import.shared.import_base import ImportBase


class BulkAccess(ImportBase):
    """The grants, events and metrics of a bulk import."""

    _state_machine: CfnResource

    @property
    def state_machine_arn(self) -> str:
        """The ARN of the state machine. Start an execution of it, with ``{}`` as input, to import."""
        return self._state_machine.get_att("Arn").to_string()

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
        detail = {contract.EVENT_OUTCOME: [contract.Verdict.SUCCEEDED.value]}
        return self._make_rule(construct_id, options, contract.BULK_DETAIL_TYPE, detail)

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


__all__ = ["BulkAccess"]
