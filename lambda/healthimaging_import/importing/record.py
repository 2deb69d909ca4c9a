"""The record of an intent: one small object in the output bucket, which says all that is known of its import.

HealthImaging remembers a client token for a time that is not documented, so the record is what makes "one intent,
one job" true. What it says is input, not truth: what is sent is computed anew, what is believed is compared with
HealthImaging.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.contract import RECORDS_FOLDER, Verdict
from healthimaging_import.errors import DECODE_ERRORS, TerminalError
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.importing.verdict import ImportResult

SCHEMA = 2
LONGEST_DOCUMENT = 1024**2
"""Bytes. The largest record holds a thousand metadata mappings."""
_JOB_ID = re.compile(r"[0-9a-z]{1,32}")
_WARNING = re.compile(r"[0-9]{1,6}|unread|unreadable")
_JOB_STATUSES = ("SUBMITTED", "IN_PROGRESS", "COMPLETED", "FAILED", "UNKNOWN", "NOT_STARTED", "NOTHING_TO_IMPORT")
_CLOCKS_DIFFER_BY = 60.0
_LONGEST_LEASE = 120.0


class State(StrEnum):
    """What a record says of its attempt."""

    CLAIMED = "CLAIMED"  # a job may be started; the start may be on its way until ``lease_until``
    RUNNING = "RUNNING"  # HealthImaging has answered with a job
    JUDGED = "JUDGED"  # there is a verdict on the job
    REFUSED = "REFUSED"  # no job was started, for a reason


class Retry(StrEnum):
    """Whether the owner tries once more after a job that failed as one does whose role IAM does not know yet."""

    NONE = ""
    DUE = "DUE"  # this attempt's job failed so
    DONE = "DONE"  # this attempt is that one more


@dataclass(frozen=True)
class Owner:
    """A request, and when it was sent: of two requests the later one owns the record.

    Its first call may come minutes later, after that of the next request.
    """

    request_id: str
    sent_at: float


@dataclass(frozen=True)
class Record:
    """One attempt at one intent. Times are seconds since the epoch."""

    intent: str
    attempt: int
    state: State
    owner: Owner
    parameters: dict[str, Any]
    """The request that is sent, for whoever reads the record."""
    claimed_at: float = 0.0
    lease_until: float = 0.0
    """Until when a start may be on its way; 0 where none is."""
    job: dict[str, str] = field(default_factory=dict)
    """``jobId`` and ``submittedAt``, once there is a job."""
    ended_at: float = 0.0
    """When the job was first seen to have ended, where HealthImaging does not say."""
    verdict: Verdict | None = None
    result: ImportResult = field(default_factory=ImportResult)
    reason: str = ""
    """Why it was refused, or why the verdict is not SUCCEEDED."""
    published: bool = False
    retry: Retry = Retry.NONE
    responded_to: str = ""
    """The request that has its response though the job is running."""
    etag: str = field(default="", compare=False)
    """The tag of the object it was read from, which a conditional write needs; empty where there is none."""

    @property
    def has_ended(self) -> bool:
        """Whether the attempt has ended."""
        return self.state in (State.JUDGED, State.REFUSED)

    @property
    def submitted_at(self) -> float:
        """When the job was submitted."""
        return datetime.fromisoformat(self.job["submittedAt"]).timestamp()

    def encode(self) -> bytes:
        """Write the record as it is stored."""
        document = {**dataclasses.asdict(self), "schema": SCHEMA}
        document |= {"owner": self.owner.request_id, "owner_began_at": self.owner.sent_at}
        del document["etag"]
        return json.dumps(document, sort_keys=True).encode()

    @staticmethod
    def decode(body: bytes, intent: str, now: float, etag: str = "") -> Record:
        """Read a stored record, of this version or of the first one; no time in it may be later than now.

        Raises:
            TerminalError: it is damaged, of another intent, or of a newer version.
        """
        try:
            document = decode_document(body, f"{intent}.json")
            record = _from_first_version(document) if document["schema"] == 1 else _from_this_version(document)
            if record.intent == intent and _is_whole(record, now + _CLOCKS_DIFFER_BY):
                return dataclasses.replace(record, etag=etag)
        except DECODE_ERRORS:
            pass
        raise damaged(f"{intent}.json")


def decode_document(body: bytes, name: str) -> dict[str, Any]:
    """Decode a stored document, of a version that this one reads."""
    if len(body) > LONGEST_DOCUMENT:
        raise ValueError
    document: dict[str, Any] = json.loads(body)
    schema = document["schema"]
    if not isinstance(schema, int):
        raise TypeError
    if not 1 <= schema <= SCHEMA:
        msg = f"{_place(name)} has schema {schema}, this version reads 1 to {SCHEMA}: deploy with a newer library"
        raise TerminalError(msg)
    return document


def damaged(name: str) -> TerminalError:
    """Say what to do about a stored document that cannot be read."""
    return TerminalError(
        f"{_place(name)} is damaged: put an earlier version of it back and deploy again, or deploy again with a run_id "
        "not used before to import again"
    )


def _place(name: str) -> str:
    # Without the output prefix, which is not ours: it may hold what does not belong into a reason.
    return f"the import record {RECORDS_FOLDER}{name} in the output bucket"


def _from_this_version(document: Mapping[str, Any]) -> Record:
    verdict = document["verdict"]
    values = {item.name: document[item.name] for item in dataclasses.fields(Record) if item.name in document}
    values |= {
        "state": State(document["state"]),
        "owner": Owner(document["owner"], document["owner_began_at"]),
        "verdict": Verdict(verdict) if verdict else None,
        "result": ImportResult.decode(document["result"]) if verdict else ImportResult(),
        "retry": Retry(document.get("retry", "")),
    }
    return Record(**values)


def _from_first_version(document: Mapping[str, Any]) -> Record:
    """Translate: its owner stood in three fields, its verdict in its state."""
    old, job = document["state"], document.get("job") or {}
    ended = State.JUDGED if job else State.REFUSED
    states = {"CLAIMED": State.CLAIMED, "STARTED": State.RUNNING, "SUCCEEDED": State.JUDGED, "FAILED": ended}
    owners = [document.get("followed_by"), document.get("awaited_by")] if old != "FAILED" else []
    result = {"job_id": job.get("jobId", ""), "submitted_at": job.get("submittedAt", "")}
    claimed_at = document.get("claimed_at", 0.0)
    return Record(
        intent=document["intent"],
        attempt=document["attempt"],
        state=states[old],
        owner=Owner(next(filter(None, owners), document["asked_by"]), 0.0),
        parameters=document["parameters"],
        claimed_at=claimed_at,
        # Whether it was sent is not known; whatever was is there by now.
        lease_until=max(claimed_at, 1.0) if old == "CLAIMED" else 0.0,
        job=job,
        verdict=Verdict(old) if states[old] is State.JUDGED else None,
        result=ImportResult.decode(document["outcome"] if old == "SUCCEEDED" else result),
        reason=document.get("reason", ""),
        published=True,
    )


def _is_whole(record: Record, latest: float) -> bool:
    """Whether a record holds what its state promises."""
    texts = (record.intent, record.owner.request_id, record.reason, record.responded_to)
    numbers = (record.attempt, record.claimed_at, record.lease_until, record.ended_at, record.owner.sent_at)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(type(number) in (int, float) for number in numbers)
        and record.attempt >= 1
        and isinstance(record.parameters, dict)
        and isinstance(record.published, bool)
        and record.result.job_id in ("", record.job.get("jobId"))
        and record.result.job_status in _JOB_STATUSES
        and all(_WARNING.fullmatch(code) for code in record.result.counts.warnings)
        and (record.retry is not Retry.DUE or record.verdict is Verdict.FAILED)
        and max(record.claimed_at, record.owner.sent_at, record.lease_until - _LONGEST_LEASE) <= latest
        and bool(datetime.fromisoformat(record.job.get("submittedAt", "2026-01-01")))
    ):
        return False
    has_job = bool(_JOB_ID.fullmatch(record.job.get("jobId", ""))) and "submittedAt" in record.job
    if record.state is State.JUDGED:
        return record.verdict is not None and (has_job or record.verdict is Verdict.UNKNOWN)
    return has_job or record.state is not State.RUNNING


@dataclass
class Records:
    """The records of one import, in its output bucket: read in bounded size and written by condition only."""

    aws: Aws
    request: ImportRequest

    def load(self, intent: str) -> Record | None:
        """Return the record of an intent; None where it was never claimed."""
        found = self.read(f"{intent}.json", "import record")
        return Record.decode(found[0], intent, time.time(), found[1]) if found else None

    def save(self, record: Record, **changes: Any) -> Record:  # noqa: ANN401 - a Record's fields
        """Write a record with some fields changed, if what it was read from is still as it was.

        Raises:
            ConflictError: another execution has written it; look again.
        """
        record = dataclasses.replace(record, **changes)
        etag = self.write(f"{record.intent}.json", record.encode(), record.etag, "import record")
        return dataclasses.replace(record, etag=etag)

    def keep_manifest(self, record: Record, body: bytes) -> None:
        """Keep a job's manifest where no lifecycle rule of this library expires it."""
        self.write(_manifest_name(record), body, None, "manifest")

    def manifest_uri(self, record: Record) -> str:
        """Return where an attempt's manifest is kept, as an S3 URI."""
        return f"s3://{self.request.output_bucket}/{self._key(_manifest_name(record))}"

    def read(self, name: str, purpose: str) -> tuple[bytes, str] | None:
        """Return what is stored under a name, and its tag."""
        return self.aws.read_bytes(self.request.output_bucket, self._key(name), LONGEST_DOCUMENT + 1, purpose=purpose)

    def write(self, name: str, body: bytes, etag: str | None, purpose: str) -> str:
        """Write over what has that tag; an empty one stands for nothing, None for anything."""
        return self.aws.write_object(self.request.output_bucket, self._key(name), body, etag, purpose=purpose)

    def _key(self, name: str) -> str:
        return f"{self.request.output_prefix}{RECORDS_FOLDER}{name}"


def _manifest_name(record: Record) -> str:
    return f"{record.intent}-{record.attempt}/job-output-manifest.json"
