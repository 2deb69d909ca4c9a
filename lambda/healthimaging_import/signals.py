"""Tells metrics and events how an import ended, also when no deploy waits for it any more."""

from __future__ import annotations

import json
import time

from healthimaging_import import log
from healthimaging_import.aws import Clients
from healthimaging_import.faults import explained
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.rules import (
    EVENT_DETAIL_TYPE,
    EVENT_SOURCE,
    METRIC_DIMENSIONS,
    METRIC_NAMESPACE,
    METRIC_UNITS,
    Verdict,
)
from healthimaging_import.verdict import Counts

_PAUSES = (0.5, 1.0)
"""An event has nobody who would ask for it again, so it is sent up to three times."""


def announce(
    clients: Clients,
    *,
    import_name: str,
    datastore_id: str,
    job_id: str,
    job_status: str,
    verdict: Verdict,
    counts: Counts,
    seconds: float | None,
) -> None:
    """Write the metrics (CloudWatch embedded metric format) and put one event on the default bus.

    Both name the import, so that several imports into one store can be told apart. Ids and numbers only. At least once:
    a step that dies after this is repeated. That nobody can be told must not change how the import ended. How long the
    job took (``seconds``) is left out where it is not known.
    """
    _write_metrics(import_name, datastore_id, verdict=verdict, counts=counts, seconds=seconds)
    detail = {
        "import": import_name,
        "datastoreId": datastore_id,
        "jobId": job_id,
        "jobStatus": job_status,
        "outcome": verdict,
        "counts": {**counts.as_dict(), "rejected": counts.rejected},
    }
    entry = {"Source": EVENT_SOURCE, "DetailType": EVENT_DETAIL_TYPE, "Detail": json.dumps(detail, sort_keys=True)}
    for pause in (*_PAUSES, None):
        try:
            with explained("events", "events:PutEvents"):
                refused = clients.events.put_events(Entries=[entry]).get("FailedEntryCount")
        except TryLater:
            refused = True
        except Refused:
            break
        if not refused:
            return
        if pause is not None:
            time.sleep(pause)
    log.line("event not sent", job_id=job_id)


def _write_metrics(
    import_name: str, datastore_id: str, *, verdict: Verdict, counts: Counts, seconds: float | None
) -> None:
    good = verdict is Verdict.SUCCEEDED
    values: dict[str, float] = {
        "FilesScanned": counts.scanned,
        "FilesImported": counts.imported,
        "FilesRejected": counts.rejected,
        "ImageSetsGenerated": counts.image_sets,
        "ImportsSucceeded": int(good),
        "ImportsFailed": int(not good),
    }
    if seconds is not None:
        values["Duration"] = seconds
    directive = {
        "Namespace": METRIC_NAMESPACE,
        "Dimensions": [[name] for name in METRIC_DIMENSIONS],
        "Metrics": [{"Name": name, "Unit": METRIC_UNITS[name]} for name in values],
    }
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    dimensions = dict(zip(METRIC_DIMENSIONS, (datastore_id, import_name), strict=True))
    print(json.dumps({"_aws": metadata, **dimensions, **values}), flush=True)  # noqa: T201 - as in log
