"""The memory of an import: one small object per intent in the output bucket, written before the job is started.

HealthImaging remembers a client token for a time nobody has written down, so the record is what makes "one intent, one
job" true: it holds the exact request before it is sent, and the answer once there is one. Records carry a schema
version, are claimed and changed by conditional writes only, and are never expired by this library's lifecycle rules.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from healthimaging_import.faults import explained, is_missing
from healthimaging_import.objects import read_object
from healthimaging_import.problems import NOT_AS_WRITTEN, Refused, TryLater
from healthimaging_import.rules import RECORDS_FOLDER

SCHEMA = 1
_CLOCKS_DIFFER_BY = 60.0
_INTENT = re.compile(r"[0-9a-f]{64}\.json")

CLAIMED = "CLAIMED"  # the request is written down; it may or may not have reached HealthImaging
STARTED = "STARTED"  # HealthImaging answered with a job
SUCCEEDED = "SUCCEEDED"  # the verdict: files were imported
FAILED = "FAILED"  # refused at the start, or the verdict was bad; this attempt is over


@dataclass(frozen=True)
class Record:
    """One attempt at one intent."""

    intent: str
    attempt: int
    asked_by: str
    parameters: dict[str, Any]
    state: str = CLAIMED
    job: dict[str, str] = field(default_factory=dict)
    outcome: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    claimed_at: float = 0.0
    """When the request was written down, in seconds; 0 in a record of the first version."""
    job_before: str = ""
    """The job of the attempt before, which is not this one's."""
    awaited_by: str = ""
    """Which request looks at the job last, and so judges it: the followers of others stand back."""
    followed_by: str = ""
    """Who waits for the job instead of those who did before: a rollback or a deletion. Empty: whoever asks."""
    schema: int = SCHEMA

    def changed(self, **changes: Any) -> Record:  # noqa: ANN401 - any of the fields above
        """The record with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Stored:
    """A record as it lies in the bucket, with the tag that a conditional write needs."""

    record: Record
    etag: str


class Records:
    """Reads and writes records under one prefix of the output bucket."""

    def __init__(self, s3: Any, bucket: str, prefix: str, *, settling: bool = False) -> None:  # noqa: ANN401
        """Take an S3 client and the place of the records."""
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix
        self._settling = settling

    def _key(self, intent: str) -> str:
        return f"{self._prefix}{intent}.json"

    def manifest_key(self, record: Record) -> str:
        """Where the manifest of an attempt is kept, outside of what a lifecycle rule may expire."""
        return f"{self._prefix}{record.intent}-{record.attempt}/job-output-manifest.json"

    def load(self, intent: str) -> Stored | None:
        """The record of an intent, or None when nobody has claimed it."""
        found = read_object(
            self._s3,
            self._bucket,
            self._key(intent),
            lambda answer: (answer["Body"].read(), str(answer["ETag"])),
            what="import record",
            settling=self._settling,
        )
        return Stored(_record(found[0], f"{intent}.json"), found[1]) if found else None

    def jobs_since(self, since: float) -> set[str]:
        """The jobs in all records that were changed since then, in seconds, or a little earlier."""
        with explained("s3", "s3:ListBucket (import records)", settling=self._settling):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            names = [
                found["Key"].removeprefix(self._prefix)
                for page in pages
                for found in page.get("Contents", ())
                if found["LastModified"].timestamp() >= since - _CLOCKS_DIFFER_BY
            ]
        intents = [name.removesuffix(".json") for name in names if _INTENT.fullmatch(name)]
        stored = [self.load(intent) for intent in intents]
        return {one.record.job.get("jobId", "") for one in stored if one}

    def claim(self, record: Record, over: Stored | None) -> Stored:
        """Write a new attempt, only if nobody else has since ``over`` was read.

        Raises:
            TryLater: another execution claimed the intent in between; look again.
        """
        condition = {"IfMatch": over.etag} if over else {"IfNoneMatch": "*"}
        return self._put(record, condition)

    def save(self, record: Record, over: Stored) -> Stored:
        """Replace the record that was read as ``over``."""
        return self._put(record, {"IfMatch": over.etag})

    def _put(self, record: Record, condition: dict[str, str]) -> Stored:
        body = json.dumps(dataclasses.asdict(record), sort_keys=True).encode()
        with explained("s3", "s3:PutObject (import record)", settling=self._settling):
            try:
                answer = self._s3.put_object(
                    Bucket=self._bucket,
                    Key=self._key(record.intent),
                    Body=body,
                    ContentType="application/json",
                    **condition,
                )
            except ClientError as error:
                if is_missing(error) or error.response["Error"]["Code"] == "PreconditionFailed":
                    raise TryLater("another execution of the same import is at work") from None
                raise
            etag = str(answer["ETag"])
        return Stored(record, etag)

    def latest_run(self, series: str) -> str | None:
        """The ``run_id`` that succeeded last among the runs of one meaning, or None."""
        body, _ = self._latest(series)
        return None if body is None else _run_id(body, _latest_name(series))

    def _latest(self, series: str) -> tuple[bytes | None, float]:
        """What was noted, and when, in seconds."""
        found = read_object(
            self._s3,
            self._bucket,
            self._prefix + _latest_name(series),
            lambda answer: (answer["Body"].read(), answer["LastModified"].timestamp()),
            what="latest run",
            settling=self._settling,
        )
        return found or (None, 0.0)

    def note_latest_run(self, series: str, run_id: str, *, unless_noted_since: float | None = None) -> None:
        """Remember the ``run_id`` that a deploy without one means; what was remembered may be damaged.

        Args:
            series: the meaning of the runs.
            run_id: the run that has succeeded.
            unless_noted_since: keep what was noted after this time, in seconds.
        """
        body = json.dumps({"schema": SCHEMA, "run_id": run_id}).encode()
        noted, noted_at = self._latest(series)
        if noted == body or (noted is not None and unless_noted_since is not None and noted_at > unless_noted_since):
            return
        with explained("s3", "s3:PutObject (latest run)", settling=self._settling):
            self._s3.put_object(
                Bucket=self._bucket, Key=self._prefix + _latest_name(series), Body=body, ContentType="application/json"
            )

    def keep_manifest(self, record: Record, body: bytes) -> str:
        """Keep a job's manifest beside its record; answers its S3 URI."""
        key = self.manifest_key(record)
        with explained("s3", "s3:PutObject (manifest)", settling=self._settling):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json")
        return f"s3://{self._bucket}/{key}"


def _latest_name(series: str) -> str:
    return f"{series}-latest.json"


def _record(body: bytes, name: str) -> Record:
    try:
        document = _document(body, name)
        known = {field.name for field in dataclasses.fields(Record)}
        record = Record(**{name: value for name, value in document.items() if name in known})
        if _is_whole(record):
            return record
    except NOT_AS_WRITTEN:
        pass
    raise _damaged(name, "put an earlier version of it back, or remove it to import again, then deploy again")


def _run_id(body: bytes, name: str) -> str:
    try:
        run_id = _document(body, name)["run_id"]
        if isinstance(run_id, str):
            return run_id
    except NOT_AS_WRITTEN:
        pass
    raise _damaged(name, "deploy again with the run_id that is meant, which writes it anew")


def _document(body: bytes, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(body)
    schema = document["schema"]
    if not isinstance(schema, int):
        raise TypeError
    if schema != SCHEMA:
        msg = f"{_place(name)} has schema {schema}, this version reads {SCHEMA}: deploy with a newer library"
        raise Refused(msg)
    return document


def _is_whole(record: Record) -> bool:
    """Whether a record holds what its state promises."""
    texts = (record.intent, record.asked_by, record.reason, record.job_before, record.followed_by, record.awaited_by)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int | float) for number in (record.attempt, record.claimed_at))
        and all(isinstance(members, dict) for members in (record.parameters, record.job, record.outcome))
        and isinstance(record.parameters["datastoreId"], str)
    ):
        return False
    if record.state in (STARTED, SUCCEEDED):
        datetime.fromisoformat(record.job["submittedAt"])
        return isinstance(record.job["jobId"], str) and (
            record.state == STARTED or isinstance(record.outcome["counts"], dict)
        )
    return record.state in (CLAIMED, FAILED)


def _damaged(name: str, advice: str) -> Refused:
    return Refused(f"{_place(name)} is damaged: {advice}")


def _place(name: str) -> str:
    # Without the output prefix, which is not ours: it may be of a kind that does not belong into a reason.
    return f"the import record {RECORDS_FOLDER}{name} in the output bucket"
