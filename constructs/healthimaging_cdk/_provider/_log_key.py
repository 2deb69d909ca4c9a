"""Lets CloudWatch Logs encrypt the log of the function with a customer-managed key."""

from __future__ import annotations

from aws_cdk import ArnFormat, CfnDeletionPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk.aws_kms import CfnKey, IKey

from healthimaging_cdk._common.environment import ask_once, environment_of, stack_of
from healthimaging_cdk._common.policies import Statement, allow
from healthimaging_cdk._common.validation import differing_places

_USES = (
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)
"""What AWS's example of the key policy writes with wildcards, without ``kms:DescribeKey``."""


def open_to_log_groups(key: IKey, stack: Stack) -> bool:
    """Let CloudWatch Logs use a key for the log groups of its account, and say whether it may for those of a stack.

    Keys that are not fit are left as they are: one that is only referred to has a policy of its owner's, one of another
    account or Region cannot encrypt the log, and one that goes with its stack leaves the log behind unreadable.

    See:
        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
    """
    resource = key.node.default_child
    # An alias has a resource too, and its target may be anybody's.
    if not isinstance(resource, CfnKey) or resource.cfn_options.deletion_policy != CfnDeletionPolicy.RETAIN:
        return False
    if differing_places(environment_of(key), environment_of(stack)):
        return False
    there = stack_of(key)
    # Not one log group: CloudFormation makes up its name after the key's policy is there.
    log_groups = there.format_arn(
        service="logs", resource="log-group", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
    )
    conditions = {
        _USES: {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": log_groups}},
        # It has no encryption context, so that in AWS's example, under the condition above, it is never allowed.
        ("kms:DescribeKey",): {"StringEquals": {"aws:SourceAccount": environment_of(there).account}},
    }
    logs = iam.ServicePrincipal(_service(there))
    return all(
        key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[logs],
                actions=list(actions),
                resources=["*"],
                conditions=condition,
            )
        ).statement_added
        for actions, condition in conditions.items()
    )


def use_through_logs(key: IKey, stack: Stack) -> Statement:
    """What AWS asks for in roles that write to such a log group: the key, by way of CloudWatch Logs alone."""
    return allow(
        ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
        key.key_arn,
        {"StringEquals": {"kms:ViaService": _service(stack)}},
    )


@ask_once
def _service(stack: Stack) -> str:
    return f"logs.{environment_of(stack).region}.{stack.url_suffix}"
