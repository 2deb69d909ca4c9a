"""The role that HealthImaging assumes to read the source and to write job output."""

from __future__ import annotations

from aws_cdk import Annotations
from aws_cdk import aws_iam as iam
from aws_cdk.aws_s3 import IBucket
from constructs import Construct

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.environment import environment_of, stack_of
from healthimaging_cdk._common.kms_keys import key_statements
from healthimaging_cdk._common.policies import Statement, allow, deny
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.unfit import bucket_problems, prefix_problems
from healthimaging_cdk._common.validation import Violations
from healthimaging_cdk._provider.rights_policy import RightsPolicy
from healthimaging_cdk.datastore.datastore import IDatastore
from healthimaging_cdk.dicom_import.options import TrustConditions


class DataAccessRole(iam.Role):
    """An IAM role with exactly what one import needs: one source prefix, one output prefix, and their keys.

    It can be assumed by HealthImaging alone and, unless ``trust_conditions`` asks for less, only for the given data
    store: ``aws:SourceAccount`` and ``aws:SourceArn`` are compared by plain ``StringEquals`` and ``ArnLike``, which
    fail when a key is absent.

    One role may serve several imports, so its prefixes may be wider than theirs; that results are not in the source
    is checked by each import.

    What it allows is a policy resource of its own, with a digest of the policy in its name. When that changes, the new
    policy is created before an import is asked for its update, and the old policy is deleted after a job that is still
    running under it has ended. Statements added with ``add_to_policy`` are in the role's default policy, which
    CloudFormation changes in place.

    The role may not write the records of an import (``.healthimaging-cdk/`` in the output prefix).

    A bucket that was imported by its name or ARN hides its key: pass ``encryption_key`` to
    ``Bucket.from_bucket_attributes``, or the role lacks the rights on it.

    Example:
        >>> role = DataAccessRole(
        ...     stack, "Role", datastore=store, input_bucket=images, input_prefix="studies/",
        ...     output_bucket=results, output_prefix="results/",
        ... )

    See:
        https://docs.aws.amazon.com/healthimaging/latest/devguide/getting-started-setting-up.html
    """

    @check_types
    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        datastore: IDatastore,
        input_bucket: IBucket,
        input_prefix: str,
        output_bucket: IBucket,
        output_prefix: str,
        trust_conditions: TrustConditions = TrustConditions.ACCOUNT_AND_DATASTORE,
        role_name: str | None = None,
    ) -> None:
        """Create the role.

        Args:
            scope: the parent construct.
            construct_id: the id in the scope.
            datastore: the store to import into.
            input_bucket: where the DICOM P10 files are.
            input_prefix: their prefix, ending in ``/``; the empty string stands for the whole bucket.
            output_bucket: where HealthImaging writes its results.
            output_prefix: their prefix, ending in ``/``; the empty string stands for the whole bucket.
            trust_conditions: what the trust asks of HealthImaging's request. AWS does not say whether HealthImaging
                always sends both keys: ask for less if a job is refused, or fails at once, for lack of one.
            role_name: the role's name, for instance because another account has to know it. Default: CloudFormation
                creates one.

        Raises:
            TypeError: an argument is not of its type.
            ValueError: a prefix does not end in ``/``, or the role's account is not the
                store's: HealthImaging is passed roles of the store's account alone.
        """
        violations = Violations("DataAccessRole", scope, construct_id)
        violations.check_prefix("input_prefix", input_prefix)
        violations.check_prefix("output_prefix", output_prefix)
        violations.add(
            *prefix_problems("input_prefix", input_prefix),
            *prefix_problems("output_prefix", output_prefix),
            *bucket_problems("input_bucket", input_bucket),
            *bucket_problems("output_bucket", output_bucket),
        )
        # Its Region may be another: roles have none.
        violations.check_place("datastore", datastore, stack_of(scope), account="make the role in a stack there")
        violations.raise_any()
        conditions: dict[str, dict[str, str]] = {}
        if trust_conditions is not TrustConditions.NONE:
            conditions["StringEquals"] = {"aws:SourceAccount": environment_of(datastore).account}
        if trust_conditions is TrustConditions.ACCOUNT_AND_DATASTORE:
            conditions["ArnLike"] = {"aws:SourceArn": datastore.datastore_arn}
        healthimaging = iam.ServicePrincipal("medical-imaging.amazonaws.com")
        super().__init__(
            scope,
            construct_id,
            assumed_by=healthimaging.with_conditions(conditions) if conditions else healthimaging,
            description="Lets HealthImaging read the source of an import and write its results",
            role_name=role_name,
        )
        if trust_conditions is TrustConditions.NONE:
            Annotations.of(self).add_warning_v2(
                "healthimaging-cdk:trustWithoutConditions",
                "HealthImaging may assume this role for any account: whoever knows its ARN could have HealthImaging "
                "read the source and write the output (the confused deputy problem); use TrustConditions.ACCOUNT if "
                "HealthImaging sends aws:SourceAccount, or acknowledge this warning",
            )
        self._rights = RightsPolicy(
            self, "ImportJob", _statements(input_bucket, input_prefix, output_bucket, output_prefix)
        )


def _statements(
    input_bucket: IBucket, input_prefix: str, output_bucket: IBucket, output_prefix: str
) -> list[Statement]:
    source, output = input_bucket.bucket_arn, output_bucket.bucket_arn
    return [
        allow("s3:ListBucket", list(dict.fromkeys([source, output]))),
        allow("s3:GetObject", f"{source}/{input_prefix}*"),
        allow("s3:PutObject", f"{output}/{output_prefix}*"),
        # Also in a deeper prefix of an import that this role serves: the function alone writes records.
        deny("s3:PutObject", f"{output}/{output_prefix}*{contract.RECORDS_FOLDER}*"),
        *key_statements(
            (input_bucket.encryption_key, ["kms:Decrypt"]),
            (output_bucket.encryption_key, ["kms:Decrypt", "kms:GenerateDataKey"]),
        ),
    ]


def rights_of(role: iam.IRole) -> list[RightsPolicy]:
    """The policy that holds a role's rights, if it is one of ours."""
    return [role._rights] if isinstance(role, DataAccessRole) else []  # noqa: SLF001 - this module's own


__all__ = ["DataAccessRole"]
