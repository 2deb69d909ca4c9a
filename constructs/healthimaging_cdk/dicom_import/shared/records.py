"""The records of imports in an output bucket: who may write them, and whether a lifecycle rule expires them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import jsii
from aws_cdk import Annotations, IListProducer, IResolveContext, Lazy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct, IValidation

from healthimaging_cdk._common.environment import stack_of
from healthimaging_cdk._common.messages import is_unresolved
from healthimaging_cdk._common.runtime import contract

_ID = "HealthImagingRecords"


class RecordsGuard(Construct):
    """Denies everybody but the provider roles of a bucket's imports to write their records.

    It is in the tree under a bucket that an import has created: other imports into that bucket find it there.
    """

    def __init__(self, bucket: s3.IBucket) -> None:
        super().__init__(cast("Construct", bucket), _ID)
        self._bucket = bucket
        self._bucket_arn = bucket.bucket_arn
        self._writers = _Writers()
        self._statement: iam.PolicyStatement | None = None

    @staticmethod
    def of(bucket: s3.IBucket) -> RecordsGuard | None:
        """The guard of a bucket, if it has one."""
        found = bucket.node.try_find_child(_ID)
        return found if isinstance(found, RecordsGuard) else None

    def is_in(self, stack: Stack) -> bool:
        """Whether the bucket is in a stack. Its policy can refer to roles of that stack, others need fixed names."""
        return stack_of(self) is stack

    def admit(self, output_prefix: str, *role_arns: str) -> None:
        """Let the provider role of an import write the records under its output prefix.

        All roles of the bucket are in one condition, which is no wider: each has rights on its own prefix alone.
        """
        self._writers.role_arns += [arn for arn in role_arns if arn not in self._writers.role_arns]
        records = f"{self._bucket_arn}/{output_prefix}{contract.RECORDS_FOLDER}*"
        if self._statement is not None:
            self._statement.add_resources(records)
            return
        self._statement = iam.PolicyStatement(
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["s3:PutObject"],
            resources=[records],
            conditions={"ArnNotLike": {"aws:PrincipalArn": Lazy.uncached_list(self._writers)}},
        )
        self._bucket.add_to_resource_policy(self._statement)


@jsii.implements(IListProducer)
class _Writers:
    """Those of all imports: further ones come after the statement."""

    def __init__(self) -> None:
        self.role_arns: list[str] = []

    def produce(self, _context: IResolveContext) -> list[str]:
        return self.role_arns


@jsii.implements(IValidation)
class RecordsExpiry:
    """Warns of lifecycle rules that expire records. Asked after all aspects, when the last rule is there."""

    def __init__(self, construct: IConstruct, bucket: s3.IBucket, output_prefix: str) -> None:
        self._construct = construct
        self._bucket = bucket
        self._folder = f"{output_prefix}{contract.RECORDS_FOLDER}"

    def validate(self) -> list[str]:
        """Warn, and find nothing wrong."""
        if any(self._expires_records(rule) for rule in _lifecycle_rules(self._bucket)):
            Annotations.of(self._construct).add_warning_v2(
                "healthimaging-cdk:recordsExpire",
                f"a lifecycle rule of {self._bucket.node.path} expires {self._folder}, where this import keeps its "
                "records and manifests. Without them it does not know what it has imported: an update of unchanged "
                "meaning starts no job and has no results. Limit the rule to another prefix, or acknowledge this "
                "warning",
            )
        return []

    def _expires_records(self, rule: Mapping[str, Any]) -> bool:
        if rule.get("status") != "Enabled" or rule.get("tagFilters"):  # records have no tags
            return False
        if rule.get("expirationInDays") is None and rule.get("expirationDate") is None:
            return False
        prefix = rule.get("prefix") or ""
        if not prefix:
            return True
        if not isinstance(prefix, str) or is_unresolved(self._folder):
            return False
        return self._folder.startswith(prefix) or prefix.startswith(self._folder)


def _lifecycle_rules(bucket: s3.IBucket) -> Iterator[Mapping[str, Any]]:
    """The rules of a bucket that is created in this app, whichever construct has set them."""
    resource = bucket.node.default_child
    if not isinstance(resource, s3.CfnBucket):
        return
    # The public property cannot be read: jsii takes the Lazy of a Bucket for a structure without members.
    given = resource._cfn_properties.get("lifecycleConfiguration")  # noqa: SLF001 - as above
    resolved: Mapping[str, Sequence[Mapping[str, Any]]] = stack_of(resource).resolve(given) or {}
    yield from resolved.get("rules", ())


__all__ = ["RecordsExpiry", "RecordsGuard"]
