"""Metrics and one event tell how an import ended, and never change it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from healthimaging_import.aws import Clients
from healthimaging_import.signals import announce
from healthimaging_import.verdict import Counts
from tests.conftest import ROOT
from tests.handler.fake_aws import FakeAws

COUNTS = Counts(10, 6, 3, 1, 2, 1, {"45344": 2})


def tell(clients: Clients, *, good: bool = True) -> None:
    announce(
        clients.events,
        scope="stack/job",
        datastore_id="d",
        job_id="j",
        job_status="COMPLETED",
        good=good,
        counts=COUNTS,
    )


def metrics_in(text: str) -> dict[str, Any]:
    (document,) = (line for line in map(json.loads, text.splitlines()) if "_aws" in line)
    return dict(document)


@pytest.mark.parametrize("good", [True, False])
def test_every_metric_is_declared_and_has_its_number(
    clients: Clients, capsys: pytest.CaptureFixture[str], *, good: bool
) -> None:
    tell(clients, good=good)
    document = metrics_in(capsys.readouterr().out)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    values = {metric["Name"]: document[metric["Name"]] for metric in directive["Metrics"]}
    assert [["DatastoreId"]] == directive["Dimensions"]
    assert "d" == document["DatastoreId"]
    assert {
        "FilesScanned": 10,
        "FilesImported": 6,
        "FilesRejected": 4,
        "ImageSetsGenerated": 2,
        "ImportsSucceeded": int(good),
        "ImportsFailed": int(not good),
    } == values


def test_one_event_holds_ids_and_numbers(clients: Clients, aws: FakeAws) -> None:
    tell(clients, good=False)
    (event,) = aws.events
    assert ("healthimaging-cdk", "DICOM Import Judged") == (event["Source"], event["DetailType"])
    assert {
        "import": "stack/job",
        "datastoreId": "d",
        "jobId": "j",
        "jobStatus": "COMPLETED",
        "outcome": "FAILED",
        "counts": {
            "scanned": 10,
            "imported": 6,
            "rejected": 4,
            "customer_errors": 3,
            "server_errors": 1,
            "image_sets": 2,
            "non_primary_image_sets": 1,
            "warnings": {"45344": 2},
        },
    } == json.loads(event["Detail"])


def test_the_document_lists_every_field(clients: Clients, aws: FakeAws) -> None:
    tell(clients)
    detail = json.loads(aws.events[0]["Detail"])
    counts = {f"counts.{name}" for name in detail.pop("counts")}
    document = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w.]+)` \| (?:string|number|object) \|", document, flags=re.MULTILINE)
    assert {*detail, *counts} == set(listed)


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDeniedException", 400), ("ThrottlingException", 400), ("InternalException", 500)]
)
def test_an_event_that_cannot_be_sent_changes_nothing(
    clients: Clients, aws: FakeAws, capsys: pytest.CaptureFixture[str], code: str, status: int
) -> None:
    aws.fail("Events.PutEvents", code, status)
    tell(clients)
    assert "event not sent" in capsys.readouterr().out


def test_an_event_that_is_refused_changes_nothing(clients: Clients, capsys: pytest.CaptureFixture[str]) -> None:
    with Stubber(clients.events) as stubber:
        stubber.add_response("put_events", {"FailedEntryCount": 1, "Entries": []}, {"Entries": ANY})
        tell(clients)
    assert "event refused" in capsys.readouterr().out
