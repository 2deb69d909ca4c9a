"""Tells metrics and events how an import ended, also when no deploy waits for it any more."""

from __future__ import annotations

import json
import time
from typing import Any

from healthimaging_import import log
from healthimaging_import.faults import explained
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.rules import EVENT_DETAIL_TYPE, EVENT_SOURCE
from healthimaging_import.verdict import Counts

NAMESPACE = "HealthImagingCdk"


def announce(
    events: Any,  # noqa: ANN401 - a boto3 client
    *,
    scope: str,
    datastore_id: str,
    job_id: str,
    job_status: str,
    good: bool,
    counts: Counts,
) -> None:
    """Write the metrics (CloudWatch embedded metric format) and put one event on the default bus.

    The event names the import by its ``scope``, so that several imports into one store can be told apart. Ids and
    numbers only. At least once: a step that dies after this is repeated. That nobody can be told must not change how
    the import ended.
    """
    _write_metrics(datastore_id, good=good, counts=counts)
    detail = {
        "import": scope,
        "datastoreId": datastore_id,
        "jobId": job_id,
        "jobStatus": job_status,
        "outcome": "SUCCEEDED" if good else "FAILED",
        "counts": {**counts.as_dict(), "rejected": counts.rejected},
    }
    entry = {"Source": EVENT_SOURCE, "DetailType": EVENT_DETAIL_TYPE, "Detail": json.dumps(detail, sort_keys=True)}
    try:
        with explained("events", "events:PutEvents"):
            answer = events.put_events(Entries=[entry])
        if answer.get("FailedEntryCount"):
            log.line("event refused", job_id=job_id)
    except (Refused, TryLater):
        log.line("event not sent", job_id=job_id)


def _write_metrics(datastore_id: str, *, good: bool, counts: Counts) -> None:
    values = {
        "FilesScanned": counts.scanned,
        "FilesImported": counts.imported,
        "FilesRejected": counts.rejected,
        "ImageSetsGenerated": counts.image_sets,
        "ImportsSucceeded": int(good),
        "ImportsFailed": int(not good),
    }
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["DatastoreId"]],
        "Metrics": [{"Name": name, "Unit": "Count"} for name in values],
    }
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    print(json.dumps({"_aws": metadata, "DatastoreId": datastore_id, **values}), flush=True)  # noqa: T201 - as in log
