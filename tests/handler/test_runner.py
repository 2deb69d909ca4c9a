"""One import against the local HealthImaging: one intent, one job, and one verdict from the manifest."""

from __future__ import annotations

import contextlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from healthimaging_import.contract import OnEmpty
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing import job_output
from healthimaging_import.importing.lifecycle import ReplacedError
from healthimaging_import.importing.mode import Mode
from healthimaging_import.importing.request import Asset
from healthimaging_import.importing.starting import LEASE_SECONDS
from healthimaging_import.importing.verdict import (
    NOT_STARTED,
    NOTHING_TO_IMPORT,
    RUNNING,
    Counts,
    ImportResult,
    Tolerance,
)
from healthimaging_import.service_model import Quotas
from tests.handler.fake_aws import DICOM, MANIFEST, RESULTS, SOURCE, TOPIC, FakeAws

Deploys = Callable[..., Any]
START = "HealthImaging.StartDICOMImportJob"
GET = "HealthImaging.GetDICOMImportJob"
LIST = "HealthImaging.ListDICOMImportJobs"
NOT_DICOM = b"no preamble"


class CrashError(BaseException):
    """The process is gone: no handler of Exception sees it."""


@contextmanager
def dying(client: Any, when: str, operation: str, call: int = 1) -> Iterator[None]:
    """Let the process die before a request is sent (before-send) or after it was answered (after-call)."""
    name = f"{when}.{client.meta.service_model.service_id.hyphenize()}.{operation}"
    seen: list[int] = []

    def die(**_: Any) -> None:
        seen.append(call)
        if len(seen) == call:
            raise CrashError

    client.meta.events.register(name, die)
    try:
        yield
    finally:
        client.meta.events.unregister(name, die)


def crash(deploy: Any, when: str, operation: str = "StartDICOMImportJob", service: str = "medical-imaging") -> None:
    """Do a step in which the process dies."""
    with dying(deploy.context.aws.client(service), when, operation), pytest.raises(CrashError):
        deploy.step()


def not_wanted() -> None:
    """Stand for a CloudFormation that rolls the stack back."""
    raise TerminalError("this request was replaced before it started a job: the stack is rolled back or deleted")


def finish(aws: FakeAws, deploy: Any) -> ImportResult:
    """Step until the import is over."""
    for _ in range(5):
        result: ImportResult = deploy.step()
        if result.job_status not in RUNNING:
            return result
        aws.wait_for_jobs()
    raise AssertionError("the import does not end")


def finish_after_lease(aws: FakeAws, deploy: Any) -> ImportResult:
    """Step until the import is over, where a start may be on its way."""
    with pytest.raises(RetryableError, match="the start of an import job may be on its way") as waiting:
        deploy.step()
    assert 0 < waiting.value.after <= LEASE_SECONDS
    deploy.clock.seconds += waiting.value.after
    return finish(aws, deploy)


def run_job(aws: FakeAws, deploy: Any) -> ImportResult:
    """Start the job, and let it come to its end only then."""
    aws.jobs_may_run.clear()
    result: ImportResult = deploy.step()
    assert result.job_status in RUNNING
    aws.wait_for_jobs()
    return result


def refusal(deploy: Any) -> str:
    with pytest.raises(TerminalError) as refused:
        deploy.step()
    return str(refused.value)


def tokens(aws: FakeAws) -> list[str]:
    return [start["clientToken"] for start in aws.starts]


def state(aws: FakeAws) -> tuple[Any, ...]:
    record = aws.record()
    return record["state"], record["verdict"], record["attempt"]


def verdicts(aws: FakeAws) -> list[str]:
    return [json.loads(event["Detail"])["outcome"] for event in aws.events]


# -- the way it should go --------------------------------------------------------------------------------------------


def test_a_first_import_starts_one_job_and_is_judged_by_its_manifest(source: FakeAws, deploy: Deploys) -> None:
    first = deploy()
    running = run_job(source, first)
    assert "SUBMITTED" == running.job_status
    result = first.step()
    (job,) = source.jobs()
    assert (job.id, "COMPLETED") == (result.job_id, result.job_status)
    assert Counts(scanned=1, imported=1, image_sets=1) == result.counts
    assert running.submitted_at == result.submitted_at != ""
    assert ("JUDGED", "SUCCEEDED", 1) == state(source)


def test_the_claim_is_written_before_the_source_is_looked_at_and_the_lease_before_the_start(
    source: FakeAws, deploy: Deploys
) -> None:
    deploy().step()
    operations = [call.operation for call in source.calls if call.operation not in ("STS.AssumeRole", "S3.GetObject")]
    # The claim, the source, which run was started last, the lease, the start, the job.
    assert [
        "S3.PutObject",
        "S3.ListObjectsV2",
        "S3.PutObject",
        "S3.PutObject",
        START,
        "S3.PutObject",
    ] == operations


def test_the_request_is_written_down_before_it_is_sent(source: FakeAws, deploy: Deploys) -> None:
    source.fail(START, "InternalServerException", 500)
    with pytest.raises(RetryableError):
        deploy().step()
    record = source.record()
    assert ("CLAIMED", "first", 1) == (record["state"], record["owner"], record["attempt"])
    assert source.clock.seconds + LEASE_SECONDS == record["lease_until"]
    written = {name: value for name, value in record["parameters"].items() if name != "datastoreId"}
    assert written == source.starts[0]


def test_the_manifest_is_kept_beside_the_record(source: FakeAws, deploy: Deploys) -> None:
    result = finish(source, deploy())
    bucket, _, key = result.manifest_uri.removeprefix("s3://").partition("/")
    assert key.startswith("imports/.healthimaging-cdk/")
    assert result.job_id == json.loads(source.objects[bucket, key])["jobSummary"]["jobId"]


def test_a_success_is_remembered_for_every_asker(source: FakeAws, deploy: Deploys) -> None:
    result = finish(source, deploy())
    source.objects.pop((SOURCE, "studies/1.dcm"))
    assert result == deploy("first").step()
    assert result == deploy("second").step()
    assert result == deploy("third", quotas=Quotas(files=0), on_empty=OnEmpty.FAIL, job_name="other").step()
    assert 1 == len(source.jobs())
    assert 1 == source.count(START)


def test_a_changed_meaning_is_another_import(source: FakeAws, deploy: Deploys) -> None:
    finish(source, deploy())
    finish(source, deploy("second", run_id="2"))
    assert 2 == len(source.jobs())
    assert 2 == len(set(tokens(source)))
    assert 2 == len(source.records())


def test_all_that_was_asked_for_reaches_healthimaging(source: FakeAws, deploy: Deploys) -> None:
    mapping = {"studyInstanceUID": "1.2.3", "metadataFilePath": "a.json"}
    source.put(SOURCE, "studies/a.json", b"{}")
    deploy(job_name="nightly", input_owner_account_id="111122223333", metadata_mappings=(mapping,)).step()
    (start,) = source.starts
    assert f"nightly-{start['clientToken'][:20]}" == start["jobName"]
    assert "111122223333" == start["inputOwnerAccountId"]
    configuration = start["importConfiguration"]["dicomJsonMetadataImportConfiguration"]
    assert [mapping] == configuration["dicomMetadataMappings"]


def test_how_long_a_job_took_is_measured(source: FakeAws, deploy: Deploys, capsys: pytest.CaptureFixture[str]) -> None:
    first = deploy()
    source.jobs_may_run.clear()
    first.step()
    source.clock.seconds += 93.5
    finish(source, first)
    (metrics,) = (line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line)
    assert 93.5 == metrics["Duration"]


# -- doubled, retried and crashed ------------------------------------------------------------------------------------


def test_a_doubled_step_starts_one_job(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    one, other = deploy(), deploy()
    assert one.step().job_id == other.step().job_id
    assert 1 == len(source.jobs())


@pytest.mark.parametrize(("write", "name"), [*enumerate(["claim", "lease", "job"])])
def test_a_doubled_step_at_the_same_moment_starts_one_job(
    source: FakeAws, deploy: Deploys, write: int, name: str
) -> None:
    one, other = deploy(run_id="1"), deploy(run_id="1")
    save, seen = one.context.records.save, []

    def late(record: Any, **changes: Any) -> Any:
        seen.append(record)
        if len(seen) == write + 1:
            with contextlib.suppress(RetryableError):
                other.step()
        return save(record, **changes)

    one.context.records.save = late
    if name == "job":
        one.step()  # the other waited: the start might have been on its way
    else:
        with pytest.raises(RetryableError, match="another execution of the same import is at work"):
            one.step()
    assert finish(source, one) == finish(source, other)
    assert 1 == len(source.jobs())
    assert 1 == source.count(START)


def test_a_crash_between_claim_and_start_ends_in_one_job(source: FakeAws, deploy: Deploys) -> None:
    crash(deploy(), "before-send")
    assert ("CLAIMED", None, 1) == state(source)
    assert 0 == len(source.jobs())
    result = finish_after_lease(source, deploy())
    assert [result.job_id] == [job.id for job in source.jobs()]
    assert ("JUDGED", "SUCCEEDED", 1) == state(source)


@pytest.mark.parametrize("asker", ["first", "second"])
def test_a_crash_between_start_and_save_ends_in_one_job_with_the_same_token(
    source: FakeAws, deploy: Deploys, asker: str
) -> None:
    crash(deploy(), "after-call")
    assert ("CLAIMED", None, 1) == state(source)
    assert 1 == len(source.jobs())
    result = finish_after_lease(source, deploy(asker))
    assert [result.job_id] == [job.id for job in source.jobs()]
    assert 1 == len(tokens(source))


@pytest.mark.parametrize("when", ["before-send", "after-call"])
def test_another_request_waits_until_the_lease_is_over(source: FakeAws, deploy: Deploys, when: str) -> None:
    crash(deploy(), when)
    second = deploy("second")
    source.clock.seconds = source.record()["lease_until"] - 0.5
    with pytest.raises(RetryableError, match="may be on its way"):
        second.step()
    assert (1 if when == "after-call" else 0, 0) == (len(source.jobs()), source.count(LIST))
    source.clock.seconds += 0.5
    finish(source, second)
    assert 1 == len(source.jobs())


def test_a_start_that_never_arrived_is_sent_as_it_is_asked_for_now(source: FakeAws, deploy: Deploys) -> None:
    role = "arn:aws:iam::111122223333:role/Other"
    crash(deploy(job_name="one"), "before-send")
    finish_after_lease(source, deploy("second", job_name="two", data_access_role_arn=role))
    (start,) = source.starts
    assert (role, f"two-{start['clientToken'][:20]}") == (start["dataAccessRoleArn"], start["jobName"])


def test_a_start_that_arrived_is_found_by_the_name_it_was_sent_with(source: FakeAws, deploy: Deploys) -> None:
    crash(deploy(job_name="one"), "after-call")
    result = finish_after_lease(source, deploy("second", job_name="two"))
    assert [result.job_id] == [job.id for job in source.jobs()]


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_where_jobs_may_not_be_listed_a_lost_start_is_refused_and_not_repeated(
    source: FakeAws, deploy: Deploys, code: str
) -> None:
    crash(deploy(), "after-call")
    source.clock.seconds += LEASE_SECONDS
    source.fail(LIST, code, 403)
    reason = refusal(deploy("second"))
    (start,) = source.starts
    expected = (
        f"whether import job {start['jobName']} was started could not be determined: ListDICOMImportJobs answered"
    )
    assert reason.startswith(f"{expected} {code}")
    assert ("CLAIMED", None, 1) == state(source)
    finish(source, deploy("third"))
    assert 1 == len(tokens(source))


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerException"])
def test_a_list_of_jobs_that_cannot_be_read_just_then_is_read_later(
    source: FakeAws, deploy: Deploys, code: str
) -> None:
    first = deploy()
    crash(first, "after-call")
    source.clock.seconds += LEASE_SECONDS
    source.fail(LIST, code, 500)
    with pytest.raises(RetryableError, match=code):
        first.step()
    finish(source, first)
    assert 1 == len(tokens(source))


@pytest.mark.parametrize(
    "another",
    [
        {"input_prefix": "other/"},
        {"output_prefix": "imports2/"},
        {"data_access_role_arn": "arn:aws:iam::111122223333:role/Other"},
        {"metadata_mappings": ({"studyInstanceUID": "1.2", "metadataFilePath": "m.json"},)},
        {"scope": "stack/Other"},
        {},
    ],
    ids=lambda another: next(iter(another), "the run before"),
)
def test_the_job_of_another_import_is_not_taken_for_one_whose_answer_was_lost(
    source: FakeAws, deploy: Deploys, another: dict[str, Any]
) -> None:
    source.put(SOURCE, "other/1.dcm", DICOM)
    source.put(SOURCE, "studies/m.json", b"{}")
    crash(deploy(run_id="1", job_name="same"), "before-send")
    other = finish(source, deploy("other", run_id="2", job_name="same", **another))
    result = finish_after_lease(source, deploy("again", run_id="1", job_name="same"))
    assert other.job_id != result.job_id
    assert 2 == len(source.jobs())


def test_the_job_of_the_attempt_before_is_not_taken_for_this_ones(source: FakeAws, deploy: Deploys) -> None:
    source.put(SOURCE, "studies/1.dcm", NOT_DICOM)
    first = deploy()
    run_job(source, first)
    assert "imported nothing" in refusal(first)
    source.put(SOURCE, "studies/1.dcm", DICOM)
    crash(deploy("second"), "before-send")
    assert 1 == finish_after_lease(source, deploy("second")).counts.imported
    assert 2 == len(source.jobs())


@pytest.mark.slow
def test_a_search_looks_at_no_job_of_others(source: FakeAws, deploy: Deploys) -> None:
    first = deploy(run_id="mine")
    crash(first, "after-call")
    (mine,) = source.jobs()
    for number in range(60):
        source.healthimaging.StartDICOMImportJob(
            {**source.starts[0], "datastoreId": source.datastore_id, "clientToken": f"{number}", "jobName": "other"},
            source.caller,
        )
    source.wait_for_jobs()
    source.clock.seconds += LEASE_SECONDS
    assert mine.id == first.step().job_id
    assert (2, 1, 1) == (source.count(LIST), source.count(GET), source.count(GET, mine.id))


def test_a_rollback_finds_the_job_of_a_start_whose_answer_was_lost(source: FakeAws, deploy: Deploys) -> None:
    crash(deploy(), "after-call")
    rollback = deploy("rollback", mode=Mode.ROLLBACK)
    assert [finish_after_lease(source, rollback).job_id] == [job.id for job in source.jobs()]
    assert 1 == source.count(START)


@pytest.mark.parametrize("mode", [Mode.ROLLBACK, Mode.DELETE])
def test_a_rollback_waits_for_a_start_that_may_be_on_its_way(source: FakeAws, deploy: Deploys, mode: Mode) -> None:
    crash(deploy(), "before-send")
    assert NOT_STARTED == finish_after_lease(source, deploy("rollback", mode=mode)).job_status
    assert ("REFUSED", None, 1) == state(source)
    assert 0 == len(source.jobs())


def test_a_request_that_was_replaced_takes_no_job_back(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    deploy().step()
    late = deploy("late")
    deploy("rollback", mode=Mode.ROLLBACK).step()
    assert "replaced this one" in refusal(late)
    assert "rollback" == source.record()["owner"]


@pytest.mark.parametrize("crash_first", [False, True])
def test_a_request_that_was_replaced_starts_nothing(source: FakeAws, deploy: Deploys, *, crash_first: bool) -> None:
    if crash_first:
        crash(deploy(), "before-send")
        source.clock.seconds += LEASE_SECONDS
    assert "replaced before it started a job" in refusal(deploy(check_still_wanted=not_wanted))
    assert 0 == len(source.jobs())
    assert "REFUSED" == source.record()["state"]


def test_whether_a_request_is_still_wanted_is_asked_when_others_can_see_its_lease(
    source: FakeAws, deploy: Deploys
) -> None:
    seen: list[dict[str, Any]] = []

    def check_still_wanted() -> None:
        seen.append(source.record())
        assert 0 == source.count(START)

    deploy(check_still_wanted=check_still_wanted).step()
    ((record),) = seen
    assert ("CLAIMED", source.clock.seconds + LEASE_SECONDS) == (record["state"], record["lease_until"])


def test_nothing_is_started_when_the_question_took_longer_than_the_lease(source: FakeAws, deploy: Deploys) -> None:
    def check_still_wanted() -> None:
        source.clock.seconds += 36

    with pytest.raises(RetryableError, match="the lease was over before the job could be started"):
        deploy(check_still_wanted=check_still_wanted).step()
    assert (0, 0) == (source.count(START), source.record()["lease_until"])


@pytest.mark.parametrize("error", [RetryableError, TerminalError])
def test_a_question_that_is_not_answered_starts_nothing(
    source: FakeAws, deploy: Deploys, error: type[Exception]
) -> None:
    def check_still_wanted() -> None:
        raise error("cannot be asked")

    with pytest.raises(error, match=r"^cannot be asked$"):
        deploy(check_still_wanted=check_still_wanted).step()
    expected = "REFUSED" if error is TerminalError else "CLAIMED"
    assert (expected, 0, 0) == (source.record()["state"], source.record()["lease_until"], source.count(START))


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["PutObject", "GetObject"])
@pytest.mark.parametrize("when", ["before-send", "after-call"])
@pytest.mark.parametrize("call", range(1, 10))
def test_a_crash_at_any_s3_call_ends_in_one_job(
    source: FakeAws, deploy: Deploys, operation: str, when: str, call: int
) -> None:
    first = deploy(run_id="")
    with dying(first.context.aws.client("s3"), when, operation, call), contextlib.suppress(CrashError):
        finish(source, first)
    again = deploy(run_id="")
    if source.records() and source.record()["lease_until"]:
        result = finish_after_lease(source, again)
    else:
        result = finish(source, again)
    assert [result.job_id] == [job.id for job in source.jobs()]
    assert ("JUDGED", "SUCCEEDED", 1) == state(source)
    assert {"SUCCEEDED"} == set(verdicts(source))


def test_a_start_whose_answer_was_lost_is_looked_for_and_not_sent_again(source: FakeAws, deploy: Deploys) -> None:
    source.fail(START, "InternalServerException", 500, after=True)
    first = deploy()
    with pytest.raises(RetryableError, match="StartDICOMImportJob answered InternalServerException"):
        first.step()
    finish_after_lease(source, first)
    assert 1 == len(source.jobs())
    assert 1 == len(tokens(source))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 429), ("ServiceQuotaExceededException", 402), ("ConflictException", 409)],
)
def test_a_busy_service_keeps_the_attempt_alive_and_needs_no_search(
    source: FakeAws, deploy: Deploys, code: str, status: int
) -> None:
    source.fail(START, code, status, times=3)
    first = deploy()
    for _ in range(3):
        with pytest.raises(RetryableError, match=code):
            first.step()
        assert 0 == source.record()["lease_until"]
    finish(source, first)
    assert ("JUDGED", "SUCCEEDED", 1) == state(source)
    assert 1 == len(set(tokens(source)))
    assert (0, 1) == (source.count(LIST), source.count("S3.ListObjectsV2"))


def test_an_earlier_job_that_a_token_brings_back_is_not_taken_for_a_new_one(source: FakeAws, deploy: Deploys) -> None:
    before = finish(source, deploy())
    forget(source)
    source.clock.seconds += 3600
    assert before.job_id != finish(source, deploy("second")).job_id
    assert ("JUDGED", "SUCCEEDED", 2) == state(source)
    assert 2 == len(source.jobs())


# -- failed attempts -------------------------------------------------------------------------------------------------


def test_a_refused_start_is_the_same_answer_for_the_same_asker_without_a_job(source: FakeAws, deploy: Deploys) -> None:
    said = "User: arn:aws:iam::111122223333:role/Import is not authorized to perform: iam:PassRole"
    source.fail(START, "AccessDeniedException", 403, said)
    reason = refusal(deploy())
    assert reason.startswith(f"no job was started: StartDICOMImportJob answered AccessDeniedException ({said})")
    # What the record says of it is input.
    assert refusal(deploy()).startswith("no job was started, for the reason in the function's log group")
    assert 1 == source.count(START)
    assert [] == source.jobs()
    assert ("REFUSED", None, 1) == state(source)


def test_another_asker_after_a_failed_attempt_starts_the_next_with_a_token_of_its_own(
    source: FakeAws, deploy: Deploys
) -> None:
    source.fail(START, "AccessDeniedException", 403)
    refusal(deploy())
    finish(source, deploy("second"))
    assert ("JUDGED", "SUCCEEDED", 2) == state(source)
    assert "second" == source.record()["owner"]
    assert 2 == len(set(tokens(source)))
    assert 1 == len(source.jobs())


def test_a_denial_while_iam_propagates_does_not_end_the_attempt(source: FakeAws, deploy: Deploys) -> None:
    source.fail(START, "ValidationException", 400, "the role cannot be assumed", times=2)
    first = deploy(iam_propagating=True)
    for _ in range(2):
        with pytest.raises(RetryableError):
            first.step()
    finish(source, first)
    assert ("JUDGED", "SUCCEEDED", 1) == state(source)


def test_fails_when_nothing_was_imported_though_the_job_completed(aws: FakeAws, deploy: Deploys) -> None:
    for number in range(3):
        aws.put(SOURCE, f"studies/DOE^JANE-{number}.dcm", NOT_DICOM)
    first = deploy()
    run_job(aws, first)
    reason = refusal(first)
    (job,) = aws.jobs()
    assert reason.startswith(
        f"import job {job.id} of data store {aws.datastore_id} ended with COMPLETED but it imported nothing: "
        "3 files scanned, 0 imported, 3 rejected "
        "(3 customer errors, 0 server errors), 0 image sets; most frequent: ValidationException: "
    )
    assert "DOE" not in reason
    (failures,) = (key for key in aws.keys(RESULTS) if key.endswith("/FAILURE/failure.ndjson"))
    assert f"; all: s3://{RESULTS}/{failures}; manifest: s3://{RESULTS}/imports/.healthimaging-cdk/" in reason
    assert ("JUDGED", "FAILED", 1) == state(aws)
    assert reason == refusal(deploy())
    assert 1 == len(aws.jobs())


def test_a_failed_import_is_tried_again_by_the_next_request(source: FakeAws, deploy: Deploys) -> None:
    source.put(SOURCE, "studies/1.dcm", NOT_DICOM)
    first = deploy()
    run_job(source, first)
    refusal(first)
    source.put(SOURCE, "studies/1.dcm", DICOM)
    assert 1 == finish(source, deploy("second")).counts.imported
    assert (["FAILED", "SUCCEEDED"], 2) == (verdicts(source), len(source.jobs()))


def test_fails_beyond_the_tolerance(source: FakeAws, deploy: Deploys) -> None:
    source.put(SOURCE, "studies/2.dcm", NOT_DICOM)
    first = deploy(tolerance=Tolerance(rejected_files=0))
    run_job(source, first)
    assert "ended with COMPLETED but 1 rejected files are more than 0: 2 files scanned, 1 imported" in refusal(first)


def test_some_rejected_files_within_the_tolerance_are_a_success(source: FakeAws, deploy: Deploys) -> None:
    source.put(SOURCE, "studies/2.dcm", NOT_DICOM)
    result = finish(source, deploy(tolerance=Tolerance(rejected_files=1)))
    assert (2, 1, 1) == (result.counts.scanned, result.counts.imported, result.counts.rejected)


def test_a_failure_list_that_cannot_be_read_does_not_hide_the_verdict(aws: FakeAws, deploy: Deploys) -> None:
    aws.put(SOURCE, "studies/1.dcm", NOT_DICOM)
    first = deploy()
    run_job(aws, first)
    aws.fail("S3.GetObject", "AccessDenied", 403, subject="failure.ndjson")
    assert "it imported nothing: 1 files scanned" in refusal(first)


# -- the manifest ----------------------------------------------------------------------------------------------------


def test_a_late_manifest_is_waited_for_and_then_judged(source: FakeAws, deploy: Deploys) -> None:
    source.hold_manifests = True
    first = deploy()
    run_job(source, first)
    with pytest.raises(RetryableError, match="is COMPLETED and has not written its manifest"):
        first.step()
    source.clock.seconds += 100
    with pytest.raises(RetryableError):
        first.step()
    source.release_manifests()
    assert 1 == first.step().counts.imported


def test_a_completed_job_whose_manifest_never_comes_has_a_verdict_that_is_final(
    source: FakeAws, deploy: Deploys
) -> None:
    source.hold_manifests = True
    first = deploy()
    run_job(source, first)
    with pytest.raises(RetryableError):
        first.step()
    source.clock.seconds += 120
    reason = refusal(first)
    (job,) = source.jobs()
    assert f"import job {job.id} of data store {source.datastore_id} ended with COMPLETED and left" in reason
    assert f"get-dicom-import-job --datastore-id {source.datastore_id} --job-id {job.id}" in reason
    assert "trust_conditions" not in reason
    assert "; what it imported could not be determined; deploy again with a run_id not used before" in reason
    assert ("JUDGED", "UNKNOWN", 1) == state(source)
    assert reason == refusal(deploy("later"))
    source.release_manifests()
    assert "what became of the job could not be determined" in refusal(deploy("later still"))
    assert (1, ["UNKNOWN"]) == (len(source.jobs()), verdicts(source))
    assert 1 == finish(source, deploy("new", run_id="2")).counts.imported


@pytest.mark.parametrize(("status", "seconds"), [("COMPLETED", 120), ("FAILED", 10)])
def test_the_end_of_a_job_is_when_it_was_first_seen_where_healthimaging_does_not_say(
    source: FakeAws, deploy: Deploys, status: str, seconds: float
) -> None:
    source.hold_manifests = True
    first = deploy()
    run_job(source, first)
    source.jobs()[0].status, source.jobs()[0].ended_at = status, None
    source.clock.seconds += 1000
    for pause in (0, seconds - 1):
        source.clock.seconds += pause
        with pytest.raises(RetryableError):
            first.step()
    source.clock.seconds += 1
    assert "left no manifest" in refusal(first)


def test_fails_with_the_jobs_own_message_when_it_failed_early(source: FakeAws, deploy: Deploys) -> None:
    source.state.settings.files_per_job = 0
    first = deploy()
    run_job(source, first)
    with pytest.raises(RetryableError, match="is FAILED and has not written"):
        first.step()
    source.clock.seconds += 10
    reason = refusal(first)
    assert re.search(r"ended with FAILED \(.*the input prefix\) and left no manifest", reason)
    assert "s3:GetEncryptionConfiguration" in reason
    assert "trust_conditions (docs/recovering.md)" in reason
    assert "SourceBucketPolicy" not in reason


def failing_at_once(aws: FakeAws, deploy: Any) -> None:
    """Let a job fail without a manifest, as one does whose role HealthImaging cannot assume."""
    aws.state.settings.files_per_job = 0
    run_job(aws, deploy)
    with pytest.raises(RetryableError, match="is FAILED and has not written"):
        deploy.step()
    aws.clock.seconds += 10


def test_a_job_that_fails_at_once_after_new_rights_is_started_once_more(source: FakeAws, deploy: Deploys) -> None:
    first = deploy(has_new_rights=True)
    failing_at_once(source, first)
    with pytest.raises(RetryableError, match=r"left no manifest.*; it would have been started once more") as waiting:
        first.step()
    assert (["FAILED"], 1, True) == (verdicts(source), len(source.jobs()), waiting.value.after > 60)
    source.clock.seconds += waiting.value.after
    source.state.settings.files_per_job = 5000
    assert 1 == finish(source, first).counts.imported
    assert (["FAILED", "SUCCEEDED"], 2) == (verdicts(source), len(set(tokens(source))))


def test_fails_when_the_job_fails_at_once_a_second_time(source: FakeAws, deploy: Deploys) -> None:
    first = deploy(has_new_rights=True)
    failing_at_once(source, first)
    source.clock.seconds += 120
    failing_at_once(source, first)
    assert "left no manifest" in refusal(first)
    assert "left no manifest" in refusal(first)
    assert (["FAILED", "FAILED"], 2) == (verdicts(source), len(source.jobs()))


@pytest.mark.parametrize(("mode", "is_new", "seconds"), [
    (Mode.DEPLOY, False, 0), (Mode.DEPLOY, True, 300), (Mode.DETACHED, True, 0),
])  # fmt: skip
def test_a_job_is_not_started_once_more_for_another_cause_or_when_nobody_waits(
    source: FakeAws, deploy: Deploys, mode: Mode, *, is_new: bool, seconds: float
) -> None:
    first = deploy(has_new_rights=is_new)
    source.clock.seconds += seconds
    failing_at_once(source, first)
    first.context.mode = mode
    assert "left no manifest" in refusal(first)
    source.clock.seconds += 120
    assert ("the verdict was FAILED" if mode is Mode.DETACHED else "left no manifest") in refusal(first)
    assert 1 == len(source.jobs())


def test_a_deletion_ends_the_attempt_that_would_have_been_started_once_more(source: FakeAws, deploy: Deploys) -> None:
    first = deploy(has_new_rights=True)
    failing_at_once(source, first)
    with pytest.raises(RetryableError, match="it would have been started once more"):
        first.step()
    source.clock.seconds += 120
    first.context.check_still_wanted = not_wanted
    assert "the stack is rolled back or deleted" in refusal(first)
    assert (1, ["FAILED"]) == (len(source.jobs()), verdicts(source))


def test_fails_a_job_on_another_accounts_bucket_with_who_has_to_allow_it(source: FakeAws, deploy: Deploys) -> None:
    source.state.settings.files_per_job = 0
    first = deploy(input_owner_account_id="444455556666")
    run_job(source, first)
    with pytest.raises(RetryableError, match="is FAILED and has not written"):
        first.step()
    source.clock.seconds += 120
    reason = refusal(first)
    assert "if it was denied access: the input bucket has to belong to account 444455556666" in reason
    assert "SourceKeyPolicy say (they are in the template too: cdk synth)" in reason


def test_a_jobs_own_message_does_not_name_a_file(source: FakeAws, deploy: Deploys) -> None:
    source.hold_manifests = True
    first = deploy()
    run_job(source, first)
    (job,) = source.jobs()
    job.status, job.message = "FAILED", "cannot read studies/DOE^JANE/1.dcm"
    with pytest.raises(RetryableError):
        first.step()
    source.clock.seconds += 120
    assert "DOE" not in refusal(first)


def test_fails_for_a_job_that_failed_though_it_imported_something(source: FakeAws, deploy: Deploys) -> None:
    first = deploy()
    run_job(source, first)
    source.jobs()[0].status = "FAILED"
    assert "ended with FAILED but it did not run to its end: 1 files scanned, 1 imported" in refusal(first)


def test_fails_for_a_manifest_that_is_broken(source: FakeAws, deploy: Deploys) -> None:
    first = deploy()
    run_job(source, first)
    (key,) = (key for key in source.keys(RESULTS) if key.endswith(MANIFEST))
    source.put(RESULTS, key, b"{")
    assert "but job-output-manifest.json cannot be read; look at the job's output folder" in refusal(first)
    assert ("JUDGED", "UNKNOWN", 1) == state(source)


# -- the warnings ----------------------------------------------------------------------------------------------------


def name_warnings(aws: FakeAws, lines: bytes | None = None) -> str:
    """Let the manifest name a folder of warnings; returns where they belong."""
    (key,) = (key for key in aws.keys(RESULTS) if key.endswith(MANIFEST) and ".healthimaging-cdk" not in key)
    manifest = json.loads(aws.objects[RESULTS, key])
    folder = key.removesuffix(MANIFEST) + "WARNING/"
    manifest["jobSummary"]["warningsOutputS3Uri"] = f"s3://{RESULTS}/{folder}"
    aws.put(RESULTS, key, json.dumps(manifest).encode())
    if lines is not None:
        aws.put(RESULTS, f"{folder}warning.ndjson", lines)
    return f"{folder}warning.ndjson"


WARNED = b'{"importResponse": {"warnings": [{"warning_reason_code": 45344}]}}\n'


def test_late_warnings_are_waited_for_where_they_are_not_tolerated(source: FakeAws, deploy: Deploys) -> None:
    first = deploy(tolerance=Tolerance(warnings=False))
    run_job(source, first)
    key = name_warnings(source)
    for pause in (0, 119):
        source.clock.seconds += pause
        with pytest.raises(RetryableError, match="the job has not written its warnings"):
            first.step()
    assert [] == source.events
    source.put(RESULTS, key, WARNED)
    assert "there are warnings: 45344 (1)" in refusal(first)


def test_a_folder_of_warnings_that_is_named_and_proves_empty_is_none(source: FakeAws, deploy: Deploys) -> None:
    first = deploy()
    run_job(source, first)
    name_warnings(source)
    result = first.step()
    assert ("", {}) == (result.counts.warning_list(), result.counts.warnings)
    assert result == deploy("second").step()


def test_a_folder_of_warnings_proves_empty_after_a_while_where_they_are_not_tolerated(
    source: FakeAws, deploy: Deploys
) -> None:
    first = deploy(tolerance=Tolerance(warnings=False))
    run_job(source, first)
    name_warnings(source)
    with pytest.raises(RetryableError):
        first.step()
    source.clock.seconds += 120
    assert {} == first.step().counts.warnings


def test_warnings_in_a_file_that_is_not_known_are_no_reason_to_fail_where_they_are_tolerated(
    source: FakeAws, deploy: Deploys
) -> None:
    first = deploy()
    run_job(source, first)
    source.put(RESULTS, name_warnings(source).replace("warning.ndjson", "other.ndjson"))
    result = first.step()
    assert "not read" == result.counts.warning_list()
    assert result == deploy("second").step()


def test_fails_where_warnings_are_not_tolerated_and_never_come(source: FakeAws, deploy: Deploys) -> None:
    first = deploy(tolerance=Tolerance(warnings=False))
    run_job(source, first)
    source.put(RESULTS, name_warnings(source).replace("warning.ndjson", "other.ndjson"))
    with pytest.raises(RetryableError):
        first.step()
    source.clock.seconds += 120
    assert "ended with COMPLETED but its warnings were not read: 1 files scanned" in refusal(first)


@pytest.mark.parametrize("tolerated", [True, False])
def test_warnings_that_may_not_be_read_matter_where_they_are_not_tolerated(
    source: FakeAws, deploy: Deploys, *, tolerated: bool
) -> None:
    first = deploy(tolerance=Tolerance(warnings=tolerated))
    run_job(source, first)
    name_warnings(source, WARNED)
    source.fail("S3.GetObject", "AccessDenied", 403, subject="warning.ndjson")
    if tolerated:
        assert {"unread": 1} == first.step().counts.warnings
    else:
        assert "s3:GetObject (job output) answered AccessDenied" in refusal(first)
        assert "RUNNING" == source.record()["state"]


@pytest.mark.parametrize("lines", [b"", b"\n"])
def test_an_empty_list_of_warnings_is_none(source: FakeAws, deploy: Deploys, lines: bytes) -> None:
    first = deploy(tolerance=Tolerance(warnings=False))
    run_job(source, first)
    name_warnings(source, lines)
    assert {} == first.step().counts.warnings


def test_reasons_of_a_list_that_was_cut_are_said_to_be_of_a_part(
    aws: FakeAws, deploy: Deploys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_output, "_LONGEST_LIST", 3 * 64 * 1024)
    aws.put(SOURCE, "studies/1.dcm", NOT_DICOM)
    first = deploy()
    run_job(aws, first)
    (key,) = (key for key in aws.keys(RESULTS) if key.endswith("failure.ndjson"))
    aws.put(RESULTS, key, aws.objects[RESULTS, key].strip().ljust(64 * 1024 - 1) * 4)
    assert re.search(
        "; most frequent in the part that was read: .*; all: s3://.*/FAILURE/failure.ndjson", refusal(first)
    )


# -- before the job --------------------------------------------------------------------------------------------------


def test_an_empty_source_is_skipped_and_looked_at_again_by_the_next_request(aws: FakeAws, deploy: Deploys) -> None:
    for _ in range(2):
        assert ImportResult(job_status=NOTHING_TO_IMPORT) == deploy().step()
    assert ("REFUSED", None, 1) == state(aws)
    assert [] == aws.events
    aws.put(SOURCE, "studies/1.dcm", DICOM)
    assert 1 == finish(aws, deploy("second")).counts.imported


def test_fails_for_an_empty_source_when_that_is_wished(aws: FakeAws, deploy: Deploys) -> None:
    aws.put(SOURCE, "studies/")
    expected = (
        "nothing to import: no file is under the input prefix of bucket source; upload DICOM P10 files "
        "(aws s3 cp --recursive FOLDER s3://source/INPUT_PREFIX) and deploy again, or set on_empty to skip"
    )
    assert expected == refusal(deploy(on_empty=OnEmpty.FAIL))
    assert ("REFUSED", None, 1) == state(aws)
    assert 0 == aws.count(START)


@pytest.mark.parametrize(
    "quotas", [Quotas(files=1), Quotas(total_bytes=len(DICOM) + 1), Quotas(file_bytes=len(DICOM) - 1)]
)
def test_fails_before_a_start_when_it_is_too_much(source: FakeAws, deploy: Deploys, quotas: Quotas) -> None:
    source.put(SOURCE, "studies/2.dcm", DICOM)
    assert refusal(deploy(quotas=quotas)).startswith("no job was started: ")
    assert 0 == source.count(START)
    assert ("REFUSED", None, 1) == state(source)
    assert 2 == finish(source, deploy("second")).counts.scanned


def test_fails_before_a_start_for_archived_objects(source: FakeAws, deploy: Deploys) -> None:
    source.archive("studies/1.dcm")
    assert refusal(deploy()).startswith("no job was started: 1 of 1 objects under the input prefix are in the storage")
    assert 0 == source.count(START)


def test_fails_before_a_start_for_an_invalid_request(source: FakeAws, deploy: Deploys) -> None:
    reason = refusal(deploy(job_name="a b"))
    assert reason.startswith("no job was started: jobName must match")
    assert {"STS.AssumeRole", "S3.GetObject", "S3.PutObject"} == {call.operation for call in source.calls}


def test_a_refused_prefix_is_not_repeated(deploy: Deploys) -> None:
    assert "DOE" not in refusal(deploy(input_prefix="DOE^JANE"))


def test_the_source_is_not_looked_at_again_once_a_job_runs(source: FakeAws, deploy: Deploys) -> None:
    finish(source, deploy())
    assert 1 == source.count("S3.ListObjectsV2")


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, DICOM)
    return file.getvalue()


def test_an_asset_is_unpacked_in_steps_before_the_job(aws: FakeAws, deploy: Deploys) -> None:
    aws.put("assets", "local.zip", zipped("1.dcm", "2.dcm"))
    first = deploy(asset=Asset("assets", "local.zip"))
    first.seconds_left = 0
    with pytest.raises(RetryableError, match="the local files were not unpacked in time") as waiting:
        first.step()
    assert (10, 0) == (waiting.value.after, first.context.carried["unpacked"])
    first.seconds_left = 600
    result = finish(aws, first)
    assert 2 == result.counts.scanned
    assert result == deploy(asset=Asset("assets", "other.zip")).step()
    assert 1 == aws.count("S3.HeadObject", "local.zip") - 1


def test_an_asset_is_unpacked_once_though_the_start_is_tried_again(aws: FakeAws, deploy: Deploys) -> None:
    aws.put("assets", "local.zip", zipped("1.dcm"))
    aws.fail(START, "ThrottlingException", 429, times=3)
    first = deploy(asset=Asset("assets", "local.zip"))
    for _ in range(3):
        with pytest.raises(RetryableError):
            first.step()
    finish(aws, first)
    assert 1 == aws.count("S3.HeadObject", "local.zip")


def test_a_denied_asset_may_pass_while_iam_propagates(aws: FakeAws, deploy: Deploys) -> None:
    aws.put("assets", "local.zip", zipped("1.dcm"))
    aws.fail("S3.HeadObject", "403", 403)
    with pytest.raises(RetryableError):
        deploy(iam_propagating=True, asset=Asset("assets", "local.zip")).step()


# -- who waits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.ROLLBACK, Mode.DELETE, Mode.DETACHED])
def test_nothing_is_started_when_nothing_may_be(source: FakeAws, deploy: Deploys, mode: Mode) -> None:
    assert ImportResult(job_status=NOT_STARTED) == deploy(mode=mode).step()
    assert {} == source.records()
    assert 0 == source.count(START)


def test_a_success_is_remembered_though_nothing_may_be_started(source: FakeAws, deploy: Deploys) -> None:
    result = finish(source, deploy())
    assert result == deploy("rollback", mode=Mode.ROLLBACK).step()


def test_a_failed_attempt_is_no_reason_to_start_for_a_rollback(source: FakeAws, deploy: Deploys) -> None:
    source.fail(START, "AccessDeniedException", 403)
    refusal(deploy())
    assert NOT_STARTED == deploy("rollback", mode=Mode.ROLLBACK).step().job_status
    assert 1 == source.count(START)


def test_a_deletion_waits_for_the_running_job_and_whoever_waited_stops(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    first = deploy()
    job_id = first.step().job_id
    deletion = deploy("deletion", mode=Mode.DELETE)
    assert job_id == deletion.step().job_id
    expected = "a later request for this import replaced this one; a job of it may still be running"
    assert expected == refusal(first)
    assert "deletion" == source.record()["owner"]
    source.wait_for_jobs()
    assert 1 == deletion.step().counts.imported


def test_a_later_deploy_polls_a_running_job_in_place_of_the_earlier_one(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    first, second = deploy(), deploy("second")
    assert first.step().job_id == second.step().job_id
    with pytest.raises(ReplacedError):
        first.step()
    source.wait_for_jobs()
    assert 1 == second.step().counts.imported
    assert 1 == len(source.jobs())


def test_whoever_was_replaced_never_starts_another_job_though_that_one_failed(aws: FakeAws, deploy: Deploys) -> None:
    aws.put(SOURCE, "studies/1.dcm", NOT_DICOM)
    first, second = deploy("first"), deploy("second")
    aws.jobs_may_run.clear()
    first.step()
    second.step()
    aws.wait_for_jobs()
    assert "it imported nothing" in refusal(second)
    refusal(first)
    assert 1 == len(aws.jobs())


def test_a_deploy_that_a_deletion_replaced_never_starts_another_job(aws: FakeAws, deploy: Deploys) -> None:
    aws.put(SOURCE, "studies/1.dcm", NOT_DICOM)
    first, deletion = deploy("first"), deploy("deletion", mode=Mode.DELETE)
    aws.jobs_may_run.clear()
    first.step()
    deletion.step()
    aws.wait_for_jobs()
    refusal(deletion)
    refusal(first)
    assert 1 == len(aws.jobs())


def test_a_deploy_after_a_rollback_polls_the_job_that_still_runs(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    deploy().step()
    deploy("rollback", mode=Mode.ROLLBACK).step()
    second = deploy("second")
    second.step()
    assert "second" == source.record()["owner"]
    source.wait_for_jobs()
    assert 1 == second.step().counts.imported


def test_a_rollback_changes_nothing_where_no_job_runs(source: FakeAws, deploy: Deploys) -> None:
    finish(source, deploy())
    before = source.record()
    deploy("rollback", mode=Mode.ROLLBACK).step()
    assert before == source.record()


def test_a_detached_request_takes_no_job_from_another(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    deploy().step()
    with pytest.raises(ReplacedError):
        deploy("other", mode=Mode.DETACHED).step()
    assert "first" == source.record()["owner"]


# -- by the clock ----------------------------------------------------------------------------------------------------


def test_a_submitted_job_is_not_looked_at(source: FakeAws, deploy: Deploys) -> None:
    first = deploy(mode=Mode.SUBMIT)
    assert "SUBMITTED" == first.step().job_status
    source.wait_for_jobs()
    assert "SUBMITTED" == first.step().job_status
    assert (0, "RUNNING") == (source.count(GET), source.record()["state"])


@pytest.mark.parametrize(("seconds", "status"), [(99, "COMPLETED"), (100, "COMPLETED"), (101, "IN_PROGRESS")])
def test_a_job_is_judged_by_when_it_ended_and_not_by_when_it_is_looked_at(
    source: FakeAws, deploy: Deploys, seconds: float, status: str
) -> None:
    source.jobs_may_run.clear()
    deploy().step()
    deadline = source.clock.seconds + 100
    source.clock.seconds += seconds
    source.wait_for_jobs()
    source.clock.seconds += 50
    result = deploy(judge_until=deadline).step()
    assert status == result.job_status


# -- which run is meant, and whether it is current -------------------------------------------------------------------


def test_a_deploy_without_a_run_id_means_the_run_that_was_started_last(source: FakeAws, deploy: Deploys) -> None:
    first = finish(source, deploy("first", run_id="1"))
    assert first == finish(source, deploy("plain"))
    second = finish(source, deploy("second", run_id="2"))
    assert second == finish(source, deploy("plain again"))
    assert 2 == len(source.jobs())


def test_a_run_that_still_goes_on_is_what_a_plain_deploy_means(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    first = deploy("first", run_id="1", mode=Mode.SUBMIT).step()
    assert first.job_id == deploy("plain").step().job_id
    assert 1 == len(source.jobs())


def test_a_run_that_failed_is_not_the_one_that_is_meant(source: FakeAws, deploy: Deploys) -> None:
    good = finish(source, deploy("first", run_id="1"))
    source.fail(START, "ResourceNotFoundException", 404)
    refusal(deploy("bad", run_id="2"))
    # The deploy before this one was rolled back, so the last that was deployed is the first.
    assert good == finish(source, deploy("plain", is_current=True))
    assert 1 == len(source.jobs())


@pytest.mark.parametrize("change", [{"run_id": "2"}, {"input_prefix": "other/"}])
def test_going_back_imports(source: FakeAws, deploy: Deploys, change: dict[str, str]) -> None:
    source.put(SOURCE, "other/1.dcm", DICOM)
    before = finish(source, deploy("first", run_id="1"))
    finish(source, deploy("second", **{"run_id": "1", **change}))
    back = finish(source, deploy("back", run_id="1"))
    assert before.job_id != back.job_id
    assert back == finish(source, deploy("again", run_id="1"))
    assert (3, 2) == (len(source.jobs()), len(source.records()))


def test_a_rollback_gets_the_result_of_what_it_goes_back_to(source: FakeAws, deploy: Deploys) -> None:
    before = finish(source, deploy("first", run_id="1"))
    finish(source, deploy("second", run_id="2"))
    assert before == deploy("rollback", run_id="1", mode=Mode.ROLLBACK).step()
    assert 2 == len(source.jobs())


def forget(aws: FakeAws) -> None:
    """Somebody removes what is kept of imports."""
    for bucket, key in list(aws.objects):
        if ".healthimaging-cdk/" in key:
            del aws.objects[bucket, key]


def test_without_its_record_an_update_of_unchanged_meaning_starts_nothing(source: FakeAws, deploy: Deploys) -> None:
    finish(source, deploy())
    forget(source)
    assert ImportResult() == deploy("second", is_current=True).step()
    assert 1 == len(source.jobs())


def test_fails_when_the_record_is_removed_while_it_is_at_work(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    first = deploy()
    first.step()
    forget(source)
    expected = (
        "the record of this import was removed while it was at work; deploy again with a run_id not used before to "
        "import again"
    )
    assert expected == refusal(first)
    assert 1 == len(source.jobs())


# -- one verdict -----------------------------------------------------------------------------------------------------


def test_a_verdict_is_written_before_it_is_told_and_told_again_in_the_same_words(
    source: FakeAws, deploy: Deploys
) -> None:
    source.put(SOURCE, "studies/2.dcm", NOT_DICOM)
    first = deploy(topic_arn=TOPIC, tolerance=Tolerance(rejected_files=0))
    run_job(source, first)
    crash(first, "after-call", "Publish", "sns")
    assert (("JUDGED", "FAILED", 1), False) == (state(source), source.record()["published"])
    reason = source.record()["reason"]
    assert reason.startswith(f"import job {source.jobs()[0].id} of data store {source.datastore_id} ended with")
    # Whoever looks next tolerates more, which changes nothing any more.
    source.fail(START, "AccessDeniedException", 403)
    second = deploy("second", topic_arn=TOPIC, mode=Mode.ROLLBACK)
    assert refusal(second).endswith(" has failed")
    assert source.record()["published"]
    assert 1 == len({event["Detail"] for event in source.events})
    assert 2 == len(source.events) == len(source.notifications)
    assert 1 == len({told["Message"] for told in source.notifications})


def test_a_verdict_is_told_once(source: FakeAws, deploy: Deploys) -> None:
    finish(source, deploy(topic_arn=TOPIC, tolerance=Tolerance()))
    for asker in ("second", "third"):
        deploy(asker, tolerance=Tolerance(non_primary_image_sets=False, warnings=False)).step()
    assert (["SUCCEEDED"], []) == (verdicts(source), source.notifications)


def test_another_tolerance_changes_no_verdict(source: FakeAws, deploy: Deploys) -> None:
    source.put(SOURCE, "studies/2.dcm", NOT_DICOM)
    result = finish(source, deploy())
    assert result == deploy("second", tolerance=Tolerance(rejected_files=0)).step()
    assert ["SUCCEEDED"] == verdicts(source)


def test_a_job_that_is_not_known_any_more_has_a_verdict_that_is_final(source: FakeAws, deploy: Deploys) -> None:
    first = deploy("first")
    running = run_job(source, first)
    source.fail(GET, "ResourceNotFoundException", 404, times=2)
    with pytest.raises(RetryableError, match="not known yet"):
        first.step()
    source.clock.seconds += 300
    reason = refusal(first)
    name = f"import job {running.job_id} of data store {source.datastore_id}"
    assert reason.startswith(f"{name} is not known any more; deploy again with a run_id not used before")
    assert ("JUDGED", "UNKNOWN", 1) == state(source)
    assert refusal(deploy("second")).startswith(f"{name}: what became of the job could not be determined")
    assert 1 == finish(source, deploy("third", run_id="2")).counts.imported
    assert (["UNKNOWN", "SUCCEEDED"], 2) == (verdicts(source), len(source.jobs()))


# -- a record is input -----------------------------------------------------------------------------------------------


def forge(aws: FakeAws, request: Any, **members: Any) -> None:
    """Somebody who may write into the output bucket writes the record of a request."""
    record = {
        "schema": 2,
        "intent": request.intent,
        "attempt": 1,
        "state": "CLAIMED",
        "owner": "forger",
        "owner_began_at": 0.0,
        "parameters": {},
        "claimed_at": aws.clock.seconds,
        "lease_until": 0.0,
        "job": {},
        "ended_at": 0.0,
        "verdict": None,
        "result": {"counts": {}},
        "reason": "",
        "published": True,
        "responded_to": "",
    }
    body = json.dumps({**record, **members}).encode()
    aws.put(RESULTS, f"imports/.healthimaging-cdk/{request.intent}.json", body)


def forged_success(aws: FakeAws, job_id: str) -> dict[str, Any]:
    submitted_at = "2027-01-15T08:00:00+00:00"
    counts = {"scanned": 7, "imported": 7}
    return {
        "state": "JUDGED",
        "verdict": "SUCCEEDED",
        "job": {"jobId": job_id, "submittedAt": submitted_at},
        "result": {"job_id": job_id, "job_status": "COMPLETED", "submitted_at": submitted_at, "counts": counts},
        "claimed_at": aws.clock.seconds,
    }


@pytest.mark.parametrize("lease_until", [0.0, 1.0])
def test_of_a_claim_that_somebody_made_up_the_request_is_computed_anew(
    source: FakeAws, deploy: Deploys, lease_until: float
) -> None:
    first = deploy(run_id="")
    honest = first.context.request.start_parameters(1)
    other = {"inputS3Uri": f"s3://{SOURCE}/other/", "outputS3Uri": "s3://forger/", "clientToken": "x"}
    forge(source, first.context.request, parameters={**honest, **other}, lease_until=lease_until)
    first.step()
    del honest["datastoreId"]
    assert [honest] == source.starts
    assert honest.items() <= source.record()["parameters"].items()


@pytest.mark.parametrize("mode", [Mode.DEPLOY, Mode.ROLLBACK])
def test_fails_for_a_success_of_a_job_that_healthimaging_does_not_know(
    source: FakeAws, deploy: Deploys, mode: Mode
) -> None:
    first = deploy(run_id="", is_current=True, mode=mode)
    forge(source, first.context.request, **forged_success(source, "0" * 32))
    expected = f"the record of this import names job {'0' * 32}, which HealthImaging does not know; deploy again with"
    assert refusal(first).startswith(expected)


@pytest.mark.parametrize("members", ["RUNNING", "JUDGED"])
def test_fails_for_a_record_that_names_the_job_of_another_import(
    source: FakeAws, deploy: Deploys, members: str
) -> None:
    other = finish(source, deploy("other", scope="stack/Other"))
    first = deploy(run_id="", is_current=True)
    success = forged_success(source, other.job_id)
    if members == "RUNNING":
        success |= {"state": "RUNNING", "verdict": None}
    parameters = first.context.request.start_parameters(1)
    forge(source, first.context.request, **success, parameters=parameters)
    expected = (
        f"the record of this import names job {other.job_id}, which this import did not start: something else has"
    )
    assert refusal(first).startswith(expected)
    assert ["SUCCEEDED"] == verdicts(source)


def test_fails_for_a_success_of_a_job_that_failed(source: FakeAws, deploy: Deploys) -> None:
    result = finish(source, deploy())
    source.jobs()[0].status = "FAILED"
    expected = f"the record of this import says that job {result.job_id} is COMPLETED, it is FAILED; deploy again with"
    assert refusal(deploy("second")).startswith(expected)


@pytest.mark.parametrize(("days", "believed"), [(1, False), (88, False), (90, True)])
def test_a_success_that_healthimaging_has_forgotten_is_believed_after_its_ninety_days(
    source: FakeAws, deploy: Deploys, days: float, *, believed: bool
) -> None:
    result = finish(source, deploy())
    source.clock.seconds += days * 24 * 3600
    source.fail(GET, "ResourceNotFoundException", 404)
    second = deploy("second")
    if believed:
        assert result == second.step()
    else:
        assert "which HealthImaging does not know" in refusal(second)


def test_a_remembered_success_that_cannot_be_confirmed_just_then_is_confirmed_later(
    source: FakeAws, deploy: Deploys
) -> None:
    result = finish(source, deploy())
    source.fail(GET, "ThrottlingException", 429)
    second = deploy("second")
    with pytest.raises(RetryableError):
        second.step()
    assert result == second.step()
    assert result == deploy("third").step()
