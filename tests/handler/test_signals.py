"""Metrics and one event tell how an import ended, and never change it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from healthimaging_import import signals
from healthimaging_import.aws import Clients
from healthimaging_import.rules import METRIC_UNITS, Verdict
from healthimaging_import.signals import announce
from healthimaging_import.verdict import Counts
from tests.conftest import ROOT
from tests.handler.fake_aws import FakeAws

COUNTS = Counts(10, 6, 3, 1, 2, 1, {"45344": 2})
NAME = "Imaging/ImportJob8DEEC202"


def tell(clients: Clients, verdict: Verdict = Verdict.SUCCEEDED, seconds: float | None = 93.5) -> None:
    announce(
        clients,
        import_name=NAME,
        datastore_id="d",
        job_id="j",
        job_status="COMPLETED",
        verdict=verdict,
        counts=COUNTS,
        seconds=seconds,
    )


def metrics_in(text: str) -> dict[str, Any]:
    (document,) = (line for line in map(json.loads, text.splitlines()) if "_aws" in line)
    return dict(document)


def emf_violations(document: dict[str, Any]) -> list[str]:  # noqa: C901, PLR0912 - one list of what is asked for
    """What breaks the embedded metric format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    found = []
    metadata = document.get("_aws", {})
    if {"Timestamp", "CloudWatchMetrics"} != set(metadata):
        found.append("metadata has Timestamp and CloudWatchMetrics, and no more")
    if not isinstance(metadata.get("Timestamp"), int):
        found.append("Timestamp is an integer")
    elif abs(datetime.fromtimestamp(metadata["Timestamp"] / 1000, UTC) - datetime.now(UTC)) > timedelta(hours=2):
        found.append("Timestamp is in milliseconds, and now")
    for directive in metadata.get("CloudWatchMetrics", []):
        if {"Namespace", "Dimensions", "Metrics"} != set(directive):
            found.append("a directive has Namespace, Dimensions and Metrics, and no more")
        if not 1 <= len(directive["Namespace"]) <= 1024:
            found.append("a namespace has 1 to 1024 characters")
        for dimension_set in directive["Dimensions"]:
            if len(dimension_set) > 30:
                found.append("a dimension set has at most 30 members")
            for name in dimension_set:
                value = document.get(name)
                if not isinstance(value, str) or not 1 <= len(value) <= 1024 or not value.isascii():
                    found.append(f"dimension {name} has a value of 1 to 1024 characters")
        if not 1 <= len(directive["Metrics"]) <= 100:
            found.append("a directive has 1 to 100 metrics")
        for metric in directive["Metrics"]:
            if {"Name", "Unit"} != set(metric) or metric["Unit"] not in ("Count", "Seconds"):
                found.append(f"metric {metric} has Name and a Unit that CloudWatch knows")
            value = document.get(metric["Name"])
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                found.append(f"metric {metric['Name']} has a number")
    return found


@pytest.mark.parametrize("seconds", [93.5, None])
@pytest.mark.parametrize("verdict", Verdict)
def test_the_metrics_keep_to_the_embedded_metric_format(
    clients: Clients, capsys: pytest.CaptureFixture[str], verdict: Verdict, seconds: float | None
) -> None:
    tell(clients, verdict, seconds)
    assert [] == emf_violations(metrics_in(capsys.readouterr().out))


@pytest.mark.parametrize(
    "defect",
    [{"Import": ""}, {"DatastoreId": None}, {"Duration": None}, {"FilesScanned": "10"}, {"_aws": {"Timestamp": 1}}],
)
def test_fails_for_a_document_with_a_defect(
    clients: Clients, capsys: pytest.CaptureFixture[str], defect: dict[str, Any]
) -> None:
    tell(clients)
    assert [] != emf_violations(metrics_in(capsys.readouterr().out) | defect)


@pytest.mark.parametrize(
    ("verdict", "succeeded", "failed"), [(Verdict.SUCCEEDED, 1, 0), (Verdict.FAILED, 0, 1), (Verdict.UNKNOWN, 0, 1)]
)
def test_every_metric_is_declared_and_has_its_number(
    clients: Clients, capsys: pytest.CaptureFixture[str], verdict: Verdict, succeeded: int, failed: int
) -> None:
    tell(clients, verdict)
    document = metrics_in(capsys.readouterr().out)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    values = {metric["Name"]: document[metric["Name"]] for metric in directive["Metrics"]}
    assert {
        "FilesScanned": 10,
        "FilesImported": 6,
        "FilesRejected": 4,
        "ImageSetsGenerated": 2,
        "ImportsSucceeded": succeeded,
        "ImportsFailed": failed,
        "Duration": 93.5,
    } == values
    assert METRIC_UNITS == {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}


def test_metrics_are_kept_for_the_store_and_for_the_import(
    clients: Clients, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(clients)
    document = metrics_in(capsys.readouterr().out)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert [["DatastoreId"], ["Import"]] == directive["Dimensions"]
    assert ("d", NAME) == (document["DatastoreId"], document["Import"])


def test_a_duration_that_is_not_known_is_left_out(clients: Clients, capsys: pytest.CaptureFixture[str]) -> None:
    tell(clients, seconds=None)
    document = metrics_in(capsys.readouterr().out)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert "Duration" not in document
    assert "Duration" not in [metric["Name"] for metric in directive["Metrics"]]


def test_one_event_holds_ids_and_numbers(clients: Clients, aws: FakeAws) -> None:
    tell(clients, Verdict.FAILED)
    (event,) = aws.events
    assert ("healthimaging-cdk", "DICOM Import Judged") == (event["Source"], event["DetailType"])
    assert {
        "import": NAME,
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


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_PAUSES", (0, 0))


@pytest.mark.parametrize(
    ("code", "tries"),
    [("AccessDeniedException", 1), ("ThrottlingException", 3), ("InternalException", 3)],
)
def test_an_event_that_cannot_be_sent_changes_nothing(
    clients: Clients, aws: FakeAws, capsys: pytest.CaptureFixture[str], code: str, tries: int
) -> None:
    aws.fail("Events.PutEvents", code, 500 if code.startswith("Internal") else 400, times=9)
    tell(clients)
    assert "event not sent" in capsys.readouterr().out
    assert tries == aws.count("Events.PutEvents")


def test_an_event_that_cannot_be_sent_at_once_is_sent_again(
    clients: Clients, aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.fail("Events.PutEvents", "InternalException", 500, times=2)
    tell(clients)
    assert 1 == len(aws.events)
    assert "event not sent" not in capsys.readouterr().out


def test_an_event_that_is_not_taken_is_sent_again(clients: Clients, capsys: pytest.CaptureFixture[str]) -> None:
    with Stubber(clients.events) as stubber:
        stubber.add_response("put_events", {"FailedEntryCount": 1, "Entries": []}, {"Entries": ANY})
        stubber.add_response("put_events", {"FailedEntryCount": 0, "Entries": []}, {"Entries": ANY})
        tell(clients)
        stubber.assert_no_pending_responses()
    assert "event not sent" not in capsys.readouterr().out
