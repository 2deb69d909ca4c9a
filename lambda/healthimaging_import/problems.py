"""How an import can end other than well: later, or never. Reasons carry no S3 key and nothing of a file."""

from __future__ import annotations

import re

# To the end: a key may hold blanks, quotes and brackets, so nobody can tell where it ends.
_S3_NAMES = re.compile(r"(s3://[a-z0-9.\-]+|arn:aws[a-z\-]*:s3:::[a-z0-9.\-]+)/.*", re.DOTALL)
_LONGEST_QUOTE = 400


class Refused(Exception):  # noqa: N818 - it names the outcome, as StopIteration does
    """The import cannot go on; the reason is for the person who deploys."""

    def __init__(self, reason: str, code: str = "") -> None:
        """Take the reason, and the error code of AWS where there is one."""
        super().__init__(reason)
        self.code = code


class TryLater(Exception):  # noqa: N818 - it names the outcome, as StopIteration does
    """The import can go on after a while. ``reason`` becomes the refusal when the time for it is over."""

    def __init__(self, reason: str, after: float = 0) -> None:
        """Take the reason to give up with, and the seconds that the service asked to wait at least."""
        super().__init__(reason)
        self.reason = reason
        self.after = after


def quote(message: str) -> str:
    """An AWS error message as it may be repeated: object names cut off, since a key can name a patient."""
    return _S3_NAMES.sub(r"\1/...", message)[:_LONGEST_QUOTE]
