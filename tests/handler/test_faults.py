"""What each failure of an AWS call means: every exception of the calls that are made has a decided answer."""

from __future__ import annotations

import re
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from healthimaging_import import faults
from healthimaging_import.aws import Clients
from healthimaging_import.faults import explained, rule_for
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.rules import ServiceModel

LATER = {
    "ThrottlingException",
    "InternalServerException",
    "ServiceQuotaExceededException",
    "ConflictException",
}
LATER_WHILE_SETTLING = {"AccessDeniedException", "ValidationException"}
NEVER = {"ResourceNotFoundException"}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "StartDICOMImportJob": (
        "start_dicom_import_job",
        {
            "clientToken": "t",
            "datastoreId": "0" * 32,
            "dataAccessRoleArn": "arn:aws:iam::111122223333:role/Import",
            "inputS3Uri": "s3://source/",
            "outputS3Uri": "s3://results/",
        },
    ),
    "GetDICOMImportJob": ("get_dicom_import_job", {"datastoreId": "0" * 32, "jobId": "1"}),
    "TagResource": ("tag_resource", {"resourceArn": "arn", "tags": {"a": "b"}}),
    "UntagResource": ("untag_resource", {"resourceArn": "arn", "tagKeys": ["a"]}),
}
MESSAGE = "not found: DOE^JANE"
EXCEPTIONS = [
    (operation, error["shape"])
    for operation in CALLS
    for error in ServiceModel.load().document["operations"][operation]["errors"]
]


def answer_of(clients: Clients, operation: str, code: str, *, settling: bool) -> Exception:
    method, parameters = CALLS[operation]
    with Stubber(clients.healthimaging) as stubber:
        stubber.add_client_error(method, code, MESSAGE, expected_params=parameters)
        with pytest.raises((Refused, TryLater)) as raised, explained("medical-imaging", operation, settling=settling):
            getattr(clients.healthimaging, method)(**parameters)
    return raised.value


@pytest.mark.parametrize(("operation", "code"), EXCEPTIONS)
@pytest.mark.parametrize("settling", [False, True])
def test_every_exception_of_the_service_model_is_decided(
    clients: Clients, operation: str, code: str, *, settling: bool
) -> None:
    assert code in LATER | LATER_WHILE_SETTLING | NEVER
    expected = TryLater if code in LATER or (settling and code in LATER_WHILE_SETTLING) else Refused
    assert expected is type(answer_of(clients, operation, code, settling=settling))


@pytest.mark.parametrize(("operation", "code"), EXCEPTIONS)
def test_every_exception_has_a_reason_to_act_on(clients: Clients, operation: str, code: str) -> None:
    assert rule_for("medical-imaging", code) is not faults._UNKNOWN
    reason = str(answer_of(clients, operation, code, settling=False))
    assert reason.startswith(f"{operation} answered {code} (not found ...): ")
    assert re.search(r"deploy again( later)?$", reason)


@pytest.mark.parametrize("service", ["sts", "states", "cloudformation", "events", "medical-imaging"])
def test_a_denial_is_told_as_iam_words_it_since_that_names_what_is_missing(service: str) -> None:
    said = "User: arn:aws:sts::111122223333:assumed-role/Import/x is not authorized to perform: iam:PassRole"
    with pytest.raises(Refused) as refused, explained(service, "call"):
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": said}}, "Call")
    assert f"call answered AccessDeniedException ({said}): a permission is missing" in str(refused.value)


@pytest.mark.parametrize("service", ["sts", "states", "cloudformation", "events", "medical-imaging"])
def test_a_denial_in_other_words_is_told_in_plain_ones(service: str) -> None:
    said = "The data access role may not read object DOE^JANE/1.dcm in bucket source"
    with pytest.raises(Refused) as refused, explained(service, "call"):
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": said}}, "Call")
    assert "call answered AccessDeniedException (The data access role ... not read object ..." in str(refused.value)
    assert "DOE" not in str(refused.value)


@pytest.mark.parametrize("code", [*sorted(faults._S3), "Surprise"])
def test_s3s_words_are_never_repeated_since_they_can_name_an_object(code: str) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "not found: DOE^JANE.dcm"}}, "GetObject")
    with pytest.raises((Refused, TryLater)) as raised, explained("s3", "s3:GetObject"):
        raise error
    assert str(raised.value).startswith(f"s3:GetObject answered {code} (not found ...): ")


@pytest.mark.parametrize("service", ["medical-imaging", "s3", "sts", "states", "cloudformation", "events"])
def test_fails_at_once_for_an_unknown_code(service: str) -> None:
    with (
        pytest.raises(Refused, match=r"Surprise.*: this was not expected; look the error up"),
        explained(service, "call"),
    ):
        raise ClientError({"Error": {"Code": "Surprise", "Message": ""}}, "Call")


@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
@pytest.mark.parametrize("service", ["sts", "states", "cloudformation", "events"])
def test_a_denial_of_any_service_may_pass_while_iam_settles(service: str, code: str) -> None:
    denied = ClientError({"Error": {"Code": code, "Message": "no"}}, "Call")
    with pytest.raises(TryLater), explained(service, "call", settling=True):
        raise denied
    with pytest.raises(Refused), explained(service, "call"):
        raise denied


def test_an_error_without_any_details_is_explained_too() -> None:
    with pytest.raises(Refused, match="call answered Unknown"), explained("sts", "call"):
        raise ClientError({"Error": {}}, "Call")


def test_an_aws_that_cannot_be_reached_is_tried_later() -> None:
    client = boto3.client(
        "sts",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1),
    )
    with pytest.raises(TryLater) as raised, explained("sts", "sts:AssumeRole"):
        client.get_caller_identity()
    expected = (
        "sts:AssumeRole failed with EndpointConnectionError: AWS could not be reached; "
        "check the function's network, then deploy again"
    )
    assert expected == str(raised.value)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7), ("0", 0), ("9999", 300), ("", 0), ("-1", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)],
)
def test_a_service_that_names_its_time_is_left_alone_that_long(header: str, expected: float) -> None:
    busy: Any = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPHeaders": {"retry-after": header}}}
    with pytest.raises(TryLater) as raised, explained("medical-imaging", "StartDICOMImportJob"):
        raise ClientError(busy, "StartDICOMImportJob")
    assert expected == raised.value.after


@pytest.mark.parametrize("error", [KeyError("jobId"), ValueError("x"), TypeError("x"), AttributeError("x")])
def test_an_answer_that_cannot_be_understood_is_asked_for_again(error: Exception) -> None:
    with pytest.raises(TryLater, match=f"cannot be understood .{type(error).__name__}."), explained("s3", "call"):
        raise error


def test_what_is_decided_already_passes_unchanged() -> None:
    with pytest.raises(Refused, match=r"^mine$"), explained("s3", "call"):
        raise Refused("mine")
