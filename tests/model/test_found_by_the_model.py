"""What the model found, each by its shortest sequence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.model.fakes import PATIENT, RESULTS, S3, SOURCE, Crash, HealthImaging, Misfortune, Plans
from tests.model.runs import Stage, properties, verdicts, zipped


def stop(stage: Stage, name: str) -> None:
    execution = stage.executions[name]
    assert not execution.over
    stage.stop(execution)
    stage.settle()


def test_stopping_an_execution_that_only_follows_its_job_answers_no_second_time(world, stage):
    world.plans = Plans(seconds=90)
    request = stage.request("Create", properties(Completion="submit"))
    stage.pass_time(10)
    assert ["SUCCESS"] == [answer["Status"] for answer in request.answers]
    stop(stage, request.id)
    assert 1 == len(request.answers)


def test_a_rescue_that_dies_three_times_is_left_to_the_service_timeout(world, stage):
    """Its own notice matches no rule, so that nothing goes round in circles."""
    request = stage.request("Create", properties())
    stage.pass_time(1)
    world.misfortunes = [Misfortune("Answer", "crash before", times=3)]
    stop(stage, request.id)
    assert "none" == request.status


def test_a_first_call_that_died_after_it_had_started_its_execution_finds_it_running(world, stage):
    world.misfortunes = [Misfortune("StartExecution", "crash after", times=3)]
    world.plans = Plans(seconds=290)
    request = stage.request("Create", properties())
    stage.settle()
    assert ["SUCCESS"] == [answer["Status"] for answer in request.answers]
    assert ["SUCCEEDED"] == verdicts(world)
    assert 1 == len(world.jobs)


def test_a_lost_connection_while_a_zip_is_opened_is_tried_again(world, stage):
    world.misfortunes = [Misfortune("GetObject", "unreachable", skip=1)]
    request = stage.request("Create", properties(WaitSeconds="3000", **zipped(world)))
    stage.settle()
    assert "SUCCESS" == request.status


def test_a_rollback_starts_nothing_though_the_stack_cannot_be_described_once(world, stage):
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    world.misfortunes = [Misfortune("DescribeStacks", "error", "Throttling")]
    stage.request("Rollback", properties(), properties(RunId="1"))
    stage.settle()
    assert {} == world.jobs


def test_a_request_that_joined_a_job_does_not_begin_the_next_attempt_itself(world, stage):
    world.plans = Plans(outcome="none", seconds=30)
    stage.request("Create", properties(Completion="submit"))
    stage.pass_time(10)
    stage.request("Update", properties(JobName="another"), properties())
    stage.settle()
    assert 1 == len(world.jobs)


def test_a_request_that_was_answered_and_follows_starts_no_job(world, stage):
    world.plans = Plans(outcome="none", seconds=100)
    first = stage.request("Create", properties(Completion="submit"))
    stage.pass_time(90)  # looks every nine seconds, and the next one every two
    stage.request("Update", properties(JobName="another"), properties(Completion="submit"))
    stage.settle()
    assert first.id not in {job.submitted_by for job in world.jobs.values() if job.attempt > 1}


def test_a_good_job_whose_manifest_came_late_is_not_imported_again(world, stage):
    world.plans = Plans(manifest_delay=200)
    stage.request("Create", properties())
    stage.settle()
    world.now += 300
    stage.request("Create", properties())
    stage.settle()
    assert 1 == len(world.jobs)


def test_a_start_whose_fate_is_unknown_is_not_given_up_when_its_repetition_is_refused(world, stage):
    world.plans = Plans(seconds=100)
    world.misfortunes = [
        Misfortune("StartDICOMImportJob", "answer lost"),
        Misfortune("StartDICOMImportJob", "error", "ResourceNotFoundException"),
    ]
    stage.request("Create", properties())
    stage.settle()
    stage.request("Create", properties())
    stage.settle()
    assert 1 == len(world.jobs)


def test_a_cancelled_update_starts_nothing_after_its_rollback_was_answered(world, stage):
    stage.request("Create", properties())
    stage.settle()
    world.stack_status = "UPDATE_IN_PROGRESS"
    world.misfortunes = [Misfortune("StartDICOMImportJob", "error", "ThrottlingException", times=6)]
    stage.request("Update", properties(RunId="1"), properties())
    stage.pass_time(3)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    rollback = stage.request("Rollback", properties(), properties(RunId="1"))
    stage.pass_time(1)
    assert "SUCCESS" == rollback.status
    stage.settle()
    assert 1 == len(world.jobs)


def test_a_create_that_was_given_up_starts_nothing_after_its_deletion_was_answered(world, stage):
    world.misfortunes = [Misfortune("StartDICOMImportJob", "error", "ThrottlingException", times=6)]
    stage.request("Create", properties())
    stage.pass_time(3)
    world.stack_status = "ROLLBACK_IN_PROGRESS"
    deletion = stage.request("Delete", properties())
    stage.pass_time(60)
    assert "SUCCESS" == deletion.status
    stage.settle()
    assert {} == world.jobs


def test_a_rollback_that_loses_a_step_ends_well(world, stage):
    stage.request("Create", properties())
    stage.settle()
    world.plans = Plans(seconds=60)
    stage.request("Update", properties(RunId="1", Completion="submit"), properties())
    stage.pass_time(5)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    rollback = stage.request("Rollback", properties(RunId="1"), properties())
    stage.pass_time(5)
    world.misfortunes = [Misfortune("GetDICOMImportJob", "crash before", times=3)]
    stage.settle()
    assert "SUCCESS" == rollback.status


def test_a_deploy_that_detaches_ends_green_when_its_job_cannot_be_looked_at_just_then(world, stage):
    world.plans = Plans(seconds=200)
    request = stage.request("Create", properties(Completion="detach", WaitSeconds="60"))
    stage.pass_time(50)
    world.misfortunes = [Misfortune("GetDICOMImportJob", "error", "ThrottlingException", times=3)]
    stage.settle()
    assert "SUCCESS" == request.status


def test_fails_on_warnings_that_cannot_be_read_just_then(world, stage):
    world.plans = Plans(warnings=2, seconds=0)
    world.misfortunes = [Misfortune("GetObject", "error", "SlowDown", skip=2)]
    request = stage.request("Create", properties(FailOnWarnings="true"))
    stage.settle()
    assert "FAILED" == request.status


def test_an_answer_of_s3_without_an_etag_is_tried_again(world, stage):
    world.misfortunes = [Misfortune("PutObject", "malformed")]
    request = stage.request("Create", properties())
    stage.settle()
    assert "SUCCESS" == request.status


def test_a_prefix_that_is_refused_does_not_name_the_patient(stage):
    request = stage.request("Create", properties(InputPrefix=PATIENT))
    stage.settle()
    assert "FAILED" == request.status
    assert PATIENT not in json.dumps(request.answers)
    assert [] == stage.world.violations


def test_an_error_text_of_healthimaging_does_not_name_the_patient(world, stage, monkeypatch):
    from tests.model import fakes  # noqa: PLC0415

    real = fakes.ClientError
    monkeypatch.setattr(fakes, "error", lambda code, operation: real(
        {"Error": {"Code": code, "Message": f"patient {PATIENT} at s3://source/in/{PATIENT} 2/1.dcm"}}, operation
    ))  # fmt: skip
    world.misfortunes = [Misfortune("StartDICOMImportJob", "error", "ConflictException", times=100)]
    stage.request("Create", properties())
    stage.settle()
    assert [] == world.violations


def test_an_update_after_a_rollback_joins_the_job_though_its_first_look_failed(world, stage):
    world.plans = Plans(seconds=100)
    stage.request("Create", properties())
    stage.settle()
    world.stack_status = "UPDATE_IN_PROGRESS"
    stage.request("Update", properties(RunId="1"), properties())
    stage.pass_time(5)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    stage.request("Rollback", properties(), properties(RunId="1"))
    stage.pass_time(5)
    world.stack_status = "UPDATE_IN_PROGRESS"
    world.misfortunes = [Misfortune("GetObject", "error", "SlowDown")]
    again = stage.request("Update", properties(RunId="1"), properties())
    stage.settle()
    assert "SUCCESS" == again.status, again.answers


def test_an_update_that_looked_at_nothing_yet_starts_nothing_after_its_rollback_was_answered(world, stage):
    stage.request("Create", properties())
    stage.settle()
    world.stack_status = "UPDATE_IN_PROGRESS"
    stage.request("Update", properties(RunId="1"), properties())
    world.misfortunes = [Misfortune("ListObjectsV2", "error", "SlowDown", times=6)]
    stage.pass_time(3)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    rollback = stage.request("Rollback", properties(), properties(RunId="1"))
    stage.pass_time(1)
    assert "SUCCESS" == rollback.status
    stage.settle()
    assert 1 == len(world.jobs)


def test_a_rollback_to_a_deploy_without_a_run_id_tells_of_that_deploys_job(world, stage):
    created = stage.request("Create", properties())
    stage.settle()
    world.stack_status = "UPDATE_IN_PROGRESS"
    stage.request("Update", properties(RunId="1"), properties())
    stage.settle()
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    rollback = stage.request("Rollback", properties(), properties(RunId="1"))
    stage.settle()
    assert created.answers[0]["Data"]["JobId"] == rollback.answers[0]["Data"]["JobId"]


def test_a_request_that_lost_the_step_of_its_start_does_not_begin_the_next_attempt(world, stage):
    world.plans = Plans(outcome="none", seconds=0)
    world.misfortunes = [Misfortune("PutObject", "answer lost", skip=3)]
    stage.request("Create", properties())
    stage.pass_time(0.1)
    assert [] == world.misfortunes
    execution = next(iter(stage.executions.values()))
    execution.due = world.now + 60
    world.stack_status = "ROLLBACK_IN_PROGRESS"
    stage.request("Delete", properties())
    stage.settle()
    assert 1 == len(world.jobs)


# -- an answer that says nothing of what became of the request -------------------------------------------------------


@pytest.mark.parametrize("code", ["502", "503", "504", "InternalFailure", "InternalServerException"])
def test_a_start_that_was_answered_with_a_5xx_is_found_and_not_repeated(world, stage, code):
    world.token_memory = 0
    world.plans = Plans(seconds=60)
    world.misfortunes = [Misfortune("StartDICOMImportJob", "error after", code)]
    request = stage.request("Create", properties())
    stage.settle()
    assert "SUCCESS" == request.status
    assert 1 == len(world.jobs)


@pytest.mark.parametrize("operation", ["DescribeStacks", "GetObject", "GetDICOMImportJob", "StartExecution"])
def test_a_5xx_of_any_call_is_waited_for(world, stage, operation):
    world.misfortunes = [Misfortune(operation, "error", "503", times=2)]
    request = stage.request("Create", properties())
    stage.settle()
    assert "SUCCESS" == request.status


def test_a_rollback_ends_well_though_the_stack_could_not_be_described(world, stage):
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    world.misfortunes = [Misfortune("DescribeStacks", "error", "503")]
    request = stage.request("Rollback", properties(), properties(RunId="1"))
    stage.settle()
    assert "SUCCESS" == request.status


# -- a job that goes on when its request ends ------------------------------------------------------------------------


def test_a_detached_job_whose_manifest_is_late_when_the_time_is_over_ends_the_deploy_well(world, stage):
    world.plans = Plans(seconds=295, manifest_delay=60)
    request = stage.request("Create", properties(Completion="detach"))
    stage.settle()
    assert "SUCCESS" == request.status
    assert ["SUCCEEDED"] == verdicts(world)


@pytest.mark.parametrize("skip", range(6))
def test_a_detached_job_that_cannot_be_looked_at_when_the_time_is_over_ends_the_deploy_well(world, stage, skip):
    world.plans = Plans(seconds=900)
    request = stage.request("Create", properties(Completion="detach"))
    stage.pass_time(275)
    world.misfortunes = [Misfortune("GetDICOMImportJob", "error", "ThrottlingException", skip=skip)]
    stage.settle()
    assert "SUCCESS" == request.status
    assert ["SUCCEEDED"] == verdicts(world)


def test_a_submitted_job_that_is_not_known_yet_ends_the_deploy_well_at_once(world, stage):
    world.plans = Plans(seconds=200)
    world.misfortunes = [Misfortune("GetDICOMImportJob", "error", "ResourceNotFoundException", times=4)]
    request = stage.request("Create", properties(Completion="submit", WaitSeconds="60"))
    stage.pass_time(5)
    assert "SUCCESS" == request.status
    assert "SUBMITTED" == request.answers[0]["Data"]["JobStatus"]
    stage.settle()
    assert ["SUCCEEDED"] == verdicts(world)


@pytest.mark.parametrize("completion", ["submit", "detach", "wait"])
def test_a_job_that_may_not_be_looked_at_fails_the_deploy_and_is_told_of(world, stage, completion):
    world.plans = Plans(seconds=200)
    world.misfortunes = [Misfortune("GetDICOMImportJob", "error", "AccessDeniedException", times=10_000)]
    request = stage.request("Create", properties(Completion=completion))
    stage.settle()
    # A submitted one is not looked at before it is answered for, if looking has to be tried again.
    assert ("SUCCESS" if completion == "submit" else "FAILED") == request.status
    assert ["UNKNOWN"] == verdicts(world)


def test_the_job_of_an_update_that_is_rolled_back_while_it_waits_has_a_verdict(world, stage):
    stage.request("Create", properties())
    stage.settle()
    world.plans = Plans(seconds=200, outcome="none")
    world.stack_status = "UPDATE_IN_PROGRESS"
    stage.request("Update", properties(RunId="2"), properties())
    stage.pass_time(30)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    back = stage.request("Rollback", properties(), properties(RunId="2"))
    stage.settle()
    assert "SUCCESS" == back.status
    assert ["SUCCEEDED", "FAILED"] == verdicts(world)


def test_the_job_of_an_execution_that_was_stopped_has_a_verdict(world, stage):
    world.plans = Plans(seconds=100, outcome="none")
    request = stage.request("Create", properties())
    stage.pass_time(20)
    stop(stage, request.id)
    assert "FAILED" == request.status
    assert ["FAILED"] == verdicts(world)
    assert 1 == len(world.jobs)


@pytest.mark.parametrize("operation", ["StartDICOMImportJob", "GetDICOMImportJob"])
def test_the_job_of_a_step_that_was_lost_has_a_verdict(world, stage, operation):
    world.plans = Plans(seconds=100, outcome="none")
    world.misfortunes = [Misfortune(operation, "crash after", times=3)]
    request = stage.request("Create", properties())
    stage.settle()
    assert "FAILED" == request.status
    assert ["FAILED"] == verdicts(world)
    assert 1 == len(world.jobs)


def test_a_request_that_lost_its_step_before_a_job_starts_none_afterwards(world, stage):
    world.misfortunes = [Misfortune("ListObjectsV2", "crash before", times=3)]
    request = stage.request("Create", properties())
    stage.settle()
    assert "FAILED" == request.status
    assert {} == world.jobs
    assert [] == verdicts(world)


def test_a_submitted_run_that_succeeds_is_the_one_that_a_plain_deploy_means(world, stage):
    world.plans = Plans(seconds=200)
    stage.request("Create", properties(Completion="submit", RunId="7"))
    stage.settle()
    again = stage.request("Update", properties(RunId=None), properties(Completion="submit", RunId="7"))
    world.stack_status = "UPDATE_IN_PROGRESS"
    stage.settle()
    assert "SUCCESS" == again.status
    assert 1 == len(world.jobs)


# -- a request that CloudFormation has given up ----------------------------------------------------------------------


def test_an_update_that_is_still_unpacking_when_the_next_deploy_begins_starts_nothing(world, stage, monkeypatch):
    stage.request("Create", properties(WaitSeconds="3000"))
    stage.settle()
    good, bad = properties(WaitSeconds="3000"), properties(WaitSeconds="3000", **zipped(world))
    world.stack_status = "UPDATE_IN_PROGRESS"
    upload, uploads = S3.upload_fileobj, []

    def while_it_unpacks(self: S3, *what: object) -> None:
        uploads.append(what)
        if len(uploads) == 2:
            world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
            stage.request("Rollback", good, bad)
            stage.pass_time(40)
            world.stack_status, world.stack_updated = "UPDATE_IN_PROGRESS", datetime.fromtimestamp(world.now, UTC)
        upload(self, *what)

    monkeypatch.setattr(S3, "upload_fileobj", while_it_unpacks)
    update = stage.request("Update", bad, good)
    stage.settle()
    assert "FAILED" == update.status
    assert 1 == len(world.jobs)


def test_a_record_that_is_removed_while_its_job_runs_starts_no_second_one(world, stage):
    world.token_memory = 0
    world.plans = Plans(seconds=100)
    request = stage.request("Create", properties())
    stage.pass_time(20)
    for place in [place for place in world.objects if ".healthimaging-cdk/" in place[1]]:
        del world.objects[place]
    stage.settle()
    assert "FAILED" == request.status
    assert "was removed while it was at work" in request.answers[0]["Reason"]
    assert 1 == len(world.jobs)


@pytest.mark.parametrize("wait", ["60", "300"])
def test_unpacking_ends_when_the_request_must(world, stage, wait):
    began, answered = world.now, []
    stage.answered = lambda _: answered.append(world.now - began)
    request = stage.request("Create", properties(WaitSeconds=wait, **zipped(world)))
    stage.settle()
    assert "FAILED" == request.status
    assert "the local files were not unpacked in time" in request.answers[0]["Reason"]
    assert answered[0] < int(wait) + 300
    assert {} == world.jobs


def test_a_stack_that_is_rolled_back_while_the_source_is_surveyed_starts_nothing(world, stage, monkeypatch):
    survey = S3.paginate

    def meanwhile(self: S3, **what: str) -> Iterator[dict[str, object]]:
        world.stack_status = "ROLLBACK_IN_PROGRESS"
        return survey(self, **what)

    monkeypatch.setattr(S3, "paginate", meanwhile)
    request = stage.request("Create", properties())
    stage.settle()
    assert "FAILED" == request.status
    assert {} == world.jobs
    assert ["REFUSED"] == [record["state"] for record in world.written.values()]


@pytest.mark.parametrize("status", ["ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"])
def test_a_stack_that_goes_away_unpacks_and_starts_nothing(world, stage, status):
    world.stack_status = status
    request = stage.request("Create", properties(WaitSeconds="3000", **zipped(world)))
    stage.settle()
    assert "NOT_STARTED" == request.answers[0]["Data"]["JobStatus"]
    assert "UploadFileobj" not in world.calls
    assert {} == world.jobs


def test_a_deletion_waits_for_a_submitted_job(world, stage):
    world.plans = Plans(seconds=200)
    stage.request("Create", properties(Completion="submit"))
    stage.pass_time(10)
    world.stack_status = "DELETE_IN_PROGRESS"
    delete = stage.request("Delete", properties(Completion="submit"))
    stage.pass_time(150)
    assert [] == delete.answers
    stage.settle()
    assert "COMPLETED" == delete.answers[0]["Data"]["JobStatus"]


def test_a_deletion_waits_for_as_long_as_a_start_may_be_on_its_way(world, stage):
    world.misfortunes = [Misfortune("StartDICOMImportJob", "crash before", times=3)]
    stage.request("Create", properties())
    stage.pass_time(8)
    world.stack_status = "DELETE_IN_PROGRESS"
    delete = stage.request("Delete", properties())
    stage.pass_time(25)
    assert [] == delete.answers
    stage.settle()
    assert "SUCCESS" == delete.status


@pytest.mark.slow
@pytest.mark.parametrize(("hours", "verdict"), [(20, "SUCCEEDED"), (30, "UNKNOWN")])
def test_a_job_is_followed_for_a_day(world, stage, hours, verdict):
    world.plans = Plans(seconds=hours * 3600)
    stage.request("Create", properties(Completion="submit"))
    stage.settle()
    assert [verdict] == verdicts(world)


@pytest.mark.slow
def test_a_day_of_throttling_fits_into_the_history_of_an_execution(world, stage):
    world.plans = Plans(seconds=30 * 3600)
    stage.request("Create", properties(Completion="submit"))
    stage.pass_time(10)
    looks = world.calls.count("GetDICOMImportJob")
    world.misfortunes = [Misfortune("GetDICOMImportJob", "error", "ThrottlingException", times=100_000)]
    stage.settle()
    # Some nine events a step, of 25,000 at most.
    assert 9 * (world.calls.count("GetDICOMImportJob") - looks) < 20_000


def test_a_follower_waits_for_a_job_that_is_not_listed_yet(world, stage, monkeypatch):
    listed = HealthImaging.list_dicom_import_jobs

    def late(self: HealthImaging, **what: Any) -> dict[str, Any]:
        answer = listed(self, **what)
        old = [job for job in answer["jobSummaries"] if job["submittedAt"].timestamp() < world.now - 20]
        return {**answer, "jobSummaries": old}

    monkeypatch.setattr(HealthImaging, "list_dicom_import_jobs", late)
    world.misfortunes = [Misfortune("StartDICOMImportJob", "crash after", times=3)]
    stage.request("Create", properties())
    stage.settle()
    assert ["SUCCEEDED"] == verdicts(world)


def test_a_job_whose_start_was_lost_and_cannot_be_looked_for_has_a_verdict(world, stage):
    world.misfortunes = [
        Misfortune("PutObject", "crash before", skip=3),
        Misfortune("ListDICOMImportJobs", "error", "AccessDeniedException", times=60),
    ]
    request = stage.request("Create", properties())
    stage.settle()
    assert "FAILED" == request.status
    assert ["SUCCEEDED"] == verdicts(world)


def test_a_job_that_cannot_be_written_down_at_first_is_found_later(world, stage):
    world.misfortunes = [Misfortune("PutObject", "error", "InvalidAccessKeyId", skip=3, times=2)]
    stage.request("Create", properties())
    stage.settle()
    assert ["SUCCEEDED"] == verdicts(world)


# -- several requests for one job ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seconds", range(606, 1500, 37))
@pytest.mark.parametrize(("first", "second", "status"), [("0", "9", "SUCCESS"), ("9", "0", "FAILED")])
def test_the_request_that_waits_last_judges_the_job(world, stage, seconds, first, second, status):
    world.plans = Plans(seconds=seconds, outcome="some")
    stage.request("Create", properties(MaxRejectedFiles=first))
    stage.pass_time(320)  # it waited in vain, and its job is followed
    world.stack_status = "UPDATE_IN_PROGRESS"
    tolerant = properties(MaxRejectedFiles=second, WaitSeconds="3000")
    update = stage.request("Update", tolerant, properties(MaxRejectedFiles=first))
    stage.settle()
    assert status == update.status
    assert ["SUCCEEDED" if status == "SUCCESS" else "FAILED"] == verdicts(world)
    assert 1 == len(world.jobs)


def test_an_older_run_that_ends_later_is_not_the_one_that_is_meant(world, stage):
    stage.request("Create", properties(RunId=None))
    stage.settle()
    world.stack_status = "UPDATE_IN_PROGRESS"
    world.plans = Plans(seconds=3000)
    stage.request("Update", properties(RunId="1"), properties(RunId=None))
    stage.pass_time(330)
    world.plans = Plans(seconds=30)
    newer = stage.request("Update", properties(RunId="2"), properties(RunId="1"))
    stage.settle()
    plain = stage.request("Update", properties(RunId=None), properties(RunId="2"))
    stage.settle()
    assert ["SUCCEEDED"] * 3 == verdicts(world)
    assert newer.answers[0]["Data"]["JobId"] == plain.answers[0]["Data"]["JobId"]


@pytest.mark.parametrize("wait", ["300", "3000"])
def test_a_step_that_was_lost_while_it_unpacked_starts_nothing_in_a_later_deploy(world, stage, wait):
    stage.request("Create", properties())
    stage.settle()
    old, new = properties(), properties(RunId="1", WaitSeconds=wait, **zipped(world))
    world.stack_status = "UPDATE_IN_PROGRESS"
    call, lost = world.call, []

    def lose_one(operation: str, effect: Any) -> Any:
        if operation == "UploadFileobj" and not lost:
            lost.append(operation)
            world.now += 610
            world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
            stage.request("Rollback", old, new)
            stage.pass_time(20)
            world.stack_status = "UPDATE_IN_PROGRESS"
            world.plans = Plans(seconds=500)
            lost.append(stage.request("Update", properties(RunId="2", WaitSeconds="3000"), old))
            stage.pass_time(10)
            world.now += 240
            raise Crash
        return call(operation, effect)

    world.call = lose_one
    update = stage.request("Update", new, old)
    stage.settle()
    assert "FAILED" == update.status
    assert "SUCCESS" == lost[1].status
    assert {"Create-0", lost[1].id} == {job.submitted_by for job in world.jobs.values()}


@pytest.mark.parametrize("manifest_delay", [0, 60])
def test_a_submitted_job_is_never_judged_before_the_response(world, stage, manifest_delay):
    world.plans = Plans(seconds=0, manifest_delay=manifest_delay, outcome="none")
    request = stage.request("Create", properties(Completion="submit"))
    stage.settle()
    assert "SUBMITTED" == request.answers[0]["Data"]["JobStatus"]
    assert ["FAILED"] == verdicts(world)


def test_a_stack_that_nobody_works_on_has_nothing_started(world, stage):
    world.stack_status = "UPDATE_COMPLETE"
    request = stage.request("Update", properties(RunId="1"), properties())
    stage.settle()
    assert "FAILED" == request.status
    assert "so CloudFormation does not wait for this request" in request.answers[0]["Reason"]
    assert {} == world.jobs


def test_a_record_of_a_newer_version_is_understood(world, stage):
    stage.request("Create", properties())
    stage.settle()
    (place,) = (it for it in world.objects if re.search(r"\.healthimaging-cdk/[0-9a-f]{64}\.json$", it[1]))
    record = json.loads(world.objects[place])
    record["result"] |= {"new": 1, "counts": {**record["result"]["counts"], "new": 2}}
    world.objects[place] = json.dumps(record).encode()
    world.stack_status = "UPDATE_IN_PROGRESS"
    again = stage.request("Update", properties(JobName="x"), properties())
    stage.settle()
    assert "SUCCESS" == again.status
    record["result"]["counts"]["scanned"] = "3"
    world.objects[place] = json.dumps(record).encode()
    damaged = stage.request("Update", properties(JobName="y"), properties())
    stage.settle()
    assert "is damaged" in damaged.answers[0]["Reason"]


def test_an_execution_that_was_stopped_is_polled_on_though_the_credentials_had_expired(world, stage):
    world.plans = Plans(seconds=200)
    request = stage.request("Create", properties())
    stage.pass_time(10)
    world.misfortunes = [Misfortune("StartExecution", "error", "ExpiredTokenException")]
    stop(stage, request.id)
    assert ["SUCCEEDED"] == verdicts(world)


def test_a_deletion_that_was_stopped_and_finds_no_record_says_that_the_verdict_is_not_known(world, stage):
    stage.request("Create", properties(Completion="submit"))
    stage.pass_time(5)
    world.stack_status = "DELETE_IN_PROGRESS"
    request = stage.request("Delete", properties(Completion="submit"))
    stage.pass_time(5)
    world.misfortunes = [Misfortune("GetObject", "error", "NoSuchKey", times=2)]
    stop(stage, request.id)
    assert ["UNKNOWN"] == verdicts(world)


@pytest.mark.parametrize("code", ["InvalidArn", "ThrottlingException"])
def test_a_job_that_no_execution_can_poll_on_has_a_verdict_all_the_same(world, stage, code):
    world.plans = Plans(seconds=20)
    request = stage.request("Create", properties())
    stage.pass_time(10)
    world.misfortunes = [Misfortune("StartExecution", "error", code, times=10**6)]
    stop(stage, request.id)
    assert [{"InvalidArn": "UNKNOWN", "ThrottlingException": "SUCCEEDED"}[code]] == verdicts(world)


def test_a_run_that_was_never_sent_is_not_what_the_store_was_given_last(world, stage):
    stage.request("Create", properties())
    stage.settle()
    world.stack_status = "UPDATE_IN_PROGRESS"
    world.impatient = lambda _: setattr(world, "stack_status", "UPDATE_ROLLBACK_IN_PROGRESS")
    world.misfortunes = [Misfortune("DescribeStacks", "impatient", skip=1)]
    cancelled = stage.request("Update", properties(RunId="1"), properties())
    stage.settle()
    assert "FAILED" == cancelled.status
    world.stack_status = "UPDATE_IN_PROGRESS"
    empty = stage.request("Update", properties(InputPrefix="empty/"), properties())
    stage.settle()
    back = stage.request("Update", properties(), properties(InputPrefix="empty/"))
    stage.settle()
    assert ["NOTHING_TO_IMPORT", "COMPLETED"] == [one.answers[0]["Data"]["JobStatus"] for one in (empty, back)]
    assert 1 == len(world.jobs)


def test_a_rollback_that_the_job_outlasts_says_that_it_is_running(world, stage):
    world.plans = Plans(seconds=1000)
    stage.request("Update", properties(), properties(RunId="1"))
    stage.pass_time(10)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    rollback = stage.request("Rollback", properties(), properties(RunId=None))
    stage.settle()
    assert ("SUCCESS", "IN_PROGRESS") == (rollback.status, rollback.answers[0]["Data"]["JobStatus"])
    assert ["SUCCEEDED"] == verdicts(world)


def test_an_execution_that_was_stopped_has_a_verdict_though_its_record_cannot_be_found_for_a_while(world, stage):
    world.plans = Plans(seconds=0)
    request = stage.request("Create", properties())
    stage.pass_time(0)
    world.misfortunes = [Misfortune("GetObject", "error", "NoSuchKey", times=40)]
    stop(stage, request.id)
    assert ["SUCCEEDED"] == verdicts(world)


def test_a_job_that_failed_at_once_is_not_forgotten_for_a_source_that_is_empty_by_now(world, stage):
    world.plans = Plans(outcome="failed", seconds=0, manifest_delay=50)
    world.misfortunes = [Misfortune("*", "crash after", skip=14)]
    request = stage.request("Create", properties())
    stage.pass_time(0)
    for key in [key for key in world.objects if key[0] == SOURCE]:
        del world.objects[key]
    stage.settle()
    assert "FAILED" == request.status
    assert ["FAILED", "FAILED"] == verdicts(world)


def test_no_attempt_begins_while_a_job_runs_whose_verdict_is_unknown(world, stage):
    world.plans = Plans(seconds=400)
    stage.request("Create", properties())
    stage.pass_time(10)
    world.stack_status = "ROLLBACK_IN_PROGRESS"
    stage.request("Delete", properties())
    stage.settle()
    assert ["UNKNOWN"] == verdicts(world)
    world.stack_status = "CREATE_IN_PROGRESS"
    world.plans = Plans()
    world.misfortunes = [Misfortune("GetObject", "error", "NoSuchKey")]
    again = stage.request("Create", properties())
    stage.settle()
    first, second = world.jobs.values()
    assert first.ends_at <= second.submitted_at
    assert "SUCCESS" == again.status


def test_a_job_that_a_rollback_may_not_judge_has_a_verdict_all_the_same(world, stage):
    stage.request("Create", properties())
    stage.settle()
    world.plans = Plans(manifest_delay=50.0)
    stage.request("Update", properties(RunId="1"), properties())
    stage.pass_time(40)
    world.misfortunes = [Misfortune("GetObject", "error", "AccessDenied", 1, 1)]
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    rollback = stage.request("Rollback", properties(), properties(RunId="1"))
    stage.settle()
    assert "SUCCESS" == rollback.status
    assert 2 == len(world.jobs)
    assert 2 == len(verdicts(world))


def test_a_request_is_not_replaced_by_an_earlier_one_whose_first_call_comes_later(world, stage):
    """Lambda makes a first call again after minutes, while the next request may have become the owner."""
    world.plans = Plans(seconds=20)
    stage.request("Create", properties())
    stage.pass_time(0)
    world.stack_status = "ROLLBACK_IN_PROGRESS"
    world.misfortunes = [Misfortune("DescribeStacks", "crash before")]
    stage.request("Delete", properties())
    stage.pass_time(0)
    world.misfortunes = [Misfortune("GetDICOMImportJob", "crash before", times=7)]
    last = stage.request("Delete", properties())
    stage.pass_time(200)
    world.misfortunes.clear()
    stage.settle()
    assert 1 == len(last.answers)
    stage.check()


@pytest.mark.parametrize(("denials", "verdict"), [(40, "SUCCEEDED"), (10_000, "UNKNOWN")])
def test_a_rollback_that_may_not_read_the_record_of_what_it_undoes_leaves_the_job_with_a_verdict(
    world, stage, denials, verdict
):
    stage.request("Create", properties())
    stage.settle()
    world.plans = Plans(seconds=400)
    new = properties(RunId="1", WaitSeconds="60")
    world.stack_status = "UPDATE_IN_PROGRESS"
    stage.request("Update", new, properties())
    stage.pass_time(30)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    world.misfortunes = [Misfortune("GetObject", "error", "AccessDenied", times=denials)]
    rollback = stage.request("Rollback", properties(), new)
    stage.settle()
    # Where nobody can read the record, each of the two that polled the job says so, in the same words.
    assert ("SUCCESS", ["SUCCEEDED", verdict]) == (rollback.status, verdicts(world)[:2])
    assert len({event["Detail"] for event in world.events[1:]}) == 1
    stage.check()


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown"])
def test_a_verdict_is_sent_once_though_that_it_was_cannot_be_noted(world, stage, monkeypatch, code):
    world.plans = Plans(seconds=100)
    put = S3.put_object
    request = stage.request("Create", properties(Completion="submit"))
    stage.pass_time(30)

    def refused(self: S3, **what: Any) -> Any:
        if b'"published": true' in what["Body"]:
            world.misfortunes = [Misfortune("PutObject", "error", code)]
        return put(self, **what)

    monkeypatch.setattr(S3, "put_object", refused)
    stage.settle()
    assert ("SUCCESS", ["SUCCEEDED"]) == (request.status, verdicts(world))


@pytest.mark.parametrize("gone", ["all", "last"])
def test_a_plain_deploy_after_a_run_whose_records_are_gone_means_that_run(world, stage, gone):
    stage.request("Create", properties(RunId="1"))
    stage.settle()
    for place in [place for place in world.objects if "/.healthimaging-cdk/" in place[1]]:
        if gone == "all" or place[1].endswith("-last.json"):
            del world.objects[place]
    world.stack_status = "UPDATE_IN_PROGRESS"
    plain = stage.request("Update", properties(RunId=None, MaxRejectedFiles="3"), properties(RunId="1"))
    stage.settle()
    assert ("SUCCESS", 1) == (plain.status, len(world.jobs))


def test_a_clean_up_waits_for_a_job_whose_start_was_not_written_down(world, stage):
    """The lease is over and nobody looks: the old rights must not go while the job runs."""
    world.plans = Plans(seconds=400)
    world.misfortunes = [Misfortune("StartDICOMImportJob", "crash after", times=3)]
    old = properties(Completion="submit", WaitSeconds="3000")
    stage.request("Create", old)
    stage.pass_time(12)
    for execution in stage.executions.values():
        execution.busy = True
    stage.pass_time(60)
    (job,) = world.jobs.values()
    world.stack_status = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"
    clean_up = stage.request("Cleanup", old, physical_id="Import-x-run-")
    stage.pass_time(100)
    assert ([], False) == (clean_up.answers, job.over)


@pytest.mark.parametrize(
    "fault",
    [
        Misfortune("GetDICOMImportJob", "crash before", times=3),
        Misfortune("GetDICOMImportJob", "error", "AccessDeniedException", times=3000),
    ],
)
def test_a_first_deploy_that_fails_names_store_and_job_though_its_verdict_is_not_known(world, stage, fault):
    world.misfortunes = [fault]
    request = stage.request("Create", properties())
    stage.pass_time(1000)
    (job_id,) = world.jobs
    name = f"import job {job_id} of data store {properties()['DatastoreId']} may still be running"
    assert ("FAILED", True) == (request.status, request.answers[0]["Reason"].startswith(name))


def test_the_job_of_a_stopped_execution_whose_answer_cannot_be_sent_is_polled(world, stage):
    world.plans = Plans(seconds=100)
    request = stage.request("Create", properties())
    stage.pass_time(20)
    world.misfortunes = [Misfortune("Answer", "unreachable", times=100_000)]
    stop(stage, request.id)
    assert (1, ["SUCCEEDED"]) == (len(world.jobs), verdicts(world))


def test_a_verdict_is_told_once_where_a_rollback_may_write_no_record_any_more(world, stage):
    stage.request("Create", properties())
    stage.settle()
    world.plans = Plans(seconds=40)
    world.stack_status = "UPDATE_IN_PROGRESS"
    stage.request("Update", properties(RunId="1"), properties())
    stage.pass_time(30)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    world.misfortunes = [Misfortune("PutObject", "error", "AccessDenied", skip=3, times=10_000)]
    rollback = stage.request("Rollback", properties(), properties(RunId="1"))
    stage.settle()
    assert ("SUCCESS", ["SUCCEEDED", "SUCCEEDED"]) == (rollback.status, verdicts(world))


def test_a_rollback_waits_for_a_job_that_it_may_not_look_for_at_once(world, stage):
    """Its start was not answered, and listing the jobs is denied once: its rights must not go while it runs."""
    stage.request("Create", properties())
    stage.settle()
    world.plans = Plans(seconds=200)
    world.stack_status = "UPDATE_IN_PROGRESS"
    world.misfortunes = [Misfortune("StartDICOMImportJob", "answer lost")]
    stage.request("Update", properties(RunId="1"), properties())
    stage.pass_time(1)
    assert 2 == len(world.jobs)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    world.misfortunes = [Misfortune("ListDICOMImportJobs", "error", "AccessDeniedException")]
    rollback = stage.request("Rollback", properties(), properties(RunId="1"))
    stage.pass_time(150)
    assert [] == rollback.answers
    stage.settle()
    assert ("SUCCESS", ["SUCCEEDED", "SUCCEEDED"]) == (rollback.status, verdicts(world))


def test_a_plain_deploy_after_an_empty_run_imports_what_was_uploaded_meanwhile(world, stage):
    """The first plain deploy means run 1, which has not imported; so does the second one."""
    files = {place: body for place, body in world.objects.items() if place[0] == SOURCE}
    for place in files:
        del world.objects[place]
    first = stage.request("Create", properties(RunId="1"))
    stage.settle()
    world.stack_status = "UPDATE_IN_PROGRESS"
    old, physical_id = properties(RunId="1"), first.answers[0]["PhysicalResourceId"]
    for number in range(2):
        new = properties(RunId=None, JobName=f"job-{number}")
        last = stage.request("Update", new, old, physical_id=physical_id)
        stage.settle()
        old, physical_id = new, last.answers[0]["PhysicalResourceId"]
        world.objects.update(files)
    assert ("SUCCESS", 1) == (last.status, len(world.jobs))


def test_a_run_that_was_not_used_before_imports_though_the_record_of_the_last_one_is_damaged(world, stage):
    stage.request("Create", properties())
    stage.settle()
    (place,) = (it for it in world.objects if re.search(r"/[0-9a-f]{64}\.json", it[1]) and "last" not in it[1])
    world.objects[place] = b"{"
    world.stack_status = "UPDATE_IN_PROGRESS"
    request = stage.request("Update", properties(RunId="1"), properties())
    stage.settle()
    assert ("SUCCESS", 2) == (request.status, len(world.jobs))


@pytest.mark.slow
def test_a_day_of_lost_steps_fits_into_the_history_of_an_execution(world, stage, monkeypatch):
    world.plans = Plans(seconds=30 * 3600)
    stage.request("Create", properties(Completion="submit"))
    stage.pass_time(10)
    world.misfortunes = [Misfortune("GetObject", "crash before", times=100_000)]
    invoke, calls = stage.invoke, []
    monkeypatch.setattr(stage, "invoke", lambda payload: [calls.append(payload.get("step")), invoke(payload)][1])
    stage.settle()
    # Eleven events of a step that fails three times, five of the call after it, four of the choice and the pause.
    assert 20 * calls.count("respond") < 15_000


@pytest.mark.parametrize("skip", [7, 12])
def test_a_rollback_that_has_lost_a_step_polls_the_job_that_it_restores(world, stage, skip):
    """Before that step had told anybody that it is the owner, or after."""
    world.plans = Plans(seconds=2000)
    old, new = properties(Completion="submit"), properties(RunId="1", Completion="submit")
    stage.request("Create", old)
    stage.pass_time(10)
    world.plans = Plans(seconds=5)
    world.stack_status = "UPDATE_IN_PROGRESS"
    stage.request("Update", new, old)
    stage.pass_time(130)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    world.misfortunes = [Misfortune("*", "crash before", skip=skip, times=3)]
    rollback = stage.request("Rollback", old, new)
    stage.settle()
    assert ("SUCCESS", ["SUCCEEDED", "SUCCEEDED"]) == (rollback.status, verdicts(world))


@pytest.mark.parametrize("manifest_delay", [50, 300, None])
def test_an_invented_success_is_not_believed_while_the_manifest_of_its_job_is_not_there(world, stage, manifest_delay):
    world.plans = Plans(seconds=1, manifest_delay=manifest_delay)
    request = stage.request("Create", properties())
    stage.pass_time(1)
    (place,) = (it for it in world.objects if it[0] == RESULTS and "last" not in it[1])
    result = {"job_status": "COMPLETED", "counts": {"scanned": 987654, "imported": 987654}}
    forged = {"state": "JUDGED", "verdict": "SUCCEEDED", "published": True, "result": result}
    world.objects[place] = json.dumps({**json.loads(world.objects[place]), **forged}).encode()
    stage.settle()
    assert ("FAILED", False) == (request.status, "987654" in json.dumps(request.answers))


def test_a_failure_is_told_in_its_own_words_though_its_manifest_came_after_it(world, stage):
    world.plans = Plans(outcome="failed", seconds=310, manifest_delay=400)
    request = stage.request("Create", properties(WaitSeconds="3000"))
    world.misfortunes = [Misfortune("PutEvents", "crash before")]
    while world.misfortunes:
        stage.pass_time(1)
    (job,) = world.jobs.values()
    (written,) = (one["reason"] for one in world.written.values())
    world._write_manifest(job)
    stage.settle()
    assert "left no manifest" in written
    assert written == request.answers[0]["Reason"]


def test_a_success_whose_manifest_was_removed_is_believed_again_a_day_later(world, stage):
    stage.request("Create", properties())
    stage.settle()
    for place in [place for place in world.objects if "-DicomImport-" in place[1]]:
        del world.objects[place]
    world.stack_status = "UPDATE_IN_PROGRESS"
    soon = stage.request("Update", properties(JobName="x"), properties())
    stage.settle()
    assert "put it back, or deploy again when the job is a day old" in soon.answers[0]["Reason"]
    world.now += 24 * 3600
    later = stage.request("Update", properties(JobName="y"), properties())
    stage.settle()
    assert ("FAILED", "SUCCESS", 1) == (soon.status, later.status, len(world.jobs))
