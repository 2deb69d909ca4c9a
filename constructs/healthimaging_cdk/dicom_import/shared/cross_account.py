"""What another account has to know: names of roles before they exist, and the policies of a source bucket there.

See docs/cross-account.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_iam as iam
from aws_cdk.aws_s3 import IBucket
from constructs import Construct

from healthimaging_cdk._common.environment import environment_of, stack_of
from healthimaging_cdk._common.messages import message

_MOST_READABLE = 28
"""IAM takes 64 characters; a Region has up to 14, what the role is for 10, the digest 8."""


def root_stack(construct: Construct) -> Stack:
    """The stack that is deployed: not a nested one."""
    stack = stack_of(construct)
    while stack.nested_stack_parent:
        stack = stack.nested_stack_parent
    return stack


def fixed_role_name(scope: Construct, purpose: str) -> str:
    """A name that is known at synth, and another for each stack, construct and Region.

    Args:
        scope: what the role belongs to.
        purpose: what the role is for, at most 10 letters.
    """
    stack_name = root_stack(scope).stack_name
    digest = hashlib.sha256(f"{stack_name}/{scope.node.path}".encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{stack_name}-{scope.node.id}")[:_MOST_READABLE].strip("-")
    return f"{readable}-{purpose}-{digest}-{environment_of(stack_of(scope)).region}"


def role_arns(scope: Construct, role_name: str) -> list[str]:
    """The ARN of a role with a fixed name, which needs no role to be created first; also with whatever path.

    An aspect, or a rule of the account, may put roles under a path. A name is unique in an account, whatever its path.
    """
    return [
        stack_of(scope).format_arn(service="iam", region="", resource="role", resource_name=name)
        for name in (role_name, f"*/{role_name}")
    ]


@dataclass(frozen=True)
class SourcePolicies:
    """What the policies of a source bucket and of its key have to allow.

    The roles are named by the condition ``aws:PrincipalArn``, so that the other account can attach the policies before
    the roles exist.
    """

    import_: Construct
    bucket: IBucket
    prefix: str
    reader_arns: Sequence[str]
    """The data access role, which lists and reads."""
    lister_arns: Sequence[str]
    """The provider role, which lists the prefix."""

    def of_bucket(self) -> iam.PolicyDocument:
        """The statements for the policy of the bucket."""
        prefix = {"StringEquals": {"s3:prefix": self.prefix}} if self.prefix else {}
        objects = [self.bucket.arn_for_objects(f"{self.prefix}*")]
        return iam.PolicyDocument(
            statements=[
                # With which prefix HealthImaging lists is not documented.
                self._allow(self.reader_arns, "s3:ListBucket", [self.bucket.bucket_arn]),
                self._allow(self.reader_arns, "s3:GetObject", objects),
                self._allow(self.lister_arns, "s3:ListBucket", [self.bucket.bucket_arn], prefix),
            ]
        )

    def of_key(self) -> iam.PolicyDocument | None:
        """The statement for the policy of the bucket's key, if the bucket is known to have one."""
        if self.bucket.encryption_key is None:
            return None
        # In a key policy the resource is the key.
        return iam.PolicyDocument(statements=[self._allow(self.reader_arns, "kms:Decrypt", ["*"])])

    def of_known_key(self) -> iam.PolicyDocument:
        """The same, of a bucket that has one.

        Raises:
            ValueError: it is not known to have a key.
        """
        policy = self.of_key()
        if policy is None:
            problem = (
                "there is no source_key_policy, since the source bucket is not known to have a key: pass the bucket "
                "with its encryption_key"
            )
            raise ValueError(message(type(self.import_).__name__, [problem], self.import_.node.path))
        return policy

    def add_outputs(self) -> None:
        """Show the policies to whoever deploys the stack."""
        for name, policy, owner in (
            ("SourceBucketPolicy", self.of_bucket(), "bucket"),
            ("SourceKeyPolicy", self.of_key(), "bucket's key"),
        ):
            if policy is not None:
                value = stack_of(self.import_).to_json_string(policy)
                description = f"To add to the policy of the source {owner}"
                CfnOutput(self.import_, name, value=value, description=description)

    def _allow(
        self,
        arns: Sequence[str],
        action: str,
        resources: list[str],
        conditions: Mapping[str, Mapping[str, str]] | None = None,
    ) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            principals=[iam.AccountPrincipal(environment_of(stack_of(self.import_)).account)],
            actions=[action],
            resources=resources,
            conditions={"ArnEquals": {"aws:PrincipalArn": arns if len(arns) > 1 else arns[0]}, **(conditions or {})},
        )
