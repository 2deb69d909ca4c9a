"""Patches of ministack's S3: what a bucket policy says to the account's root. docs/local-cloud.md lists them."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

from ministack.core import iam_evaluator, responses

from healthimaging_local.ports import Json

_ROOT_ALWAYS_MAY = frozenset({"s3:DeleteBucketPolicy", "s3:GetBucketPolicy", "s3:PutBucketPolicy"})


def bucket_policies_deny_the_root() -> None:
    """Let a Deny of a bucket's policy stop the root of the bucket's account, which ministack lets do everything.

    AWS: an explicit deny binds the root user too, who may still read, replace and delete the policy itself (S3's API
    reference, "PutBucketPolicy"). The administrator of the local cloud is that root.
    """
    original = iam_evaluator.enforce

    def enforce(  # noqa: PLR0917 - ministack's signature
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: Json = None,
    ) -> Json:
        refusal = original(access_key_id, iam_action, service, region, resource_arn, service_context)
        if refusal is not None or service != "s3" or iam_action in _ROOT_ALWAYS_MAY:
            return refusal
        principal = iam_evaluator.resolve_principal(access_key_id or "", responses.get_account_id())
        found = iam_evaluator._resource_policy(service, resource_arn)
        if isinstance(principal, iam_evaluator.AuthError) or principal.policies is not None or found is None:
            return None
        context = iam_evaluator.EvalContext(
            principal_arn=principal.arn,
            principal_type=principal.type,
            principal_account=principal.account,
            action=iam_action,
            resource_arn=resource_arn,
            region=region,
            service_context={name.lower(): value for name, value in (service_context or {}).items()},
            principal_keys=principal.keys,
        )
        result = iam_evaluator.evaluate_resource_policy(found[0], context)
        if result.decision != "Deny":
            return None
        result.principal_arn, result.resource_policy_arn = principal.arn, resource_arn
        return result

    iam_evaluator.enforce = enforce
