"""Buckets, prefixes and keys that synth can tell are not fit for HealthImaging."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk.aws_kms import IKey

from healthimaging_cdk._common.kms_keys import key_behind
from healthimaging_cdk._common.messages import is_unresolved

_LAST_IN_A_POLICY = "\u00ff"
_NO_BUCKETS = {
    "-s3alias": "the alias of an access point",
    "--ol-s3": "the alias of an Object Lambda access point",
    "--x-s3": "a directory bucket",
    "-ext-s3alias": "the alias of an external access point",
}
"""How names end that look like those of buckets.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
"""


def prefix_problems(argument: str, prefix: str) -> list[str]:
    """What IAM does not take of a prefix; tokens pass."""
    if is_unresolved(prefix) or not any(character > _LAST_IN_A_POLICY for character in prefix):
        return []
    advice = "use a prefix of Latin letters, digits and - _ . /"
    return [f"{argument} {prefix!r} has characters above U+00FF, which IAM takes in no policy: {advice}"]


def bucket_problems(argument: str, bucket: cdk.aws_s3.IBucket | None) -> list[str]:
    """What is named like a bucket and is none that HealthImaging reads or writes; tokens pass."""
    name = "" if bucket is None else bucket.bucket_name
    if is_unresolved(name):
        return []
    return [
        f"{argument} {name!r} is {what}: give the general purpose bucket itself"
        for ending, what in _NO_BUCKETS.items()
        if name.endswith(ending) and not (ending == "-s3alias" and name.endswith("-ext-s3alias"))
    ]


def key_problems(argument: str, key: IKey | None) -> list[str]:
    """Why a key of this app cannot encrypt a data store; of others nothing is known."""
    resource: Any = key_behind(key).node.default_child if key is not None else None
    spec = getattr(resource, "key_spec", None) or "SYMMETRIC_DEFAULT"
    usage = getattr(resource, "key_usage", None) or "ENCRYPT_DECRYPT"
    if is_unresolved(spec) or is_unresolved(usage):
        return []
    if (spec, usage) == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"):
        return []
    return [f"{argument} is a key of spec {spec} for {usage}, and data stores take symmetric encryption keys alone"]


__all__ = ["bucket_problems", "key_problems", "prefix_problems"]
