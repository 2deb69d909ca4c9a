"""Jobs are recognised by the mark in their name alone; those of the first version, which have none, are not guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from healthimaging_import.aws.clients import Aws
from healthimaging_import.importing.jobs import find_job, get_job, start_job
from healthimaging_import.importing.request import ImportRequest
from tests.handler.fake_aws import FakeAws

RequestFor = Callable[..., ImportRequest]


def test_a_job_is_found_by_its_name(aws: FakeAws, calls: Aws, request_for: RequestFor) -> None:
    parameters = request_for(job_name="nightly").start_parameters(1)
    started = start_job(calls, parameters)
    assert started == find_job(calls, aws.datastore_id, parameters["jobName"], aws.clock.seconds)


@pytest.mark.parametrize(
    "other", [{"run_id": "2"}, {"input_prefix": "other/"}, {"output_prefix": "imports2/"}, {"job_name": "nightly2"}]
)
def test_a_job_of_another_name_is_not(aws: FakeAws, calls: Aws, request_for: RequestFor, other: dict[str, Any]) -> None:
    start_job(calls, request_for(**{"job_name": "nightly", **other}).start_parameters(1))
    name = request_for(job_name="nightly").marked_job_name(1)
    assert find_job(calls, aws.datastore_id, name, aws.clock.seconds) is None


@pytest.mark.parametrize(("seconds", "is_found"), [(60, True), (61, False)])
def test_clocks_may_differ_by_a_minute(
    aws: FakeAws, calls: Aws, request_for: RequestFor, seconds: float, *, is_found: bool
) -> None:
    parameters = request_for().start_parameters(1)
    start_job(calls, parameters)
    since = aws.clock.seconds + seconds
    assert is_found == (find_job(calls, aws.datastore_id, parameters["jobName"], since) is not None)


@pytest.mark.parametrize(
    ("attempt", "change", "expected"),
    [
        (1, {}, True),
        (1, {"job_name": "renamed"}, True),
        (2, {}, False),
        (1, {"run_id": "2"}, False),
        (1, {"scope": "stack/Other"}, False),
    ],
)
def test_a_job_is_of_the_attempt_whose_mark_it_has(
    calls: Aws, request_for: RequestFor, attempt: int, change: dict[str, str], *, expected: bool
) -> None:
    sent = request_for().start_parameters(1)
    job = get_job(calls, sent["datastoreId"], start_job(calls, sent)["jobId"])
    asked = request_for(**change)
    assert expected == asked.started(attempt, asked.marked_job_name(attempt), job.name, job.input_uri)


@pytest.mark.parametrize(("prefix", "expected"), [("studies/", True), ("other/", False)])
@pytest.mark.parametrize("name", ["nightly", None])
def test_a_job_that_the_first_version_started_is_told_by_its_source(
    aws: FakeAws, calls: Aws, request_for: RequestFor, name: str | None, prefix: str, *, expected: bool
) -> None:
    sent = {**request_for().start_parameters(1), "jobName": name or "x"}
    job = get_job(calls, aws.datastore_id, start_job(calls, sent)["jobId"])
    asked = request_for(input_prefix=prefix)
    assert expected == asked.started(1, name, job.name, job.input_uri)
