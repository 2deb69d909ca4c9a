"""How an import can end other than well: later, or never. Reasons carry no S3 key and nothing of a file."""

from __future__ import annotations

NOT_AS_WRITTEN = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What taking apart a JSON text can raise that is not what it should be."""


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
