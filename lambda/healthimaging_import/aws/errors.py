"""What each failure of an AWS call means: try again, or end with a reason that a person can act on.

botocore has already retried what its standard mode retries (throttling, 5xx, connection errors) when a failure gets
here, so a second, slower round follows only where waiting can help: it is the caller's, bounded by its deadline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError

from healthimaging_import.aws.redact import read_denial, redact
from healthimaging_import.errors import DECODE_ERRORS, NotFoundError, RetryableError, StepError, TerminalError

FAILURES = (ClientError, BotoCoreError, ResponseParserError, *DECODE_ERRORS)
"""What a call, or reading its answer, can raise."""

_LONGEST_RETRY_AFTER = 300.0
_CONFLICT_PATIENCE_SECONDS = 120.0
_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS, _FIRST_SERVER_ERROR = 408, 429, 500


@dataclass(frozen=True)
class ErrorRule:
    """What to do about one error."""

    advice: str
    retry: bool = False
    retry_while_propagating: bool = False
    """Retry while IAM may not yet know a new role or policy everywhere."""
    patience: float | None = None
    """For how many seconds to try again; as long as the request may take unless given."""
    is_denial: bool = False
    """IAM's own sentence is repeated, which names the action and the kind of policy."""


_BUSY = ErrorRule("the service was busy for as long as this request may take; try again later", retry=True)
_DENIED = ErrorRule(
    "a permission is missing: compare the policies in the template with what AWS names here, mind service control "
    "policies and permissions boundaries, then try again",
    retry_while_propagating=True,
    is_denial=True,
)
_DENIED_OBJECT = replace(
    _DENIED,
    advice="a permission is missing: look at the role's policies in the template, the bucket's policy, the policy of "
    "the bucket's KMS key, permissions boundaries and service control policies, then try again",
)
_EXPIRED = ErrorRule("the credentials expired; try again", retry=True)
_KEY = ErrorRule(
    "the bucket's KMS key is disabled, deleted or in another account: enable it, or name another one, then try again"
)
_UNEXPECTED = ErrorRule("this was not expected; look the error up, then try again")
_RULES = {
    "AccessDenied": _DENIED,
    "AccessDeniedException": _DENIED,
    "AuthorizationError": _DENIED,
    "403": _DENIED,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    # HealthImaging's
    "ServiceQuotaExceededException": ErrorRule(
        "the data store has no free slot for another import job; wait for running jobs or have the quota raised, "
        "then deploy again",
        retry=True,
    ),
    "ConflictException": ErrorRule(
        "the data store is being changed, or the request was sent before with other parameters: deploy again with a "
        "run_id not used before",
        retry=True,
        patience=_CONFLICT_PATIENCE_SECONDS,
    ),
    "ValidationException": ErrorRule(
        "the request was not accepted; correct what it names and try again",
        retry_while_propagating=True,
    ),
    "ResourceNotFoundException": ErrorRule(
        "the data store or the job is gone, or is in another account or Region; correct the id and try again"
    ),
    # S3's, and those of KMS, which S3 asks in the name of the caller
    "NoSuchBucket": ErrorRule("the bucket does not exist; correct its name and try again"),
    "KMS.DisabledException": _KEY,
    "KMS.KMSInvalidStateException": _KEY,
    "KMS.NotFoundException": _KEY,
}
"""By error code: none of them means one thing in one service that is called here and another in the next."""
_BUSY_CODES = {
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "ExecutionLimitExceeded",
    "InternalError",
    "InternalServerException",
    "KMS.ThrottlingException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_TRANSPORT = (NoConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError)
_UNREACHABLE = "AWS could not be reached; check the function's network, then try again"
_UNSENT = "botocore did not send the request; this is an error in healthimaging-cdk or in the function's settings"
_NAMES = {"medical-imaging": "", "stepfunctions": "states:"}
"""How the actions of a service begin where the service is not called so."""
_ROLE_REFUSALS = {"AccessDeniedException", "ValidationException"}
"""Which of them HealthImaging answers where it cannot assume the role is not documented."""
_IF_ROLE_IS_REFUSED = (
    "if HealthImaging may have failed to assume the data access role, ask less of its trust with trust_conditions "
    "(docs/recovering.md) and deploy again"
)
_ACTIONS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket", "UploadFileobj": "PutObject"}
"""The IAM actions of operations that are called otherwise: what has to be allowed is what a person looks for."""


def rule_for(service: str, code: str, status: int = 0) -> ErrorRule:
    """Return the rule for an error code of a service, and for the HTTP status it came with.

    A 5xx says nothing about what became of the request, whatever its code: it is looked for before it is repeated.
    Other codes that have no rule end the request.
    """
    is_busy = status in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS) or status >= _FIRST_SERVER_ERROR or code in _BUSY_CODES
    rule = _RULES.get(code, _BUSY if is_busy else _UNEXPECTED)
    return _DENIED_OBJECT if rule is _DENIED and service == "s3" else rule


def translate(
    failure: Exception, service: str, operation: str, *, purpose: str, if_denied: str, iam_propagating: bool
) -> StepError:
    """Turn what an AWS call raised into a :class:`RetryableError` or a :class:`TerminalError`.

    The arguments are those of :meth:`Aws.call`; a denial can pass while ``iam_propagating``.
    """
    action = _ACTIONS.get(operation, operation)
    name = _NAMES.get(service, f"{service}:") + action + (f" ({purpose})" if purpose else "")
    failed = type(failure).__name__
    if isinstance(failure, _TRANSPORT):
        return RetryableError(f"{name} failed with {failed}: {_UNREACHABLE}")
    if isinstance(failure, BotoCoreError):
        return TerminalError(f"{name} failed with {failed}: {_UNSENT}", is_refusal=True)
    if not isinstance(failure, ClientError):
        return RetryableError(f"{name} answered something that cannot be understood ({failed}): {_BUSY.advice}")
    found, metadata = failure.response.get("Error", {}), failure.response.get("ResponseMetadata", {})
    code, status = str(found.get("Code", "Unknown")), int(metadata.get("HTTPStatusCode") or 0)
    rule, message = rule_for(service, code, status), str(found.get("Message") or "")
    advice = [rule.advice]
    if rule.is_denial:
        message, remedy = read_denial(message)
        advice += [text for text in (remedy, if_denied) if text]
    else:
        message = redact(message)
    if operation == "StartDICOMImportJob" and code in _ROLE_REFUSALS:
        advice.append(_IF_ROLE_IS_REFUSED)
    reason = f"{name} answered {code}{f' ({message})' if message else ''}: {'; '.join(advice)}"
    error_type = NotFoundError if code == "ResourceNotFoundException" else TerminalError
    may_pass = rule.retry or (rule.retry_while_propagating and iam_propagating)
    retry_after = str(metadata.get("HTTPHeaders", {}).get("retry-after", ""))
    return (RetryableError if may_pass else error_type)(
        reason,
        code=code,
        # A 5xx or a time-out does not say whether the call had its effect.
        is_refusal=0 < status < _FIRST_SERVER_ERROR and status != _REQUEST_TIMEOUT,
        # Dates and nonsense count as none.
        after=min(float(retry_after), _LONGEST_RETRY_AFTER) if retry_after.isdecimal() else 0,
        patience=rule.patience,
    )
