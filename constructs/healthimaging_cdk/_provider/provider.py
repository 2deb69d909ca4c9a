"""What serves the custom resources of this library: one function and one state machine per stack.

The function takes CloudFormation's request and starts an execution named after it. The state machine calls the same
function step by step, waits in between, and has it respond to CloudFormation (docs/decisions/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, cast
from weakref import WeakKeyDictionary

from aws_cdk import AssetStaging, CfnResource, Fn, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk.aws_kms import IKey
from aws_cdk.aws_s3_assets import Asset
from constructs import Construct, IConstruct

from healthimaging_cdk._common.environment import environment_of, stack_of
from healthimaging_cdk._common.kms_keys import key_behind
from healthimaging_cdk._common.policies import Statement, allow, deny, policy_document
from healthimaging_cdk._common.runtime import LAMBDA_ROOT
from healthimaging_cdk._provider._asset_modes import make_readable
from healthimaging_cdk._provider._lazy_class import create_resource, set_property
from healthimaging_cdk._provider._log_key import open_to_log_groups, use_through_logs
from healthimaging_cdk._provider.function_network import (
    FunctionNetwork,
    network_of,
    stack_with_network,
    warn_of_function_outside,
)
from healthimaging_cdk._provider.state_machine import DEFINITION_STRING

_ID = "HealthImagingImportEngine"
_DEFAULT_EVENT_BUS = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/default"
_LOG_RETENTION_DAYS = 365
_TIMEOUT_SECONDS = 15 * 60
_OLDEST_CALL_SECONDS = 5 * 60
"""Shorter than any ServiceTimeout."""


class Provider(Construct):
    """The function and its log group, and for custom resources the state machine. One in a stack."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self._stack = stack_of(self)
        network = network_of(self._stack)
        inside = None if network else stack_with_network(self._stack)
        if inside is not None:
            warn_of_function_outside(self._stack, inside)
        self.event_bus_arn = Fn.sub(_DEFAULT_EVENT_BUS)
        self._log_group = create_resource(
            Construct(self, "Logs"), "Resource", "aws_logs.CfnLogGroup", {"retentionInDays": _LOG_RETENTION_DAYS}
        )
        # The log of a deploy that failed is what somebody will want to read after its rollback.
        self._log_group.apply_removal_policy(RemovalPolicy.RETAIN)
        self._log_keys: dict[IKey, bool] = {}
        self._own_rights = policy_document(
            [
                allow(["logs:CreateLogStream", "logs:PutLogEvents"], self._log_group.get_att("Arn").to_string()),
                # What Lambda itself does in the name of the function after a failed invocation.
                allow("events:PutEvents", self.event_bus_arn),
            ]
        )
        self.function_role = iam.Role(
            self,
            "FunctionRole",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description="Runs the function of healthimaging-cdk",
            inline_policies={
                "Function": self._own_rights,
                **({"Network": policy_document(_network_interfaces())} if network else {}),
            },
        )
        self.function_role_arn = self.function_role.role_arn
        self.function = self._create_function(network)
        self.function_arn = self.function.get_att("Arn").to_string()

    def encrypt_log(self, keys: Iterable[IKey | None]) -> None:
        """Encrypt the log with the first of the keys that is fit for it, unless it has a key already.

        One that comes too late is opened to CloudWatch Logs as well. Whichever of them is the first on a later deploy,
        what another has encrypted stays readable.
        """
        for key in (key_behind(given) for given in keys if given is not None):
            was_encrypted = any(self._log_keys.values())
            if key not in self._log_keys:
                self._log_keys[key] = open_to_log_groups(key, self._stack)
            if self._log_keys[key]:
                if not was_encrypted:
                    set_property(self._log_group, "kmsKeyId", key.key_arn)
                    statement = use_through_logs(key, self._stack)
                    self._own_rights.add_statements(iam.PolicyStatement.from_json(statement))
                return

    def _create_function(self, network: FunctionNetwork | None) -> CfnResource:
        function = Construct(self, "Function")
        code = Asset(function, "Code", path=str(LAMBDA_ROOT), exclude=["**/__pycache__", "**/*.pyc"])
        make_readable(cast("AssetStaging", code.node.find_child("Stage")))
        resource = create_resource(
            function,
            "Resource",
            "aws_lambda.CfnFunction",
            {
                "architectures": ["arm64"],
                "code": {"s3Bucket": code.s3_bucket_name, "s3Key": code.s3_object_key},
                "description": "Imports DICOM P10 files into HealthImaging on deploy (healthimaging-cdk)",
                "handler": "healthimaging_import.handler.handle",
                "loggingConfig": {"logGroup": self._log_group.ref},
                "memorySize": 512,
                "role": self.function_role_arn,
                "runtime": "python3.14",
                "timeout": _TIMEOUT_SECONDS,
                "vpcConfig": network.vpc_config() if network else None,
            },
        )
        if network:
            function.node.add_dependency(*network.needs)
        return resource

    @cached_property
    def state_machine_role(self) -> iam.Role:
        """The role of the state machines of the stack: it invokes the function, and nothing else."""
        return iam.Role(
            self,
            "StateMachineRole",
            assumed_by=iam.ServicePrincipal("states.amazonaws.com").with_conditions(
                {"StringEquals": {"aws:SourceAccount": environment_of(self._stack).account}}
            ),
            description="Lets the state machine of healthimaging-cdk call its function",
            inline_policies={"Invoke": policy_document([allow("lambda:InvokeFunction", self.function_arn)])},
        )

    def create_state_machine(
        self, scope: Construct, definition: str, substitutions: Mapping[str, str] | None = None
    ) -> CfnResource:
        """Create a state machine that calls the function: ``${Invoke}`` and ``${Function}`` stand for how."""
        return create_resource(
            scope,
            "StateMachine",
            "aws_stepfunctions.CfnStateMachine",
            {
                "roleArn": self.state_machine_role.role_arn,
                "definitionString": definition,
                "definitionSubstitutions": {
                    **(substitutions or {}),
                    "Function": self.function_arn,
                    "Invoke": f"arn:{self._stack.partition}:states:::lambda:invoke",
                },
            },
        )

    @cached_property
    def state_machine(self) -> CfnResource:
        """What responds to CloudFormation step by step; created for the first custom resource."""
        return self.create_state_machine(self, DEFINITION_STRING)

    @cached_property
    def state_machine_arn(self) -> str:
        """The ARN of the state machine."""
        return self.state_machine.get_att("Arn").to_string()

    @cached_property
    def failure_handling(self) -> CfnResource:
        """What has the function invoked once more for what ended without a response to CloudFormation.

        A custom resource needs it from before the first request until after the last: what is returned comes after
        the rest. Lambda puts failed invocations onto the default event bus, Step Functions failed executions. A rule
        invokes the function for both. If that invocation fails as well, its event does not match the rule.
        """
        scope = Construct(self, "Rescue")
        first_call = create_resource(
            scope,
            "FirstCall",
            "aws_lambda.CfnEventInvokeConfig",
            {
                "functionName": self.function.ref,
                "qualifier": "$LATEST",
                "maximumRetryAttempts": 2,
                # One that waits for longer could be delivered in the middle of a later deploy, and import.
                "maximumEventAgeInSeconds": _OLDEST_CALL_SECONDS,
                "destinationConfig": {"onFailure": {"destination": self.event_bus_arn}},
            },
        )
        rule = create_resource(
            scope,
            "LostCalls",
            "aws_events.CfnRule",
            {
                "description": "Responds to CloudFormation after a failure of healthimaging-cdk",
                "eventPattern": self._failures(),
                "targets": [{"arn": self.function_arn, "id": "Function"}],
            },
        )
        permission = create_resource(
            scope,
            "LostCallsPermission",
            "aws_lambda.CfnPermission",
            {
                "action": "lambda:InvokeFunction",
                "functionName": self.function_arn,
                "principal": "events.amazonaws.com",
                "sourceArn": rule.get_att("Arn").to_string(),
            },
        )
        first_call.node.add_dependency(permission)
        return first_call

    def _failures(self) -> dict[str, Any]:
        """The event pattern of failed invocations of the function, and of failed executions of the state machine."""
        invocation = {
            "requestContext": {"functionArn": [self.function_arn, f"{self.function_arn}:$LATEST"]},
            "requestPayload": {"RequestType": [{"exists": True}]},
        }
        execution = {"stateMachineArn": [self.state_machine_arn], "status": ["ABORTED", "FAILED", "TIMED_OUT"]}
        return {
            "source": ["lambda", "aws.states"],
            "detail-type": ["Lambda Function Invocation Result - Failure", "Step Functions Execution Status Change"],
            "detail": {"$or": [invocation, execution]},
        }

    @staticmethod
    def exists_for(construct: IConstruct) -> bool:
        """Whether the construct's stack has its provider already."""
        return stack_of(construct) in _PROVIDERS

    @staticmethod
    def of(construct: IConstruct) -> Provider:
        """The provider of the construct's stack, made when first asked for."""
        stack = stack_of(construct)
        if stack not in _PROVIDERS:
            _PROVIDERS[stack] = Provider(stack, _ID)
        return _PROVIDERS[stack]


_PROVIDERS: WeakKeyDictionary[Stack, Provider] = WeakKeyDictionary()


def _network_interfaces() -> list[Statement]:
    """What Lambda needs for a function in a VPC, and the function's own code does not.

    Lambda asks for some of these actions without naming a resource, so that a policy that names one does not allow
    them: all resources, as in Lambda's guide, which also has the condition that tells the calls of the code from
    Lambda's own: https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
    """
    actions = [
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
    ]
    # The code of any function: to name this one would be a cycle.
    return [allow(actions, "*"), deny(actions, "*", {"Null": {"lambda:SourceFunctionArn": "false"}})]


__all__ = ["Provider"]
