"""Sends a verdict out: to metrics, to the default event bus, and to the people of a notification topic."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from healthimaging_import import contract, log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.contract import Notify, Verdict
from healthimaging_import.errors import StepError, TerminalError
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.importing.verdict import ImportResult

_PAUSES = (0, 0.5, 1)
"""Seconds before each try: an event or a notification that is lost is not sent again."""
_LONGEST_SUBJECT = 100


def publish(aws: Aws, request: ImportRequest, verdict: Verdict, result: ImportResult) -> None:
    """Write the metrics (CloudWatch embedded metric format), put one event, and notify the topic if there is one.

    Ids and numbers only. At least once: a step that dies after this is repeated, with the same words. What
    cannot be sent does not change the verdict.
    """
    name, datastore_id, rejected = request.import_name, request.datastore_id, result.counts.rejected
    write_metrics(name, datastore_id, verdict, result)
    detail = {
        contract.EVENT_IMPORT: name,
        "datastoreId": datastore_id,
        "jobId": result.job_id,
        "jobStatus": result.job_status,
        contract.EVENT_OUTCOME: verdict,
        contract.EVENT_COUNTS: {**asdict(result.counts), contract.EVENT_REJECTED: rejected},
    }
    put_event(aws, contract.EVENT_DETAIL_TYPE, detail)
    is_rejection = request.notify is Notify.REJECTIONS and rejected > 0
    if request.topic_arn and (request.notify is Notify.OUTCOMES or verdict is not Verdict.SUCCEEDED or is_rejection):
        subject = f"DICOM import {verdict}: {name}"[:_LONGEST_SUBJECT]
        message = (
            f"DICOM import {name}: {verdict}\n"
            f"{result.counts.sentence()}\n"
            f"Job {result.job_id or 'unknown'} of data store {datastore_id}, status {result.job_status}\n"
            "Its manifest and the reasons of rejection are in the folder that GetDICOMImportJob names as outputS3Uri."
        )
        _send(aws, "sns", "Publish", TopicArn=request.topic_arn, Subject=subject, Message=message)
    log.line("published", job_id=result.job_id, verdict=verdict)


def write_metrics(import_name: str, datastore_id: str, verdict: Verdict, result: ImportResult) -> None:
    """Write the metrics; that takes no right but the function's log."""
    counts, is_good = result.counts, verdict is Verdict.SUCCEEDED
    values: dict[str, float] = {
        "FilesScanned": counts.scanned,
        "FilesImported": counts.imported,
        "FilesRejected": counts.rejected,
        "ImageSetsGenerated": counts.image_sets,
        "ImportsSucceeded": int(is_good),
        "ImportsFailed": int(not is_good),
    }
    if result.seconds is not None:
        values["Duration"] = result.seconds
    directive = {
        "Namespace": contract.METRIC_NAMESPACE,
        "Dimensions": [[name] for name in contract.METRIC_DIMENSIONS],
        "Metrics": [{"Name": name, "Unit": contract.METRIC_UNITS[name]} for name in values],
    }
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    dimensions = dict(zip(contract.METRIC_DIMENSIONS, (datastore_id, import_name), strict=True))
    print(json.dumps({"_aws": metadata, **dimensions, **values}), flush=True)  # noqa: T201 - Lambda logs standard output


def put_event(aws: Aws, detail_type: str, detail: Mapping[str, Any]) -> None:
    """Put one event on the default bus; that it cannot be put changes nothing."""
    entry = {"Source": contract.EVENT_SOURCE, "DetailType": detail_type, "Detail": json.dumps(detail)}
    _send(aws, "events", "PutEvents", Entries=[entry])


def _send(aws: Aws, service: str, operation: str, **parameters: Any) -> None:  # noqa: ANN401
    reason = ""
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            answer = aws.call(service, operation, dict, **parameters)
        except StepError as error:
            reason = str(error)
            if isinstance(error, TerminalError):
                break
        else:
            if not answer.get("FailedEntryCount"):
                return
    log.line("not published", operation=operation, reason=reason)
