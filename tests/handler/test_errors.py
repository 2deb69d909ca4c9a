"""What each failure of an AWS call means: every exception of the calls that are made has a decided end."""

from __future__ import annotations

import re
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from botocore.parsers import ResponseParserError

from healthimaging_import.aws import errors
from healthimaging_import.aws.clients import Aws
from healthimaging_import.aws.errors import FAILURES, rule_for, translate
from healthimaging_import.errors import NotFoundError, RetryableError, TerminalError
from healthimaging_import.service_model import ServiceModel
from tests.handler.fake_aws import FakeAws

RETRYABLE = {
    "ThrottlingException",
    "InternalServerException",
    "ServiceQuotaExceededException",
    "ConflictException",
}
RETRYABLE_WHILE_PROPAGATING = {"AccessDeniedException", "ValidationException"}
TERMINAL = {"ResourceNotFoundException"}
ID = "0" * 32
OPERATIONS: dict[str, dict[str, Any]] = {
    "StartDICOMImportJob": {
        "clientToken": "t",
        "datastoreId": ID,
        "dataAccessRoleArn": "arn:aws:iam::111122223333:role/Import",
        "inputS3Uri": "s3://source/",
        "outputS3Uri": "s3://results/",
    },
    "GetDICOMImportJob": {"datastoreId": ID, "jobId": "1"},
    "ListDICOMImportJobs": {"datastoreId": ID},
    "DeleteImageSet": {"datastoreId": ID, "imageSetId": ID},
    "GetImageSet": {"datastoreId": ID, "imageSetId": ID},
    "TagResource": {"resourceArn": f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{ID}", "tags": {}},
}
EXCEPTIONS = [
    (operation, error["shape"])
    for operation in OPERATIONS
    for error in ServiceModel.load().document["operations"][operation]["errors"]
]
SERVICES = ["sts", "stepfunctions", "cloudformation", "events", "sns", "medical-imaging"]


def error_of(
    service: str, code: str, message: str = "", *, operation: str = "Call", status: int = 400, propagating: bool = False
) -> RetryableError | TerminalError:
    """What a failure of a call becomes."""
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
    }
    failure = ClientError(response, operation)
    error = translate(failure, service, operation, purpose="", if_denied="", iam_propagating=propagating)
    assert isinstance(error, (RetryableError, TerminalError))
    return error


def of_failure(failure: Exception, service: str = "s3", operation: str = "GetObject") -> Exception:
    assert isinstance(failure, FAILURES)
    return translate(failure, service, operation, purpose="", if_denied="", iam_propagating=False)


def answered(aws: FakeAws, calls: Aws, operation: str, code: str) -> Exception:
    aws.fail(f"HealthImaging.{operation}", code, message="not found: DOE^JANE")
    with pytest.raises((TerminalError, RetryableError)) as raised:
        calls.call("medical-imaging", operation, bool, **OPERATIONS[operation])
    return raised.value


@pytest.mark.parametrize(("operation", "code"), EXCEPTIONS)
def test_every_exception_of_the_service_model_is_decided(
    aws: FakeAws, calls: Aws, propagating: Aws, operation: str, code: str
) -> None:
    assert code in RETRYABLE | RETRYABLE_WHILE_PROPAGATING | TERMINAL
    ended = NotFoundError if code in TERMINAL else TerminalError
    expected = RetryableError if code in RETRYABLE else ended
    assert expected is type(answered(aws, calls, operation, code))
    expected = ended if code in TERMINAL else RetryableError
    assert expected is type(answered(aws, propagating, operation, code))


@pytest.mark.parametrize(("operation", "code"), EXCEPTIONS)
def test_every_exception_has_a_reason_to_act_on(aws: FakeAws, calls: Aws, operation: str, code: str) -> None:
    assert rule_for("medical-imaging", code) is not errors._UNEXPECTED
    reason = str(answered(aws, calls, operation, code))
    assert reason.startswith(f"{operation} answered {code} (not found ...): ")
    assert re.search(r"(deploy|try) again( later| with a run_id not used before)?$", reason)


# -- is it certain that a call had no effect? ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ThrottlingException", 429, True),
        ("ServiceQuotaExceededException", 402, True),
        ("AccessDeniedException", 403, True),
        ("ConflictException", 409, True),
        ("ValidationException", 400, True),
        ("Surprise", 418, True),
        ("RequestTimeout", 408, False),
        ("InternalServerException", 500, False),
        ("ThrottlingException", 503, False),
        ("AccessDeniedException", 500, False),
        ("Surprise", 0, False),
    ],
)
def test_only_a_4xx_says_that_a_call_had_no_effect(code: str, status: int, *, expected: bool) -> None:
    assert expected == error_of("medical-imaging", code, status=status).is_refusal


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (EndpointConnectionError(endpoint_url="x"), False),
        (ResponseParserError("<html>"), False),
        (KeyError("jobId"), False),
        (ParamValidationError(report="x"), True),
    ],
)
def test_a_call_that_was_never_sent_had_no_effect(failure: Exception, *, expected: bool) -> None:
    error = of_failure(failure)
    assert isinstance(error, (RetryableError, TerminalError))
    assert expected == error.is_refusal


def test_a_conflict_is_tried_again_for_two_minutes_at_most() -> None:
    error = error_of("medical-imaging", "ConflictException", status=409)
    assert isinstance(error, RetryableError)
    assert 120 == error.patience
    busy = error_of("medical-imaging", "ThrottlingException", status=429)
    assert isinstance(busy, RetryableError)
    assert busy.patience is None


# -- S3, and KMS in its name -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("SlowDown", 503),
        ("ThrottlingException", 400),
        ("KMS.ThrottlingException", 400),
        ("ExpiredToken", 400),
        ("InternalError", 500),
        ("ServiceUnavailable", 503),
        ("RequestTimeout", 400),
        ("ConditionalRequestConflict", 409),
        ("TooManyRequestsException", 400),
        ("Surprise", 429),
        ("Surprise", 500),
    ],
)
def test_what_passes_in_s3_is_tried_again(code: str, status: int) -> None:
    assert RetryableError is type(error_of("s3", code, status=status))


@pytest.mark.parametrize("code", ["KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"])
def test_fails_for_a_key_that_cannot_be_used_with_what_to_do(code: str) -> None:
    error = error_of("s3", code)
    assert isinstance(error, TerminalError)
    assert "the bucket's KMS key is disabled, deleted or in another account: enable it" in str(error)


@pytest.mark.parametrize("code", [*sorted(errors._RULES), "Surprise"])
def test_s3s_words_are_not_repeated_since_they_can_name_an_object(code: str) -> None:
    error = error_of("s3", code, "not found: DOE^JANE.dcm", operation="GetObject")
    assert str(error).startswith(f"s3:GetObject answered {code} (not found ...): ")


USER = "User: arn:aws:sts::111122223333:assumed-role/R/s is not authorized to perform: "
OBJECT = ' on resource: "arn:aws:s3:::b/DOE^JANE/1.dcm"'
KEY = " on resource: arn:aws:kms:us-east-1:111122223333:key/6b2a7c10-0000-11ee-be56-0242ac120002"
HEADER = "the bucket's policy denies the request, for example one that requires the header x-amz-server-side-encryption"
ENCRYPTION_KEY = "on the bucket's KMS key: pass the bucket with its encryption_key"
DENIALS = [
    ("s3:GetObject", OBJECT, " because no identity-based policy allows the s3:GetObject action", ""),
    ("s3:GetObject", OBJECT, " because no session policy allows the s3:GetObject action", ""),
    ("s3:GetObject", OBJECT, " because no permissions boundary allows the s3:GetObject action", ""),
    ("s3:ListBucket", ' on resource: "arn:aws:s3:::b"', " with an explicit deny in a service control policy", ""),
    ("s3:PutObject", OBJECT, " with an explicit deny in a resource-based policy", HEADER),
    ("s3:PutObject", OBJECT, " with an explicit deny in an identity-based policy", ""),
    ("s3:PutObject", OBJECT, " with an explicit deny in a VPC endpoint policy", ""),
    (
        "kms:GenerateDataKey",
        KEY,
        " because no identity-based policy allows the kms:GenerateDataKey action",
        ENCRYPTION_KEY,
    ),
    ("kms:Decrypt", KEY, " because no resource-based policy allows the kms:Decrypt action", ENCRYPTION_KEY),
]


@pytest.mark.parametrize(("action", "resource", "why", "remedy"), DENIALS)
def test_a_denial_of_s3_or_kms_names_action_and_kind_of_policy_but_no_object(
    action: str, resource: str, why: str, remedy: str
) -> None:
    error = error_of("s3", "AccessDenied", f"{USER}{action}{resource}{why}", operation="PutObject", status=403)
    reason = str(error)
    assert isinstance(error, TerminalError)
    shown = resource if action.startswith("kms:") else " on resource: ..."
    assert reason.startswith(
        f"s3:PutObject answered AccessDenied ({USER}{action}{shown}{why}): a permission is missing"
    )
    assert "DOE" not in reason
    assert "arn:aws:s3" not in reason
    assert remedy in reason
    assert bool(remedy) == (HEADER in reason or f"the role lacks {action} {ENCRYPTION_KEY}" in reason)


def test_whoever_else_has_to_allow_it_is_named_with_a_denial_alone() -> None:
    def told(code: str) -> str:
        failure = ClientError({"Error": {"Code": code}}, "ListObjectsV2")
        advice = "ask account 444455556666"
        return str(translate(failure, "s3", "ListObjectsV2", purpose="", if_denied=advice, iam_propagating=False))

    assert told("AccessDenied").endswith("; ask account 444455556666")
    assert "444455556666" not in told("NoSuchBucket")


# -- all services ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_a_denial_is_told_as_iam_words_it_since_that_names_what_is_missing(service: str) -> None:
    said = "User: arn:aws:sts::111122223333:assumed-role/Import/x is not authorized to perform: iam:PassRole"
    reason = str(error_of(service, "AccessDeniedException", said))
    assert f"Call answered AccessDeniedException ({said}): a permission is missing" in reason


@pytest.mark.parametrize("service", SERVICES)
def test_a_denial_in_other_words_is_told_in_plain_ones(service: str) -> None:
    said = "The data access role may not read object DOE^JANE/1.dcm in bucket source"
    reason = str(error_of(service, "AccessDeniedException", said))
    assert "Call answered AccessDeniedException (The data access role ... not read object ..." in reason
    assert "DOE" not in reason


@pytest.mark.parametrize("service", [*SERVICES, "s3"])
def test_fails_at_once_for_an_unknown_code(service: str) -> None:
    error = error_of(service, "Surprise")
    assert isinstance(error, TerminalError)
    assert re.search(r"Surprise: this was not expected; look the error up", str(error))


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
@pytest.mark.parametrize("service", ["sts", "stepfunctions", "cloudformation", "events"])
def test_a_denial_of_any_service_may_pass_while_iam_propagates(service: str, code: str) -> None:
    assert RetryableError is type(error_of(service, code, "no", propagating=True))
    assert TerminalError is type(error_of(service, code, "no"))


def test_an_error_without_any_details_is_translated_too() -> None:
    error = of_failure(ClientError({"Error": {}}, "Call"), "sts", "AssumeRole")
    assert isinstance(error, TerminalError)
    assert str(error).startswith("sts:AssumeRole answered Unknown: this was not expected")


@pytest.mark.parametrize(
    ("service", "operation", "expected"),
    [
        ("medical-imaging", "GetDICOMImportJob", "GetDICOMImportJob (the job) answered"),
        ("stepfunctions", "StartExecution", "states:StartExecution (the job) answered"),
        ("s3", "GetObject", "s3:GetObject (the job) answered"),
    ],
)
def test_a_reason_names_the_call_and_its_purpose(service: str, operation: str, expected: str) -> None:
    failure = ClientError({"Error": {"Code": "X"}}, operation)
    error = translate(failure, service, operation, purpose="the job", if_denied="", iam_propagating=False)
    assert str(error).startswith(expected)


@pytest.mark.slow
def test_an_aws_that_cannot_be_reached_is_tried_again() -> None:
    client = boto3.client(
        "sts",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1),
    )
    with pytest.raises(EndpointConnectionError) as raised:
        client.get_caller_identity()
    error = of_failure(raised.value, "sts", "AssumeRole")
    expected = (
        "sts:AssumeRole failed with EndpointConnectionError: AWS could not be reached; "
        "check the function's network, then try again"
    )
    assert (RetryableError, expected) == (type(error), str(error))


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7), ("0", 0), ("9999", 300), ("", 0), ("-1", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)],
)
def test_a_service_that_names_its_time_is_left_alone_that_long(header: str, expected: float) -> None:
    busy: Any = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPHeaders": {"retry-after": header}}}
    error = of_failure(ClientError(busy, "StartDICOMImportJob"), "medical-imaging", "StartDICOMImportJob")
    assert isinstance(error, RetryableError)
    assert expected == error.after


@pytest.mark.parametrize(
    "failure", [KeyError("jobId"), ValueError("x"), TypeError("x"), AttributeError("x"), ResponseParserError("<html>")]
)
def test_an_answer_that_cannot_be_understood_is_asked_for_again(failure: Exception) -> None:
    error = of_failure(failure)
    assert isinstance(error, RetryableError)
    assert type(failure).__name__ in str(error)


def test_fails_at_once_for_a_call_that_botocore_does_not_send() -> None:
    error = of_failure(ParamValidationError(report="DOE^JANE"))
    assert isinstance(error, TerminalError)
    assert "botocore did not send the request; this is an error in healthimaging-cdk" in str(error)
    assert "DOE" not in str(error)


@pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException"])
def test_a_start_that_may_be_refused_for_the_trust_of_its_role_names_the_option(code: str) -> None:
    reason = str(error_of("medical-imaging", code, operation="StartDICOMImportJob"))
    assert "trust_conditions" in reason
    assert "trust_conditions" not in str(error_of("medical-imaging", code, operation="GetDICOMImportJob"))


def test_a_start_that_is_refused_for_another_reason_does_not_name_the_trust() -> None:
    reason = str(error_of("medical-imaging", "ServiceQuotaExceededException", operation="StartDICOMImportJob"))
    assert "trust_conditions" not in reason
