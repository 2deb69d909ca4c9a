"""How a step can end other than well: for good, or for now. Reasons carry no S3 key and nothing of a file."""

from __future__ import annotations

DECODE_ERRORS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What decoding a JSON text can raise that is not as it should be."""


class StepError(Exception):
    """A step did not end well.

    Args:
        reason: for the person who deploys: the fact, then what to do.
        code: the error code of AWS where there is one.
        is_refusal: whether it is certain that a call had no effect.
        after: the seconds to wait at least before another try.
        patience: for how many seconds it is worth trying again. Default: as long as the request may take.
    """

    def __init__(
        self, reason: str, *, code: str = "", is_refusal: bool = False, after: float = 0, patience: float | None = None
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.is_refusal = is_refusal
        self.after = after
        self.patience = patience


class TerminalError(StepError):
    """The request cannot succeed."""


class NotFoundError(TerminalError):
    """HealthImaging does not know what a call names, not yet or not any more."""


class RetryableError(StepError):
    """The request can go on after a while; its reason becomes that of the failure when the time for it is over."""


class UnfinishedError(RetryableError):
    """Nothing failed: a part is done, and the next step goes on with the rest."""


class ConflictError(RetryableError):
    """An object was written by another execution since it was read."""
