"""Which run a deploy means: a note beside the records says what an import started last, and what it imported last."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
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
class _Note:
    """What is stored."""

    started: Run | None = None
    imported: Run | None = None
    etag: str = ""
    damage: TerminalError | None = None
    """Why nothing is known of them: a deploy that names its run writes them anew, one that does not cannot go on."""


@dataclass
class LastRuns:
    """The run that one import started last into its data store, and the last that imported; read when first asked."""

    records: Records

    @property
    def started(self) -> Run | None:
        """The run that was started last."""
        return self._note.started

    @property
    def imported(self) -> Run | None:
        """The run that imported last."""
        return self._note.imported

    def note_started(self, request: ImportRequest) -> None:
        """Note that a run is about to be started."""
        run = Run(request.series, request.run_id, request.intent)
        if self.started != run:
            self._write(dataclasses.replace(self._note, started=run))

    def note_imported(self, request: ImportRequest, submitted_at: float) -> None:
        """Note that a run has imported, unless one that was submitted later has."""
        run = Run(request.series, request.run_id, request.intent, submitted_at)
        if self.imported is None or (submitted_at >= self.imported.submitted_at and self.imported != run):
            self._write(dataclasses.replace(self._note, imported=run))

    def resolve(self, request: ImportRequest, before: ImportRequest | None = None) -> str:
        """Return the run that a deploy without a ``run_id`` means: the last one, unless it has failed.

        The run that was started last, also if its job is still running; where that one failed, the one that imported
        last. Where nothing is known of them it is the run of the deploy before, if that one meant the same.

        Raises:
            TerminalError: the last runs are damaged.
        """
        if self._note.damage:
            raise self._note.damage
        if self.started and self.started.series == request.series:
            record = self.records.load(request.for_run(self.started.run_id).intent)
            if record is None or not (record.state is State.REFUSED or record.verdict is Verdict.FAILED):
                return self.started.run_id
        if self.imported and self.imported.series == request.series:
            return self.imported.run_id
        if self.started is None and before and before.series == request.series and before.run_id:
            return before.run_id
        return self._run_of_first_version()

    def is_current(self, request: ImportRequest, before: ImportRequest | None, *, is_plain: bool = False) -> bool:
        """Whether the intent of a deploy is what the data store was given last, as far as this import knows.

        Args:
            request: what the deploy means.
            before: what the deploy before meant, if there was one.
            is_plain: whether no run is named: a run of the same meaning is meant, whichever it was.
        """
        if before is not None and before.intent == request.intent:
            return True
        if before is not None and before.output != request.output:
            return False  # what was started meanwhile is noted there
        given = self.started
        if given and given.intent != request.intent:
            try:
                record = self.records.load(given.intent)
            except TerminalError as error:
                if error.code:
                    raise
                record = None  # damaged, and a run that was not used before is what helps
            given = self.imported if record and record.state is State.REFUSED else given  # it was never sent
        is_last = given is not None and given.intent == request.intent
        is_of_series = is_plain and before is not None and before.series == request.series
        # Where its record is gone, only an update of the same meaning may take the import for done.
        return (is_last or is_of_series) and self.records.load(request.intent) is not None

    @cached_property
    def _note(self) -> _Note:
        found = self.records.read(self._name, "last runs")
        if found is None:
            return _Note()
        try:
            document = decode_document(found[0], self._name)
            return _Note(_decode_run(document["started"]), _decode_run(document["imported"]), found[1])
        except DECODE_ERRORS:
            return _Note(etag=found[1], damage=damaged(self._name))

    def _write(self, note: _Note) -> None:
        runs = {"started": note.started, "imported": note.imported}
        document = {"schema": SCHEMA, **{name: dataclasses.asdict(run) if run else None for name, run in runs.items()}}
        etag = self.records.write(self._name, json.dumps(document, sort_keys=True).encode(), note.etag, "last runs")
        self._note = dataclasses.replace(note, etag=etag, damage=None)

    @property
    def _name(self) -> str:
        return f"{self.records.request.store_scope}-last.json"

    def _run_of_first_version(self) -> str:
        """Return the run that the first version noted as the latest, one note for each series."""
        name = f"{self.records.request.series}-latest.json"
        found = self.records.read(name, "latest run")
        try:
            return str(decode_document(found[0], name)["run_id"]) if found else ""
        except DECODE_ERRORS:
            raise damaged(name) from None


def _decode_run(document: dict[str, Any] | None) -> Run | None:
    if document is None:
        return None
    run = Run(**document)
    texts = all(isinstance(text, str) for text in (run.series, run.run_id, run.intent))
    if not texts or type(run.submitted_at) not in (int, float):
        raise TypeError
    return run
