"""The entry point: CloudFormation's calls, the state machine's steps, and a response on every path."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from healthimaging_import import handler
from healthimaging_import.aws.clients import Aws
from healthimaging_import.contract import RESPONDED_FAILED, ImportAttribute
from healthimaging_import.importing import unpack
from tests.handler.cloudformation_events import event
from tests.handler.fake_aws import DICOM, ROLE, SOURCE, STATE_MACHINE, TOPIC, Clock, FakeAws
from tests.handler.state_machine import Context, Machine, call_as_lambda_does
from tests.handler.test_runner import CrashError, dying
from tests.handler.test_source import zipped

ROOT = Path(__file__).parent.parent.parent
START = "HealthImaging.StartDICOMImportJob"


GET = "HealthImaging.GetDICOMImportJob"
DAY = 24 * 3600


def response(aws: FakeAws) -> dict[str, Any]:
    """The one response that CloudFormation got."""
    (only,) = aws.responses
    return only


# -- CloudFormation's call -------------------------------------------------------------------------------------------


def test_a_request_starts_one_execution_named_after_it(aws: FakeAws, clock: Clock) -> None:
    request = event(aws, "import-create")
    assert {} == handler.handle(request, Context())
    ((name, execution),) = aws.executions.items()
    assert (request["RequestId"], STATE_MACHINE) == (name, execution["stateMachineArn"])
    mark = "2026-11-24 00:00:00+00:00"
    assert {"event": request, "began_at": clock.seconds, "mode": "DEPLOY", "deploy": mark} == json.loads(
        execution["input"]
    )
    assert [] == aws.responses


@pytest.mark.parametrize(
    ("status", "mode"),
    [
        ("CREATE_IN_PROGRESS", "DEPLOY"),
        ("UPDATE_IN_PROGRESS", "DEPLOY"),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "ROLLBACK"),
        ("ROLLBACK_IN_PROGRESS", "ROLLBACK"),
        ("DELETE_IN_PROGRESS", "ROLLBACK"),
        ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "ROLLBACK"),
    ],
)
def test_why_the_function_was_called_is_found_out_once(
    source: FakeAws, machine: Machine, status: str, mode: str
) -> None:
    source.stack_status = status
    state = machine.receive(event(source, "import-update"))
    assert mode == state["mode"]
    source.stack_status = "UPDATE_IN_PROGRESS"
    assert mode == machine.step("step", state)["mode"]


@pytest.mark.parametrize(
    ("status", "mode"),
    [
        ("DELETE_IN_PROGRESS", "DELETE"),
        ("ROLLBACK_IN_PROGRESS", "DELETE"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "CLEANUP"),
        ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "CLEANUP"),
        ("CREATE_IN_PROGRESS", "CLEANUP"),  # made up by somebody
    ],
)
def test_the_deletion_of_an_import_knows_whether_the_stack_lives_on(
    aws: FakeAws, machine: Machine, status: str, mode: str
) -> None:
    aws.stack_status = status
    assert mode == machine.receive(event(aws, "import-delete"))["mode"]


def test_a_deletion_that_may_not_ask_is_one_of_the_whole_stack(aws: FakeAws, machine: Machine) -> None:
    aws.fail("CloudFormation.DescribeStacks", "ValidationError", 400)
    assert "DELETE" == machine.receive(event(aws, "import-delete"))["mode"]


def test_fails_when_cloudformation_does_nothing_with_the_stack(aws: FakeAws, clock: Clock) -> None:
    aws.stack_status, began = "UPDATE_COMPLETE", clock.seconds
    assert {} == handler.handle(event(aws, "import-update"), Context())
    assert "the stack is UPDATE_COMPLETE, so CloudFormation does not wait for this request" == response(aws)["Reason"]
    assert 120 < clock.seconds - began < 180


def test_a_doubled_event_finds_the_execution_that_runs(aws: FakeAws) -> None:
    for _ in range(2):
        assert {} == handler.handle(event(aws, "import-create"), Context())
    assert 1 == len(aws.executions)
    assert [] == aws.responses


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
    aws.fail("States.StartExecution", "AccessDeniedException", 400, "not authorized", times=999)
    call_as_lambda_does(event(aws, kind), clock)
    assert status == response(aws)["Status"]
    if status == "FAILED":
        assert "states:StartExecution answered AccessDeniedException (not authorize" in response(aws)["Reason"]
        assert 180 < clock.seconds - began < 300
    else:
        # What is deleted was granted long ago.
        assert clock.seconds == began


@pytest.mark.parametrize("kind", ["import-update", "tags-create"])
def test_a_rollback_does_not_fail_when_no_execution_can_be_started(aws: FakeAws, clock: Clock, kind: str) -> None:
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    aws.fail("States.StartExecution", "AccessDeniedException", 400, times=99)
    assert {} == handler.handle(event(aws, kind), Context())
    assert "SUCCESS" == response(aws)["Status"]
    assert clock.seconds


def assert_nothing_is_known(aws: FakeAws, asked: dict[str, Any]) -> None:
    """A stack fails its rollback for an attribute that is missing, and deletes what has another physical id."""
    told = response(aws)
    known = {"DatastoreId": asked["ResourceProperties"]["DatastoreId"], "JobStatus": "UNKNOWN"}
    assert ("SUCCESS", asked["PhysicalResourceId"]) == (told["Status"], told["PhysicalResourceId"])
    assert {**dict.fromkeys(ImportAttribute, "unknown"), **known} == told["Data"]


@pytest.mark.parametrize("code", ["AccessDeniedException", "StateMachineDoesNotExist", "ThrottlingException"])
def test_a_rollback_that_cannot_begin_keeps_its_id_and_has_every_attribute(
    aws: FakeAws, clock: Clock, code: str
) -> None:
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    aws.fail("States.StartExecution", code, 400, times=10_000)
    asked = event(aws, "import-update")
    call_as_lambda_does(asked, clock)
    assert_nothing_is_known(aws, asked)


@pytest.mark.parametrize("how", ["step", "lost", "stopped"])
def test_a_rollback_to_what_cannot_be_read_keeps_its_id_and_has_every_attribute(
    aws: FakeAws, machine: Machine, how: str
) -> None:
    """The properties may be those of another version of the library."""
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    asked = event(aws, "import-update", OnEmpty="not known here")
    state = machine.receive(asked)
    if how == "step":
        machine.respond(asked)
    elif how == "lost":
        machine.step("respond", {**state, "error": {"Error": "Lambda.Unknown"}})
    else:
        detail = {"status": "ABORTED", "input": json.dumps(state)}
        handler.handle({"source": "aws.states", "detail": detail}, Context())
    assert_nothing_is_known(aws, asked)


@pytest.mark.parametrize(("kind", "status"), [("import-create", "FAILED"), ("import-delete", "SUCCESS")])
def test_fails_with_type_and_place_for_an_error_nobody_foresaw(aws: FakeAws, kind: str, status: str) -> None:
    asked = event(aws, kind)
    del asked["ResourceProperties"]["StateMachineArn"]
    assert {} == handler.handle(asked, Context())
    assert status == response(aws)["Status"]
    if status == "FAILED":
        assert response(aws)["Reason"].startswith("the function failed with KeyError at receiving.py:")


# -- one import, from request to response ----------------------------------------------------------------------------


def test_an_import_is_responded_to_with_what_was_imported(source: FakeAws, machine: Machine) -> None:
    source.put(SOURCE, "studies/2.dcm", b"not DICOM")
    machine.before_step = lambda number: source.wait_for_jobs() if number else None
    source.jobs_may_run.clear()
    assert machine.request(event(source, "import-create"))["success"]
    told = response(source)
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
        "Summary": (
            "COMPLETED: 2 files scanned, 1 imported, 1 rejected (1 customer errors, 0 server errors), 1 image sets"
        ),
    }.items() <= told["Data"].items()
    (failures,) = (key for key in source.keys("results") if key.endswith("/FAILURE/failure.ndjson"))
    assert f"read why files were rejected in s3://results/{failures}" == told["Data"]["NextStep"]
    assert all(isinstance(value, str) and value for value in told["Data"].values())
    assert [2] == machine.waited


def test_every_attribute_is_there_however_an_import_ends(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create"))
    source.objects.pop((SOURCE, "studies/1.dcm"))
    machine.request(event(source, "import-update", request_id="empty"))
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(event(source, "import-update", request_id="rollback", RunId="3"))
    source.stack_status = "UPDATE_IN_PROGRESS"
    source.put(SOURCE, "studies/1.dcm", DICOM)
    source.jobs_may_run.clear()
    machine.respond(event(source, "import-update", request_id="submit", RunId="4", Completion="submit"))
    source.wait_for_jobs()
    forget(source)
    same = event(source, "import-update", request_id="same", RunId=None)
    machine.request({**same, "OldResourceProperties": same["ResourceProperties"]})
    data = [told["Data"] for told in source.responses]
    expected = ["COMPLETED", "NOTHING_TO_IMPORT", "NOT_STARTED", "SUBMITTED", "NOT_STARTED"]
    assert expected == [attributes["JobStatus"] for attributes in data]
    assert "unknown" == data[3]["NumberOfImportedFiles"] == data[3]["Warnings"]
    assert 1 == len({tuple(sorted(attributes)) for attributes in data})
    assert "no job was started: the stack was rolled back" == data[2]["Summary"]
    assert (
        "nothing was imported again: nothing of meaning has changed, and the earlier record is gone"
        == (data[4]["Summary"])
    )


def forget(aws: FakeAws) -> None:
    """Somebody removes what is kept of imports."""
    for bucket, key in list(aws.objects):
        if ".healthimaging-cdk/" in key:
            del aws.objects[bucket, key]


def test_a_summary_says_that_the_store_is_another_one(source: FakeAws, machine: Machine) -> None:
    moved = event(source, "import-update")
    moved["OldResourceProperties"]["DatastoreId"] = "f" * 32
    machine.request(moved)
    expected = f"; this is another data store than before: the image sets of {'f' * 32} stay there"
    assert response(source)["Data"]["Summary"].endswith(expected)


def test_a_doubled_request_imports_once_and_gets_the_same_response(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create"))
    machine.request(event(source, "import-create", request_id="doubled"))
    assert 1 == len(source.jobs())
    assert source.responses[0]["Data"] == source.responses[1]["Data"]


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
    assert ["SUCCESS", "SUCCESS"] == [told["Status"] for told in source.responses]


def test_an_update_of_the_meaning_imports_again(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create"))
    machine.request(event(source, "import-update"))
    assert 2 == len(source.jobs())


def test_fails_with_the_counts_when_nothing_was_imported(aws: FakeAws, machine: Machine) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    assert not machine.request(event(aws, "import-create"))["success"]
    assert "FAILED" == response(aws)["Status"]
    assert "it imported nothing: 1 files scanned, 0 imported, 1 rejected" in response(aws)["Reason"]


def test_fails_by_the_tolerance_that_was_asked_for(source: FakeAws, machine: Machine) -> None:
    source.put(SOURCE, "studies/2.dcm", b"not DICOM")
    machine.request(event(source, "import-create", MaxRejectedFiles="0"))
    assert "1 rejected files are more than 0" in response(source)["Reason"]


def test_an_empty_source_is_a_success_that_says_so(aws: FakeAws, machine: Machine) -> None:
    machine.request(event(aws, "import-create", ImportAgain="cdk deploy"))
    data = response(aws)["Data"]
    assert ("NOTHING_TO_IMPORT", "none") == (data["JobStatus"], data["JobId"])
    assert "nothing to import: no file is under the input prefix of bucket source" == data["Summary"]
    assert "aws s3 cp --recursive FOLDER s3://source/INPUT_PREFIX, then: cdk deploy" == data["NextStep"]


def test_the_default_prefix_stands_in_the_command_that_fills_it(aws: FakeAws, machine: Machine) -> None:
    machine.request(event(aws, "import-create", ImportAgain="cdk deploy", InputPrefix="dicom/"))
    assert "aws s3 cp --recursive FOLDER s3://source/dicom/, then: cdk deploy" == response(aws)["Data"]["NextStep"]


def test_a_busy_service_is_asked_until_it_answers(source: FakeAws, machine: Machine) -> None:
    source.fail(START, "ServiceQuotaExceededException", 402, times=5)
    machine.request(event(source, "import-create"))
    assert "SUCCESS" == response(source)["Status"]
    assert 1 == len(source.jobs())
    assert all(1 <= seconds <= 32 for seconds in machine.waited)


@pytest.mark.slow
def test_fails_with_the_last_reason_when_the_time_is_over(source: FakeAws, machine: Machine) -> None:
    source.fail(START, "ServiceQuotaExceededException", 402, "the limit is 20", times=9999)
    began = machine.clock.seconds
    machine.request(event(source, "import-create"))
    assert response(source)["Reason"].startswith("StartDICOMImportJob answered ServiceQuotaExceededException (")
    assert "the data store has no free slot for another import job" in response(source)["Reason"]
    assert 300 <= machine.clock.seconds - began < 340


@pytest.mark.slow
def test_fails_in_time_while_the_job_runs_and_a_later_deploy_reads_its_verdict(
    source: FakeAws, machine: Machine
) -> None:
    source.jobs_may_run.clear()
    began = machine.clock.seconds
    state = machine.respond(event(source, "import-create"))
    told = response(source)
    (job,) = source.jobs()
    assert "FAILED" == told["Status"]
    began_with = f"import job {job.id} of data store {source.datastore_id} had not ended after 3"
    assert told["Reason"].startswith(began_with)
    # After a first deploy there is no stack to deploy again.
    assert told["Reason"].endswith(" seconds and may still be running")
    assert 300 <= machine.clock.seconds - began < 340
    machine.before_step = lambda number: source.wait_for_jobs() if number else None
    machine.request(event(source, "import-create", request_id="later"))
    assert "SUCCESS" == source.responses[1]["Status"]
    assert 1 == len(source.jobs())
    # Whoever polled before leaves it to the later request.
    machine.run(state)
    assert (["SUCCEEDED"], 2) == (verdicts(source), len(source.responses))


@pytest.mark.slow
def test_a_job_that_a_deploy_waited_for_in_vain_is_polled_to_its_verdict(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    state = machine.respond(event(source, "import-create"))
    assert "FAILED" == response(source)["Status"]
    assert [] == source.events
    source.wait_for_jobs()
    # The execution has responded with a failure, whatever became of the job.
    assert not machine.run(state)["success"]
    assert ["SUCCEEDED"] == verdicts(source)
    assert 1 == len(source.responses)
    assert [source.record()["owner"]] == list(source.executions)


@pytest.mark.slow
def test_a_rollback_that_waits_in_vain_for_a_job_ends_well(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    machine.respond(event(source, "import-create", Completion="submit"))
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.respond(event(source, "import-update", request_id="back"))
    assert "SUCCESS" == source.responses[-1]["Status"]


def test_a_conflict_is_waited_for_for_two_minutes_at_most(source: FakeAws, machine: Machine) -> None:
    source.fail(START, "ConflictException", 409, times=9999)
    began = machine.clock.seconds
    machine.request(event(source, "import-create", WaitSeconds="3000"))
    assert response(source)["Reason"].startswith("StartDICOMImportJob answered ConflictException")
    assert 120 < machine.clock.seconds - began < 160


@pytest.mark.slow
@pytest.mark.parametrize("completion", ["wait", "detach"])
def test_a_request_is_responded_to_before_cloudformations_hour_is_over(
    source: FakeAws, machine: Machine, completion: str
) -> None:
    source.jobs_may_run.clear()
    began = machine.clock.seconds
    machine.respond(event(source, "import-create", WaitSeconds="3600", Completion=completion))
    assert 3480 <= machine.clock.seconds - began < 3570
    assert {"wait": "FAILED", "detach": "SUCCESS"}[completion] == response(source)["Status"]


@pytest.mark.slow
def test_looks_become_rarer_with_time(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    machine.respond(event(source, "import-create", WaitSeconds="3600"))
    assert 2 == machine.waited[0]
    assert sorted(machine.waited) == machine.waited
    assert len(machine.waited) < 100
    assert 60 == machine.waited[-1]


def test_a_denial_after_a_change_of_role_may_pass(source: FakeAws, machine: Machine) -> None:
    source.fail(START, "AccessDeniedException", 403, times=3)
    machine.request(event(source, "import-create"))
    assert "SUCCESS" == response(source)["Status"]


def test_fails_at_once_for_a_denial_when_nothing_was_granted_anew(source: FakeAws, machine: Machine) -> None:
    source.fail(START, "AccessDeniedException", 403, times=3)
    machine.request(event(source, "import-update"))
    assert response(source)["Reason"].startswith("no job was started: StartDICOMImportJob answered AccessDeniedExce")
    assert [] == machine.waited


@pytest.mark.parametrize(("kind", "grants"), [("import-create", None), ("import-update", "changed")])
def test_a_denial_is_waited_for_as_long_as_iam_may_need(
    source: FakeAws, machine: Machine, kind: str, grants: str | None
) -> None:
    source.fail("S3.ListObjectsV2", "AccessDenied", 403, times=99)
    machine.request(event(source, kind, Grants=grants))
    assert response(source)["Reason"].startswith("s3:ListBucket (input bucket) answered AccessDenied")
    assert 110 < sum(machine.waited) < 160


@pytest.mark.parametrize("pause", [0.5, 2.0])
def test_fails_in_time_while_the_source_is_still_unpacked(
    aws: FakeAws, machine: Machine, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setattr(handler, "pause_before", lambda _: pause)
    aws.put("assets", "local.zip", zipped({f"{number}": b"1" for number in range(3)}))
    machine.context = Context(0)
    began = machine.clock.seconds
    machine.request(event(aws, "import-create", AssetBucket="assets", AssetKey="local.zip", WaitSeconds="20"))
    assert ("FAILED", 0) == (response(aws)["Status"], aws.count(START))
    assert 20 <= machine.clock.seconds - began < 30


@pytest.mark.parametrize(
    ("timeout", "late", "waited"),
    [
        ("600", 0, 600),
        ("600", 250, 600),  # ServiceTimeout has five minutes more
        ("3480", 0, 3480),
        ("3480", 250, 3230),  # CloudFormation waits for an hour from when it sent the request
    ],
)
def test_a_request_that_came_late_is_still_responded_to_in_cloudformations_hour(
    source: FakeAws, machine: Machine, timeout: str, late: float, waited: float
) -> None:
    source.jobs_may_run.clear()
    sent = event(source, "import-create", WaitSeconds=timeout)
    signed = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(machine.clock.seconds + 1))
    sent["ResponseURL"] += f"&X-Amz-Date={signed}&X-Amz-Expires=7200"
    machine.clock.seconds += late
    machine.respond(sent)
    assert waited - 2 <= sum(machine.waited) <= waited + 60
    assert "FAILED" == response(source)["Status"]


@pytest.mark.parametrize("date", ["", "X-Amz-Date=now", "X-Amz-Date=20261399T999999Z", "Expires=1509855955"])
def test_a_url_that_does_not_say_when_it_was_signed_was_signed_now(
    source: FakeAws, machine: Machine, date: str
) -> None:
    source.jobs_may_run.clear()
    sent = event(source, "import-create", WaitSeconds="3600")
    sent["ResponseURL"] += f"&{date}"
    machine.respond(sent)
    assert 3478 <= sum(machine.waited) <= 3540


def test_unpacking_leaves_its_slot_to_others_every_twenty_seconds(
    aws: FakeAws, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new account runs ten functions at once, and other imports of the stack are to begin as well."""
    read = unpack._Stream.read

    def read_slowly(stream: unpack._Stream, size: int = -1) -> bytes:
        machine.clock.seconds += 3
        return read(stream, size)

    monkeypatch.setattr(unpack._Stream, "read", read_slowly)
    aws.put("assets", "local.zip", zipped({f"{number}": DICOM for number in range(12)}))
    held = []

    def note_step(_: int) -> None:
        held.append(machine.clock.seconds)

    machine.before_step = note_step
    machine.request(event(aws, "import-create", AssetBucket="assets", AssetKey="local.zip", WaitSeconds="3000"))
    assert ("SUCCESS", "12") == (response(aws)["Status"], response(aws)["Data"]["NumberOfImportedFiles"])
    parts = [output for output in machine.outputs if (output["carried"].get("unpacked") or 0) > 0]
    assert (True, {10}) == (len(parts) > 1, {part["wait_seconds"] for part in parts})
    steps = [after - before - 10 for before, after in itertools.pairwise(held[: len(parts) + 1])]
    assert max(steps) < 40


def test_fails_for_a_resource_type_of_a_newer_library(aws: FakeAws, machine: Machine) -> None:
    machine.request({**event(aws, "import-create"), "ResourceType": "Custom::HealthImagingFuture"})
    expected = "this version of the function does not know Custom::HealthImagingFuture: deploy with a newer library"
    assert expected == response(aws)["Reason"]


def test_fails_with_type_and_place_but_without_the_text_of_an_error(aws: FakeAws, machine: Machine) -> None:
    machine.request(event(aws, "import-create", MaxFiles="DOE^JANE"))
    reason = response(aws)["Reason"]
    assert reason.startswith("the function failed with ValueError at request.py:")
    assert reason.endswith(": this is an error in healthimaging-cdk")


# -- submit and detach -----------------------------------------------------------------------------------------------


def verdicts(aws: FakeAws) -> list[str]:
    return [json.loads(told["Detail"])["outcome"] for told in aws.events]


def test_a_submitted_job_is_responded_to_at_once_and_polled_to_its_end(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    machine.before_step = lambda number: source.wait_for_jobs() if number == 3 else None
    machine.request(event(source, "import-create", Completion="submit"))
    told = response(source)
    assert "SUCCESS" == told["Status"]
    assert "unknown" == told["Data"]["NumberOfImportedFiles"]
    assert "SUBMITTED" == told["Data"]["JobStatus"]
    assert ["SUCCEEDED"] == verdicts(source)


def test_a_submitted_job_is_not_looked_at_before_the_response_however_quick_it_is(
    aws: FakeAws, machine: Machine
) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    aws.fail("S3.PutObject", "SlowDown", 503, subject="imports/.healthimaging-cdk/", times=2)
    state = machine.respond(event(aws, "import-create", Completion="submit"))
    aws.wait_for_jobs()
    assert ("SUCCESS", "SUBMITTED", 0) == (response(aws)["Status"], response(aws)["Data"]["JobStatus"], aws.count(GET))
    machine.run(state)
    assert ["FAILED"] == verdicts(aws)


@pytest.mark.slow
def test_a_detached_job_is_waited_for_and_then_responded_to_as_it_stands(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    began = machine.clock.seconds
    state = machine.respond(event(source, "import-create", Completion="detach"))
    assert ("SUCCESS", "IN_PROGRESS") == (response(source)["Status"], response(source)["Data"]["JobStatus"])
    assert 300 <= machine.clock.seconds - began < 340
    source.wait_for_jobs()
    assert machine.run(state)["success"]
    assert (["SUCCEEDED"], 1) == (verdicts(source), len(source.responses))


def test_a_detached_job_that_is_quick_is_responded_to_with_its_result(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create", Completion="detach"))
    assert "1" == response(source)["Data"]["NumberOfImportedFiles"]


@pytest.mark.slow
def test_a_detached_job_that_ended_after_the_deadline_fails_no_deploy(aws: FakeAws, machine: Machine) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    aws.jobs_may_run.clear()
    began = machine.clock.seconds
    machine.before_step = lambda _: aws.wait_for_jobs() if machine.clock.seconds > began + 300 else None
    machine.request(event(aws, "import-create", Completion="detach"))
    assert ("SUCCESS", "IN_PROGRESS") == (response(aws)["Status"], response(aws)["Data"]["JobStatus"])
    assert ["FAILED"] == verdicts(aws)


def test_a_detached_job_that_ended_in_time_is_judged_however_late_it_is_looked_at(
    aws: FakeAws, machine: Machine
) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    state = machine.step("step", machine.receive(event(aws, "import-create", Completion="detach")))
    aws.wait_for_jobs()
    machine.clock.seconds += 310
    machine.run(state)
    assert "FAILED" == response(aws)["Status"]
    assert "it imported nothing" in response(aws)["Reason"]


def test_a_detached_job_that_fails_gives_no_second_response(aws: FakeAws, machine: Machine) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    aws.jobs_may_run.clear()
    machine.before_step = lambda number: aws.wait_for_jobs() if number else None
    machine.request(event(aws, "import-create", Completion="submit"))
    assert "SUCCESS" == response(aws)["Status"]
    assert ["FAILED"] == verdicts(aws)


@pytest.mark.parametrize(("notify", "told"), [(None, 0), ("failures", 0), ("outcomes", 1)])
def test_people_are_notified_by_the_function(source: FakeAws, machine: Machine, notify: str | None, told: int) -> None:
    machine.request(event(source, "import-create", NotificationTopicArn=TOPIC, Notify=notify))
    assert told == len(source.notifications)
    assert source.record()["published"]


# -- a job that nobody waits for and that is lost --------------------------------------------------------------------


def left_to_poll(source: FakeAws, machine: Machine) -> dict[str, Any]:
    """What the execution of a deploy that did not wait goes on with after its response."""
    source.jobs_may_run.clear()
    state = machine.respond(event(source, "import-create", Completion="submit"))
    assert ([], "DETACHED", "wait") == (source.events, state["mode"], state["next"])
    return state


def stop(aws: FakeAws, state: dict[str, Any]) -> None:
    """An operator stops the execution, of which AWS tells what it began with."""
    began = json.loads(aws.executions[state["event"]["RequestId"]]["input"])
    detail = {"status": "ABORTED", "input": json.dumps(began)}
    assert {} == handler.handle({"source": "aws.states", "detail": detail}, Context())
    assert 1 == len(aws.responses)


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "InternalServerException"])
def test_a_job_that_cannot_be_polled_any_more_is_told_of_once(
    source: FakeAws, machine: Machine, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    state = left_to_poll(source, machine)
    source.wait_for_jobs()
    source.fail(GET, code, 500 if code == "InternalServerException" else 403, times=10_000)
    machine.clock.seconds += 301 if code == "ResourceNotFoundException" else DAY - 120
    machine.run(state)
    (told,) = source.events
    detail = json.loads(told["Detail"])
    (job,) = source.jobs()
    assert ("UNKNOWN", "UNKNOWN", job.id) == (detail["outcome"], detail["jobStatus"], detail["jobId"])
    (metrics,) = (line for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert (0, 1) == (json.loads(metrics)["ImportsSucceeded"], json.loads(metrics)["ImportsFailed"])
    assert ("JUDGED", "UNKNOWN") == (source.record()["state"], source.record()["verdict"])


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["S3.GetObject", "S3.PutObject"])
def test_a_job_whose_record_cannot_be_reached_any_more_is_told_of_once(
    source: FakeAws, machine: Machine, capsys: pytest.CaptureFixture[str], operation: str
) -> None:
    state = left_to_poll(source, machine)
    source.wait_for_jobs()
    source.fail(operation, "AccessDenied", 403, times=10_000)
    machine.run(state)
    assert ["UNKNOWN"] == verdicts(source)
    (metrics,) = (line for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert (0, 1) == (json.loads(metrics)["ImportsSucceeded"], json.loads(metrics)["ImportsFailed"])


@pytest.mark.slow
def test_a_right_that_comes_back_within_an_hour_is_enough(source: FakeAws, machine: Machine) -> None:
    state = left_to_poll(source, machine)
    source.wait_for_jobs()
    source.fail(GET, "AccessDeniedException", 403, times=50)
    machine.run(state)
    assert ["SUCCEEDED"] == verdicts(source)


def test_a_job_that_runs_for_more_than_a_day_is_told_of(source: FakeAws, machine: Machine) -> None:
    state = left_to_poll(source, machine)
    machine.clock.seconds += DAY
    machine.run(state)
    assert ["UNKNOWN"] == verdicts(source)
    source.wait_for_jobs()
    # It is the only verdict of this job, whatever becomes of it.
    machine.request({**state["event"], "RequestId": "later", "ResponseURL": source.response_url()})
    assert "FAILED" == source.responses[1]["Status"]
    assert (
        "what became of the job could not be determined; deploy again with a run_id not used before"
        in (source.responses[1]["Reason"])
    )
    assert (["UNKNOWN"], 1) == (verdicts(source), len(source.jobs()))


def test_a_job_is_polled_on_after_a_step_that_was_lost_while_detached(source: FakeAws, machine: Machine) -> None:
    state = left_to_poll(source, machine)
    output = machine.step("respond", {**state, "error": {"Error": "Lambda.Unknown"}})
    assert ("wait", 120) == (output["next"], output["wait_seconds"])
    source.wait_for_jobs()
    machine.run(output)
    assert (["SUCCEEDED"], 1) == (verdicts(source), len(source.responses))


def test_a_step_lost_after_a_day_is_told_of_but_not_to_cloudformation(source: FakeAws, machine: Machine) -> None:
    state = left_to_poll(source, machine)
    machine.clock.seconds += 24 * 3600
    output = machine.step("respond", {**state, "error": {"Error": "Lambda.Unknown"}})
    assert ("end", False) == (output["next"], output["success"])
    assert ["UNKNOWN"] == verdicts(source)
    assert 1 == len(source.responses)
    source.wait_for_jobs()


def test_an_execution_that_is_stopped_after_its_response_is_told_of(source: FakeAws, machine: Machine) -> None:
    stop(source, left_to_poll(source, machine))
    assert (["UNKNOWN"], 1) == (verdicts(source), len(source.executions))
    source.wait_for_jobs()


def test_an_execution_that_is_stopped_before_its_response_has_its_job_polled_by_another(
    source: FakeAws, machine: Machine
) -> None:
    source.jobs_may_run.clear()
    state = machine.step("step", machine.receive(event(source, "import-create")))
    stop(source, state)
    assert "FAILED" == response(source)["Status"]
    request_id = state["event"]["RequestId"]
    assert [request_id, f"{request_id}-detached"] == list(source.executions)
    source.wait_for_jobs()
    machine.run(json.loads(source.executions[f"{request_id}-detached"]["input"]))
    assert (["SUCCEEDED"], 1) == (verdicts(source), len(source.responses))


@pytest.mark.parametrize("bad", [False, True])
def test_an_execution_that_is_stopped_after_its_verdict_tells_nothing_else(
    source: FakeAws, machine: Machine, *, bad: bool
) -> None:
    if bad:
        source.put(SOURCE, "studies/1.dcm", b"not DICOM")
    state = left_to_poll(source, machine)
    source.wait_for_jobs()
    machine.run(state)
    stopped = {**state, "mode": "DETACHED"}
    detail = {"status": "ABORTED", "input": json.dumps(stopped)}
    assert {} == handler.handle({"source": "aws.states", "detail": detail}, Context())
    assert ["FAILED" if bad else "SUCCEEDED"] == verdicts(source)
    assert 1 == len(source.responses)


def test_an_execution_that_is_stopped_while_a_later_attempt_runs_tells_nothing_else(
    source: FakeAws, machine: Machine
) -> None:
    source.put(SOURCE, "studies/1.dcm", b"not DICOM")
    state = left_to_poll(source, machine)
    source.wait_for_jobs()
    machine.run(state)
    source.jobs_may_run.clear()
    machine.respond({**state["event"], "RequestId": "again", "ResponseURL": source.response_url()})
    assert 2 == len(source.jobs())
    source.responses.pop()
    detail = {"status": "ABORTED", "input": json.dumps(state)}
    assert {} == handler.handle({"source": "aws.states", "detail": detail}, Context())
    assert ["FAILED"] == verdicts(source)
    source.wait_for_jobs()


def test_a_lost_job_reaches_metrics_where_the_role_is_gone(
    source: FakeAws, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    state = left_to_poll(source, machine)
    source.fail("STS.AssumeRole", "AccessDenied", 403, times=10_000)
    machine.restart()
    machine.run(state)
    written = capsys.readouterr().out
    assert '"ImportsFailed": 1' in written
    assert "not published" in written
    source.wait_for_jobs()


def test_a_completed_job_without_a_manifest_is_neither_good_nor_bad(source: FakeAws, machine: Machine) -> None:
    state = left_to_poll(source, machine)
    source.hold_manifests = True
    source.wait_for_jobs()
    machine.run(state)
    (told,) = source.events
    detail = json.loads(told["Detail"])
    assert ("UNKNOWN", "COMPLETED") == (detail["outcome"], detail["jobStatus"])


@pytest.mark.slow
def test_a_rollback_that_leaves_a_job_to_run_has_its_loss_told(source: FakeAws, machine: Machine) -> None:
    state = left_to_poll(source, machine)
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    properties = state["event"]["ResourceProperties"]
    back = {**event(source, "import-update", request_id="back"), "ResourceProperties": properties}
    left = machine.respond({**back, "OldResourceProperties": properties})
    assert ("SUCCESS", "DETACHED") == (source.responses[1]["Status"], left["mode"])
    source.fail(GET, "AccessDeniedException", 403, times=10_000)
    machine.run(left)
    assert ["UNKNOWN"] == verdicts(source)
    source.wait_for_jobs()


# -- deletions and rollbacks -----------------------------------------------------------------------------------------


def test_a_deletion_without_a_job_is_responded_to_at_once(aws: FakeAws, machine: Machine) -> None:
    machine.request(event(aws, "import-delete"))
    assert "SUCCESS" == response(aws)["Status"]
    assert [] == machine.waited
    assert 0 == aws.count(START)


def test_a_deletion_waits_for_the_job_that_runs(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    machine.step("step", machine.receive(event(source, "import-create")))
    machine.before_step = lambda number: source.wait_for_jobs() if number == 3 else None
    source.stack_status = "DELETE_IN_PROGRESS"
    machine.request(event(source, "import-delete"))
    assert "SUCCESS" == response(source)["Status"]
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
    state = machine.receive(event(aws, "import-delete"))
    aws.fail(operation, code, status, times=9999)
    machine.restart()
    machine.run(state)
    assert "SUCCESS" == response(aws)["Status"]


def test_a_rollback_starts_nothing_and_never_fails(source: FakeAws, machine: Machine) -> None:
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(event(source, "import-update"))
    assert ("SUCCESS", "NOT_STARTED") == (response(source)["Status"], response(source)["Data"]["JobStatus"])
    assert 0 == source.count(START)


def test_a_rollback_gets_the_earlier_result(source: FakeAws, machine: Machine) -> None:
    machine.request(event(source, "import-create"))
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(event(source, "import-update", request_id="rollback", RunId=""))
    assert source.responses[0]["Data"] == source.responses[1]["Data"]
    assert 1 == len(source.jobs())


def test_a_rollback_waits_for_the_job_of_the_update_that_it_undoes_which_stops_waiting(
    source: FakeAws, machine: Machine
) -> None:
    source.jobs_may_run.clear()
    update = event(source, "import-update")
    state = machine.step("step", machine.receive(update))
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.clock.seconds += 1
    rollback = event(source, "import-update", request_id="rollback", RunId="")
    rollback["OldResourceProperties"] = update["ResourceProperties"]
    other: list[dict[str, Any]] = []

    def before_step(number: int) -> None:
        if number == 3:
            other.append(machine.step("step", state))
            source.wait_for_jobs()

    machine.before_step = before_step
    machine.request(rollback)
    assert (("SUCCESS", "NOT_STARTED"), 3) == (
        (response(source)["Status"], response(source)["Data"]["JobStatus"]),
        len(machine.waited),
    )
    expected = "a later request for this import replaced this one; a job of it may still be running"
    assert ("respond", expected) == (other[0]["next"], other[0]["response"]["reason"])
    assert ["SUCCEEDED"] == verdicts(source)
    assert 1 == len(source.jobs())


@pytest.mark.slow
@pytest.mark.parametrize("is_lost", [False, True])
def test_a_job_that_a_rollback_waited_for_in_vain_has_its_verdict(
    source: FakeAws, machine: Machine, *, is_lost: bool
) -> None:
    source.jobs_may_run.clear()
    update = event(source, "import-update")
    state = machine.step("step", machine.receive(update))
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    rollback = event(source, "import-update", request_id="rollback", RunId="")
    rollback["OldResourceProperties"] = update["ResourceProperties"]
    left = machine.respond(rollback)
    assert ("SUCCESS", "NOT_STARTED") == (response(source)["Status"], response(source)["Data"]["JobStatus"])
    assert ("wait", "DETACHED") == (left["next"], left["mode"])
    machine.run(state)
    if is_lost:
        source.fail(GET, "AccessDeniedException", 403, times=10_000)
    source.wait_for_jobs()
    machine.run(left)
    assert (["UNKNOWN" if is_lost else "SUCCEEDED"], 2) == (verdicts(source), len(source.responses))


@pytest.mark.parametrize("stack_status", ["UPDATE_ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS", "UPDATE_IN_PROGRESS"])
def test_a_request_that_was_replaced_before_its_start_starts_nothing(
    source: FakeAws, machine: Machine, stack_status: str
) -> None:
    state = machine.receive(event(source, "import-update"))
    source.stack_status, source.stack_updated = stack_status, "2026-11-24T01:00:00Z"
    machine.run(state)
    assert "replaced before it started a job" in response(source)["Reason"]
    assert 0 == source.count(START)


def test_a_request_of_an_earlier_deploy_whose_first_call_comes_late_starts_nothing(
    source: FakeAws, machine: Machine
) -> None:
    sent = event(source, "import-update")
    signed = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(machine.clock.seconds))
    sent["ResponseURL"] += f"&X-Amz-Date={signed}"
    machine.clock.seconds += 180
    source.stack_updated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(machine.clock.seconds))
    call_as_lambda_does(sent, machine.clock)
    assert "another deploy of the stack has begun" in response(source)["Reason"]
    assert 0 == source.count(START)


def test_a_request_that_nobody_waits_for_any_more_starts_nothing(source: FakeAws, machine: Machine) -> None:
    state = machine.receive(event(source, "import-update"))
    machine.clock.seconds += 300 + 31
    machine.run(state)
    assert response(source)["Reason"].startswith("no job was started in the time that the request has: deploy again")
    assert 0 == source.count(START)


@pytest.mark.parametrize("which", ["import-update", "tags-create"])
def test_a_step_that_is_lost_in_a_rollback_does_not_fail_it(aws: FakeAws, machine: Machine, which: str) -> None:
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    state = machine.receive(event(aws, which))
    machine.step("respond", {**state, "error": {"Error": "Lambda.Unknown"}})
    assert "SUCCESS" == response(aws)["Status"]


def test_a_failed_verdict_does_not_fail_a_rollback(aws: FakeAws, machine: Machine) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    machine.request(event(aws, "import-create"))
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(event(aws, "import-update", request_id="rollback", RunId=""))
    assert ["FAILED", "SUCCESS"] == [told["Status"] for told in aws.responses]


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "InternalError"])
def test_a_rollback_takes_what_there_is(source: FakeAws, machine: Machine, code: str) -> None:
    source.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    source.fail("S3.GetObject", code, 403, times=9999)
    machine.respond(event(source, "import-update"))
    assert "SUCCESS" == response(source)["Status"]


def test_fails_an_update_rather_than_import_in_what_may_be_a_rollback(source: FakeAws, clock: Clock) -> None:
    source.fail("CloudFormation.DescribeStacks", "AccessDenied", 403, times=999)
    call_as_lambda_does(event(source, "import-update"), clock)
    assert "DescribeStacks answered AccessDenied" in response(source)["Reason"]
    assert 0 == len(source.jobs())


def test_an_update_waits_until_its_stack_can_be_described(source: FakeAws, machine: Machine) -> None:
    source.fail("CloudFormation.DescribeStacks", "Throttling", 400, times=1)
    machine.request(event(source, "import-update"))
    assert ("SUCCESS", 1) == (response(source)["Status"], len(source.jobs()))


# -- what is lost ----------------------------------------------------------------------------------------------------


def lost(aws: FakeAws, kind: str, **state: Any) -> dict[str, Any]:
    mode = "DELETE" if kind.endswith("delete") else "DEPLOY"
    error = {"Error": "Lambda.Unknown", "Cause": "DOE^JANE"}
    return {"event": event(aws, kind), "mode": mode, "began_at": aws.clock.seconds, "error": error, **state}


def test_fails_for_a_step_that_was_lost(aws: FakeAws, machine: Machine) -> None:
    machine.step("respond", lost(aws, "import-create"))
    told = response(aws)
    assert "FAILED" == told["Status"]
    assert told["Reason"].startswith("the function could not finish a step (Lambda.Unknown); see the function's log")
    assert "DOE" not in json.dumps(told)


def test_a_step_that_was_lost_does_not_make_a_deletion_fail(aws: FakeAws, machine: Machine) -> None:
    machine.step("respond", lost(aws, "import-delete"))
    assert "SUCCESS" == response(aws)["Status"]


def test_a_response_that_could_not_be_sent_is_sent_though_a_step_was_lost_since(aws: FakeAws, machine: Machine) -> None:
    machine.step("respond", lost(aws, "tags-create", response={"success": True, "reason": "", "data": {"a": "b"}}))
    assert ("SUCCESS", {"a": "b"}) == (response(aws)["Status"], response(aws)["Data"])


@pytest.mark.parametrize("when", ["before it was written down", "after it"])
def test_a_job_whose_step_was_lost_has_its_verdict(source: FakeAws, machine: Machine, when: str) -> None:
    state = machine.receive(event(source, "import-create"))
    if when == "after it":
        machine.step("step", state)
    else:
        client = Aws(ROLE).client("medical-imaging")
        with dying(client, "after-call", "StartDICOMImportJob"), pytest.raises(CrashError):
            machine.step("step", state)
    source.wait_for_jobs()
    left = machine.step("respond", {**state, "error": {"Error": "Lambda.Unknown"}})
    assert ("FAILED", "wait", "DETACHED") == (response(source)["Status"], left["next"], left["mode"])
    machine.run(left)
    assert (["SUCCEEDED"], 1) == (verdicts(source), len(source.responses))


@pytest.mark.parametrize("code", ["KMS.DisabledException", "InvalidAccessKeyId"])
def test_a_job_whose_record_cannot_be_read_after_a_lost_step_has_its_verdict(
    source: FakeAws, machine: Machine, code: str
) -> None:
    state = machine.receive(event(source, "import-create"))
    machine.step("step", state)
    source.wait_for_jobs()
    source.fail("S3.GetObject", code, 400)
    left = machine.step("respond", {**state, "error": {"Error": "Lambda.Unknown"}})
    assert ("FAILED", "DETACHED") == (response(source)["Status"], left["mode"])
    source.heal()
    machine.run(left)
    assert (["SUCCEEDED"], 1) == (verdicts(source), len(source.responses))


def test_a_step_lost_while_detached_gives_no_second_response(aws: FakeAws, machine: Machine) -> None:
    assert "wait" == machine.step("respond", lost(aws, "import-create", mode="DETACHED"))["next"]
    assert [] == aws.responses


def test_cloudformation_is_tried_again_when_it_cannot_be_reached(aws: FakeAws, machine: Machine) -> None:
    aws.response_statuses = [500] * 5
    state = machine.step("respond", lost(aws, "import-delete"))
    assert ("wait", 30) == (state["next"], state["wait_seconds"])
    assert "respond" == machine.step("step", state)["next"]
    machine.step("respond", state)
    assert "SUCCESS" == response(aws)["Status"]


def test_a_job_is_polled_though_cloudformation_can_never_be_reached(source: FakeAws, machine: Machine) -> None:
    source.jobs_may_run.clear()
    source.response_statuses = [500] * 25
    machine.before_step = lambda number: source.wait_for_jobs() if number == 8 else None
    machine.request(event(source, "import-create", Completion="submit"))
    assert ([], ["SUCCEEDED"]) == (source.responses, verdicts(source))
    assert 25 == source.count("Response")


def given_up(call: dict[str, Any]) -> dict[str, Any]:
    """What Lambda puts on the event bus for a call that it gave up on."""
    detail = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": call}
    return {"source": "lambda", "detail-type": "Lambda Function Invocation Result - Failure", "detail": detail}


@pytest.mark.parametrize(("kind", "status"), [("import-create", "FAILED"), ("import-delete", "SUCCESS")])
def test_a_first_call_that_died_is_responded_for(aws: FakeAws, kind: str, status: str) -> None:
    assert {} == handler.handle(given_up(event(aws, kind)), Context())
    assert status == response(aws)["Status"]
    # Whoever may put events can make such a notice up: nothing else is done for it.
    assert {"Response"} == {call.operation for call in aws.calls}


def test_fails_with_the_reason_when_no_slot_was_free_for_the_first_call(aws: FakeAws) -> None:
    notice = given_up(event(aws, "import-create"))
    notice["detail"]["requestContext"]["condition"] = "EventAgeExceeded"
    assert {} == handler.handle(notice, Context())
    assert "for five minutes the account ran as many functions at once as it may" in response(aws)["Reason"]


def test_a_notice_whose_response_would_go_elsewhere_is_ignored(aws: FakeAws) -> None:
    made_up = {**event(aws, "import-create"), "ResponseURL": "https://attacker.example/x"}
    assert {} == handler.handle(given_up(made_up), Context())
    assert [] == aws.calls


@pytest.mark.parametrize(
    "notice",
    [
        {},
        {"key": "value"},
        {"step": "step"},
        {"step": "other", "state": {}},
        {"step": "step", "state": []},
        {"source": "lambda"},
        given_up(given_up({})),
        {"source": "aws.states", "detail": {}},
    ],
)
def test_what_is_no_request_is_ignored_and_never_raised_at(aws: FakeAws, notice: dict[str, Any]) -> None:
    assert {} == handler.handle(notice, Context())
    assert [] == aws.calls


def stopped(aws: FakeAws, kind: str, mode: str, **detail: Any) -> dict[str, Any]:
    document = {"event": event(aws, kind), "mode": mode, "began_at": aws.clock.seconds, "deploy": ""}
    return {"source": "aws.states", "detail": {"status": "ABORTED", "input": json.dumps(document), **detail}}


@pytest.mark.parametrize(
    ("kind", "mode", "status"),
    [
        ("import-create", "DEPLOY", "FAILED"),
        ("import-delete", "DELETE", "SUCCESS"),
        ("import-update", "ROLLBACK", "SUCCESS"),
        ("tags-create", "DEPLOY", "FAILED"),
        ("tags-create", "ROLLBACK", "SUCCESS"),
    ],
)
def test_an_execution_that_was_stopped_is_responded_for(aws: FakeAws, kind: str, mode: str, status: str) -> None:
    assert {} == handler.handle(stopped(aws, kind, mode), Context())
    assert status == response(aws)["Status"]
    assert status == "SUCCESS" or "the request was not finished (ABORTED)" in response(aws)["Reason"]


def test_an_execution_that_has_responded_is_left_alone(aws: FakeAws) -> None:
    assert {} == handler.handle(
        stopped(aws, "import-create", "DEPLOY", status="FAILED", error=RESPONDED_FAILED), Context()
    )
    assert [] == aws.responses


def test_a_rescue_never_raises(aws: FakeAws) -> None:
    aws.response_statuses = [500] * 5
    assert {} == handler.handle(stopped(aws, "import-create", "DEPLOY"), Context())
    assert [] == aws.responses


# -- called by somebody else -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "https://attacker.example/x", ""])
@pytest.mark.parametrize("step", ["step", "respond"])
@pytest.mark.parametrize("mode", ["DEPLOY", "DELETE", "ROLLBACK"])
def test_a_state_that_somebody_made_up_sends_nothing_elsewhere(
    aws: FakeAws, machine: Machine, step: str, mode: str, url: str
) -> None:
    made_up = {**lost(aws, "tags-create", mode=mode), "response": {"success": True}}
    made_up["event"]["ResponseURL"] = url
    machine.step(step, made_up)
    assert 0 == aws.count("Response")


# -- executions of the first version ---------------------------------------------------------------------------------


def test_an_execution_that_the_first_version_began_is_finished(source: FakeAws, machine: Machine) -> None:
    state: dict[str, Any] = {"event": event(source, "import-create"), "began_at": machine.clock.seconds}
    state["progress"] = {"stack_since": "2026-11-24 00:00:00+00:00", "rolling_back": False, "import": None}
    for _ in range(5):
        state = machine.step("advance", state)
        if state["next"] == "answer":
            break
        source.wait_for_jobs()
    state = machine.step("answer", state)
    assert ("end", True) == (state["next"], state["success"])
    assert "1" == response(source)["Data"]["NumberOfImportedFiles"]


@pytest.mark.parametrize(
    ("kind", "state", "mode"),
    [
        ("import-create", {}, "DEPLOY"),
        ("import-delete", {}, "DELETE"),
        ("import-update", {"progress": {"rolling_back": True}}, "ROLLBACK"),
        ("import-update", {"answered": True}, "DETACHED"),
    ],
)
def test_why_the_first_version_was_called_is_told_from_its_state(
    aws: FakeAws, machine: Machine, kind: str, state: dict[str, Any], mode: str
) -> None:
    began = {"event": event(aws, kind), "began_at": machine.clock.seconds, **state}
    assert mode == machine.step("advance", began)["mode"]


@pytest.mark.parametrize(("kind", "mode"), [("import-create", "DEPLOY"), ("import-update", "ROLLBACK")])
def test_responding_needs_no_boto3(aws: FakeAws, kind: str, mode: str) -> None:
    state = lost(aws, kind, mode=mode)
    code = (
        "import json, sys; sys.modules['boto3'] = sys.modules['botocore'] = None\n"
        "from healthimaging_import.handler import handle\n"
        "handle({'step': 'respond', 'state': json.load(sys.stdin)}, None)"
    )
    environment = {"PYTHONPATH": str(ROOT / "lambda"), "AWS_ENDPOINT_URL": aws.endpoint}
    subprocess.run([sys.executable, "-S", "-c", code], input=json.dumps(state), text=True, check=True, env=environment)
    if mode == "DEPLOY":
        assert "FAILED" == response(aws)["Status"]
    else:
        assert_nothing_is_known(aws, state["event"])


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
    state = machine.respond(event(aws, "import-create", **properties))
    aws.wait_for_jobs()
    machine.clock.seconds += 1
    if deleted:
        aws.stack_status = "DELETE_IN_PROGRESS"
        machine.request(event(aws, "import-delete", request_id="deletion", **properties))
        step = "given up"
    else:
        machine.run(state)
        step = "ended"
    assert f"manifest: s3://results/{NAME} 1/" in aws.record()["reason"]
    logged = capsys.readouterr().out
    (line,) = (line for line in map(json.loads, logged.splitlines()) if line.get("step") == step)
    assert line["reason"].endswith("s3://results/...")
    assert NAME not in logged


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_patients_name_in_keys_prefixes_contents_and_errors_comes_out_nowhere(
    aws: FakeAws, machine: Machine, capsys: pytest.CaptureFixture[str], scenario: str
) -> None:
    aws.put(SOURCE, f"{NAME}/1.dcm", DICOM)
    properties = SCENARIOS[scenario](aws)
    machine.request(event(aws, "import-create", InputPrefix=f"{NAME}/", NotificationTopicArn=TOPIC, **properties))
    captured = capsys.readouterr()
    seen = {
        "log": captured.out + captured.err,
        "responses": json.dumps(aws.responses),
        "steps": json.dumps(machine.outputs),
        "events": json.dumps(aws.events),
        "notifications": json.dumps(aws.notifications),
    }
    assert seen["log"]
    assert {} == {place: text for place, text in seen.items() if "DOE" in text or "JANE" in text or "SECRET" in text}
    assert all(json.loads(line) for line in captured.out.splitlines())
