"""Failures that are handled where they happen, unlike in the table of calls: a row of docs/faults.md for each test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest

from healthimaging_import import handler, receiving
from healthimaging_import.aws.clients import Aws
from healthimaging_import.contract import ResourceType, Verdict
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing import job_output, judging, publish, starting
from healthimaging_import.importing.last_runs import LastRuns
from healthimaging_import.importing.mode import Mode
from healthimaging_import.importing.record import Records
from healthimaging_import.importing.verdict import ImportResult, Tolerance
from healthimaging_import.resources import datastore, image_set_deletion, tags
from tests.handler.cloudformation_events import event
from tests.handler.fake_aws import MANIFEST, RESULTS, SOURCE, TOPIC, Clock, FakeAws
from tests.handler.state_machine import Machine, call_as_lambda_does
from tests.handler.test_datastore_resource import SETTINGS, deletion
from tests.handler.test_datastore_resource import request as of_store
from tests.handler.test_image_set_deletion import fill, left
from tests.handler.test_image_set_deletion import request as of_image_sets
from tests.handler.test_runner import (
    GET,
    LEASE_SECONDS,
    LIST,
    START,
    crash,
    finish,
    name_warnings,
    refusal,
    run_job,
    state,
)
from tests.handler.test_tags_resource import request as of_tags

Test = TypeVar("Test", bound=Callable[..., None])
ANYTHING = "anything"
REFUSALS = ("AccessDeniedException", "ResourceNotFoundException", "ValidationException")
DENIALS = ("AccessDeniedException", "ValidationException")


@dataclass(frozen=True)
class Handled:
    """A row: failures of a call that do not lead to what the table of calls says."""

    call: str
    codes: tuple[str, ...]
    what: str
    place: str
    always: bool
    """Nobody else makes this call."""

    def is_about(self, call: str, code: str) -> bool:
        return call == self.call and (code in self.codes or ANYTHING in self.codes)


HANDLED: list[Handled] = []


def handled(call: str, *codes: str, by: Any, what: str, always: bool = False) -> Callable[[Test], Test]:
    """The test proves the row."""
    place = f"{by.__module__.removeprefix('healthimaging_import.')}.{by.__qualname__}"
    HANDLED.append(Handled(call, codes, what, place, always))
    return lambda test: test


def told(call: str, code: str, decided: str) -> str:
    """What the table of calls says of a failure that is decided so unless a row says otherwise."""
    rows = [row for row in HANDLED if row.is_about(call, code)]
    if any(row.always for row in rows):
        return "see above"
    return f"{decided}; see above" if rows else decided


def section() -> str:
    lines = [
        "\n## What is handled where it happens\n",
        "Calls of the table below whose failures lead to something else, always or in one place. Each row is proven by",
        "a test in `tests/handler/test_errors_handled.py`.\n",
        "| call | failure | what happens | where |",
        "|---|---|---|---|",
    ]
    lines += [f"| {row.call} | {', '.join(row.codes)} | {row.what} | `{row.place}` |" for row in HANDLED]
    return "\n".join(lines) + "\n"


def statuses(aws: FakeAws) -> list[str]:
    return [response["Status"] for response in aws.responses]


# -- data stores -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(aws: FakeAws, machine: Machine) -> str:
    """The id of a data store that the function has created."""
    machine.request(of_store(aws, "Create", SETTINGS))
    return str(aws.responses.pop()["PhysicalResourceId"])


@handled(
    "medical-imaging:DeleteDatastore",
    "ConflictException",
    by=datastore._delete,
    what="stop: the store holds image sets, or runs a job",
    always=True,
)
def test_fails_at_once_to_delete_a_store_that_is_in_use(aws: FakeAws, machine: Machine, store: str) -> None:
    aws.fail("HealthImaging.DeleteDatastore", "ConflictException", 409)
    machine.request(deletion(aws, store))
    assert "holds image sets or runs a job" in aws.responses[0]["Reason"]
    assert [] == machine.waited


@handled(
    "medical-imaging:DeleteDatastore",
    "ResourceNotFoundException",
    by=datastore._delete,
    what="done: the store is gone",
    always=True,
)
@handled(
    "medical-imaging:GetDatastore",
    "ResourceNotFoundException",
    by=datastore._delete,
    what="done, after a deletion: the store is gone",
)
@pytest.mark.parametrize("operation", ["DeleteDatastore", "GetDatastore"])
def test_a_store_that_is_not_found_is_gone(aws: FakeAws, machine: Machine, store: str, operation: str) -> None:
    aws.fail(f"HealthImaging.{operation}", "ResourceNotFoundException", 404)
    machine.request(deletion(aws, store))
    assert ["SUCCESS"] == statuses(aws)


# -- image set deletion ----------------------------------------------------------------------------------------------


@pytest.fixture
def going(aws: FakeAws, machine: Machine) -> FakeAws:
    """A store that is marked and holds image sets, in a stack that is being deleted."""
    machine.request(of_image_sets(aws, "Create"))
    aws.responses.clear()
    aws.stack_status = "DELETE_IN_PROGRESS"
    fill(aws, 2)
    return aws


@handled(
    "medical-imaging:DeleteImageSet",
    "ResourceNotFoundException",
    by=image_set_deletion._delete_next,
    what="done: it was deleted meanwhile, or the store",
    always=True,
)
def test_an_image_set_that_is_gone_is_deleted(going: FakeAws, machine: Machine) -> None:
    going.fail("HealthImaging.DeleteImageSet", "ResourceNotFoundException", after=True)
    machine.request(of_image_sets(going, "Delete"))
    assert (["SUCCESS"], []) == (statuses(going), left(going))


@handled(
    "medical-imaging:DeleteImageSet",
    "ConflictException",
    by=image_set_deletion._delete_next,
    what="it is locked: the others first, then later, for as long as the request may take",
    always=True,
)
def test_a_locked_image_set_is_deleted_last(going: FakeAws, machine: Machine) -> None:
    going.fail("HealthImaging.DeleteImageSet", "ConflictException", subject=f"{0:032}", times=3)
    machine.request(of_image_sets(going, "Delete"))
    order = [call.subject[-55:-23] for call in going.calls if call.operation == "HealthImaging.DeleteImageSet"]
    assert (["SUCCESS"], 5) == (statuses(going), len(order))


@handled(
    "medical-imaging:SearchImageSets",
    "ResourceNotFoundException",
    by=image_set_deletion._list,
    what="done: the store is gone",
    always=True,
)
def test_a_store_that_cannot_be_searched_as_it_is_gone_holds_nothing(going: FakeAws, machine: Machine) -> None:
    going.fail("HealthImaging.SearchImageSets", "ResourceNotFoundException", 404, times=99)
    machine.request(of_image_sets(going, "Delete"))
    assert ["SUCCESS"] == statuses(going)


@handled(
    "medical-imaging:GetImageSet",
    "ResourceNotFoundException",
    by=image_set_deletion._confirm_gone,
    what="done: it is gone",
    always=True,
)
def test_an_image_set_that_is_not_found_is_gone(going: FakeAws, machine: Machine) -> None:
    going.fail("HealthImaging.GetImageSet", "ResourceNotFoundException", times=2)
    machine.request(of_image_sets(going, "Delete"))
    assert ["SUCCESS"] == statuses(going)


@handled(
    "medical-imaging:ListTagsForResource",
    *REFUSALS,
    by=image_set_deletion._is_marked,
    what="no image set is deleted, and that is logged",
)
@pytest.mark.parametrize("code", REFUSALS)
def test_image_sets_stay_where_the_tags_cannot_be_read(going: FakeAws, machine: Machine, code: str) -> None:
    going.fail("HealthImaging.ListTagsForResource", code, times=99)
    machine.request(of_image_sets(going, "Delete"))
    assert (["SUCCESS"], 2) == (statuses(going), len(left(going)))


@handled(
    "medical-imaging:UntagResource",
    *REFUSALS,
    by=image_set_deletion.step,
    what="the mark of a store whose image sets may be deleted stays, and that is logged",
)
@pytest.mark.parametrize("code", REFUSALS)
def test_a_mark_that_cannot_be_taken_away_stays(going: FakeAws, machine: Machine, code: str) -> None:
    going.stack_status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    going.fail("HealthImaging.UntagResource", code)
    machine.request(of_image_sets(going, "Delete"))
    assert (["SUCCESS"], 2) == (statuses(going), len(left(going)))


# -- tags, and what must not fail ------------------------------------------------------------------------------------


@handled(
    "medical-imaging:UntagResource",
    *REFUSALS,
    by=handler._after_failure,
    what="in a deletion of tags they stay, and that is logged",
)
@handled(
    "medical-imaging:ListTagsForResource",
    *REFUSALS,
    by=handler._after_failure,
    what="in a deletion of tags they stay, and that is logged",
)
@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("operation", ["UntagResource", "ListTagsForResource"])
def test_tags_that_cannot_be_removed_stay(aws: FakeAws, machine: Machine, operation: str, code: str) -> None:
    aws.stack_status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    aws.fail(f"HealthImaging.{operation}", code)
    machine.request(of_tags(aws, "Delete", {"team": "radiology"}))
    assert ["SUCCESS"] == statuses(aws)


@handled(
    "cloudformation:DescribeStacks",
    "AccessDenied",
    "AccessDeniedException",
    by=tags.step,
    what="in a deletion of tags they stay",
)
@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
def test_tags_stay_where_it_is_not_known_what_becomes_of_the_stack(aws: FakeAws, machine: Machine, code: str) -> None:
    machine.request(of_tags(aws, "Create", {"team": "radiology"}))
    aws.stack_status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    aws.fail("CloudFormation.DescribeStacks", code, 403)
    machine.request(of_tags(aws, "Delete", {"team": "radiology"}))
    assert (["SUCCESS", "SUCCESS"], {"team": "radiology"}) == (statuses(aws), aws.tags())


@handled(
    "medical-imaging:TagResource",
    *REFUSALS,
    by=handler._after_failure,
    what="in a rollback: done, and that is logged; the same is true of every other call that is refused",
)
@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("kind", ["tags", "image sets"])
def test_a_rollback_is_never_refused(aws: FakeAws, machine: Machine, kind: str, code: str) -> None:
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    aws.fail("HealthImaging.TagResource", code, times=99)
    machine.request(of_tags(aws, "Update", {"a": "1"}, {}) if kind == "tags" else of_image_sets(aws, "Update"))
    assert ["SUCCESS"] == statuses(aws)


# -- imports ---------------------------------------------------------------------------------------------------------


@handled(
    "medical-imaging:StartDICOMImportJob",
    "ThrottlingException",
    "ServiceQuotaExceededException",
    "ConflictException",
    by=starting.start,
    what="as below; a 4xx says that nothing was started, so the start is repeated without a search",
)
@pytest.mark.parametrize("code", ["ThrottlingException", "ServiceQuotaExceededException", "ConflictException"])
def test_a_start_that_was_refused_is_repeated(source: FakeAws, deploy: Any, code: str) -> None:
    source.fail(START, code)
    first = deploy()
    with pytest.raises(RetryableError):
        first.step()
    finish(source, first)
    assert (0, 2) == (source.count(LIST), source.count(START))


@handled(
    "medical-imaging:StartDICOMImportJob",
    "InternalServerException",
    by=starting.find,
    what="as below, and so are time-outs: whether it was started is not known, so the job is looked for by its name, "
    "60 seconds after the start was begun",
)
def test_a_start_whose_answer_was_lost_is_looked_for(source: FakeAws, deploy: Any) -> None:
    source.fail(START, "InternalServerException", 500, after=True)
    first = deploy()
    with pytest.raises(RetryableError):
        first.step()
    source.clock.seconds += LEASE_SECONDS
    finish(source, first)
    assert (1, 1, 1) == (source.count(LIST), source.count(START), len(source.jobs()))


@handled(
    "medical-imaging:ListDICOMImportJobs",
    *REFUSALS,
    by=starting.find,
    what="as below: stop without a second start, since whether there was one cannot be determined; the next deploy "
    "looks again",
)
@pytest.mark.parametrize("code", REFUSALS)
def test_jobs_that_may_not_be_listed_are_not_started_again(source: FakeAws, deploy: Any, code: str) -> None:
    crash(deploy(), "after-call")
    source.clock.seconds += LEASE_SECONDS
    source.fail(LIST, code)
    assert "could not be determined" in refusal(deploy("second"))
    finish(source, deploy("third"))
    assert 1 == source.count(START)


@handled(
    "medical-imaging:GetDICOMImportJob",
    "ResourceNotFoundException",
    by=judging.poll,
    what="later for 300 seconds after the job was submitted; then its verdict is UNKNOWN",
)
def test_a_job_that_is_not_known_may_not_be_known_yet(source: FakeAws, deploy: Any) -> None:
    first = deploy()
    run_job(source, first)
    source.fail(GET, "ResourceNotFoundException", 404, times=2)
    source.clock.seconds += 299
    with pytest.raises(RetryableError):
        first.step()
    source.clock.seconds += 1
    assert "is not known any more" in refusal(first)
    assert Verdict.UNKNOWN == state(source)[1]


@handled(
    "medical-imaging:GetDICOMImportJob",
    "ResourceNotFoundException",
    by=judging.confirm,
    what="of a success that is remembered: stop, unless it was submitted 90 days ago, when HealthImaging forgets jobs",
)
@pytest.mark.parametrize(("days", "is_believed"), [(1, False), (90, True)])
def test_a_success_is_confirmed(source: FakeAws, deploy: Any, days: float, *, is_believed: bool) -> None:
    result = finish(source, deploy())
    source.clock.seconds += days * 24 * 3600
    source.fail(GET, "ResourceNotFoundException", 404)
    if is_believed:
        assert result == deploy("second").step()
    else:
        assert "HealthImaging does not know" in refusal(deploy("second"))


@handled("s3:GetObject", "NoSuchKey", by=Records.load, what="there is no record yet")
@handled("s3:GetObject", "NoSuchKey", by=LastRuns, what="no run was started yet")
def test_what_nobody_has_written_is_not_there(calls: Aws, request_for: Any) -> None:
    records = Records(calls, request_for())
    assert records.load("a" * 64) is None
    assert (None, None) == (LastRuns(records).started, LastRuns(records).imported)


@handled(
    "s3:PutObject",
    "PreconditionFailed",
    "NoSuchKey",
    by=Records.save,
    what="later: another request has changed the import's record, or removed it",
)
def test_a_record_that_somebody_else_has_changed_is_looked_at_again(source: FakeAws, deploy: Any) -> None:
    first = deploy()
    first.step()
    records = first.context.records
    stored = records.load(first.context.request.intent)
    with pytest.raises(RetryableError):
        records.save(replace(stored, etag=""))
    source.objects.clear()
    with pytest.raises(RetryableError):
        records.save(stored)


@handled(
    "s3:GetObject",
    "NoSuchKey",
    by=judging.poll,
    what="of a manifest: later for 120 seconds after the end of the job (10 where it failed); then the verdict is "
    "UNKNOWN (FAILED where it failed)",
)
@pytest.mark.parametrize(
    ("status", "seconds", "verdict"), [("COMPLETED", 120, Verdict.UNKNOWN), ("FAILED", 10, Verdict.FAILED)]
)
def test_a_manifest_may_be_late(source: FakeAws, deploy: Any, status: str, seconds: float, verdict: str) -> None:
    first = deploy()
    run_job(source, first)
    (key,) = (key for key in source.keys(RESULTS) if key.endswith(MANIFEST))
    del source.objects[RESULTS, key]
    source.jobs()[0].status = status
    for pause in (0, seconds - 1):
        source.clock.seconds += pause
        with pytest.raises(RetryableError):
            first.step()
    source.clock.seconds += 1
    assert "left no manifest" in refusal(first)
    assert verdict == state(source)[1]


@handled(
    "s3:GetObject",
    "NoSuchKey",
    by=job_output.count_warnings,
    what="of warnings that the manifest names: none where the folder is empty, else not read, which is no failure "
    "where they are tolerated; where they are not, later for 120 seconds before that",
)
@pytest.mark.parametrize("tolerated", [True, False])
def test_warnings_may_be_late(source: FakeAws, deploy: Any, *, tolerated: bool) -> None:
    first = deploy(tolerance=Tolerance(warnings=tolerated))
    run_job(source, first)
    name_warnings(source)
    if not tolerated:
        for pause in (0, 119):
            source.clock.seconds += pause
            with pytest.raises(RetryableError):
                first.step()
        source.clock.seconds += 1
    assert {} == first.step().counts.warnings


@handled(
    "s3:GetObject",
    "AccessDenied",
    "NoSuchBucket",
    by=job_output.count_warnings,
    what="of warnings that are tolerated: not read, which is no failure",
)
@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket"])
def test_warnings_that_are_tolerated_need_not_be_read(source: FakeAws, deploy: Any, code: str) -> None:
    first = deploy()
    run_job(source, first)
    name_warnings(source, b"")
    source.fail("S3.GetObject", code, 403, subject="warning.ndjson")
    assert "not read" == first.step().counts.warning_list()


@handled(
    "s3:GetObject",
    ANYTHING,
    by=job_output.count_causes,
    what="of the reasons of rejected files: the verdict is told without them",
)
@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied", "SlowDown", "Surprise"])
def test_reasons_need_not_be_read(aws: FakeAws, deploy: Any, code: str) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    first = deploy()
    run_job(aws, first)
    aws.fail("S3.GetObject", code, 400, subject="failure.ndjson")
    with pytest.raises(TerminalError, match="it imported nothing: 1 files scanned") as refused:
        first.step()
    assert "most frequent" not in str(refused.value)


# -- publishing and executions ---------------------------------------------------------------------------------------


@handled("events:PutEvents", ANYTHING, by=publish._send, what="logged; metrics and verdict stay", always=True)
@handled("sns:Publish", ANYTHING, by=publish._send, what="logged; metrics and verdict stay", always=True)
@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException", "ExpiredToken", "Surprise"])
def test_a_verdict_that_cannot_be_told_stays(
    calls: Aws, aws: FakeAws, request_for: Any, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    aws.fail("Events.PutEvents", code, times=99)
    aws.fail("SNS.Publish", code, times=99)
    publish.publish(calls, request_for(topic_arn=TOPIC), Verdict.FAILED, ImportResult("j", "COMPLETED"))
    logged = capsys.readouterr().out
    assert ("_aws" in logged, logged.count("not published")) == (True, 2)
    assert ([], []) == (aws.events, aws.notifications)


@pytest.mark.slow
@handled(
    "medical-imaging:GetDICOMImportJob",
    *DENIALS,
    by=handler._step,
    what="after the response: later for an hour, since a right may come back; then the verdict is UNKNOWN. The same is "
    "true of every other call that is refused then",
)
@pytest.mark.parametrize("code", DENIALS)
def test_a_job_that_nobody_waits_for_is_polled_for_an_hour_without_the_right(
    source: FakeAws, machine: Machine, code: str
) -> None:
    source.jobs_may_run.clear()
    left_over = machine.respond(event(source, "import-create", Completion="submit"))
    source.wait_for_jobs()
    source.fail(GET, code, times=10_000)
    began = machine.clock.seconds
    machine.run(left_over)
    assert 3600 <= machine.clock.seconds - began < 3800
    assert Verdict.UNKNOWN == source.record()["verdict"]
    assert Mode.DETACHED == left_over["mode"]


PATIENCE = (
    "in CloudFormation's own call: what is tried later is tried for 15 seconds, and by Lambda's retries after one "
    "minute and after two more; where a deploy is undone or something deleted, for 120 seconds in one call. A "
    "role or policy counts as new"
)


@handled("states:StartExecution", ANYTHING, by=receiving.try_patiently, what=PATIENCE)
@handled("sts:AssumeRole", ANYTHING, by=receiving.try_patiently, what=PATIENCE)
@handled("cloudformation:DescribeStacks", ANYTHING, by=receiving.try_patiently, what=PATIENCE)
@pytest.mark.parametrize("operation", ["States.StartExecution", "STS.AssumeRole", "CloudFormation.DescribeStacks"])
@pytest.mark.parametrize("code", ["AccessDenied", "ThrottlingException"])
def test_a_request_that_cannot_be_received_is_responded_to_in_time(
    aws: FakeAws, clock: Clock, operation: str, code: str
) -> None:
    aws.fail(operation, code, 403, times=10**6)
    began = clock.seconds
    held = call_as_lambda_does(event(aws, "import-create", WaitSeconds="3000"), clock)
    assert (3, True, True) == (len(held), max(held) < 60, clock.seconds - began < 360)
    assert ["FAILED"] == statuses(aws)
    assert f"answered {code}" in aws.responses[-1]["Reason"]


@pytest.mark.parametrize(("kind", "mode"), [("import-update", "UPDATE_ROLLBACK_IN_PROGRESS"), ("image sets", "")])
def test_what_must_not_fail_is_tried_on_in_the_same_call(aws: FakeAws, clock: Clock, kind: str, mode: str) -> None:
    """A rescue does not know that a deploy is rolled back, which must succeed."""
    aws.stack_status = mode or aws.stack_status
    aws.fail("States.StartExecution", "ThrottlingException", 400, times=10**6)
    asked = of_image_sets(aws, "Delete") if kind == "image sets" else event(aws, kind)
    (held,) = call_as_lambda_does(asked, clock)
    assert 120 < held < 160
    assert ["SUCCESS" if mode else "FAILED"] == statuses(aws)


def test_a_call_for_which_no_stack_waits_is_never_made_again(aws: FakeAws, clock: Clock) -> None:
    """It could come in the middle of a later deploy, and import what that no longer asks for."""
    aws.stack_status = "UPDATE_COMPLETE"
    (held,) = call_as_lambda_does(event(aws, "import-update"), clock)
    assert 120 < held < 160
    assert ["FAILED"] == statuses(aws)


def test_a_first_call_that_could_not_begin_is_made_again_and_starts_the_request(
    aws: FakeAws, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "pause_before", lambda _: 4.0)
    aws.fail("STS.AssumeRole", "AccessDenied", 403, times=7)
    assert [16.0, 8.0] == call_as_lambda_does(event(aws, "import-create"), clock)
    assert (1, []) == (len(aws.executions), aws.responses)


@handled(
    "states:StartExecution",
    "ExecutionAlreadyExists",
    by=Aws.start_execution,
    what="done: the request was received before",
    always=True,
)
def test_an_execution_that_runs_is_enough(aws: FakeAws, clock: Clock) -> None:
    for _ in range(2):
        call_as_lambda_does(event(aws, "import-create"), clock)
    assert (1, []) == (len(aws.executions), aws.responses)


# -- the rows --------------------------------------------------------------------------------------------------------


def test_every_row_is_about_a_call_of_the_table() -> None:
    from tests.handler.test_faults_document import HEALTHIMAGING, OTHERS  # noqa: PLC0415 - it writes these rows

    calls = {f"medical-imaging:{name}" for name in HEALTHIMAGING}
    calls |= {f"{service}:{name}" for service, names in OTHERS.items() for name in names}
    assert set() == {row.call for row in HANDLED} - calls


def test_every_custom_resource_has_a_row() -> None:
    places = {row.place.split(".")[1] for row in HANDLED if row.place.startswith("resources.")}
    assert {"datastore", "image_set_deletion", "tags"} == places
    assert 4 == len(set(ResourceType) - {ResourceType.BULK_START})  # which the first call responds to
