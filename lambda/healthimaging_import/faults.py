"""What each failure of an AWS call means: wait and try again, or stop with a reason a person can act on.

botocore has already retried what its standard mode retries (throttling, 5xx, connection errors) when a failure gets
here, so a second, slower round follows only where waiting can help: it is the caller's, bounded by its deadline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError

from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.wording import denial, plain

_LONGEST_RETRY_AFTER = 300.0
_BUSY_STATUSES = (408, 429)
_FIRST_SERVER_ERROR = 500


@dataclass(frozen=True)
class Rule:
    """One way of answering a failure.

    ``verbatim``: IAM's own sentence is repeated, which names actions and resources; of all else only plain words are.
    """

    advice: str
    retry: bool = False
    retry_while_settling: bool = False
    verbatim: bool = False


_BUSY = Rule("the service was busy for as long as this import may wait; deploy again later", retry=True)
_DENIED = Rule(
    "a permission is missing: compare the policies in the template with what AWS names here, mind service control "
    "policies and permissions boundaries, then deploy again",
    retry_while_settling=True,
    verbatim=True,
)
_HEALTHIMAGING = {
    "ThrottlingException": _BUSY,
    "InternalServerException": _BUSY,
    "ServiceQuotaExceededException": Rule(
        "the data store has no free slot for another import job; wait for running jobs or have the quota raised, "
        "then deploy again",
        retry=True,
    ),
    "ConflictException": Rule(
        "the data store is being changed or the request was sent before with other parameters; set a run_id not "
        "used before and deploy again",
        retry=True,
    ),
    "AccessDeniedException": _DENIED,
    "ValidationException": Rule(
        "HealthImaging does not accept the request; correct what it names and deploy again",
        retry_while_settling=True,
    ),
    "ResourceNotFoundException": Rule(
        "the data store or the job is gone, or lies in another account or Region; correct the id and deploy again"
    ),
}
_S3 = {
    "AccessDenied": Rule(_DENIED.advice, retry_while_settling=True),
    "403": Rule(_DENIED.advice, retry_while_settling=True),
    "NoSuchBucket": Rule("the bucket does not exist; correct its name and deploy again"),
    "SlowDown": Rule(_BUSY.advice, retry=True),
    "InternalError": Rule(_BUSY.advice, retry=True),
    "ServiceUnavailable": Rule(_BUSY.advice, retry=True),
    "RequestTimeout": Rule(_BUSY.advice, retry=True),
    "ConditionalRequestConflict": Rule(_BUSY.advice, retry=True),
}
_OTHERS = {
    "AccessDenied": _DENIED,
    "AccessDeniedException": _DENIED,
    "ExpiredToken": Rule("the credentials ran out", retry=True),
    "ThrottlingException": _BUSY,
    "Throttling": _BUSY,
}
_RULES = {"medical-imaging": _HEALTHIMAGING, "s3": _S3}
_TOO_MANY = {
    "BandwidthLimitExceeded",
    "ExecutionLimitExceeded",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "ThrottledException",
    "TooManyRequestsException",
}
_UNKNOWN = Rule("this was not expected; look the error up, then deploy again")
_TRANSPORT = (NoConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError)
_UNSENT = Rule("botocore did not send the request; this is an error in healthimaging-cdk or in the function's settings")
_UNREACHABLE = Rule("AWS could not be reached; check the function's network, then deploy again", retry=True)


def rule_for(service: str, code: str, status: int = 0) -> Rule:
    """The rule for an error code of a service, and for the HTTP status it came with.

    A 5xx says nothing about what became of the request, whatever its code: it is looked for before it is repeated.
    Other unknown codes stop at once.
    """
    busy = status in _BUSY_STATUSES or status >= _FIRST_SERVER_ERROR or code in _TOO_MANY
    return _RULES.get(service, _OTHERS).get(code, _BUSY if busy else _UNKNOWN)


def is_missing(error: ClientError) -> bool:
    """Whether S3 has no object of that key, as it says of what is read or written over."""
    return str(error.response["Error"]["Code"]) == "NoSuchKey"


@contextmanager
def explained(service: str, operation: str, *, settling: bool = False, if_denied: str = "") -> Iterator[None]:
    """Turn what an AWS call raises into :class:`TryLater` or :class:`Refused`.

    ``settling``: IAM may not have caught up with a role or policy made seconds ago, so a denial can pass.
    ``if_denied``: what else a person has to look at when the call is denied.
    """
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "Unknown"))
        rule = rule_for(service, code, int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0))
        message = str(error.response.get("Error", {}).get("Message") or "")
        said = denial(message) if rule.verbatim else plain(message)
        advice = f"{rule.advice}; {if_denied}" if if_denied and rule.advice == _DENIED.advice else rule.advice
        reason = f"{operation} answered {code}{f' ({said})' if said else ''}: {advice}"
        raise _answer(rule, reason, settling=settling, after=_retry_after(error), code=code) from None
    except (BotoCoreError, ResponseParserError) as error:
        rule = _UNREACHABLE if isinstance(error, _TRANSPORT) else _UNSENT
        reason = f"{operation} failed with {type(error).__name__}: {rule.advice}"
        raise _answer(rule, reason, settling=settling) from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        name = type(error).__name__
        raise TryLater(f"{operation} answered something that cannot be understood ({name}): {_BUSY.advice}") from None


def _answer(rule: Rule, reason: str, *, settling: bool, after: float = 0, code: str = "") -> Exception:
    later = rule.retry or (rule.retry_while_settling and settling)
    return TryLater(reason, after) if later else Refused(reason, code)


def _retry_after(error: ClientError) -> float:
    """The seconds of a Retry-After header; dates and nonsense count as none."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    value = str(headers.get("retry-after", ""))
    return min(float(value), _LONGEST_RETRY_AFTER) if value.isdecimal() else 0
