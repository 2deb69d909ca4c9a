"""The entry point: CloudFormation's calls, the state machine's steps, and an answer on every path."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from healthimaging_import import handler
from healthimaging_import.aws import Clients
from healthimaging_import.cloudformation import Event
from healthimaging_import.rules import ANSWERED, DATASTORE
from tests.handler.cloudformation_events import event
from tests.handler.fake_aws import DICOM, ROLE, SOURCE, STATE_MACHINE, FakeAws
from tests.handler.state_machine import Clock, Context, Machine

ROOT = Path(__file__).parent.parent.parent
START = "HealthImaging.StartDICOMImportJob"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(handler, "time", clock)
    return clock


@pytest.fixture
def machine(aws: FakeAws, clock: Clock) -> Machine:
    return Machine(aws, clock)


@pytest.fixture
def source(aws: FakeAws) -> FakeAws:
    aws.put(SOURCE, "studies/1.dcm", DICOM)
    return aws


def answer(aws: FakeAws) -> dict[str, Any]:
    """The one answer that CloudFormation got."""
    (only,) = aws.answers
    return only


# -- CloudFormation's call -------------------------------------------------------------------------------------------


def test_a_request_starts_one_execution_named_after_it(aws: FakeAws, clock: Clock) -> None:
    asked = event(aws, "import-create")
    with Stubber(Clients(ROLE).stepfunctions) as stubber:
        stubber.add_response(
            "start_execution",
            {"executionArn": f"{STATE_MACHINE}:1", "startDate": 1},
            {
                "stateMachineArn": STATE_MACHINE,
                "name": asked["RequestId"],
                "input": json.dumps({"event": asked, "began_at": clock.seconds}),
            },
        )
        assert {} == handler.handle(asked, Context())
        stubber.assert_no_pending_responses()
    assert [] == aws.answers


def test_a_doubled_event_finds_the_execution_that_runs(aws: FakeAws) -> None:
    for _ in range(2):
        assert {} == handler.handle(event(aws, "import-create"), Context())
    assert 1 == len(aws.executions)
    assert [] == aws.answers


def test_an_execution_is_started_with_the_requests_own_role(aws: FakeAws) -> None:
    role = "arn:aws:iam::111122223333:role/Other"
    handler.handle(event(aws, "import-create", RoleArn=role), Context())
    assert 1 == aws.count("STS.AssumeRole", role)


def test_a_role_that_is_not_known_everywhere_yet_is_waited_for(aws: FakeAws, clock: Clock) -> None:
    began = clock.seconds
    aws.fail("STS.AssumeRole", "AccessDenied", 403, times=2, subject="Fresh")
    aws.fail("States.StartExecution", "AccessDeniedException", 400, times=2)
    handler.handle(event(aws, "import-create", RoleArn="arn:aws:iam::111122223333:role/Fresh"), Context())
    assert 1 == len(aws.executions)
    assert clock.seconds > began


@pytest.mark.parametrize(("kind", "status"), [("import-create", "FAILED"), ("import-delete", "SUCCESS")])
def test_fails_with_the_reason_when_no_execution_can_be_started_but_never_a_deletion(
    aws: FakeAws, clock: Clock, kind: str, status: str
) -> None:
    began = clock.seconds
    aws.fail("States.StartExecution", "AccessDeniedException", 400, "not authorized", times=99)
    assert {} == handler.handle(event(aws, kind), Context())
    assert status == answer(aws)["Status"]
    if status == "FAILED":
        assert answer(aws)["Reason"].startswith("states:StartExecution answered AccessDeniedException (not authorized)")
        assert 120 < clock.seconds - began < 180
    else:
        # What is deleted was granted long ago.
        assert clock.seconds == began


@pytest.mark.parametrize(("kind", "status"), [("import-create", "FAILED"), ("import-delete", "SUCCESS")])
def test_fails_with_type_and_place_for_an_error_nobody_foresaw(aws: FakeAws, kind: str, status: str) -> None:
    asked = event(aws, kind)
    del asked["ResourceProperties"]["RoleArn"]
    assert {} == handler.handle(asked, Context())
    assert status == answer(aws)["Status"]
    if status == "FAILED":
        assert answer(aws)["Reason"].startswith("the function failed with KeyError at handler.py:")


# -- one import, from request to answer ------------------------------------------------------------------------------


def test_an_import_is_answered_with_what_was_imported(source: FakeAws, machine: Machine) -> None:
    source.put(SOURCE, "studies/2.dcm", b"not DICOM")
    machine.before_step = lambda number: source.wait_for_jobs() if number else None
    source.jobs_may_run.clear()
    assert machine.request(event(source, "import-create"))["success"]
    told = answer(source)
    (job,) = source.jobs()
    assert "SUCCESS" == told["Status"]
    assert {
        "DatastoreId": source.datastore_id,
        "JobId": job.id,
        "JobStatus": "COMPLETED",
        "NumberOfScannedFiles": "2",
        "NumberOfImportedFiles": "1",
        "NumberOfFilesWithCustomerError": "1",
        "NumberOfFilesWithServerError": "0",
        "NumberOfGeneratedImageSets": "1",
        "NumberOfPrimaryImageSets": "1",
        "NumberOfNonPrimaryImageSets": "0",
        "Warnings": "none",
        "NextStep": "read why files were rejected in FAILURE/failure.ndjson of the job's output folder",
    }.items() <= told["Data"].items()
    assert all(isinstance(value, str) and value for value in told["Data"].values())
    assert [2] == machine.waited


def test_every_attribute_is_there_however_an_import_ends(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create"))
    source.objects.clear()
    machine.request(event(source, "import-update"))
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(event(source, "import-update", request_id="rollback", RunId="3"))
    source.stack_status = "UPDATE_IN_PROGRESS"
    source.put(SOURCE, "studies/1.dcm", DICOM)
    source.jobs_may_run.clear()
    machine.before_step = lambda number: source.wait_for_jobs() if number else None
    machine.request(event(source, "import-update", request_id="submit", RunId="4", Completion="submit"))
    assert ["COMPLETED", "NOTHING_TO_IMPORT", "NOT_STARTED"] == [a["Data"]["JobStatus"] for a in source.answers][:3]
    assert "unknown" == source.answers[3]["Data"]["NumberOfImportedFiles"]
    assert 1 == len({tuple(sorted(told["Data"])) for told in source.answers})


def test_a_doubled_request_imports_once_and_gets_the_same_answer(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create"))
    machine.request(event(source, "import-create", request_id="doubled"))
    assert 1 == len(source.jobs())
    assert source.answers[0]["Data"] == source.answers[1]["Data"]


@pytest.mark.parametrize(
    "manner",
    [
        {"WaitSeconds": "900"},
        {"JobName": "other"},
        {"MaxFiles": "1"},
        {"OnEmpty": "fail"},
        {"MaxRejectedFiles": "3"},
        {"Completion": "detach"},
    ],
)
def test_an_update_of_the_manner_alone_imports_nothing(
    source: FakeAws, machine: Machine, manner: dict[str, str]
) -> None:
    machine.request(event(source, "import-create"))
    machine.request(event(source, "import-update", RunId="", **manner))
    assert 1 == len(source.jobs())
    assert ["SUCCESS", "SUCCESS"] == [told["Status"] for told in source.answers]


def test_an_update_of_the_meaning_imports_again(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create"))
    machine.request(event(source, "import-update"))
    assert 2 == len(source.jobs())


def test_fails_with_the_counts_when_nothing_was_imported(aws: FakeAws, machine: Machine) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    assert not machine.request(event(aws, "import-create"))["success"]
    assert "FAILED" == answer(aws)["Status"]
    assert "it imported nothing: 1 files scanned, 0 imported, 1 rejected" in answer(aws)["Reason"]


def test_fails_by_the_tolerance_that_was_asked_for(source: FakeAws, machine: Machine) -> None:
    source.put(SOURCE, "studies/2.dcm", b"not DICOM")
    machine.request(event(source, "import-create", MaxRejectedFiles="0"))
    assert "1 rejected files are more than 0" in answer(source)["Reason"]


def test_an_empty_source_is_a_success_that_says_so(aws: FakeAws, machine: Machine) -> None:
    machine.request(event(aws, "import-create", ImportAgain="cdk deploy"))
    data = answer(aws)["Data"]
    assert ("NOTHING_TO_IMPORT", "none") == (data["JobStatus"], data["JobId"])
    assert "upload DICOM P10 files to the input prefix, then: cdk deploy" == data["NextStep"]


def test_a_busy_service_is_asked_until_it_answers(source: FakeAws, machine: Machine) -> None:
    source.fail(START, "ServiceQuotaExceededException", 402, times=5)
    machine.request(event(source, "import-create"))
    assert "SUCCESS" == answer(source)["Status"]
    assert 1 == len(source.jobs())
    assert all(1 <= seconds <= 32 for seconds in machine.waited)


def test_fails_with_the_last_reason_when_the_time_is_over(source: FakeAws, machine: Machine) -> None:
    source.fail(START, "ServiceQuotaExceededException", 402, "the limit is 20", times=9999)
    began = machine.clock.seconds
    machine.request(event(source, "import-create"), follow=False)
    assert answer(source)["Reason"].startswith("StartDICOMImportJob answered ServiceQuotaExceededException (")
    assert "the data store has no free slot for another import job" in answer(source)["Reason"]
    assert 300 <= machine.clock.seconds - began < 340


def test_fails_in_time_while_the_job_goes_on_and_a_later_deploy_picks_it_up(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    began = machine.clock.seconds
    machine.request(event(source, "import-create"), follow=False)
    told = answer(source)
    assert "FAILED" == told["Status"]
    assert "seconds; it goes on, and a later deploy of the same stack picks up its result" in told["Reason"]
    assert 300 <= machine.clock.seconds - began < 340
    source.wait_for_jobs()
    machine.request(event(source, "import-create", request_id="later"))
    assert "SUCCESS" == source.answers[1]["Status"]
    assert 1 == len(source.jobs())


def test_a_job_that_a_deploy_waited_for_in_vain_is_followed_to_its_verdict(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    machine.request(event(source, "import-create"), follow=False)
    assert "FAILED" == answer(source)["Status"]
    assert [] == source.events
    source.wait_for_jobs()
    (name,) = (name for name in source.executions if name.endswith("-follow"))
    assert machine.run(json.loads(source.executions[name]["input"]))["success"]
    assert "SUCCEEDED" == json.loads(source.events[0]["Detail"])["outcome"]
    assert 1 == len(source.answers)


def test_a_rollback_that_waits_in_vain_for_a_job_ends_well(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    machine.request(event(source, "import-create", Completion="submit"), follow=False)
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(event(source, "import-update", request_id="back"), follow=False)
    assert "SUCCESS" == source.answers[-1]["Status"]


def test_looks_become_rarer_with_time(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    machine.request(event(source, "import-create", WaitSeconds="3600"), follow=False)
    assert 2 == machine.waited[0]
    assert sorted(machine.waited) == machine.waited
    assert len(machine.waited) < 100
    assert 60 == machine.waited[-1]


def test_a_denial_after_a_change_of_role_may_pass(source: FakeAws, machine: Machine) -> None:
    source.fail(START, "AccessDeniedException", 403, times=3)
    machine.request(event(source, "import-create"))
    assert "SUCCESS" == answer(source)["Status"]


def test_fails_at_once_for_a_denial_when_nothing_was_granted_anew(source: FakeAws, machine: Machine) -> None:
    source.fail(START, "AccessDeniedException", 403, times=3)
    machine.request(event(source, "import-update"))
    assert "no job was started: StartDICOMImportJob answered AccessDeniedException" in answer(source)["Reason"]
    assert [] == machine.waited


@pytest.mark.parametrize(("kind", "grants"), [("import-create", None), ("import-update", "changed")])
def test_a_denial_is_waited_for_as_long_as_iam_may_need(
    source: FakeAws, machine: Machine, kind: str, grants: str | None
) -> None:
    source.fail("S3.ListObjectsV2", "AccessDenied", 403, times=99)
    machine.request(event(source, kind, Grants=grants))
    assert answer(source)["Reason"].startswith("s3:ListBucket (input bucket) answered AccessDenied")
    assert 110 < sum(machine.waited) < 160


def test_fails_for_a_resource_type_of_a_newer_library(aws: FakeAws, machine: Machine) -> None:
    machine.request({**event(aws, "import-create"), "ResourceType": "Custom::HealthImagingFuture"})
    expected = "this version of the function does not know Custom::HealthImagingFuture: deploy with a newer library"
    assert expected == answer(aws)["Reason"]


def test_fails_with_type_and_place_but_without_the_text_of_an_error(aws: FakeAws, machine: Machine) -> None:
    machine.request(event(aws, "import-create", MaxFiles="DOE^JANE"))
    reason = answer(aws)["Reason"]
    assert reason.startswith("the function failed with ValueError at imports.py:")
    assert reason.endswith(": this is an error in healthimaging-cdk")


# -- submit and detach -----------------------------------------------------------------------------------------------


def test_a_submitted_job_is_answered_at_once_and_followed_to_its_end(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    machine.before_step = lambda number: source.wait_for_jobs() if number == 3 else None
    machine.request(event(source, "import-create", Completion="submit"))
    told = answer(source)
    assert "SUCCESS" == told["Status"]
    assert "unknown" == told["Data"]["NumberOfImportedFiles"]
    assert told["Data"]["JobStatus"] in ("SUBMITTED", "IN_PROGRESS")
    (signal,) = source.events
    assert "SUCCEEDED" == json.loads(signal["Detail"])["outcome"]


def test_a_detached_job_is_waited_for_and_then_answered_as_it_stands(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    began = machine.clock.seconds
    asked_at: list[float] = []

    def watch(_: int) -> None:
        if source.answers and not asked_at:
            asked_at.append(machine.clock.seconds - began)
            source.wait_for_jobs()

    machine.before_step = watch
    machine.request(event(source, "import-create", Completion="detach"))
    assert "SUCCESS" == answer(source)["Status"]
    assert 300 <= asked_at[0] < 340
    assert 1 == len(source.events)


def test_a_detached_job_that_is_quick_is_answered_with_its_result(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create", Completion="detach"))
    assert "1" == answer(source)["Data"]["NumberOfImportedFiles"]


def test_a_followed_job_that_fails_ends_the_execution_as_failed_without_a_second_answer(
    aws: FakeAws, machine: Machine
) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    aws.jobs_may_run.clear()
    machine.before_step = lambda number: aws.wait_for_jobs() if number else None
    assert not machine.request(event(aws, "import-create", Completion="submit"))["success"]
    assert "SUCCESS" == answer(aws)["Status"]
    assert "FAILED" == json.loads(aws.events[0]["Detail"])["outcome"]


# -- a job that nobody waits for and that is lost --------------------------------------------------------------------

GET = "HealthImaging.GetDICOMImportJob"
DAY = 24 * 3600


def left_to_follow(source: FakeAws, machine: Machine) -> dict[str, Any]:
    """What the execution starts with that follows the job of a deploy which did not wait."""
    source.jobs_may_run.clear()
    machine.request(event(source, "import-create", Completion="submit"), follow=False)
    assert [] == source.events
    (name,) = (name for name in source.executions if name.endswith("-follow"))
    state: dict[str, Any] = json.loads(source.executions[name]["input"])
    return state


def outcomes(aws: FakeAws) -> list[str]:
    return [json.loads(told["Detail"])["outcome"] for told in aws.events]


def stop(aws: FakeAws, state: dict[str, Any]) -> None:
    """An operator stops the execution."""
    detail = {"status": "ABORTED", "input": json.dumps(state)}
    assert {} == handler.handle({"source": "aws.states", "detail": detail}, Context())
    assert 1 == len(aws.answers)


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (GET, "AccessDeniedException"),
        (GET, "ResourceNotFoundException"),
        (GET, "InternalServerException"),
        ("S3.GetObject", "AccessDenied"),
        ("S3.PutObject", "AccessDenied"),
    ],
)
def test_a_job_that_cannot_be_followed_any_more_is_told_of_once(
    source: FakeAws, machine: Machine, capsys: pytest.CaptureFixture[str], operation: str, code: str
) -> None:
    state = left_to_follow(source, machine)
    source.wait_for_jobs()
    source.fail(operation, code, 500 if code == "InternalServerException" else 403, times=10_000)
    machine.clock.seconds = state["began_at"] = time.time() + 301
    if code == "InternalServerException":
        machine.clock.seconds += DAY
    assert not machine.run(state)["success"]
    (told,) = source.events
    detail = json.loads(told["Detail"])
    (job,) = source.jobs()
    assert ("UNKNOWN", "UNKNOWN", job.id) == (detail["outcome"], detail["jobStatus"], detail["jobId"])
    (metrics,) = (line for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert (0, 1) == (json.loads(metrics)["ImportsSucceeded"], json.loads(metrics)["ImportsFailed"])


def test_a_job_that_runs_for_more_than_a_day_is_told_of(source: FakeAws, machine: Machine) -> None:
    state = left_to_follow(source, machine)
    machine.clock.seconds += DAY
    machine.run(state)
    assert ["UNKNOWN"] == outcomes(source)
    source.wait_for_jobs()


def test_a_step_lost_while_following_is_told_of_but_not_to_cloudformation(source: FakeAws, machine: Machine) -> None:
    state = left_to_follow(source, machine)
    output = machine.step("answer", {**state, "error": {"Error": "Lambda.Unknown"}})
    assert ("end", False) == (output["next"], output["success"])
    assert ["UNKNOWN"] == outcomes(source)
    assert 1 == len(source.answers)
    source.wait_for_jobs()


def test_a_follower_that_is_stopped_is_told_of(source: FakeAws, machine: Machine) -> None:
    stop(source, left_to_follow(source, machine))
    assert ["UNKNOWN"] == outcomes(source)
    source.wait_for_jobs()


@pytest.mark.parametrize("bad", [False, True])
def test_a_follower_that_is_stopped_after_its_verdict_tells_nothing_else(
    source: FakeAws, machine: Machine, *, bad: bool
) -> None:
    if bad:
        source.put(SOURCE, "studies/1.dcm", b"not DICOM")
    state = left_to_follow(source, machine)
    source.wait_for_jobs()
    machine.run(state)
    stop(source, state)
    assert ["FAILED" if bad else "SUCCEEDED"] == outcomes(source)


def test_a_follower_that_is_stopped_while_a_later_attempt_runs_tells_nothing_else(
    source: FakeAws, machine: Machine
) -> None:
    source.put(SOURCE, "studies/1.dcm", b"not DICOM")
    state = left_to_follow(source, machine)
    source.wait_for_jobs()
    machine.run(state)
    source.jobs_may_run.clear()
    machine.request({**state["event"], "RequestId": "again", "ResponseURL": source.answer_url()}, follow=False)
    assert 2 == len(source.jobs())
    source.answers.pop()
    stop(source, state)
    assert ["FAILED"] == outcomes(source)
    source.wait_for_jobs()


def test_a_lost_job_reaches_metrics_where_the_role_is_gone(
    source: FakeAws, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    state = left_to_follow(source, machine)
    source.fail("STS.AssumeRole", "AccessDenied", 403, times=10_000)
    machine.run(state)
    written = capsys.readouterr().out
    assert '"ImportsFailed": 1' in written
    assert "event not sent" in written
    source.heal()
    source.wait_for_jobs()


def test_a_completed_job_without_a_manifest_is_neither_good_nor_bad(source: FakeAws, machine: Machine) -> None:
    state = left_to_follow(source, machine)
    source.hold_manifests = True
    source.wait_for_jobs()
    machine.run(state)
    (told,) = source.events
    detail = json.loads(told["Detail"])
    assert ("UNKNOWN", "COMPLETED") == (detail["outcome"], detail["jobStatus"])


def test_a_rollback_that_leaves_a_job_to_run_has_its_loss_told(source: FakeAws, machine: Machine) -> None:
    state = left_to_follow(source, machine)
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    properties = state["event"]["ResourceProperties"]
    back = {**event(source, "import-update", request_id="back"), "ResourceProperties": properties}
    machine.request({**back, "OldResourceProperties": properties}, follow=False)
    source.fail(GET, "AccessDeniedException", 403, times=10_000)
    machine.run(json.loads(source.executions["back-follow"]["input"]))
    assert ["UNKNOWN"] == outcomes(source)
    source.wait_for_jobs()


# -- a data store that the function makes ----------------------------------------------------------------------------


def of_store(aws: FakeAws, datastore_id: str, *, new: dict[str, str], old: dict[str, str]) -> dict[str, Any]:
    asked = event(aws, "import-update", request_id=f"{sorted(new)}")
    common = {name: asked["ResourceProperties"][name] for name in ("RoleArn", "StateMachineArn")}
    return {
        **asked,
        "ResourceType": DATASTORE,
        "PhysicalResourceId": datastore_id,
        "ResourceProperties": {**common, **new},
        "OldResourceProperties": {**common, **old},
    }


def test_the_rollback_of_a_refused_change_is_not_refused_whatever_the_store_says_of_itself(
    aws: FakeAws, machine: Machine
) -> None:
    # It may tell defaults that nobody gave.
    settings = {"datastoreName": "x", "clientToken": "x", "losslessStorageFormat": "HTJ2K"}
    live = str(aws.healthimaging.CreateDatastore(settings, aws.caller)["datastoreId"])
    before, wanted = {"DatastoreName": "x"}, {"DatastoreName": "x", "LosslessStorageFormat": "JPEG_2000_LOSSLESS"}
    machine.request(of_store(aws, live, new=wanted, old=before))
    assert "losslessStorageFormat of a data store cannot be changed" in aws.answers[0]["Reason"]
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(of_store(aws, live, new=before, old=wanted))
    assert ["FAILED", "SUCCESS"] == [told["Status"] for told in aws.answers]
    assert {live} == {told["PhysicalResourceId"] for told in aws.answers}


# -- deletions and rollbacks -----------------------------------------------------------------------------------------


def test_a_deletion_without_a_job_is_answered_at_once(aws: FakeAws, machine: Machine) -> None:
    machine.request(event(aws, "import-delete"))
    assert "SUCCESS" == answer(aws)["Status"]
    assert [] == machine.waited
    assert 0 == aws.count(START)


def test_a_deletion_waits_for_the_job_that_runs(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    state = {"event": event(source, "import-create")}
    machine.step("advance", state)
    machine.before_step = lambda number: source.wait_for_jobs() if number == 3 else None
    machine.request(event(source, "import-delete"))
    assert "SUCCESS" == answer(source)["Status"]
    assert 3 == len(machine.waited)
    assert 1 == len(source.jobs())


@pytest.mark.parametrize(
    ("operation", "code", "status"),
    [
        ("S3.GetObject", "AccessDenied", 403),
        ("S3.GetObject", "NoSuchBucket", 404),
        ("S3.GetObject", "InternalError", 500),
        ("STS.AssumeRole", "AccessDenied", 403),
    ],
)
def test_a_deletion_never_fails(aws: FakeAws, machine: Machine, operation: str, code: str, status: int) -> None:
    state = {"event": event(aws, "import-delete", RoleArn=f"arn:aws:iam::111122223333:role/{code}{status}")}
    aws.fail(operation, code, status, times=9999)
    machine.run(state)
    assert "SUCCESS" == answer(aws)["Status"]


def test_a_rollback_starts_nothing_and_never_fails(source: FakeAws, machine: Machine) -> None:
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(event(source, "import-update"))
    assert ("SUCCESS", "NOT_STARTED") == (answer(source)["Status"], answer(source)["Data"]["JobStatus"])
    assert 0 == source.count(START)


def test_a_rollback_gets_the_earlier_result(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create"))
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(event(source, "import-update", request_id="rollback", RunId=""))
    assert source.answers[0]["Data"] == source.answers[1]["Data"]
    assert 1 == len(source.jobs())


def test_a_rollback_makes_the_update_that_it_undoes_stop_waiting(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    update = event(source, "import-update")
    state = machine.step("advance", {"event": update})
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    rollback = event(source, "import-update", request_id="rollback", RunId="")
    rollback["OldResourceProperties"] = update["ResourceProperties"]
    machine.request(rollback)
    assert ("SUCCESS", "NOT_STARTED") == (answer(source)["Status"], answer(source)["Data"]["JobStatus"])
    machine.run(state)
    assert "a later request for this import replaced this one; a job that runs goes on" == source.answers[1]["Reason"]
    assert 1 == len(source.jobs())


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "InternalError"])
def test_a_rollback_takes_what_there_is(source: FakeAws, machine: Machine, code: str) -> None:
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    source.fail("S3.GetObject", code, 403, times=9999)
    machine.request(event(source, "import-update"))
    assert "SUCCESS" == answer(source)["Status"]


def test_fails_an_update_rather_than_import_in_what_may_be_a_rollback(source: FakeAws, machine: Machine) -> None:
    source.fail("CloudFormation.DescribeStacks", "AccessDenied", 403, times=99)
    machine.request(event(source, "import-update"))
    assert "DescribeStacks answered AccessDenied" in answer(source)["Reason"]
    assert 0 == len(source.jobs())


def test_an_update_waits_until_its_stack_can_be_described(source: FakeAws, machine: Machine) -> None:
    source.fail("CloudFormation.DescribeStacks", "Throttling", 400, times=1)
    machine.request(event(source, "import-update"))
    assert ("SUCCESS", 1) == (answer(source)["Status"], len(source.jobs()))


# -- tags ------------------------------------------------------------------------------------------------------------


def test_tags_are_set_and_changed_in_place(aws: FakeAws, machine: Machine) -> None:
    aws.state.tags[aws.datastore_arn] = {"foreign": "stays"}
    create = event(aws, "tags-create")
    machine.request(create)
    update = {**create, "RequestType": "Update", "RequestId": "update"}
    update["OldResourceProperties"] = create["ResourceProperties"]
    update["ResourceProperties"] = {**create["ResourceProperties"], "Tags": {"owner": "a"}}
    machine.request(update)
    assert {"foreign": "stays", "owner": "a"} == aws.tags()
    assert ["SUCCESS", "SUCCESS"] == [told["Status"] for told in aws.answers]


@pytest.mark.parametrize(
    ("status", "expected"), [("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", {}), ("DELETE_IN_PROGRESS", {"team": "radiology"})]
)
def test_tags_go_with_their_resource_but_not_with_the_whole_stack(
    aws: FakeAws, machine: Machine, status: str, expected: dict[str, str]
) -> None:
    create = event(aws, "tags-create")
    machine.request(create)
    aws.stack_status = status
    machine.request({**create, "RequestType": "Delete", "RequestId": "delete"})
    assert expected == aws.tags()
    assert "SUCCESS" == aws.answers[1]["Status"]


# -- what is lost ----------------------------------------------------------------------------------------------------


def lost(aws: FakeAws, kind: str, **state: Any) -> dict[str, Any]:
    return {"event": event(aws, kind), "error": {"Error": "Lambda.Unknown", "Cause": "DOE^JANE"}, **state}


def test_fails_for_a_step_that_was_lost(aws: FakeAws, machine: Machine) -> None:
    machine.step("answer", lost(aws, "import-create"))
    told = answer(aws)
    assert "FAILED" == told["Status"]
    assert told["Reason"].startswith("the function could not finish a step (Lambda.Unknown); see its log group")
    assert "DOE" not in json.dumps(told)


def test_a_step_that_was_lost_does_not_make_a_deletion_fail(aws: FakeAws, machine: Machine) -> None:
    machine.step("answer", lost(aws, "import-delete"))
    assert "SUCCESS" == answer(aws)["Status"]


def test_a_step_that_was_lost_is_not_answered_with_an_earlier_answer(aws: FakeAws, machine: Machine) -> None:
    earlier = {"success": True, "reason": "", "data": {}, "physical_id": ""}
    machine.step("answer", lost(aws, "import-create", answer=earlier))
    assert "FAILED" == answer(aws)["Status"]


def test_a_step_lost_while_following_gives_no_second_answer(aws: FakeAws, machine: Machine) -> None:
    assert "end" == machine.step("answer", lost(aws, "import-create", answered=True))["next"]
    assert [] == aws.answers


def test_fails_when_cloudformation_cannot_be_answered_so_that_the_step_is_repeated(
    aws: FakeAws, machine: Machine
) -> None:
    aws.answer_statuses = [500] * 5
    with pytest.raises(OSError, match="CloudFormation could not be answered"):
        machine.step("answer", lost(aws, "import-create"))
    machine.step("answer", lost(aws, "import-create"))
    assert "FAILED" == answer(aws)["Status"]


def given_up(call: dict[str, Any]) -> dict[str, Any]:
    """What Lambda puts on the event bus for a call that it gave up on."""
    detail = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": call}
    return {"source": "lambda", "detail-type": "Lambda Function Invocation Result - Failure", "detail": detail}


@pytest.mark.parametrize(("kind", "status"), [("import-create", "FAILED"), ("import-delete", "SUCCESS")])
def test_a_first_call_that_died_is_answered_for(aws: FakeAws, kind: str, status: str) -> None:
    assert {} == handler.handle(given_up(event(aws, kind)), Context())
    assert status == answer(aws)["Status"]
    # Whoever may put events can make such a notice up: nothing else is done for it.
    assert {"Answer"} == {call.operation for call in aws.calls}


@pytest.mark.parametrize(
    "url",
    [
        "https://attacker.example/x",
        "http://169.254.169.254/latest/meta-data",
        "http://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com.attacker.example/x",
        "https://attacker.example/cloudformation-custom-resource-response-useast1.s3.amazonaws.com/",
        "https://cloudformation-custom-resource-evil.s3.us-east-1.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1-evil.s3.us-east-1.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3-accesspoint.us-east-1.amazonaws.com/x",
        "https://user@cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x",
        "",
    ],
)
def test_a_notice_whose_answer_would_go_elsewhere_is_ignored(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setattr(handler, "send", lambda *_: pytest.fail("an answer was sent"))
    asked = {**event(aws, "import-create"), "ResponseURL": url}
    assert not Event.parse(asked).answers_cloudformation
    assert {} == handler.handle(given_up(asked), Context())
    assert [] == aws.calls


@pytest.mark.parametrize(
    "host",
    [
        "cloudformation-custom-resource-response-useast1.s3.amazonaws.com",
        "cloudformation-custom-resource-response-euwest1.s3.eu-west-1.amazonaws.com",
        "cloudformation-custom-resource-response-euwest1.s3-eu-west-1.amazonaws.com",
        "cloudformation-custom-resource-response-cnnorth1.s3.cn-north-1.amazonaws.com.cn",
    ],
)
def test_cloudformations_own_addresses_are_known(aws: FakeAws, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    asked = {**event(aws, "import-create"), "ResponseURL": f"https://{host}/arn?X-Amz-Signature=1"}
    assert Event.parse(asked).answers_cloudformation


@pytest.mark.parametrize(
    "notice",
    [{}, {"key": "value"}, {"source": "lambda"}, given_up(given_up({})), {"source": "aws.states", "detail": {}}],
)
def test_what_is_no_request_is_ignored_and_never_raised_at(aws: FakeAws, notice: dict[str, Any]) -> None:
    assert {} == handler.handle(notice, Context())
    assert [] == aws.calls


def stopped(aws: FakeAws, kind: str, **detail: Any) -> dict[str, Any]:
    document = {"event": event(aws, kind)}
    return {"source": "aws.states", "detail": {"status": "ABORTED", "input": json.dumps(document), **detail}}


@pytest.mark.parametrize(("kind", "status"), [("import-create", "FAILED"), ("import-delete", "SUCCESS")])
def test_an_execution_that_was_stopped_is_answered_for(aws: FakeAws, kind: str, status: str) -> None:
    assert {} == handler.handle(stopped(aws, kind), Context())
    assert status == answer(aws)["Status"]
    assert "the request was not finished (ABORTED)" in answer(aws)["Reason"]


def test_an_execution_that_has_answered_is_left_alone(aws: FakeAws) -> None:
    assert {} == handler.handle(stopped(aws, "import-create", status="FAILED", error=ANSWERED), Context())
    assert [] == aws.answers


def test_a_rescue_never_raises(aws: FakeAws) -> None:
    aws.answer_statuses = [500] * 5
    assert {} == handler.handle(stopped(aws, "import-create"), Context())
    assert [] == aws.answers


def test_answering_needs_no_boto3(aws: FakeAws) -> None:
    state = lost(aws, "import-create")
    code = (
        "import json, sys; sys.modules['boto3'] = sys.modules['botocore'] = None\n"
        "from healthimaging_import.handler import handle\n"
        "handle({'step': 'answer', 'state': json.load(sys.stdin)}, None)"
    )
    environment = {"PYTHONPATH": str(ROOT / "lambda")}
    subprocess.run([sys.executable, "-S", "-c", code], input=json.dumps(state), text=True, check=True, env=environment)
    assert "FAILED" == answer(aws)["Status"]


# -- no patient data -------------------------------------------------------------------------------------------------

NAME = "DOE^JANE"
DENIED = f"not authorized to perform: s3:GetObject on resource: arn:aws:s3:::source/{NAME}/1.dcm"


def named_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{NAME}/1.dcm", DICOM)
        archive.writestr(f"../{NAME}.dcm", DICOM)
    return file.getvalue()


def rejected(aws: FakeAws) -> dict[str, Any]:
    aws.put(SOURCE, f"{NAME}/2.dcm", f"PatientName={NAME}".encode())
    return {"MaxRejectedFiles": "0"}


def denied(operation: str) -> Callable[[FakeAws], dict[str, Any]]:
    def prepare(aws: FakeAws) -> dict[str, Any]:
        code = "AccessDenied" if operation.startswith("S3") else "AccessDeniedException"
        aws.fail(operation, code, 403, DENIED, times=9999)
        return {}

    return prepare


def hostile_zip(aws: FakeAws) -> dict[str, Any]:
    aws.put("assets", f"{NAME}.zip", named_zip())
    return {"AssetBucket": "assets", "AssetKey": f"{NAME}.zip"}


def busy(aws: FakeAws) -> dict[str, Any]:
    aws.fail("S3.GetObject", "InternalError", 500, DENIED, times=2)
    return {}


def empty(aws: FakeAws) -> dict[str, Any]:
    aws.objects.clear()
    return {"OnEmpty": "fail"}


SCENARIOS: dict[str, Callable[[FakeAws], dict[str, Any]]] = {
    "good": lambda _: {},
    "rejected": rejected,
    "too many": lambda _: {"MaxFiles": "0"},
    "too many bytes": lambda _: {"MaxBytes": "1"},
    "too large": lambda _: {"MaxFileBytes": "1"},
    "empty": empty,
    "listing denied": denied("S3.ListObjectsV2"),
    "reading denied": denied("S3.GetObject"),
    "writing denied": denied("S3.PutObject"),
    "start denied": denied(START),
    "look denied": denied("HealthImaging.GetDICOMImportJob"),
    "hostile zip": hostile_zip,
    "busy": busy,
    "unforeseen": lambda _: {"MaxFiles": NAME},
    "mapping": lambda _: {"MetadataMappings": [{"studyInstanceUID": "1.2", "metadataFilePath": f"{NAME}.json"}]},
}


@pytest.mark.parametrize("deleted", [False, True])
def test_the_place_of_the_manifest_is_told_and_not_logged(
    aws: FakeAws, machine: Machine, capsys: pytest.CaptureFixture[str], *, deleted: bool
) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    properties = {"OutputPrefix": f"{NAME} 1/", "Completion": "submit"}
    aws.jobs_may_run.clear()
    machine.request(event(aws, "import-create", **properties), follow=False)
    aws.wait_for_jobs()
    if deleted:
        machine.request(event(aws, "import-delete", request_id="deletion", **properties))
        step = "let go"
    else:
        (follower,) = (run for name, run in aws.executions.items() if name.endswith("-follow"))
        machine.run(json.loads(follower["input"]))
        step = "followed"
    assert f"manifest: s3://results/{NAME} 1/" in aws.record()["reason"]
    logged = capsys.readouterr().out
    (line,) = (line for line in map(json.loads, logged.splitlines()) if line.get("step") == step)
    assert line["reason"].endswith("manifest: s3://results/...")
    assert NAME not in logged


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_patients_name_in_keys_prefixes_contents_and_errors_comes_out_nowhere(
    aws: FakeAws, machine: Machine, capsys: pytest.CaptureFixture[str], scenario: str
) -> None:
    aws.put(SOURCE, f"{NAME}/1.dcm", DICOM)
    properties = SCENARIOS[scenario](aws)
    machine.request(event(aws, "import-create", InputPrefix=f"{NAME}/", **properties))
    captured = capsys.readouterr()
    seen = {
        "log": captured.out + captured.err,
        "answers": json.dumps(aws.answers),
        "steps": json.dumps(machine.outputs),
        "events": json.dumps(aws.events),
    }
    assert seen["log"]
    assert {} == {place: text for place, text in seen.items() if "DOE" in text or "JANE" in text or "SECRET" in text}
    assert all(json.loads(line) for line in captured.out.splitlines())
