"""The jobs that a request whose answer was lost may have become: those of its time, place and role alone."""

from __future__ import annotations

from typing import Any

import pytest

from healthimaging_import.aws import Clients
from healthimaging_import.jobs import Jobs
from tests.handler.fake_aws import RESULTS, ROLE, SOURCE, FakeAws


@pytest.fixture
def jobs(clients: Clients) -> Jobs:
    return Jobs(clients, settling=False)


@pytest.fixture
def parameters(aws: FakeAws) -> dict[str, Any]:
    return {
        "clientToken": "t",
        "datastoreId": aws.datastore_id,
        "dataAccessRoleArn": ROLE,
        "inputS3Uri": f"s3://{SOURCE}/studies/",
        "outputS3Uri": f"s3://{RESULTS}/imports/",
    }


def test_a_job_of_the_same_request_is_found(aws: FakeAws, jobs: Jobs, parameters: dict[str, Any]) -> None:
    started = jobs.start(parameters)
    assert [started] == jobs.like(parameters, aws.jobs()[0].submitted_at)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dataAccessRoleArn", "arn:aws:iam::111122223333:role/Other"),
        ("inputS3Uri", f"s3://{SOURCE}/other/"),
        ("outputS3Uri", f"s3://{RESULTS}/other/"),
    ],
)
def test_a_job_of_another_role_or_place_is_not(
    aws: FakeAws, jobs: Jobs, parameters: dict[str, Any], name: str, value: str
) -> None:
    jobs.start(parameters)
    assert [] == jobs.like({**parameters, name: value}, aws.jobs()[0].submitted_at)


@pytest.mark.parametrize(("seconds", "found"), [(1, 1), (3, 0)])
def test_clocks_may_differ_by_two_seconds(
    aws: FakeAws, jobs: Jobs, parameters: dict[str, Any], seconds: float, found: int
) -> None:
    jobs.start(parameters)
    assert found == len(jobs.like(parameters, aws.jobs()[0].submitted_at + seconds))
