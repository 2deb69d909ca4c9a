"""Names of roles that another account has to know before they exist."""

from __future__ import annotations

import hashlib
import re

from aws_cdk import Stack
from constructs import Construct

_MOST_READABLE = 28
"""IAM takes 64 characters; a Region has up to 14, what the role is for 10, the digest 8."""


def root_stack(construct: Construct) -> Stack:
    """The stack that is deployed: not a nested one."""
    stack = Stack.of(construct)
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
    return f"{readable}-{purpose}-{digest}-{Stack.of(scope).region}"


def role_arn(scope: Construct, role_name: str) -> str:
    """The ARN of a role with a fixed name, which needs no role to be made first."""
    return Stack.of(scope).format_arn(service="iam", region="", resource="role", resource_name=role_name)
