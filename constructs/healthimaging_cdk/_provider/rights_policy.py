"""The rights of a role, in a policy that is named after what it allows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import cast

import jsii
from aws_cdk import CfnElement, IResolveContext, IStringProducer, Lazy, Stack
from aws_cdk import aws_iam as iam

_DIGITS = 16


class RightsPolicy(iam.Policy):
    """A policy resource of its own, whose logical id and name hold a digest of its document.

    CloudFormation changes a policy in place before it asks a custom resource for an update, and an import job that is
    still running would lose its rights. Under a new name the new policy is created first, and the old one is deleted
    in CloudFormation's clean-up, after the custom resource was asked.
    """

    def __init__(self, role: iam.Role, construct_id: str, statements: Sequence[iam.PolicyStatement]) -> None:
        document = iam.PolicyDocument(statements=list(statements))
        self.digest = Lazy.uncached_string(_Digest(Stack.of(role), document))
        """What the policy allows, in 16 characters: they change when that does."""
        super().__init__(role, construct_id, policy_name=f"{construct_id}-{self.digest}", document=document)
        # Not by ``roles``: a role that iam.Role.customize_roles replaces leaves the policy out of the template.
        role.attach_inline_policy(self)
        resource = cast("CfnElement", self.node.default_child)
        resource.override_logical_id(f"{Stack.of(role).get_logical_id(resource)}{self.digest}")


@jsii.implements(IStringProducer)
class _Digest:
    def __init__(self, stack: Stack, document: iam.PolicyDocument) -> None:
        self._stack = stack
        self._document = document

    def produce(self, _context: IResolveContext) -> str:
        """Digest the document as the template holds it."""
        return digest_of(json.dumps(self._stack.resolve(self._document), sort_keys=True))


@jsii.implements(IStringProducer)
class _Together:
    def __init__(self, policies: Sequence[RightsPolicy]) -> None:
        self._policies = policies

    def produce(self, context: IResolveContext) -> str:
        return digest_of("/".join(str(context.resolve(policy.digest)) for policy in self._policies))


def digest_together(policies: Sequence[RightsPolicy]) -> str:
    """A token for one digest of several policies."""
    return Lazy.uncached_string(_Together(policies))


def digest_of(text: str) -> str:
    """A short digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


__all__ = ["RightsPolicy", "digest_together"]
