"""Patches of ministack's S3: whose a bucket is, and who calls it from another account."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import dataclasses
from contextvars import ContextVar

from ministack.core import iam_evaluator, router
from ministack.services import s3

from healthimaging_local.ports import Json


def foreign_buckets_know_the_caller() -> None:
    """Let the policy of another account's bucket decide about the caller itself, not only about its account."""
    allows, evaluate = s3._foreign_bucket_allows, iam_evaluator.evaluate_resource_policy
    calling: ContextVar[Json] = ContextVar("calling", default=None)

    def foreign_bucket_allows(  # noqa: PLR0917 - ministack's signature
        owner: str, bucket: str, key: str, method: str, query: Json, caller: str, headers: Json = None
    ) -> Json:
        access_key = router.extract_access_key_id(headers or {}, query) if caller else ""
        principal = iam_evaluator.resolve_principal(access_key, caller) if access_key else None
        token = calling.set(None if isinstance(principal, iam_evaluator.AuthError) else principal)
        try:
            return allows(owner, bucket, key, method, query, caller, headers)
        finally:
            calling.reset(token)

    def evaluate_resource_policy(document: Json, context: Json, *rest: Json, **more: Json) -> Json:
        principal = calling.get()
        if principal is not None:
            context = dataclasses.replace(
                context,
                principal_arn=principal.arn,
                principal_type=principal.type,
                principal_account=principal.account,
                principal_keys=principal.keys,
            )
        return evaluate(document, context, *rest, **more)

    s3._foreign_bucket_allows = foreign_bucket_allows
    iam_evaluator.evaluate_resource_policy = evaluate_resource_policy


def expected_bucket_owners_count() -> None:
    """Refuse a request whose ``x-amz-expected-bucket-owner`` is not the bucket's."""
    original = s3._apply_bucket_scope

    def apply_bucket_scope(
        method: str, bucket: str, key: str, headers: dict[str, str], query: Json, *rest: Json
    ) -> Json:
        expected = headers.get("x-amz-expected-bucket-owner")
        if expected and s3._bucket_owner_account(bucket) not in (None, expected):
            return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket}")
        return original(method, bucket, key, headers, query, *rest)

    s3._apply_bucket_scope = apply_bucket_scope
