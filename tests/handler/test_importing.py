"""One import against the local HealthImaging: one intent, one job, and a verdict from the manifest."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from healthimaging_import import verdict
from healthimaging_import.importing import NOT_STARTED, NOTHING_TO_IMPORT, Outcome, Progress
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.request import Asset
from healthimaging_import.rules import Quotas
from healthimaging_import.verdict import Counts, Tolerance
from tests.handler.fake_aws import DICOM, MANIFEST, RESULTS, SOURCE, FakeAws

Deploys = Callable[..., Any]
START = "HealthImaging.StartDICOMImportJob"
GET = "HealthImaging.GetDICOMImportJob"
LIST = "HealthImaging.ListDICOMImportJobs"
NOT_DICOM = b"no preamble"


class CrashError(BaseException):
    """The process is gone: no handler of Exception sees it."""


@contextmanager
def crash(client: Any, when: str, operation: str) -> Iterator[None]:
    """Let the process die before a request is sent (before-send) or after it was answered (after-call)."""
    name = f"{when}.{client.meta.service_model.service_id.hyphenize()}.{operation}"

    def die(**_: Any) -> None:
        raise CrashError

    client.meta.events.register(name, die)
    try:
        with pytest.raises(CrashError):
            yield
    finally:
        client.meta.events.unregister(name, die)


@pytest.fixture
def source(aws: FakeAws) -> FakeAws:
    """One good file under the prefix."""
    aws.put(SOURCE, "studies/1.dcm", DICOM)
    return aws


def finish(aws: FakeAws, deploy: Any) -> Outcome:
    """Step until the import is over."""
    for _ in range(5):
        outcome: Outcome = deploy.step()
        if outcome.finished:
            return outcome
        aws.wait_for_jobs()
    raise AssertionError("the import does not end")


def run_job(aws: FakeAws, deploy: Any) -> Outcome:
    """Start the job, and let it come to its end only then."""
    aws.jobs_may_run.clear()
    outcome: Outcome = deploy.step()
    assert not outcome.finished
    aws.wait_for_jobs()
    return outcome


def tokens(aws: FakeAws) -> list[str]:
    return [start["clientToken"] for start in aws.starts]


# -- the way it should go --------------------------------------------------------------------------------------------


def test_a_first_import_starts_one_job_and_is_judged_by_its_manifest(source: FakeAws, deploy: Deploys) -> None:
    first = deploy()
    running = run_job(source, first)
    assert running.job_status in ("SUBMITTED", "IN_PROGRESS")
    outcome = first.step()
    (job,) = source.jobs()
    assert (True, job.id, "COMPLETED") == (outcome.finished, outcome.job_id, outcome.job_status)
    assert Counts(scanned=1, imported=1, image_sets=1) == outcome.counts
    assert running.submitted_at == outcome.submitted_at != ""


def test_the_request_is_written_down_before_it_is_sent(source: FakeAws, deploy: Deploys) -> None:
    source.fail(START, "InternalServerException", 500)
    with pytest.raises(TryLater):
        deploy().step()
    record = source.record()
    assert ("CLAIMED", "first", 1) == (record["state"], record["asked_by"], record["attempt"])
    written = {name: value for name, value in record["parameters"].items() if name != "datastoreId"}
    assert written == source.starts[0]


def test_the_manifest_is_kept_beside_the_record(source: FakeAws, deploy: Deploys) -> None:
    outcome = finish(source, deploy())
    bucket, _, key = outcome.manifest_uri.removeprefix("s3://").partition("/")
    assert key.startswith("imports/.healthimaging-cdk/")
    assert outcome.job_id == json.loads(source.objects[bucket, key])["jobSummary"]["jobId"]


def test_a_success_is_remembered_for_every_asker(source: FakeAws, deploy: Deploys) -> None:
    outcome = finish(source, deploy())
    source.objects.pop((SOURCE, "studies/1.dcm"))
    assert outcome == deploy("first").step()
    assert outcome == deploy("second").step()
    assert outcome == deploy("third", quotas=Quotas(files=0), on_empty="fail", job_name="other").step()
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
    assert ("nightly", "111122223333") == (start["jobName"], start["inputOwnerAccountId"])
    configuration = start["importConfiguration"]["dicomJsonMetadataImportConfiguration"]
    assert [mapping] == configuration["dicomMetadataMappings"]


# -- doubled, retried and crashed ------------------------------------------------------------------------------------


def test_a_doubled_step_starts_one_job(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    one, other = deploy(), deploy()
    assert one.step().job_id == other.step().job_id
    assert 1 == len(source.jobs())


def test_a_doubled_step_at_the_same_moment_starts_one_job(source: FakeAws, deploy: Deploys) -> None:
    one, other = deploy(run_id="1"), deploy(run_id="1")
    claim = one.importer._claim

    def late(over: Any) -> Any:
        other.step()
        return claim(over)

    object.__setattr__(one.importer, "_claim", late)
    with pytest.raises(TryLater, match="another execution of the same import is at work"):
        one.step()
    object.__delattr__(one.importer, "_claim")
    assert finish(source, one) == finish(source, other)
    assert 1 == len(source.jobs())
    assert 1 == source.count(START)


def test_a_crash_between_claim_and_start_ends_in_one_job(source: FakeAws, deploy: Deploys) -> None:
    first = deploy()
    with crash(first.importer.clients.starting, "before-send", "StartDICOMImportJob"):
        first.step()
    assert ("CLAIMED", 0) == (source.record()["state"], len(source.jobs()))
    outcome = finish(source, deploy())
    assert [outcome.job_id] == [job.id for job in source.jobs()]
    assert ("SUCCEEDED", 1) == (source.record()["state"], source.record()["attempt"])


@pytest.mark.parametrize("asker", ["first", "second"])
def test_a_crash_between_start_and_save_ends_in_one_job_with_the_same_token(
    source: FakeAws, deploy: Deploys, asker: str
) -> None:
    first = deploy()
    with crash(first.importer.clients.starting, "after-call", "StartDICOMImportJob"):
        first.step()
    assert ("CLAIMED", 1) == (source.record()["state"], len(source.jobs()))
    outcome = finish(source, deploy(asker))
    assert [outcome.job_id] == [job.id for job in source.jobs()]
    assert 1 == len(tokens(source))


def test_a_start_that_never_arrived_is_repeated_as_it_was_written_though_the_role_has_changed(
    source: FakeAws, deploy: Deploys
) -> None:
    first = deploy(job_name="one")
    with crash(first.importer.clients.starting, "before-send", "StartDICOMImportJob"):
        first.step()
    written = source.record()["parameters"]
    finish(source, deploy("second", job_name="two", data_access_role_arn="arn:aws:iam::111122223333:role/Other"))
    del written["datastoreId"]
    assert [written] == source.starts


def test_where_jobs_may_not_be_listed_a_lost_start_is_repeated_with_its_token(source: FakeAws, deploy: Deploys) -> None:
    first = deploy()
    with crash(first.importer.clients.starting, "after-call", "StartDICOMImportJob"):
        first.step()
    source.fail(LIST, "AccessDeniedException", 403)
    finish(source, deploy("second"))
    assert 2 == len(tokens(source))
    assert source.starts[0] == source.starts[1]
    assert 1 == len(source.jobs())


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerException"])
def test_a_list_of_jobs_that_cannot_be_read_just_then_is_read_later(
    source: FakeAws, deploy: Deploys, code: str
) -> None:
    first = deploy()
    with crash(first.importer.clients.starting, "after-call", "StartDICOMImportJob"):
        first.step()
    source.fail(LIST, code, 500)
    with pytest.raises(TryLater):
        first.step()
    finish(source, first)
    assert 1 == len(tokens(source))


@pytest.mark.parametrize(
    "another",
    [
        {"input_prefix": "other/"},
        {"output_prefix": "elsewhere/"},
        {"data_access_role_arn": "arn:aws:iam::111122223333:role/Other"},
        {},
    ],
    ids=lambda another: next(iter(another), "the run before"),
)
def test_the_job_of_another_import_is_not_taken_for_one_whose_answer_was_lost(
    source: FakeAws, deploy: Deploys, another: dict[str, str]
) -> None:
    source.put(SOURCE, "other/1.dcm", DICOM)
    first = deploy(run_id="1")
    with crash(first.importer.clients.starting, "before-send", "StartDICOMImportJob"):
        first.step()
    other = finish(source, deploy("other", run_id="2", **another))
    outcome = finish(source, deploy("again", run_id="1"))
    assert other.job_id != outcome.job_id
    assert 2 == len(source.jobs())


def test_the_job_of_the_attempt_before_is_not_taken_for_this_ones(source: FakeAws, deploy: Deploys) -> None:
    source.put(SOURCE, "studies/1.dcm", NOT_DICOM)
    first = deploy()
    run_job(source, first)
    assert "imported nothing" in refusal(first)
    source.put(SOURCE, "studies/1.dcm", DICOM)
    second = deploy("second")
    with crash(second.importer.clients.starting, "before-send", "StartDICOMImportJob"):
        second.step()
    assert 1 == finish(source, deploy("second")).counts.imported
    assert 2 == len(source.jobs())


def test_a_job_submitted_long_before_is_not_looked_at(source: FakeAws, deploy: Deploys) -> None:
    before = finish(source, deploy("first", run_id="1")).job_id
    second = deploy("second", run_id="2")
    second.clock = time.time() + 60
    with crash(second.importer.clients.starting, "before-send", "StartDICOMImportJob"):
        second.step()
    looks = source.count(GET, before)
    finish(source, second)
    assert 2 == len(source.jobs())
    assert looks == source.count(GET, before)


def test_a_rollback_finds_the_job_of_a_start_whose_answer_was_lost(source: FakeAws, deploy: Deploys) -> None:
    first = deploy()
    with crash(first.importer.clients.starting, "after-call", "StartDICOMImportJob"):
        first.step()
    rollback = deploy("rollback", may_start=False)
    rollback.importer.take_over(rollback.progress)
    assert [finish(source, rollback).job_id] == [job.id for job in source.jobs()]
    assert 1 == source.count(START)


@pytest.mark.usefixtures("source")
def test_a_rollback_waits_for_a_start_that_may_be_on_its_way(deploy: Deploys) -> None:
    first = deploy()
    with crash(first.importer.clients.starting, "before-send", "StartDICOMImportJob"):
        first.step()
    rollback = deploy("rollback", may_start=False)
    rollback.importer.take_over(rollback.progress)
    with pytest.raises(TryLater, match="on its way"):
        rollback.step()
    rollback.clock += 31
    assert NOT_STARTED == rollback.step().job_status


def test_a_list_of_jobs_that_is_refused_for_good_leaves_the_attempt_open(source: FakeAws, deploy: Deploys) -> None:
    first = deploy()
    with crash(first.importer.clients.starting, "after-call", "StartDICOMImportJob"):
        first.step()
    source.fail(LIST, "ResourceNotFoundException", 404)
    assert "ListDICOMImportJobs answered ResourceNotFoundException" in refusal(first)
    assert "CLAIMED" == source.record()["state"]
    finish(source, deploy("second"))
    assert 1 == len(tokens(source))


def test_a_request_that_was_replaced_takes_no_job_back(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    deploy().step()
    rollback = deploy("rollback", may_start=False)
    rollback.importer.take_over(rollback.progress)
    late = deploy("late")
    late.importer = dataclasses.replace(late.importer, still_asked=lambda: False)
    assert "replaced before it started" in refusal(late)
    assert "rollback" == source.record()["followed_by"]


def test_how_long_a_job_took_is_measured(source: FakeAws, deploy: Deploys, capsys: pytest.CaptureFixture[str]) -> None:
    finish(source, deploy())
    (metrics,) = (line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line)
    assert 0 <= metrics["Duration"] < 60


@pytest.mark.parametrize("crash_first", [False, True])
def test_a_request_that_was_replaced_starts_nothing(source: FakeAws, deploy: Deploys, *, crash_first: bool) -> None:
    first = deploy()
    if crash_first:
        with crash(first.importer.clients.starting, "before-send", "StartDICOMImportJob"):
            first.step()
        first.progress = Progress()
    first.importer = dataclasses.replace(first.importer, still_asked=lambda: False)
    assert "replaced before it started" in refusal(first)
    assert 0 == len(source.jobs())


@pytest.mark.parametrize("operation", ["PutObject", "GetObject"])
@pytest.mark.parametrize("when", ["before-send", "after-call"])
@pytest.mark.parametrize("call", range(1, 4))
def test_a_crash_at_any_s3_call_ends_in_one_job(
    source: FakeAws, deploy: Deploys, operation: str, when: str, call: int
) -> None:
    first = deploy()
    s3, seen = first.importer.clients.s3, []

    def die(**_: Any) -> None:
        seen.append(call)
        if len(seen) == call:
            raise CrashError

    s3.meta.events.register(f"{when}.s3.{operation}", die)
    try:
        finish(source, first)
    except CrashError:
        pass
    finally:
        s3.meta.events.unregister(f"{when}.s3.{operation}", die)
    outcome = finish(source, deploy())
    assert [outcome.job_id] == [job.id for job in source.jobs()]
    assert "SUCCEEDED" == source.record()["state"]


def test_a_start_whose_answer_was_lost_is_asked_for_again_with_the_same_token(source: FakeAws, deploy: Deploys) -> None:
    source.fail(START, "InternalServerException", 500, after=True)
    first = deploy()
    with pytest.raises(TryLater, match="StartDICOMImportJob answered InternalServerException"):
        first.step()
    finish(source, first)
    assert 1 == len(source.jobs())
    assert 1 == len(set(tokens(source)))


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 429), ("ServiceQuotaExceededException", 402), ("ConflictException", 409)],
)
def test_a_busy_service_keeps_the_attempt_alive(source: FakeAws, deploy: Deploys, code: str, status: int) -> None:
    source.fail(START, code, status, times=3)
    first = deploy()
    for _ in range(3):
        with pytest.raises(TryLater, match=code):
            first.step()
    finish(source, first)
    assert (1, "SUCCEEDED") == (source.record()["attempt"], source.record()["state"])
    assert 1 == len(set(tokens(source)))


# -- failed attempts -------------------------------------------------------------------------------------------------


def refusal(deploy: Any) -> str:
    with pytest.raises(Refused) as refused:
        deploy.step()
    return str(refused.value)


def test_a_refused_start_is_the_same_answer_for_the_same_asker_without_a_job(source: FakeAws, deploy: Deploys) -> None:
    said = "User: arn:aws:iam::111122223333:role/Import is not authorized to perform: iam:PassRole"
    source.fail(START, "AccessDeniedException", 403, said)
    reason = refusal(deploy())
    assert reason.startswith(f"no job was started: StartDICOMImportJob answered AccessDeniedException ({said})")
    assert reason == refusal(deploy())
    assert 1 == source.count(START)
    assert [] == source.jobs()


def test_another_asker_after_a_failed_attempt_starts_the_next_with_a_token_of_its_own(
    source: FakeAws, deploy: Deploys
) -> None:
    source.fail(START, "AccessDeniedException", 403)
    refusal(deploy())
    finish(source, deploy("second"))
    assert (2, "second", "SUCCEEDED") == tuple(source.record()[name] for name in ("attempt", "asked_by", "state"))
    assert 2 == len(set(tokens(source)))
    assert 1 == len(source.jobs())


def test_a_denial_while_iam_settles_does_not_end_the_attempt(source: FakeAws, deploy: Deploys) -> None:
    source.fail(START, "ValidationException", 400, "the role cannot be assumed", times=2)
    first = deploy(settling=True)
    for _ in range(2):
        with pytest.raises(TryLater):
            first.step()
    finish(source, first)
    assert 1 == source.record()["attempt"]


def test_fails_when_nothing_was_imported_though_the_job_completed(aws: FakeAws, deploy: Deploys) -> None:
    for number in range(3):
        aws.put(SOURCE, f"studies/DOE^JANE-{number}.dcm", NOT_DICOM)
    first = deploy()
    run_job(aws, first)
    reason = refusal(first)
    (job,) = aws.jobs()
    assert reason.startswith(
        f"import job {job.id} ended with COMPLETED but it imported nothing: 3 files scanned, 0 imported, 3 rejected "
        "(3 customer errors, 0 server errors), 0 image sets; most frequent: ValidationException: "
    )
    assert "DOE" not in reason
    assert f"manifest: s3://{RESULTS}/imports/.healthimaging-cdk/" in reason
    assert "FAILED" == aws.record()["state"]
    assert reason == refusal(deploy())
    assert 1 == len(aws.jobs())


def test_fails_beyond_the_tolerance(source: FakeAws, deploy: Deploys) -> None:
    source.put(SOURCE, "studies/2.dcm", NOT_DICOM)
    first = deploy(tolerance=Tolerance(rejected_files=0))
    run_job(source, first)
    assert "ended with COMPLETED but 1 rejected files are more than 0: 2 files scanned, 1 imported" in refusal(first)


def test_some_rejected_files_within_the_tolerance_are_a_success(source: FakeAws, deploy: Deploys) -> None:
    source.put(SOURCE, "studies/2.dcm", NOT_DICOM)
    outcome = finish(source, deploy(tolerance=Tolerance(rejected_files=1)))
    assert (2, 1, 1) == (outcome.counts.scanned, outcome.counts.imported, outcome.counts.rejected)


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
    with pytest.raises(TryLater, match="is COMPLETED and has not written its manifest"):
        first.step()
    first.clock += 100
    with pytest.raises(TryLater):
        first.step()
    source.release_manifests()
    assert 1 == first.step().counts.imported


def test_fails_when_the_manifest_never_comes(source: FakeAws, deploy: Deploys) -> None:
    source.hold_manifests = True
    first = deploy()
    run_job(source, first)
    with pytest.raises(TryLater):
        first.step()
    first.clock += 120
    reason = refusal(first)
    (job,) = source.jobs()
    assert f"import job {job.id} ended with COMPLETED and left no manifest" in reason
    assert f"get-dicom-import-job --datastore-id {source.datastore_id} --job-id {job.id}" in reason
    source.release_manifests()
    assert 1 == finish(source, deploy("later")).counts.imported
    assert 1 == len(source.jobs())


def test_fails_with_the_jobs_own_message_when_it_failed_early(source: FakeAws, deploy: Deploys) -> None:
    source.state.settings.files_per_job = 0
    first = deploy()
    run_job(source, first)
    with pytest.raises(TryLater, match="is FAILED and has not written"):
        first.step()
    first.clock += 120
    reason = refusal(first)
    assert re.search(r"ended with FAILED \(.*the input prefix\) and left no manifest", reason)
    assert "SourceBucketPolicy" not in reason


def test_fails_a_job_on_another_accounts_bucket_with_who_has_to_allow_it(source: FakeAws, deploy: Deploys) -> None:
    source.state.settings.files_per_job = 0
    first = deploy(input_owner_account_id="444455556666")
    run_job(source, first)
    with pytest.raises(TryLater, match="is FAILED and has not written"):
        first.step()
    first.clock += 120
    reason = refusal(first)
    assert "if it was denied access: the input bucket has to belong to account 444455556666" in reason
    assert "SourceKeyPolicy say (they are in the template too: cdk synth)" in reason


def test_a_jobs_own_message_does_not_name_a_file(source: FakeAws, deploy: Deploys) -> None:
    source.hold_manifests = True
    first = deploy()
    run_job(source, first)
    (job,) = source.jobs()
    job.status, job.message = "FAILED", "cannot read studies/DOE^JANE/1.dcm"
    with pytest.raises(TryLater):
        first.step()
    first.clock += 120
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
    assert "job-output-manifest.json cannot be read" in refusal(first)


# -- the warnings ----------------------------------------------------------------------------------------------------


def announce_warnings(aws: FakeAws, lines: bytes | None = None) -> str:
    """Let the manifest announce warnings; answers where they belong."""
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
    key = announce_warnings(source)
    for pause in (0, 119):
        first.clock += pause
        with pytest.raises(TryLater, match="is COMPLETED and has not written its warnings"):
            first.step()
    assert [] == source.events
    source.put(RESULTS, key, WARNED)
    assert "there are warnings: 45344 (1)" in refusal(first)


def test_warnings_that_never_come_are_no_reason_to_fail_where_they_are_tolerated(
    source: FakeAws, deploy: Deploys
) -> None:
    first = deploy()
    run_job(source, first)
    announce_warnings(source)
    outcome = first.step()
    assert "not read" == outcome.counts.warning_list()
    assert outcome == deploy("second").step()


def test_fails_where_warnings_are_not_tolerated_and_never_come(source: FakeAws, deploy: Deploys) -> None:
    first = deploy(tolerance=Tolerance(warnings=False))
    run_job(source, first)
    announce_warnings(source)
    with pytest.raises(TryLater):
        first.step()
    first.clock += 120
    assert "ended with COMPLETED but its warnings were not read: 1 files scanned" in refusal(first)


@pytest.mark.parametrize("tolerated", [True, False])
def test_warnings_that_may_not_be_read_matter_where_they_are_not_tolerated(
    source: FakeAws, deploy: Deploys, *, tolerated: bool
) -> None:
    first = deploy(tolerance=Tolerance(warnings=tolerated))
    run_job(source, first)
    announce_warnings(source, WARNED)
    source.fail("S3.GetObject", "AccessDenied", 403, subject="warning.ndjson")
    if tolerated:
        assert {"unread": 1} == first.step().counts.warnings
    else:
        assert "s3:GetObject (job output) answered AccessDenied" in refusal(first)
        assert "STARTED" == source.record()["state"]


@pytest.mark.parametrize("lines", [b"", b"\n"])
def test_an_empty_list_of_warnings_is_none(source: FakeAws, deploy: Deploys, lines: bytes) -> None:
    first = deploy(tolerance=Tolerance(warnings=False))
    run_job(source, first)
    announce_warnings(source, lines)
    assert {} == first.step().counts.warnings


def test_reasons_of_a_list_that_was_cut_are_said_to_be_of_a_part(
    aws: FakeAws, deploy: Deploys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "_LONGEST_LIST", 3 * 64 * 1024)
    aws.put(SOURCE, "studies/1.dcm", NOT_DICOM)
    first = deploy()
    run_job(aws, first)
    (key,) = (key for key in aws.keys(RESULTS) if key.endswith("failure.ndjson"))
    aws.put(RESULTS, key, aws.objects[RESULTS, key].strip().ljust(64 * 1024 - 1) * 4)
    assert re.search("; most frequent in the part that was read: .*; all: FAILURE/failure.ndjson", refusal(first))


# -- before the job --------------------------------------------------------------------------------------------------


def test_an_empty_source_is_skipped_and_not_remembered(aws: FakeAws, deploy: Deploys) -> None:
    assert Outcome(finished=True, job_status=NOTHING_TO_IMPORT) == deploy().step()
    assert {} == aws.records()
    aws.put(SOURCE, "studies/1.dcm", DICOM)
    assert 1 == finish(aws, deploy()).counts.imported


def test_fails_for_an_empty_source_when_that_is_wished(aws: FakeAws, deploy: Deploys) -> None:
    aws.put(SOURCE, "studies/")
    expected = (
        "nothing to import: 0 files lie under the input prefix of bucket source; upload DICOM P10 files there and "
        "deploy again, or set on_empty='skip'"
    )
    assert expected == refusal(deploy(on_empty="fail"))
    assert {} == aws.records()


@pytest.mark.parametrize(
    "quotas", [Quotas(files=1), Quotas(total_bytes=len(DICOM) + 1), Quotas(file_bytes=len(DICOM) - 1)]
)
def test_fails_before_a_start_when_it_is_too_much(source: FakeAws, deploy: Deploys, quotas: Quotas) -> None:
    source.put(SOURCE, "studies/2.dcm", DICOM)
    assert refusal(deploy(quotas=quotas)).startswith("no job was started: ")
    assert 0 == source.count(START)
    assert {} == source.records()


def test_fails_before_a_start_for_an_invalid_request(source: FakeAws, deploy: Deploys) -> None:
    reason = refusal(deploy(job_name="a b", on_empty="?"))
    assert reason.startswith("no job was started: on_empty must be 'skip' or 'fail'; jobName must match")
    assert {"S3.GetObject"} == {call.operation for call in source.calls}


def test_the_source_is_not_looked_at_again_once_a_job_runs(source: FakeAws, deploy: Deploys) -> None:
    finish(source, deploy())
    assert 1 == source.count("S3.ListObjectsV2")


def test_an_asset_is_unpacked_in_steps_before_the_job(aws: FakeAws, deploy: Deploys) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("1.dcm", DICOM)
        archive.writestr("2.dcm", DICOM)
    aws.put("assets", "local.zip", file.getvalue())
    first = deploy(asset=Asset("assets", "local.zip"))
    first.seconds_left = 0
    assert Outcome(finished=False) == first.step()
    first.seconds_left = 600
    assert 0 == first.progress.unpacked
    outcome = finish(aws, first)
    assert 2 == outcome.counts.scanned
    assert outcome == deploy(asset=Asset("assets", "other.zip")).step()
    assert 1 == aws.count("S3.HeadObject", "local.zip") - 1


# -- who waits -------------------------------------------------------------------------------------------------------


def test_nothing_is_started_when_nothing_may_be(source: FakeAws, deploy: Deploys) -> None:
    assert Outcome(finished=True, job_status=NOT_STARTED) == deploy(may_start=False).step()
    assert {} == source.records()
    assert 0 == source.count(START)


def test_a_success_is_remembered_though_nothing_may_be_started(source: FakeAws, deploy: Deploys) -> None:
    outcome = finish(source, deploy())
    assert outcome == deploy("rollback", may_start=False).step()


def test_a_failed_attempt_is_no_reason_to_start_for_a_rollback(source: FakeAws, deploy: Deploys) -> None:
    source.fail(START, "AccessDeniedException", 403)
    refusal(deploy())
    assert NOT_STARTED == deploy("rollback", may_start=False).step().job_status
    assert 1 == source.count(START)


def test_a_deletion_waits_for_the_running_job_and_whoever_waited_stops(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    first = deploy()
    job_id = first.step().job_id
    deletion = deploy("deletion", may_start=False)
    assert job_id == deletion.step().job_id
    assert "a later request for this import replaced this one; a job that runs goes on" == refusal(first)
    assert "deletion" == source.record()["followed_by"]
    source.wait_for_jobs()
    assert 1 == deletion.step().counts.imported


def test_another_deploy_joins_a_running_job(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    first, second = deploy(), deploy("second")
    assert first.step().job_id == second.step().job_id
    source.wait_for_jobs()
    assert first.step() == second.step()
    assert 1 == len(source.jobs())


def test_a_deploy_after_a_rollback_follows_the_job_that_still_runs(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    first = deploy()
    first.step()
    deploy("rollback", may_start=False).step()
    second = deploy("second")
    second.step()
    assert "" == source.record()["followed_by"]
    source.wait_for_jobs()
    assert 1 == second.step().counts.imported


def test_a_rollback_takes_over_a_running_job_of_what_it_undoes(source: FakeAws, deploy: Deploys) -> None:
    source.jobs_may_run.clear()
    first = deploy()
    first.step()
    deploy("rollback", may_start=False).importer.take_over(Progress())
    assert "replaced this one" in refusal(first)
    assert "STARTED" == source.record()["state"]


def test_taking_over_changes_nothing_where_no_job_runs(source: FakeAws, deploy: Deploys) -> None:
    deploy("rollback", may_start=False).importer.take_over(Progress())
    finish(source, deploy())
    before = source.record()
    deploy("rollback", may_start=False).importer.take_over(Progress())
    assert before == source.record()


def test_progress_survives_another_version_of_this_code() -> None:
    assert Progress(unpacked=3) == Progress.from_dict({"unpacked": 3, "removed_later": True})


# -- which run is meant ----------------------------------------------------------------------------------------------


def test_a_deploy_without_a_run_id_means_the_run_that_succeeded_last(source: FakeAws, deploy: Deploys) -> None:
    first = finish(source, deploy("first", run_id="1"))
    assert first == finish(source, deploy("plain"))
    second = finish(source, deploy("second", run_id="2"))
    assert second == finish(source, deploy("plain again"))
    assert first == finish(source, deploy("back", run_id="1"))
    assert first == finish(source, deploy("plain after going back"))
    assert 2 == len(source.jobs())


def test_a_run_that_failed_is_not_the_one_that_is_meant(source: FakeAws, deploy: Deploys) -> None:
    good = finish(source, deploy("first", run_id="1"))
    source.fail(START, "ResourceNotFoundException", 404)
    refusal(deploy("bad", run_id="2"))
    assert good == finish(source, deploy("plain"))
    assert 1 == len(source.jobs())


def test_a_job_that_is_not_known_any_more_ends_its_attempt(source: FakeAws, deploy: Deploys) -> None:
    first = deploy("first")
    run_job(source, first)
    source.fail(GET, "ResourceNotFoundException", 404)
    with pytest.raises(TryLater, match="not known yet"):
        first.step()
    first.clock = time.time() + 301
    source.fail(GET, "ResourceNotFoundException", 404)
    assert "deploy again with another run_id" in refusal(first)
    assert 1 == finish(source, deploy("second")).counts.imported
