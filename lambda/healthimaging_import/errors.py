"""How a step can end other than well: for good, or for now. Reasons carry no S3 key and nothing of a file."""

from __future__ import annotations

DECODE_ERRORS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What decoding a JSON text can raise that is not as it should be."""


class TerminalError(Exception):
    """The request cannot succeed; the reason is for the person who deploys."""

    def __init__(self, reason: str, *, code: str = "", is_refusal: bool = False) -> None:
        """Take the reason.

        Args:
            reason: the fact, then what to do.
            code: the error code of AWS where there is one.
            is_refusal: whether it is certain that a call had no effect.
        """
        super().__init__(reason)
        self.code = code
        self.is_refusal = is_refusal


class RetryableError(Exception):
    """The request can go on after a while; its reason becomes that of the failure when the time for it is over."""

    def __init__(
        self, reason: str, *, after: float = 0, patience: float | None = None, code: str = "", is_refusal: bool = False
    ) -> None:
        """Take the reason.

        Args:
            reason: what to give up with.
            after: the seconds to wait at least.
            patience: for how many seconds it is worth trying again; as long as the request may take unless given.
            code: the error code of AWS where there is one.
            is_refusal: whether it is certain that a call had no effect.
        """
        super().__init__(reason)
        self.after = after
        self.patience = patience
        self.code = code
        self.is_refusal = is_refusal
