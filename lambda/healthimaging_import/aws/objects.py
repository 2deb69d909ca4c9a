"""Objects that several executions write: by condition on the tag of what was read."""

from __future__ import annotations

from operator import itemgetter

from healthimaging_import.aws.clients import Aws
from healthimaging_import.errors import ConflictError, TerminalError


def write_object(aws: Aws, bucket: str, key: str, body: bytes, tag: str | None, *, purpose: str) -> str:
    """Write a JSON object to S3; returns its tag.

    Args:
        aws: the AWS calls.
        bucket: the bucket.
        key: the object's key.
        body: its content.
        tag: the tag that it must still have; an empty one stands for no such object, None for anything.
        purpose: what the object is, for a reason that holds no object key.

    Raises:
        ConflictError: it has another tag.
    """
    condition = {} if tag is None else {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
    try:
        written: str = aws.call(
            "s3", "PutObject", itemgetter("ETag"), purpose=purpose,
            Bucket=bucket, Key=key, Body=body, ContentType="application/json", **condition,
        )  # fmt: skip
    except TerminalError as error:
        if error.code in ("PreconditionFailed", "NoSuchKey"):
            raise ConflictError("another execution of the same import is at work") from None
        raise
    return written
