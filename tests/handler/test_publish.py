"""Metrics, one event and people are told a verdict, which that never changes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from healthimaging_import.aws.clients import Aws
from healthimaging_import.contract import METRIC_UNITS, Notify, Verdict
from healthimaging_import.importing.publish import publish
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.importing.verdict import Counts, ImportResult
from tests.conftest import ROOT
from tests.handler.fake_aws import TOPIC, FakeAws

COUNTS = Counts(10, 6, 3, 1, 2, 1, {"45344": 2})
NAME = "Imaging/ImportJob8DEEC202"


def request(name: str, **options: Any) -> ImportRequest:
    places = ("data_access_role_arn", "input_bucket", "input_prefix", "output_bucket", "output_prefix")
    return ImportRequest(scope=name, datastore_id="d", **dict.fromkeys(places, "x"), **options)


def tell(
    calls: Aws,
    verdict: Verdict = Verdict.SUCCEEDED,
    seconds: float | None = 93.5,
    counts: Counts = COUNTS,
    **options: Any,
) -> None:
    result = ImportResult("j", "COMPLETED", "2026-11-24T00:00:00+00:00", counts, "s3://results/m", "s3://r/f", seconds)
    publish(calls, request(NAME, **options), verdict, result)


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
    calls: Aws, capsys: pytest.CaptureFixture[str], verdict: Verdict, seconds: float | None
) -> None:
    tell(calls, verdict, seconds)
    assert [] == emf_violations(metrics_in(capsys.readouterr().out))


@pytest.mark.parametrize(
    "defect",
    [{"Import": ""}, {"DatastoreId": None}, {"Duration": None}, {"FilesScanned": "10"}, {"_aws": {"Timestamp": 1}}],
)
def test_fails_for_a_document_with_a_defect(
    calls: Aws, capsys: pytest.CaptureFixture[str], defect: dict[str, Any]
) -> None:
    tell(calls)
    assert [] != emf_violations(metrics_in(capsys.readouterr().out) | defect)


@pytest.mark.parametrize(
    ("verdict", "succeeded", "failed"), [(Verdict.SUCCEEDED, 1, 0), (Verdict.FAILED, 0, 1), (Verdict.UNKNOWN, 0, 1)]
)
def test_every_metric_is_declared_and_has_its_number(
    calls: Aws, capsys: pytest.CaptureFixture[str], verdict: Verdict, succeeded: int, failed: int
) -> None:
    tell(calls, verdict)
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


def test_metrics_are_kept_for_the_store_and_for_the_import(calls: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    tell(calls)
    document = metrics_in(capsys.readouterr().out)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert [["DatastoreId"], ["Import"]] == directive["Dimensions"]
    assert ("d", NAME) == (document["DatastoreId"], document["Import"])


def test_a_duration_that_is_not_known_is_left_out(calls: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    tell(calls, seconds=None)
    document = metrics_in(capsys.readouterr().out)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert "Duration" not in document
    assert "Duration" not in [metric["Name"] for metric in directive["Metrics"]]


def test_one_event_holds_ids_and_numbers(calls: Aws, aws: FakeAws) -> None:
    tell(calls, Verdict.FAILED)
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


def test_the_document_lists_every_field(calls: Aws, aws: FakeAws) -> None:
    tell(calls)
    detail = json.loads(aws.events[0]["Detail"])
    counts = {f"counts.{name}" for name in detail.pop("counts")}
    document = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w.]+)` \| (?:string|number|object) \|", document, flags=re.MULTILINE)
    assert {*detail, *counts} == set(listed)


@pytest.mark.parametrize(
    ("code", "tries"),
    [("AccessDeniedException", 1), ("ThrottlingException", 3), ("InternalException", 3)],
)
def test_an_event_that_cannot_be_sent_changes_nothing(
    calls: Aws, aws: FakeAws, capsys: pytest.CaptureFixture[str], code: str, tries: int
) -> None:
    aws.fail("Events.PutEvents", code, 500 if code.startswith("Internal") else 400, times=9)
    tell(calls)
    assert '"not published", "operation": "PutEvents"' in capsys.readouterr().out
    assert tries == aws.count("Events.PutEvents")


def test_an_event_that_cannot_be_sent_at_once_is_sent_again(
    calls: Aws, aws: FakeAws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.fail("Events.PutEvents", "InternalException", 500, times=2)
    tell(calls)
    assert 1 == len(aws.events)
    assert "not published" not in capsys.readouterr().out


def test_an_event_that_is_not_taken_is_sent_again(calls: Aws, aws: FakeAws, capsys: pytest.CaptureFixture[str]) -> None:
    aws.events_refused = 1
    tell(calls)
    assert (1, 2) == (len(aws.events), aws.count("Events.PutEvents"))
    assert "not published" not in capsys.readouterr().out


# -- people ----------------------------------------------------------------------------------------------------------


def test_people_are_told_ids_and_numbers(calls: Aws, aws: FakeAws) -> None:
    tell(calls, Verdict.FAILED, topic_arn=TOPIC)
    message = (
        "DICOM import Imaging/ImportJob8DEEC202: FAILED\n"
        "10 files scanned, 6 imported, 4 rejected (3 customer errors, 1 server errors), 2 image sets, 1 not primary, "
        "warnings 45344 (2)\n"
        "Job j of data store d, status COMPLETED\n"
        "Its manifest and the reasons of rejection are in the folder that GetDICOMImportJob names as outputS3Uri."
    )
    subject = "DICOM import FAILED: Imaging/ImportJob8DEEC202"
    assert [{"TopicArn": TOPIC, "Subject": subject, "Message": message}] == aws.notifications


def test_nobody_is_told_without_a_topic(calls: Aws, aws: FakeAws) -> None:
    tell(calls, Verdict.FAILED)
    assert 0 == aws.count("SNS.Publish")


CLEAN = Counts(10, 10)


@pytest.mark.parametrize(
    ("notify", "verdict", "counts", "told"),
    [
        (Notify.FAILURES, Verdict.SUCCEEDED, COUNTS, False),
        (Notify.FAILURES, Verdict.FAILED, CLEAN, True),
        (Notify.FAILURES, Verdict.UNKNOWN, CLEAN, True),
        (Notify.REJECTIONS, Verdict.SUCCEEDED, CLEAN, False),
        (Notify.REJECTIONS, Verdict.SUCCEEDED, COUNTS, True),
        (Notify.REJECTIONS, Verdict.FAILED, CLEAN, True),
        (Notify.REJECTIONS, Verdict.UNKNOWN, CLEAN, True),
        (Notify.OUTCOMES, Verdict.SUCCEEDED, CLEAN, True),
        (Notify.OUTCOMES, Verdict.UNKNOWN, CLEAN, True),
    ],
)
def test_people_are_told_what_they_asked_for(
    calls: Aws, aws: FakeAws, notify: Notify, verdict: Verdict, counts: Counts, *, told: bool
) -> None:
    tell(calls, verdict, counts=counts, topic_arn=TOPIC, notify=notify)
    assert told == bool(aws.notifications)


def test_a_subject_is_no_longer_than_sns_takes(calls: Aws, aws: FakeAws) -> None:
    result = ImportResult("j", "COMPLETED")
    name = "a" * 200
    publish(calls, request(name, topic_arn=TOPIC), Verdict.FAILED, result)
    assert 100 == len(aws.notifications[0]["Subject"])


@pytest.mark.parametrize(("code", "tries"), [("AuthorizationError", 1), ("Throttling", 3)])
def test_a_notification_that_cannot_be_sent_changes_nothing(
    calls: Aws, aws: FakeAws, capsys: pytest.CaptureFixture[str], code: str, tries: int
) -> None:
    aws.fail("SNS.Publish", code, 403, times=9)
    tell(calls, Verdict.FAILED, topic_arn=TOPIC)
    assert f'"not published", "operation": "Publish", "reason": "sns:Publish answered {code}' in capsys.readouterr().out
    assert (tries, 1) == (aws.count("SNS.Publish"), len(aws.events))
