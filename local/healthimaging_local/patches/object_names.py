"""What names objects may have, and that every character of a name counts when IAM is asked about it."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import functools
import re

from ministack.core import iam_actions, iam_evaluator
from ministack.services import s3

from healthimaging_local.ports import Json

_LONGEST_KEY = 1024


def wildcards_match_every_character() -> None:
    """Let ``*`` and ``?`` of a policy match a newline too, which a key may hold."""

    @functools.lru_cache(maxsize=4096)
    def fnmatch_compile(pattern: str, ignore_case: bool) -> re.Pattern[str]:  # noqa: FBT001 - ministack's signature
        parts = ({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
        return re.compile(f"{''.join(parts)}\\Z", re.DOTALL | (re.IGNORECASE if ignore_case else 0))

    iam_evaluator._fnmatch_compile = fnmatch_compile


def objects_are_asked_about_by_their_whole_key() -> None:
    """Keep the slashes at the end and within a key that ministack drops from the ARN that it asks IAM about."""
    original = iam_actions.extract_resource_arn

    def extract_resource_arn(service: str, method: str, path: str, *rest: Json) -> str:
        bucket, _, key = path.lstrip("/").partition("/")
        if service == "s3" and bucket and key:
            return f"arn:aws:s3:::{bucket}/{key}"
        return str(original(service, method, path, *rest))

    iam_actions.extract_resource_arn = extract_resource_arn


def keys_are_limited() -> None:
    """Refuse to write a key of more than 1,024 bytes (S3, "Naming Amazon S3 objects")."""
    original = s3.handle_request

    async def handle_request(method: str, path: str, *rest: Json, **more: Json) -> Json:
        key = path.lstrip("/").partition("/")[2]
        if method in {"PUT", "POST"} and len(key.encode()) > _LONGEST_KEY:
            return s3._error("KeyTooLongError", "Your key is too long", 400, path)
        return await original(method, path, *rest, **more)

    s3.handle_request = handle_request
