"""Which run a deploy means: a note beside the records says what an import started last, and what it imported last."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from healthimaging_import.contract import Verdict
from healthimaging_import.errors import DECODE_ERRORS, TerminalError
from healthimaging_import.importing.record import SCHEMA, Records, State, damaged, decode_document
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


def read_last_runs(records: Records) -> LastRuns:
    """Return the last runs."""
    name = _name(records)
    found = records.read(name, "last runs")
    if found is None:
        return LastRuns()
    try:
        document = decode_document(found[0], name)
        return LastRuns(_decode_run(document["started"]), _decode_run(document["imported"]), found[1])
    except DECODE_ERRORS:
        return LastRuns(etag=found[1], damage=damaged(name))


def note_started(records: Records, request: ImportRequest) -> None:
    """Note that a run is about to be started."""
    last, run = read_last_runs(records), Run(request.series, request.run_id, request.intent)
    if last.started != run:
        _note(records, dataclasses.replace(last, started=run))


def note_imported(records: Records, request: ImportRequest, submitted_at: float) -> None:
    """Note that a run has imported, unless one that was submitted later has."""
    last, run = read_last_runs(records), Run(request.series, request.run_id, request.intent, submitted_at)
    if last.imported is None or (submitted_at >= last.imported.submitted_at and last.imported != run):
        _note(records, dataclasses.replace(last, imported=run))


def _note(records: Records, last: LastRuns) -> None:
    runs = {"started": last.started, "imported": last.imported}
    document = {"schema": SCHEMA, **{name: dataclasses.asdict(run) if run else None for name, run in runs.items()}}
    records.write(_name(records), json.dumps(document, sort_keys=True).encode(), last.etag, "last runs")


def _name(records: Records) -> str:
    return f"{records.request.store_scope}-last.json"


def resolve_run(records: Records, request: ImportRequest) -> str:
    """Return the run that a deploy without a ``run_id`` means: the last one, unless it has failed.

    The run that was started last, also if its job is still running; where that one failed, the one that imported last.

    Raises:
        TerminalError: the last runs are damaged.
    """
    last = read_last_runs(records)
    if last.damage:
        raise last.damage
    if last.started and last.started.series == request.series:
        record = records.load(request.for_run(last.started.run_id).intent)
        if record is None or not (record.state is State.REFUSED or record.verdict is Verdict.FAILED):
            return last.started.run_id
    if last.imported and last.imported.series == request.series:
        return last.imported.run_id
    return _run_of_first_version(records)


def _run_of_first_version(records: Records) -> str:
    """Return the run that the first version noted as the latest, one note for each series."""
    name = f"{records.request.series}-latest.json"
    found = records.read(name, "latest run")
    try:
        return str(decode_document(found[0], name)["run_id"]) if found else ""
    except DECODE_ERRORS:
        raise damaged(name) from None


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
    last = read_last_runs(records)
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
