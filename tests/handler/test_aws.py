"""Clients: made with the import's role, once, and with the packaged model."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from healthimaging_import import aws as aws_module
from healthimaging_import.aws import Clients
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.rules import ServiceModel
from tests.handler.fake_aws import ROLE, FakeAws


def test_a_role_is_assumed_when_first_needed_and_only_once(aws: FakeAws) -> None:
    clients = Clients(ROLE)
    assert 0 == aws.count("STS.AssumeRole")
    clients.s3.head_object(Bucket=_object(aws), Key="k")
    assert "ASSUMED" == clients.healthimaging._get_credentials().access_key
    assert 1 == aws.count("STS.AssumeRole", ROLE)


def _object(aws: FakeAws) -> str:
    aws.put("source", "k")
    return "source"


def test_without_a_role_the_ambient_credentials_are_used(aws: FakeAws) -> None:
    assert "AMBIENT" == Clients().healthimaging._get_credentials().access_key
    assert 0 == aws.count("STS.AssumeRole")


def test_fails_at_once_when_the_role_may_not_be_assumed(aws: FakeAws) -> None:
    aws.fail("STS.AssumeRole", "AccessDenied", 403, "not authorized to perform: sts:AssumeRole")
    with pytest.raises(Refused, match=r"sts:AssumeRole answered AccessDenied .not authorized to perform"):
        _ = Clients(ROLE).s3


def test_a_role_made_seconds_ago_is_tried_again(aws: FakeAws) -> None:
    aws.fail("STS.AssumeRole", "AccessDenied", 403)
    clients = Clients(ROLE, settling=True)
    with pytest.raises(TryLater):
        _ = clients.s3
    assert clients.s3


def test_sts_is_asked_in_the_functions_own_region_whatever_boto3_prefers(monkeypatch: pytest.MonkeyPatch) -> None:
    # What an older boto3 does by default: in the Regions that are older than it, the one global endpoint.
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    sts = aws_module._boto3_session({}).client("sts", region_name="us-east-1")
    assert "https://sts.us-east-1.amazonaws.com" == sts.meta.endpoint_url


def test_the_packaged_model_is_the_one_that_is_used(clients: Clients) -> None:
    operation = clients.healthimaging.meta.service_model.operation_model("StartDICOMImportJob")
    assert set(ServiceModel.load().shapes["StartDICOMImportJobRequest"]["members"]) == set(
        operation.input_shape.members
    )


def test_errors_of_the_model_are_what_the_client_raises(clients: Clients, aws: FakeAws) -> None:
    with pytest.raises(clients.healthimaging.exceptions.ResourceNotFoundException) as raised:
        clients.healthimaging.get_dicom_import_job(datastoreId=aws.datastore_id, jobId="0")
    assert isinstance(raised.value, ClientError)
