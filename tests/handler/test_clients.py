"""The AWS calls: with the request's role, created once, by the packaged model, and with every failure translated."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from healthimaging_import import log
from healthimaging_import.aws import clients
from healthimaging_import.aws.clients import CALL_SECONDS, Aws
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.service_model import ServiceModel
from tests.handler.fake_aws import ROLE, FakeAws

CREATE_CLIENT = clients._create_client  # before a fixture replaces it


def head(calls: Aws) -> int:
    return calls.call("s3", "HeadObject", lambda answer: int(answer["ContentLength"]), Bucket="source", Key="k")


def test_a_role_is_assumed_when_first_needed_and_only_once(aws: FakeAws) -> None:
    aws.put("source", "k", b"1")
    calls = Aws(ROLE)
    assert 0 == aws.count("STS.AssumeRole")
    assert 1 == head(calls)
    assert "ASSUMED" == calls.client("medical-imaging")._get_credentials().access_key
    assert 1 == head(Aws(ROLE))
    assert 1 == aws.count("STS.AssumeRole", ROLE)


def test_another_role_has_clients_of_its_own(aws: FakeAws) -> None:
    aws.put("source", "k", b"1")
    head(Aws(ROLE))
    head(Aws("arn:aws:iam::111122223333:role/Other"))
    assert 1 == aws.count("STS.AssumeRole", "Other")


def test_credentials_are_renewed_long_before_they_expire(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.put("source", "k", b"1")
    monkeypatch.setattr(clients, "time", aws.clock)
    for pause in (0, 1200, 1):
        aws.clock.seconds += pause
        head(Aws(ROLE))
    assert 2 == aws.count("STS.AssumeRole")


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId"])
def test_credentials_that_are_gone_are_not_used_again(aws: FakeAws, code: str) -> None:
    aws.put("source", "k", b"1")
    aws.fail("S3.GetObject", code, 400)
    with pytest.raises((RetryableError, TerminalError)):
        Aws(ROLE).call("s3", "GetObject", bool, Bucket="source", Key="k")
    head(Aws(ROLE))
    assert 2 == aws.count("STS.AssumeRole")


def test_fails_at_once_when_the_role_may_not_be_assumed(aws: FakeAws, calls: Aws) -> None:
    aws.fail("STS.AssumeRole", "AccessDenied", 403, "not authorized to perform: sts:AssumeRole")
    with pytest.raises(TerminalError, match=r"sts:AssumeRole answered AccessDenied .not authorized to perform"):
        head(calls)


def test_a_role_created_seconds_ago_is_tried_again(aws: FakeAws, propagating: Aws) -> None:
    aws.put("source", "k", b"1")
    aws.fail("STS.AssumeRole", "AccessDenied", 403)
    with pytest.raises(RetryableError):
        head(propagating)
    assert 1 == head(propagating)


def test_a_failure_in_reading_an_answer_is_translated_as_well(aws: FakeAws, calls: Aws) -> None:
    aws.put("source", "k", b"1")
    with pytest.raises(RetryableError, match=r"s3:GetObject answered something that cannot be understood .KeyError."):
        calls.call("s3", "HeadObject", lambda answer: answer["Missing"], Bucket="source", Key="k")


def test_a_failure_on_a_later_page_is_translated_as_well(aws: FakeAws, calls: Aws) -> None:
    aws.page_size = 1
    aws.put("source", "a")
    aws.put("source", "b")
    pages = calls.pages("s3", "ListObjectsV2", bool, purpose="input bucket", Bucket="source")
    next(pages)
    aws.fail("S3.ListObjectsV2", "SlowDown", 503)
    with pytest.raises(RetryableError, match=r"s3:ListBucket .input bucket. answered SlowDown"):
        next(pages)


def test_a_start_is_sent_once_so_that_it_is_known_how_long_it_may_be_on_its_way(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[tuple[str, int], Any] = {}

    def create(service: str, credentials: dict[str, str], **once: bool) -> Any:
        config = CREATE_CLIENT(service, credentials, **once).meta.config
        seen[service, config.retries["total_max_attempts"]] = config
        return cached(service, credentials)

    cached = clients._create_client
    monkeypatch.setattr(clients, "_create_client", create)
    calls = Aws(ROLE)
    for operation in ("StartDICOMImportJob", "GetDICOMImportJob"):
        with pytest.raises(TerminalError):
            calls.call("medical-imaging", operation, bool)
    assert {("sts", 4), ("medical-imaging", 1), ("medical-imaging", 4)} == set(seen)
    assert all(CALL_SECONDS >= config.connect_timeout + config.read_timeout for config in seen.values())
    assert aws.endpoint


def test_sts_is_asked_in_the_functions_own_region_whatever_boto3_prefers(monkeypatch: pytest.MonkeyPatch) -> None:
    # What an older boto3 does by default: in the Regions that are older than it, the one global endpoint.
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    sts = clients._session().client("sts", region_name="us-east-1")
    assert "https://sts.us-east-1.amazonaws.com" == sts.meta.endpoint_url


def test_the_packaged_model_is_the_one_that_is_used(calls: Aws) -> None:
    operation = calls.client("medical-imaging").meta.service_model.operation_model("StartDICOMImportJob")
    assert set(ServiceModel.load().shapes["StartDICOMImportJobRequest"]["members"]) == set(
        operation.input_shape.members
    )


def test_errors_of_the_model_have_their_code(calls: Aws, aws: FakeAws) -> None:
    with pytest.raises(TerminalError) as raised:
        calls.call("medical-imaging", "GetDICOMImportJob", bool, datastoreId=aws.datastore_id, jobId="0")
    assert ("ResourceNotFoundException", True) == (raised.value.code, raised.value.is_refusal)


@pytest.mark.parametrize("library", ["boto3", "botocore", "s3transfer", "urllib3"])
def test_libraries_log_nothing(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    # urllib3 writes the whole URL, and so the object's key, of an answer whose headers it cannot parse.
    root = logging.getLogger()
    handler = logging.StreamHandler()
    root.addHandler(handler)
    try:
        logging.getLogger(f"{library}.connection").error("Failed to parse headers (url=https://b.s3/DOE^JANE)")
    finally:
        root.removeHandler(handler)
    captured = capsys.readouterr()
    assert ("", "") == (captured.out, captured.err)


def test_a_line_of_the_log_holds_no_object_key(capsys: pytest.CaptureFixture[str]) -> None:
    log.line("told", reason="read s3://results/DOE^JANE 1/x and S3://results/DOE")
    assert '{"step": "told", "reason": "read s3://results/..."}\n' == capsys.readouterr().out
