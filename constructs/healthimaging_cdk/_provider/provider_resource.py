"""A custom resource that the provider of its stack serves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aws_cdk import CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk.aws_kms import IKey
from constructs import Construct

from healthimaging_cdk._common.environment import stack_of
from healthimaging_cdk._common.policies import Statement, allow
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._provider.provider import Provider
from healthimaging_cdk._provider.rights_policy import RightsPolicy, digest_together


class ProviderResource(Construct):
    """A custom resource that the provider serves, with a role of its own.

    The function may do nothing but log; for a request it assumes the role that the request names. So no resource can
    use another's rights, and no policy grows with the number of resources in the stack.

    ``keys`` are the customer-managed keys of what it is about, in the order in which they are to encrypt the log.
    ``rights`` are the policies of further roles that a request needs until it has ended.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        resource_type: contract.ResourceType,
        statements: Sequence[Statement],
        properties: contract.ProviderProperties,
        keys: Iterable[IKey | None] = (),
        rights: Sequence[RightsPolicy] = (),
        wait: Duration | None = None,
        removal_policy: RemovalPolicy | None = None,
        role_name: str | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        provider = Provider.of(self)
        provider.encrypt_log(keys)
        common = [
            allow("states:StartExecution", provider.state_machine_arn),
            # A request does not tell whether its stack is being updated, rolled back or deleted.
            allow("cloudformation:DescribeStacks", stack_of(self).stack_id),
        ]
        self.role = iam.Role(
            self,
            "Role",
            # The caller is named here, which in one account is all that sts:AssumeRole needs.
            assumed_by=iam.ArnPrincipal(provider.function_role_arn),
            description="What the function of healthimaging-cdk may do for one custom resource",
            role_name=role_name,
        )
        self.role_arn = self.role.role_arn
        policies = [RightsPolicy(self.role, "Request", [*common, *statements]), *rights]
        seconds = wait.to_seconds() if wait else contract.DEFAULT_WAIT_SECONDS
        provided: contract.ProviderProperties = {
            "RoleArn": self.role_arn,
            "StateMachineArn": provider.state_machine_arn,
            "WaitSeconds": seconds,
            # No request tells that rights have changed, which IAM takes a while to know everywhere.
            "Grants": digest_together(policies),
        }
        self.resource = CustomResource(
            self,
            "Resource",
            resource_type=resource_type.value,
            service_token=provider.function_arn,
            removal_policy=removal_policy,
            # What no code can respond to (a function that cannot start) ends here and not after CloudFormation's hour.
            service_timeout=Duration.seconds(min(seconds + 300, contract.MAX_WAIT_SECONDS)),
            properties={**provided, **properties},
        )
        # They have to be there before the first request and after the last.
        self.resource.node.add_dependency(provider.failure_handling, *policies)


__all__ = ["ProviderResource"]
