"""What the model found, each by its shortest sequence."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.model.fakes import PATIENT, Misfortune, Plans, World
from tests.model.runs import Stage, filled, properties, zipped


@pytest.fixture
def world() -> World:
    world = World()
    filled(world)
    return world


@pytest.fixture
def stage(world: World) -> Iterator[Stage]:
    stage = Stage(world)
    with stage.installed():
        yield stage


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
    stop(stage, f"{request.id}-follow")
    assert 1 == len(request.answers)


def test_a_rescue_that_dies_three_times_is_left_to_the_service_timeout(world, stage):
    """Its own notice matches no rule, so that nothing goes round in circles."""
    request = stage.request("Create", properties())
    stage.pass_time(1)
    world.misfortunes = [Misfortune("Answer", "crash before", times=3)]
    stop(stage, request.id)
    assert "none" == request.status


def test_a_first_call_that_died_three_times_answers_nothing_when_its_execution_runs(world, stage):
    world.misfortunes = [Misfortune("StartExecution", "crash after", times=3)]
    world.plans = Plans(seconds=290)
    request = stage.request("Create", properties())
    stage.settle()
    assert 1 == len(request.answers)


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
    world.misfortunes = [
        Misfortune("PutObject", "answer lost", skip=1),
        Misfortune("GetObject", "error", "SlowDown", 1, 6),
    ]
    stage.request("Create", properties())
    stage.pass_time(1)
    world.misfortunes.clear()
    execution = next(iter(stage.executions.values()))
    execution.due = world.now + 60
    world.stack_status = "ROLLBACK_IN_PROGRESS"
    stage.request("Delete", properties())
    stage.settle()
    assert 1 == len(world.jobs)
