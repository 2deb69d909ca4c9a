"""Where the records are: in the output bucket, read in bounded size and written by condition only."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.aws.objects import write_object
from healthimaging_import.contract import RECORDS_FOLDER, Verdict
from healthimaging_import.errors import DECODE_ERRORS, TerminalError
from healthimaging_import.importing.record import LONGEST_DOCUMENT, SCHEMA, Record, State, damaged, decode_document
from healthimaging_import.importing.request import ImportRequest


@dataclass(frozen=True)
class Run:
    """One run of an import: what a deploy without a ``run_id`` can mean."""

    series: str
    run_id: str
    intent: str
    submitted_at: float = 0.0


@dataclass(frozen=True)
class LastRuns:
    """The run that was started last into a data store by one import, and the last that imported."""

    started: Run | None = None
    imported: Run | None = None
    etag: str = ""
    damage: TerminalError | None = None
    """Why nothing is known of them: a deploy that names its run writes them anew, one that does not cannot go on."""


@dataclass
class Records:
    """The records of one import, under one prefix of its output bucket."""

    aws: Aws
    request: ImportRequest
    """Whose records these are."""

    def load(self, intent: str) -> Record | None:
        """Return the record of an intent; None where nobody has claimed it."""
        found = self._read(f"{intent}.json", "import record")
        return Record.decode(found[0], intent, time.time(), found[1]) if found else None

    def save(self, record: Record, **changes: Any) -> Record:  # noqa: ANN401 - a Record's fields
        """Write a record with some fields changed, if what it was read from is still as it was.

        Raises:
            ConflictError: somebody else has written it; look again.
        """
        record = dataclasses.replace(record, **changes)
        etag = self._write(f"{record.intent}.json", record.encode(), record.etag, "import record")
        return dataclasses.replace(record, etag=etag)

    def last_runs(self, series: str) -> LastRuns:
        """Return the last runs, also as the first version noted them for one series."""
        name = last_name = f"{self.request.store_scope}-last.json"
        found = self._read(name, "last runs")
        if found is None:
            name = f"{series}-latest.json"
            found = self._read(name, "latest run")
        if found is None:
            return LastRuns()
        try:
            document = decode_document(found[0], name)
            if name != last_name:
                return LastRuns(imported=Run(series, str(document["run_id"]), ""))
            return LastRuns(_decode_run(document["started"]), _decode_run(document["imported"]), found[1])
        except DECODE_ERRORS:
            return LastRuns(etag=found[1] if name == last_name else "", damage=damaged(name))

    def note_started(self, run: Run) -> None:
        """Note that a run is about to be started."""
        last = self.last_runs(run.series)
        if last.started != run:
            self._note(dataclasses.replace(last, started=run))

    def note_imported(self, run: Run) -> None:
        """Note that a run has imported, unless one that was submitted later has."""
        last = self.last_runs(run.series)
        if last.imported is None or (run.submitted_at >= last.imported.submitted_at and last.imported != run):
            self._note(dataclasses.replace(last, imported=run))

    def keep_manifest(self, record: Record, body: bytes) -> str:
        """Keep a job's manifest where no lifecycle rule of this library expires it; returns its S3 URI."""
        name = f"{record.intent}-{record.attempt}/job-output-manifest.json"
        self._write(name, body, None, "manifest")
        return f"s3://{self.request.output_bucket}/{self._key(name)}"

    def _note(self, last: LastRuns) -> None:
        runs = {"started": last.started, "imported": last.imported}
        document = {"schema": SCHEMA, **{name: dataclasses.asdict(run) if run else None for name, run in runs.items()}}
        self._write(
            f"{self.request.store_scope}-last.json",
            json.dumps(document, sort_keys=True).encode(),
            last.etag,
            "last runs",
        )

    def _key(self, name: str) -> str:
        return f"{self.request.output_prefix}{RECORDS_FOLDER}{name}"

    def _read(self, name: str, purpose: str) -> tuple[bytes, str] | None:
        return self.aws.read_bytes(self.request.output_bucket, self._key(name), LONGEST_DOCUMENT + 1, purpose=purpose)

    def _write(self, name: str, body: bytes, etag: str | None, purpose: str) -> str:
        """Write over what has that tag; an empty one stands for nothing, None for anything."""
        return write_object(self.aws, self.request.output_bucket, self._key(name), body, etag, purpose=purpose)


def resolve_run(records: Records, request: ImportRequest) -> str:
    """Return the run that a deploy without a ``run_id`` means: the last one, unless it has failed.

    The run that was started last, also if its job is still running; where that one failed, the one that imported last.

    Raises:
        TerminalError: the last runs are damaged.
    """
    last = records.last_runs(request.series)
    if last.damage:
        raise last.damage
    if last.started and last.started.series == request.series:
        record = records.load(request.for_run(last.started.run_id).intent)
        if record is None or not (record.state is State.REFUSED or record.verdict is Verdict.FAILED):
            return last.started.run_id
    return last.imported.run_id if last.imported and last.imported.series == request.series else ""


def is_current(
    records: Records, request: ImportRequest, before: ImportRequest | None, *, is_plain: bool = False
) -> bool:
    """Whether what a deploy asks for is what the data store was given last, as far as this import knows.

    Args:
        records: the import's records.
        request: what is asked for.
        before: what was asked for by the deploy before, if there was one.
        is_plain: whether no run is named: a run of the same meaning is meant, whichever it was.
    """
    if before is not None and before.intent == request.intent:
        return True
    if before is not None and before.output != request.output:
        return False  # what was started meanwhile is noted there
    last = records.last_runs(request.series)
    given = last.started
    if given and given.intent != request.intent:
        record = records.load(given.intent)
        given = last.imported if record and record.state is State.REFUSED else given  # it was never sent
    is_last = given is not None and given.intent == request.intent
    is_of_series = is_plain and before is not None and before.series == request.series
    # Where its record is gone, only an update of the same meaning may take the import for done.
    return (is_last or is_of_series) and records.load(request.intent) is not None


def _decode_run(document: dict[str, Any] | None) -> Run | None:
    if document is None:
        return None
    run = Run(**document)
    texts = all(isinstance(text, str) for text in (run.series, run.run_id, run.intent))
    if not texts or type(run.submitted_at) not in (int, float):
        raise TypeError
    return run
