"""The rights of a role, in a policy that is named after what it allows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import cast

import jsii
from aws_cdk import IResolveContext, IStringProducer, Lazy, Stack
from aws_cdk import aws_iam as iam
from constructs import IValidation

from healthimaging_cdk._common.environment import ask_once, stack_of
from healthimaging_cdk._common.policies import Statement, policy_document

_DIGITS = 16


class RightsPolicy(iam.Policy):
    """A policy resource of its own, whose logical id and name hold a digest of its document.

    CloudFormation changes a policy in place before it asks a custom resource for an update, and an import job that is
    still running would lose its rights. Under a new name the new policy is created first, and the old one is deleted
    in CloudFormation's clean-up, after the custom resource was asked.
    """

    def __init__(self, role: iam.Role, construct_id: str, statements: Sequence[Statement]) -> None:
        stack = stack_of(role)
        document = policy_document(statements)
        self._allowed = document
        self._digest = _Digest(stack, document)
        self.digest = Lazy.uncached_string(self._digest)
        """What the policy allows, in 16 characters: they change when that does."""
        super().__init__(role, construct_id, policy_name=f"{construct_id}-{self.digest}", document=document)
        # Not by ``roles``: a role that iam.Role.customize_roles replaces leaves the policy out of the template.
        role.attach_inline_policy(self)
        self._resource = cast("iam.CfnPolicy", self.node.default_child)
        self._names = construct_id, stack.get_logical_id(self._resource)
        self._resource.override_logical_id(f"{self._names[1]}{self.digest}")
        _final_names(stack).policies.append(self)

    def _write_names(self, document: object) -> None:
        digest = self._digest.decide(document)
        self._resource.policy_name = f"{self._names[0]}-{digest}"
        self._resource.override_logical_id(f"{self._names[1]}{digest}")


@jsii.implements(IValidation)
class _FinalNames:
    """Writes the digests of a stack's policies in the place of their tokens, each of which CDK asks Python for often.

    CDK asks for validations when it has looked for references, and before it writes the template. Where an app skips
    them, the tokens remain.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.policies: list[RightsPolicy] = []

    def validate(self) -> list[str]:
        """Write the names, and find nothing wrong."""
        documents = self._stack.resolve([policy._allowed for policy in self.policies])  # noqa: SLF001 - of this module
        for policy, document in zip(self.policies, documents, strict=True):
            policy._write_names(document)  # noqa: SLF001 - as above
        return []


@ask_once
def _final_names(stack: Stack) -> _FinalNames:
    names = _FinalNames(stack)
    stack.node.add_validation(names)
    return names


@jsii.implements(IStringProducer)
class _Digest:
    """The digest of a document as the template holds it.

    CDK asks several times for each policy. When it looks for references (``preparing``), all that the app changes has
    been changed: from then on one answer holds.
    """

    def __init__(self, stack: Stack, document: iam.PolicyDocument) -> None:
        self._stack = stack
        self._document = document
        self._is_final = False
        self._known: str | None = None

    def produce(self, context: IResolveContext) -> str:
        if context.preparing:
            self._is_final, self._known = True, None
            return ""
        return self.current()

    def current(self) -> str:
        if self._known is not None:
            return self._known
        if self._is_final:
            return self.decide(self._stack.resolve(self._document))
        return _digest_of_document(self._stack.resolve(self._document))

    def decide(self, document: object) -> str:
        """Take a document as the template holds it, from now on."""
        self._known = _digest_of_document(document)
        return self._known


@jsii.implements(IStringProducer)
class _Together:
    def __init__(self, policies: Sequence[RightsPolicy]) -> None:
        self._policies = policies

    def produce(self, _context: IResolveContext) -> str:
        return digest_of("/".join(policy._digest.current() for policy in self._policies))  # noqa: SLF001 - of this module


def digest_together(policies: Sequence[RightsPolicy]) -> str:
    """A token for one digest of several policies."""
    return Lazy.uncached_string(_Together(policies))


def _digest_of_document(document: object) -> str:
    return digest_of(json.dumps(document, sort_keys=True))


def digest_of(text: str) -> str:
    """A short digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


__all__ = ["RightsPolicy", "digest_together"]
