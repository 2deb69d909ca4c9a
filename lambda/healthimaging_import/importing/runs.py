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


def is_current(records: Records, request: ImportRequest, before: ImportRequest | None) -> bool:
    """Whether what a deploy asks for is what the data store was given last, as far as this import knows.

    Args:
        records: the import's records.
        request: what is asked for.
        before: what was asked for by the deploy before, if there was one.
    """
    if before is not None and before.intent == request.intent:
        return True
    started = records.last_runs(request.series).started
    return started is not None and started.intent == request.intent
