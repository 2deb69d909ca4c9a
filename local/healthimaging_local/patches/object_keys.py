"""Let S3 ask for the key of an object, as it does on AWS; ministack's never does."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote
from xml.sax.saxutils import escape

from ministack import app
from ministack.core import iam_actions, iam_evaluator, responses, router
from ministack.services import s3
from ministack.services.cloudformation import provisioners

from healthimaging_local import keys
from healthimaging_local.keys import Use
from healthimaging_local.ports import Json

_CUSTOMER_KEYS = "x-amz-server-side-encryption-customer-"
_KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"
_BUCKET_KEYS = re.compile(r"<BucketKeyEnabled>\s*true\s*</BucketKeyEnabled>", re.IGNORECASE)


def buckets_of_templates_are_encrypted() -> None:
    """Let CloudFormation's ``BucketEncryption`` be the bucket's default; ministack drops it."""

    def to_xml(encryption: Json) -> bytes:
        rules = ""
        for rule in encryption.get("ServerSideEncryptionConfiguration", []):
            default = rule.get("ServerSideEncryptionByDefault", {})
            key = default.get("KMSMasterKeyID")
            rules += (
                "<Rule><ApplyServerSideEncryptionByDefault>"
                f"<SSEAlgorithm>{escape(str(default.get('SSEAlgorithm', 'AES256')))}</SSEAlgorithm>"
                + (f"<KMSMasterKeyID>{escape(str(key))}</KMSMasterKeyID>" if key else "")
                + "</ApplyServerSideEncryptionByDefault>"
                f"<BucketKeyEnabled>{str(rule.get('BucketKeyEnabled', False)).lower()}</BucketKeyEnabled></Rule>"
            )
        return f"<ServerSideEncryptionConfiguration>{rules}</ServerSideEncryptionConfiguration>".encode()

    entry = ("BucketEncryption", to_xml, s3._put_bucket_encryption, s3._delete_bucket_encryption)
    provisioners._S3_BUCKET_CONFIGURATIONS = (*provisioners._S3_BUCKET_CONFIGURATIONS, entry)


def objects_need_their_key() -> None:
    """Ask for the key of an object that is written or read, in the name of who does it (S3, "Using SSE-KMS")."""
    original = s3.handle_request

    async def handle_request(
        method: str, path: str, headers: Json, body: bytes, query: Json, *rest: Json, **more: Json
    ) -> Json:
        reason = _object_refusal(method, path, headers, query) if app.AUTH and not more.get("internal") else ""
        if reason:
            return s3._error("AccessDenied", reason, 403, path)
        return await original(method, path, headers, body, query, *rest, **more)

    s3.handle_request = handle_request


def objects_take_the_managed_key() -> None:
    """Let ``aws:kms`` without a key mean the key that AWS manages for S3: so the CDK CLI writes assets."""
    original = s3._resolve_sse_write_headers

    def resolve(headers: Json, bucket_name: str) -> Json:
        names_no_key = not any(name.startswith(_CUSTOMER_KEYS) or name == _KEY_HEADER for name in headers)
        if headers.get("x-amz-server-side-encryption") == "aws:kms" and names_no_key:
            return {"x-amz-server-side-encryption": "aws:kms"}, None
        return original(headers, bucket_name)

    s3._resolve_sse_write_headers = resolve


def _object_refusal(method: str, path: str, headers: Json, query: Json) -> str:
    action = iam_actions.extract_iam_action("s3", method, path, headers, b"", query)
    if action not in {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"}:
        return ""
    access_key = router.extract_access_key_id(headers, query)
    account = responses.get_account_id()
    principal = iam_evaluator.resolve_principal(access_key, account) if access_key else None
    if isinstance(principal, iam_evaluator.AuthError):
        return ""  # refused by S3 itself
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    for name, use in _object_uses(action, method, bucket, key, headers, query):
        if principal is None:
            return (
                "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4."
            )
        reason = keys.refusal(principal, use)
        if reason:
            return f"{reason} ({name})" if reason.startswith("NotFound") else reason
    return ""


def _object_uses(  # noqa: PLR0917 - the parts of a request
    action: str, method: str, bucket: str, key: str, headers: Json, query: Json
) -> Iterator[tuple[str, Use]]:
    if action == "s3:PutObject":
        written, by_bucket = _written_key(bucket, headers)
        in_parts = "uploads" in query or "uploadId" in query
        if written:
            context = {"aws:s3:arn": f"arn:aws:s3:::{bucket}" + ("" if by_bucket else f"/{key}")}
            yield bucket, Use("kms:GenerateDataKey", written, "s3", context)
            if in_parts:
                yield bucket, Use("kms:Decrypt", written, "s3", context)
        source = unquote(headers.get("x-amz-copy-source", "")).lstrip("/").partition("?")[0]
        if not source:
            return
        bucket, _, key = source.partition("/")
    elif method == "HEAD" and headers.get("x-amz-checksum-mode", "").upper() != "ENABLED":
        return  # its headers are not encrypted
    read, by_bucket = _read_key(bucket, key, query)
    if read:
        context = {"aws:s3:arn": f"arn:aws:s3:::{bucket}" + ("" if by_bucket else f"/{key}")}
        yield bucket, Use("kms:Decrypt", read, "s3", context)


def _in_bucket(bucket: str, read: Callable[[], Json]) -> Json:
    """What ``read`` finds in the account that owns a bucket."""
    owner = s3._bucket_owner_account(bucket)
    if owner is None:
        return None
    with responses.request_scope(owner, responses.get_region()):
        return read()


def _written_key(bucket: str, headers: Json) -> tuple[str, bool]:
    """The key that an object is going to be encrypted with, if any, and whether the bucket's own key stands for it."""
    stored = _in_bucket(bucket, lambda: s3._resolve_sse_write_headers(headers, bucket)[0]) or {}
    return str(stored.get(_KEY_HEADER, "")), _has_bucket_key(bucket, headers)


def _read_key(bucket: str, key: str, query: Json) -> tuple[str, bool]:
    def find() -> Json:
        record = (s3._buckets.get(bucket) or {}).get("objects", {}).get(key)
        version = (query.get("versionId") or [""])[0] if isinstance(query.get("versionId"), list) else ""
        if version:
            versions = s3._object_versions.get((bucket, key), [])
            record = next((it for it in versions if it.get("version_id") == version), record)
        return s3._stored_sse_headers(record) if record else {}

    return str((_in_bucket(bucket, find) or {}).get(_KEY_HEADER, "")), _has_bucket_key(bucket, {})


def _has_bucket_key(bucket: str, headers: Json) -> bool:
    asked = headers.get("x-amz-server-side-encryption-bucket-key-enabled")
    if asked is not None:
        return bool(asked.lower() == "true")
    configured = _in_bucket(bucket, lambda: s3._bucket_encryption.get(bucket)) or ""
    return bool(_BUCKET_KEYS.search(configured))
