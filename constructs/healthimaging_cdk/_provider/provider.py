"""What serves the custom resources of this library: one function and one state machine per stack.

The function takes CloudFormation's request and starts an execution named after it. The state machine calls the same
function step by step, waits in between, and has it respond to CloudFormation (docs/decisions/).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any, cast

from aws_cdk import AssetStaging, Duration, RemovalPolicy, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk.aws_kms import IKey
from constructs import Construct, IConstruct

from healthimaging_cdk._common.kms_keys import key_behind
from healthimaging_cdk._common.runtime import LAMBDA_ROOT
from healthimaging_cdk._provider._asset_modes import make_readable
from healthimaging_cdk._provider._log_key import open_to_log_groups, use_through_logs
from healthimaging_cdk._provider.function_network import network_of, other_stacks, warn_of_function_outside
from healthimaging_cdk._provider.state_machine import DEFINITION

_ID = "HealthImagingImportEngine"
_OLDEST_CALL = Duration.minutes(5)
"""Shorter than any ServiceTimeout."""


class Provider(Construct):
    """The function and its log group, and for custom resources the state machine. One in a stack."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        stack = Stack.of(self)
        network = network_of(stack)
        inside = None if network else next((other for other in other_stacks(stack) if network_of(other)), None)
        if inside is not None:
            warn_of_function_outside(stack, inside)
        log_group = logs.LogGroup(
            self,
            "Logs",
            retention=logs.RetentionDays.ONE_YEAR,
            # The log of a deploy that failed is what somebody will want to read after its rollback.
            removal_policy=RemovalPolicy.RETAIN,
        )
        self._log = cast("logs.CfnLogGroup", log_group.node.default_child)
        self._log_policy = iam.PolicyDocument(
            statements=[
                iam.PolicyStatement(
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[log_group.log_group_arn]
                )
            ]
        )
        self.function_role = iam.Role(
            self,
            "FunctionRole",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description="Runs the function of healthimaging-cdk, which assumes the role of each custom resource",
            inline_policies={
                "Logs": self._log_policy,
                # What Lambda itself does in the name of the function after a failed invocation.
                "LostCalls": iam.PolicyDocument(
                    statements=[iam.PolicyStatement(actions=["events:PutEvents"], resources=[default_event_bus(self)])]
                ),
                **({"Network": _network_interfaces()} if network else {}),
            },
        )
        self.function = lambda_.Function(
            self,
            "Function",
            description="Imports DICOM P10 files into HealthImaging on deploy (healthimaging-cdk)",
            code=lambda_.Code.from_asset(str(LAMBDA_ROOT), exclude=["**/__pycache__", "**/*.pyc"]),
            handler="healthimaging_import.handler.handle",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            memory_size=512,
            timeout=Duration.minutes(15),
            role=self.function_role.without_policy_updates(),
            log_group=log_group,
            vpc=network.vpc if network else None,
            vpc_subnets=network.subnets if network else None,
            security_groups=network.security_groups if network else None,
        )
        make_readable(cast("AssetStaging", self.function.node.find_child("Code").node.find_child("Stage")))
        if network:
            self.function.node.add_dependency(*network.needs)

    def encrypt_log(self, keys: Iterable[IKey | None]) -> None:
        """Encrypt the log with the first of the keys that is fit for it, unless it has a key already.

        One that comes too late is opened to CloudWatch Logs as well. Whichever of them is the first on a later deploy,
        what another has encrypted stays readable.
        """
        stack = Stack.of(self)
        known = [key_behind(key) for key in keys if key is not None]
        fit = next((key for key in known if open_to_log_groups(key, stack)), None)
        if fit is not None and self._log.kms_key_id is None:
            self._log.kms_key_id = fit.key_arn
            self._log_policy.add_statements(use_through_logs(fit, stack))

    @cached_property
    def state_machine(self) -> sfn.CfnStateMachine:
        """What responds to CloudFormation step by step; made for the first custom resource."""
        function_arn = self.function.function_arn
        role = iam.Role(
            self,
            "StateMachineRole",
            assumed_by=iam.ServicePrincipal("states.amazonaws.com").with_conditions(
                {"StringEquals": {"aws:SourceAccount": Stack.of(self).account}}
            ),
            description="Lets the state machine of healthimaging-cdk call its function",
            inline_policies={
                "Invoke": iam.PolicyDocument(
                    statements=[
                        iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[function_arn]),
                    ]
                )
            },
        )
        return sfn.CfnStateMachine(
            self,
            "StateMachine",
            role_arn=role.role_arn,
            definition_string=json.dumps(DEFINITION, sort_keys=True),
            definition_substitutions={
                "Function": function_arn,
                "Invoke": f"arn:{Stack.of(self).partition}:states:::lambda:invoke",
            },
        )

    @cached_property
    def rescue(self) -> Construct:
        """Have the function invoked once more for what ended without a response to CloudFormation.

        Lambda puts failed invocations onto the default event bus, Step Functions failed executions. A rule for each
        invokes the function. If that invocation fails as well, its event matches neither rule.
        """
        rescue = Construct(self, "Rescue")
        bus = lambda_.CfnEventInvokeConfig.OnFailureProperty(destination=default_event_bus(self))
        lambda_.CfnEventInvokeConfig(
            rescue,
            "FirstCall",
            function_name=self.function.function_name,
            qualifier="$LATEST",
            maximum_retry_attempts=2,
            # One that waits for longer could be delivered in the middle of a later deploy, and import.
            maximum_event_age_in_seconds=_OLDEST_CALL.to_seconds(),
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(on_failure=bus),
        )
        self._call_on(
            rescue,
            "LostCalls",
            "Responds to CloudFormation after a failed invocation of the function of healthimaging-cdk",
            {
                "source": ["lambda"],
                "detail-type": ["Lambda Function Invocation Result - Failure"],
                "detail": {
                    "requestContext": {
                        "functionArn": [self.function.function_arn, f"{self.function.function_arn}:$LATEST"]
                    },
                    "requestPayload": {"RequestType": [{"exists": True}]},
                },
            },
        )
        self._call_on(
            rescue,
            "LostExecutions",
            "Responds to CloudFormation after a failed execution of healthimaging-cdk",
            {
                "source": ["aws.states"],
                "detail-type": ["Step Functions Execution Status Change"],
                "detail": {
                    "stateMachineArn": [self.state_machine.attr_arn],
                    "status": ["ABORTED", "FAILED", "TIMED_OUT"],
                },
            },
        )
        return rescue

    def _call_on(self, scope: Construct, name: str, description: str, pattern: dict[str, Any]) -> None:
        rule = events.CfnRule(
            scope,
            name,
            description=description,
            event_pattern=pattern,
            targets=[events.CfnRule.TargetProperty(arn=self.function.function_arn, id="Function")],
        )
        lambda_.CfnPermission(
            scope,
            f"{name}Permission",
            action="lambda:InvokeFunction",
            function_name=self.function.function_arn,
            principal="events.amazonaws.com",
            source_arn=rule.attr_arn,
        )

    @staticmethod
    def exists_for(construct: IConstruct) -> bool:
        """Whether the construct's stack has its provider already."""
        return Stack.of(construct).node.try_find_child(_ID) is not None

    @staticmethod
    def of(construct: IConstruct) -> Provider:
        """The provider of the construct's stack, made when first asked for."""
        stack = Stack.of(construct)
        found = stack.node.try_find_child(_ID)
        return found if isinstance(found, Provider) else Provider(stack, _ID)


def _network_interfaces() -> iam.PolicyDocument:
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
    return iam.PolicyDocument(
        statements=[
            iam.PolicyStatement(actions=actions, resources=["*"]),
            iam.PolicyStatement(
                effect=iam.Effect.DENY,
                actions=actions,
                resources=["*"],
                # The code of any function: to name this one would be a cycle.
                conditions={"Null": {"lambda:SourceFunctionArn": "false"}},
            ),
        ]
    )


def default_event_bus(scope: Construct) -> str:
    """The ARN of the account's default event bus."""
    return Stack.of(scope).format_arn(service="events", resource="event-bus", resource_name="default")


__all__ = ["Provider", "default_event_bus"]
