"""Which run a deploy means, and whether it is what the data store was given last."""

from __future__ import annotations

from healthimaging_import.contract import Verdict
from healthimaging_import.importing.lifecycle import State
from healthimaging_import.importing.records import Records
from healthimaging_import.importing.request import ImportRequest


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
        found = records.load(request.for_run(last.started.run_id).intent)
        if found is None or not (found.record.state is State.REFUSED or found.record.verdict is Verdict.FAILED):
            return last.started.run_id
    if last.imported and last.imported.series == request.series:
        return last.imported.run_id
    return ""


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
    started = records.last_runs(request.series).started
    is_last = started is not None and started.intent == request.intent
    is_of_series = is_plain and before is not None and before.series == request.series
    # Where its record is gone, only an update of the same meaning may take the import for done.
    return (is_last or is_of_series) and records.load(request.intent) is not None
