"""The memory of an import: claimed once, changed under condition only, read with care."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from typing import Any

import pytest

from healthimaging_import.aws import Clients
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.records import CLAIMED, FAILED, STARTED, SUCCEEDED, Record, Records
from tests.handler.fake_aws import RESULTS, FakeAws

INTENT = "a" * 64
KEY = f"imports/{INTENT}.json"
RECORD = Record(intent=INTENT, attempt=1, asked_by="first", parameters={"clientToken": "t", "datastoreId": "0" * 32})


JOB = {"jobId": "1", "submittedAt": "2026-11-25T00:00:00+00:00"}


def written(**changes: Any) -> bytes:
    """The record as it is written, with some members changed."""
    return json.dumps({**dataclasses.asdict(RECORD), **changes}).encode()


@pytest.fixture
def records(clients: Clients) -> Records:
    return Records(clients.s3, RESULTS, "imports/")


def test_an_intent_nobody_claimed_has_no_record(records: Records) -> None:
    assert records.load(INTENT) is None


def test_a_claim_is_read_as_it_was_written(records: Records) -> None:
    claimed = records.claim(RECORD, None)
    assert CLAIMED == claimed.record.state
    assert claimed == records.load(INTENT)


def test_fails_to_claim_what_is_claimed(records: Records) -> None:
    first = records.claim(RECORD, None)
    with pytest.raises(TryLater, match="another execution of the same import is at work"):
        records.claim(RECORD.changed(asked_by="second"), None)
    assert first == records.load(INTENT)


def test_one_of_many_claims_at_once_wins(records: Records) -> None:
    won: list[str] = []

    def claim(name: str) -> None:
        with contextlib.suppress(TryLater):
            won.append(records.claim(RECORD.changed(asked_by=name), None).record.asked_by)

    threads = [threading.Thread(target=claim, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = records.load(INTENT)
    assert stored is not None
    assert [stored.record.asked_by] == won


def test_a_new_attempt_replaces_the_one_that_was_read(records: Records) -> None:
    first = records.claim(RECORD, None)
    second = records.claim(RECORD.changed(attempt=2), first)
    assert second == records.load(INTENT)
    assert 2 == second.record.attempt


def test_fails_to_replace_what_somebody_changed_in_between(records: Records) -> None:
    first = records.claim(RECORD, None)
    changed = records.save(RECORD.changed(state=STARTED, job=JOB), first)
    with pytest.raises(TryLater):
        records.save(RECORD.changed(state="FAILED"), first)
    with pytest.raises(TryLater):
        records.claim(RECORD.changed(attempt=2), first)
    assert changed == records.load(INTENT)


def test_fails_to_save_over_a_record_that_was_deleted(records: Records, aws: FakeAws) -> None:
    first = records.claim(RECORD, None)
    aws.objects.clear()
    with pytest.raises(TryLater):
        records.save(RECORD.changed(state=STARTED), first)
    assert [] == aws.keys(RESULTS)


def test_no_record_is_ever_written_without_a_condition(records: Records, aws: FakeAws) -> None:
    stored = records.claim(RECORD, None)
    aws.put(RESULTS, KEY, b"{}")
    with pytest.raises(TryLater):
        records.save(RECORD, stored)
    with pytest.raises(TryLater):
        records.claim(RECORD, None)
    assert b"{}" == aws.objects[RESULTS, KEY]


def test_a_write_whose_answer_was_lost_is_found_by_the_next_look(records: Records, aws: FakeAws) -> None:
    aws.fail("S3.PutObject", "InternalError", 500, after=True)
    with pytest.raises(TryLater, match=r"s3:PutObject .import record. answered InternalError"):
        records.claim(RECORD, None)
    stored = records.load(INTENT)
    assert stored is not None
    assert RECORD == stored.record


def test_two_writers_at_the_same_moment_try_again(records: Records, aws: FakeAws) -> None:
    aws.fail("S3.PutObject", "ConditionalRequestConflict", 409)
    with pytest.raises(TryLater):
        records.claim(RECORD, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"schema": 1}',
        b"{}",
        b"[" * 100_000,
        written(schema=None),
        written(schema="1"),
        written(intent=None),
        written(attempt="1"),
        written(claimed_at=None),
        written(parameters=None),
        written(parameters={}),
        written(job=[]),
        written(outcome=None),
        written(state="LOST"),
        written(state=[]),
        written(state=STARTED),
        written(state=STARTED, job={"jobId": "1"}),
        written(state=STARTED, job={"submittedAt": JOB["submittedAt"]}),
        written(state=STARTED, job={**JOB, "submittedAt": "yesterday"}),
        written(state=SUCCEEDED, job=JOB),
        written(state=SUCCEEDED, job=JOB, outcome={"counts": 7}),
        written(state=SUCCEEDED, outcome={"counts": {}}),
        json.dumps({"schema": 1, "intent": INTENT, "attempt": 1}).encode(),
    ],
)
def test_fails_for_a_damaged_record_with_the_way_out(records: Records, aws: FakeAws, body: bytes) -> None:
    aws.put(RESULTS, KEY, body)
    with pytest.raises(Refused) as refused:
        records.load(INTENT)
    expected = (
        f"the import record .healthimaging-cdk/{INTENT}.json in the output bucket is damaged: put an earlier version "
        "of it back, or remove it to import again, then deploy again"
    )
    assert expected == str(refused.value)


@pytest.mark.parametrize("document", [{"schema": 2}, {"schema": 99, "intent": INTENT}, {"schema": 0}])
def test_fails_for_a_record_of_another_schema(records: Records, aws: FakeAws, document: dict[str, Any]) -> None:
    aws.put(RESULTS, KEY, json.dumps(document).encode())
    with pytest.raises(
        Refused, match=f"has schema {document.get('schema')}, this version reads 1: deploy with a newer"
    ):
        records.load(INTENT)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"state": FAILED},
        {"state": FAILED, "job": JOB},
        {"state": STARTED, "job": JOB},
        {"state": SUCCEEDED, "job": JOB, "outcome": {"counts": {}}},
    ],
)
def test_a_record_of_every_state_is_read(records: Records, aws: FakeAws, changes: dict[str, Any]) -> None:
    aws.put(RESULTS, KEY, written(**changes))
    read = records.load(INTENT)
    assert read is not None
    assert RECORD.changed(**changes) == read.record


def test_a_record_may_hold_more_than_this_version_knows(records: Records, aws: FakeAws) -> None:
    stored = records.claim(RECORD, None)
    document = json.loads(aws.objects[RESULTS, KEY])
    aws.put(RESULTS, KEY, json.dumps({**document, "later": "addition"}).encode())
    read = records.load(INTENT)
    assert read is not None
    assert stored.record == read.record


def test_a_record_may_hold_less_than_this_version_knows(records: Records, aws: FakeAws) -> None:
    stored = records.claim(RECORD, None)
    document = json.loads(aws.objects[RESULTS, KEY])
    del document["followed_by"]
    aws.put(RESULTS, KEY, json.dumps(document).encode())
    read = records.load(INTENT)
    assert read is not None
    assert stored.record == read.record


def test_the_manifest_of_each_attempt_is_kept_beside_the_record(records: Records, aws: FakeAws) -> None:
    uri = records.keep_manifest(RECORD.changed(attempt=3), b"manifest")
    assert f"s3://{RESULTS}/imports/{INTENT}-3/job-output-manifest.json" == uri
    assert b"manifest" == aws.objects[RESULTS, f"imports/{INTENT}-3/job-output-manifest.json"]


def test_fails_at_once_when_the_bucket_may_not_be_read(records: Records, aws: FakeAws) -> None:
    aws.fail("S3.GetObject", "AccessDenied", 403)
    with pytest.raises(Refused, match=r"s3:GetObject .import record. answered AccessDenied.*: a permission is missing"):
        records.load(INTENT)


def test_a_denial_may_pass_while_iam_settles(clients: Clients, aws: FakeAws) -> None:
    records = Records(clients.s3, RESULTS, "imports/", settling=True)
    aws.fail("S3.GetObject", "AccessDenied", 403)
    with pytest.raises(TryLater):
        records.load(INTENT)
    aws.fail("S3.PutObject", "AccessDenied", 403)
    with pytest.raises(TryLater):
        records.claim(RECORD, None)
    assert RECORD == records.claim(RECORD, None).record


# -- the latest run --------------------------------------------------------------------------------------------------

LATEST = f"imports/{INTENT}-latest.json"


def test_the_run_that_succeeded_last_is_remembered(records: Records) -> None:
    assert records.latest_run(INTENT) is None
    for run_id in ("1", "2", ""):
        records.note_latest_run(INTENT, run_id)
        assert run_id == records.latest_run(INTENT)


def test_what_is_remembered_is_not_written_again(records: Records, aws: FakeAws) -> None:
    for _ in range(3):
        records.note_latest_run(INTENT, "1")
    assert 1 == aws.count("S3.PutObject", "-latest.json")


DAMAGED = [b"", b"{}", b"{", b"null", b"7", b"[" * 100_000, b'{"schema": 1}', b'{"schema": 1, "run_id": 7}']


@pytest.mark.parametrize("body", DAMAGED)
def test_fails_for_a_damaged_latest_run_with_the_way_out(records: Records, aws: FakeAws, body: bytes) -> None:
    aws.put(RESULTS, LATEST, body)
    with pytest.raises(Refused) as refused:
        records.latest_run(INTENT)
    expected = (
        f"the import record .healthimaging-cdk/{INTENT}-latest.json in the output bucket is damaged: deploy again with "
        "the run_id that is meant, which writes it anew"
    )
    assert expected == str(refused.value)


@pytest.mark.parametrize("body", DAMAGED)
def test_a_damaged_latest_run_is_written_anew(records: Records, aws: FakeAws, body: bytes) -> None:
    aws.put(RESULTS, LATEST, body)
    records.note_latest_run(INTENT, "1")
    assert "1" == records.latest_run(INTENT)


def test_fails_for_a_latest_run_of_another_schema(records: Records, aws: FakeAws) -> None:
    aws.put(RESULTS, LATEST, b'{"schema": 2}')
    with pytest.raises(Refused, match=r"-latest.json in the output bucket has schema 2, this version reads 1"):
        records.latest_run(INTENT)


# -- the jobs of others ----------------------------------------------------------------------------------------------


def test_jobs_of_records_changed_a_little_before_are_found_where_clocks_differ(records: Records, aws: FakeAws) -> None:
    aws.put(RESULTS, KEY, written(state=STARTED, job=JOB))
    changed = time.time()
    assert {"1"} == records.jobs_since(changed + 30)
    assert set() == records.jobs_since(changed + 90)
