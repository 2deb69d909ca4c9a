"""Reading an S3 object that may not be there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from healthimaging_import.faults import explained, is_missing

T = TypeVar("T")


def read_object(
    s3: Any,  # noqa: ANN401 - boto3 clients are made at run time
    bucket: str,
    key: str,
    read: Callable[[dict[str, Any]], T],
    *,
    what: str,
    settling: bool,
) -> T | None:
    """What is read of GetObject's answer; None while there is no such object.

    Args:
        s3: the client.
        bucket: the bucket.
        key: the key.
        read: takes the answer, and may fail as the call may.
        what: what the object is, for a reason that holds no key.
        settling: whether IAM may still be catching up.
    """
    with explained("s3", f"s3:GetObject ({what})", settling=settling):
        try:
            answer = s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        return read(answer)
