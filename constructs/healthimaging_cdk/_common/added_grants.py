"""Grants that CDK calls a success although no policy got their statements."""

from __future__ import annotations

import jsii
from aws_cdk import Annotations
from aws_cdk import aws_iam as iam
from constructs import Dependable, IConstruct, IValidation


@jsii.implements(IValidation)
class _AddedGrant:
    """Warns of a grant that is in no policy. Asked at the end of synth, when CDK has written the policies."""

    def __init__(self, construct: IConstruct, method: str, grantee: iam.IGrantable, grant: iam.Grant) -> None:
        self._construct = construct
        self._method = method
        self._grantee = grantee
        self._grant = grant

    def validate(self) -> list[str]:
        """Warn, and find nothing wrong."""
        # Others wait for the policy that a grant is in. Where there is none, nothing holds the statement.
        if not Dependable.of(self._grant).dependency_roots:
            node = getattr(self._grantee, "node", None)
            name = node.path if node else type(self._grantee).__name__
            Annotations.of(self._construct).add_warning_v2(
                "healthimaging-cdk:grantNotAdded",
                f"{self._method} gave {name} no rights: it takes no policy, as a role imported with mutable=False or a "
                "function imported without its role. Pass the role that takes one, or attach the rights yourself "
                "(docs/grants.md) and acknowledge this warning",
            )
        return []


def warn_unless_added(construct: IConstruct, method: str, grantee: iam.IGrantable, grant: iam.Grant) -> iam.Grant:
    """Have synth warn of a grant whose statements are in no policy, and return the grant.

    CDK's own ``Grant.success`` is True also for a grantee that ignores statements.

    Args:
        construct: where the warning is shown.
        method: the method that granted, for the message.
        grantee: who was to get the rights.
        grant: what CDK made of it.
    """
    construct.node.add_validation(_AddedGrant(construct, method, grantee, grant))
    return grant


__all__ = ["warn_unless_added"]
