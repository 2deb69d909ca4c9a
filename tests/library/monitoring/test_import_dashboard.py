"""The dashboard of imports: a body that CloudWatch takes, with what belongs in it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs

from healthimaging_cdk import Datastore, DicomImport, ImportAlarms, ImportDashboard, ImportSource
from healthimaging_cdk._common.runtime import contract
from tests.library.properties import every_property

pytestmark = pytest.mark.slow

DASHBOARD = "AWS::CloudWatch::Dashboard"
ID = "0123456789abcdef0123456789abcdef"
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html and API_MetricDataQuery
MOST_WIDGETS, MOST_METRICS, MOST_METRICS_OF_A_WIDGET, MOST_CHARACTERS = 500, 2500, 500, 2048


def body(stack: Stack, synthesize: Any) -> dict[str, Any]:
    """The body as CloudWatch gets it, with <names> where CloudFormation puts values."""
    text = synthesize(stack).only(DASHBOARD)["Properties"]["DashboardBody"]
    if not isinstance(text, str):
        parts = text["Fn::Join"][1]
        text = "".join(part if isinstance(part, str) else f"<{'.'.join(_names(part))}>" for part in parts)
    return dict(json.loads(text))


def _names(intrinsic: dict[str, Any]) -> list[str]:
    (value,) = intrinsic.values()
    return [value] if isinstance(value, str) else value


def rows(found: dict[str, Any]) -> list[list[Any]]:
    return [row for widget in found["widgets"] for row in widget["properties"].get("metrics", [])]


def test_an_import_dashboard_with_minimal_properties(stack, synthesize):
    ImportDashboard(stack, "Dashboard", imports=[DicomImport(stack, "Import")])
    assert {"metric", "text"} >= {widget["type"] for widget in body(stack, synthesize)["widgets"]}
    assert "DashboardName" not in synthesize(stack).only(DASHBOARD)["Properties"]


def test_an_import_dashboard_with_all_properties(stack, synthesize):
    import_, other = DicomImport(stack, "Import"), Datastore.from_datastore_id(stack, "Other", ID)
    given = every_property(
        ImportDashboard,
        imports=[import_],
        datastores=[other],
        alarms=[ImportAlarms(stack, "Alarms", import_)],
        dashboard_name="imaging",
    )
    ImportDashboard(stack, "Dashboard", **given)
    found = body(stack, synthesize)
    assert "imaging" == synthesize(stack).only(DASHBOARD)["Properties"]["DashboardName"]
    assert "alarm" in {widget["type"] for widget in found["widgets"]}
    assert {ID} == {row[3] for row in rows(found) if row[:1] == ["AWS/HealthImaging"] and row[2] == "DatastoreId"}


def test_it_shows_every_metric_of_each_import(stack, synthesize):
    imports = [DicomImport(stack, name) for name in ("First", "Second")]
    ImportDashboard(stack, "Dashboard", imports=imports)
    shown = {tuple(row[:4]) for row in rows(body(stack, synthesize)) if row[0] == "HealthImagingCdk"}
    expected = {
        ("HealthImagingCdk", name, "Import", stack.resolve(import_.import_name))
        for import_ in imports
        for name in contract.METRIC_UNITS
    }
    assert expected == shown


def test_the_metrics_of_hours_are_taken_by_the_hour(stack, synthesize):
    ImportDashboard(stack, "Dashboard", imports=[DicomImport(stack, "Import")])
    widgets = [w["properties"] for w in body(stack, synthesize)["widgets"] if w["type"] == "metric"]
    by_the_hour = [w for w in widgets if w["title"].endswith("by the hour")]
    assert 4 == len(by_the_hour)
    assert {3600} == {row[-1]["period"] for w in by_the_hour for row in w["metrics"]}
    (numbers,) = (w for w in widgets if w["view"] == "singleValue")
    assert numbers["setPeriodToTimeRange"]


def test_each_store_is_shown_once_and_by_the_day(stack, synthesize):
    store = Datastore.from_datastore_id(stack, "Store", ID)
    ImportDashboard(
        stack, "Dashboard", imports=[DicomImport(stack, name, datastore=store) for name in ("First", "Second")]
    )
    of_the_store = [row for row in rows(body(stack, synthesize)) if row[0] == "AWS/HealthImaging"]
    names = [
        "StorageBytes", "StorageBytes", "StorageBytes", "TotalImageSetCount", "TotalImageSetCount",
        "PrimaryImageSetCount", "DICOMStudyCount", "DICOMSeriesCount", "DICOMInstanceCount",
    ]  # fmt: skip
    assert names == [row[1] for row in of_the_store]
    assert {("DatastoreId", ID, 86400)} == {(*row[2:4], row[-1]["period"]) for row in of_the_store}
    tiers = [row[5] for row in of_the_store if row[1] == "StorageBytes"]
    assert ["FrequentAccessStorage", "ArchiveInstantAccessStorage", "AllStorage"] == tiers


def test_a_store_that_two_constructs_name_is_shown_once(stack, synthesize):
    stores = [Datastore.from_datastore_id(stack, name, ID) for name in ("One", "Other")]
    ImportDashboard(stack, "Dashboard", datastores=stores)
    titles = [widget["properties"].get("title") for widget in body(stack, synthesize)["widgets"]]
    assert 1 == titles.count(f"What {ID} holds")


def test_in_the_totals_a_metric_without_data_counts_as_nothing(stack, synthesize):
    ImportDashboard(stack, "Dashboard", imports=[DicomImport(stack, name) for name in ("First", "Second")])
    (numbers,) = (w for w in body(stack, synthesize)["widgets"] if w["properties"].get("view") == "singleValue")
    metrics = numbers["properties"]["metrics"]
    ids = {row[-1]["id"] for row in metrics if isinstance(row[0], str)}
    expressions = [row[0]["expression"] for row in metrics if isinstance(row[0], dict)]
    assert "SUM([FILL(files_imported_0, 0), FILL(files_imported_1, 0)])" in expressions
    assert ids == set(re.findall(r"FILL\((\w+), 0\)", " ".join(expressions)))


@pytest.mark.parametrize(("given", "expected"), [([], set()), (["Other"], {"<Other.DatastoreId>"})])
def test_the_stores_to_show_can_be_chosen(stack, synthesize, given, expected):
    import_ = DicomImport(stack, "Import")
    stores = [Datastore(stack, name) for name in given]
    ImportDashboard(stack, "Dashboard", imports=[import_], datastores=stores)
    shown = {row[3] for row in rows(body(stack, synthesize)) if row[0] == "AWS/HealthImaging"}
    assert expected == {re.sub("<Other[0-9A-F]{8}", "<Other", name) for name in shown}


def test_stores_can_be_shown_without_an_import(stack, synthesize):
    ImportDashboard(stack, "Dashboard", datastores=[Datastore.from_datastore_id(stack, "Store", ID)])
    assert {"AWS/HealthImaging"} == {row[0] for row in rows(body(stack, synthesize)) if isinstance(row[0], str)}


def test_alarms_stand_at_the_top(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    alarms = ImportAlarms(stack, "Alarms", import_, dead_letter_queue=sqs.Queue(stack, "Queue"))
    ImportDashboard(stack, "Dashboard", imports=[import_], alarms=[alarms])
    (widget,) = (w for w in body(stack, synthesize)["widgets"] if w["type"] == "alarm")
    expected = [f"<{'.'.join(stack.resolve(alarm.alarm_arn)['Fn::GetAtt'])}>" for alarm in alarms.alarms]
    assert expected == widget["properties"]["alarms"]
    above = [w["type"] for w in body(stack, synthesize)["widgets"] if w["y"] < widget["y"]]
    assert ["text"] == above


def test_it_says_where_the_results_of_each_import_lie_and_begins_with_a_week(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    ImportDashboard(stack, "Dashboard", imports=[import_], dashboard_name="imports")
    found = body(stack, synthesize)
    bucket = f"<{stack.resolve(import_.output_bucket.bucket_name)['Ref']}>"
    (text,) = (w["properties"]["markdown"] for w in found["widgets"] if w["type"] == "text")
    console = "https://<AWS::Region>.console.aws.amazon.com"
    assert f"**{stack.resolve(import_.import_name)}** into data store" in text
    assert f"[{bucket}]({console}/s3/buckets/{bucket})" in text
    assert "-P7D" == found["start"]
    assert "imports" == synthesize(stack).only(DASHBOARD)["Properties"]["DashboardName"]


HERE, THERE = {"account": "111122223333", "region": "us-east-1"}, {"account": "444455556666", "region": "us-west-2"}
OTHER_REGION, OTHER_ACCOUNT = {**HERE, "region": "us-west-2"}, {**HERE, "account": "444455556666"}


def headline(found: dict[str, Any]) -> list[str]:
    (text,) = (widget["properties"]["markdown"] for widget in found["widgets"] if widget["type"] == "text")
    return [line for line in text.splitlines() if line]


def central(app: App, **options: Any) -> Stack:
    return Stack(app, "Central", env=HERE, **options)


@pytest.mark.parametrize("place", [OTHER_REGION, OTHER_ACCOUNT, THERE])
def test_it_shows_imports_of_another_environment(app, synthesize, place):
    away = Stack(app, "Away", env=place)
    stack = central(app)
    ImportDashboard(stack, "Dashboard", imports=[DicomImport(stack, "Near"), DicomImport(away, "Far")])
    app.synth()
    found = body(stack, synthesize)
    _, near, far, *_ = headline(found)
    assert "/s3/buckets/" in near
    assert "- **Away/FarJob" in far
    assert f"** in {place['region']}, account {place['account']}" in far
    assert "Token" not in far
    assert "bucket" not in far
    shown = [row[-1] for row in rows(found) if row[0] == "HealthImagingCdk" and row[3].startswith("Away/")]
    expected = {name: place[name] for name in place if place[name] != HERE[name]}
    names = {"account": "accountId", "region": "region"}
    assert shown
    for name, option in names.items():
        assert {expected.get(name)} == {options.get(option) for options in shown}


def test_what_is_known_of_another_environment_is_linked_there(app, synthesize):
    away = Stack(app, "Away", env=THERE)
    stack = central(app)
    import_ = DicomImport(
        away,
        "Far",
        datastore=Datastore.from_datastore_id(away, "Store", ID),
        output_bucket=s3.Bucket.from_bucket_name(away, "Results", "results"),
    )
    ImportDashboard(stack, "Dashboard", imports=[import_, DicomImport(stack, "Near")])
    app.synth()
    found = body(stack, synthesize)
    _, far, _, consoles, *_ = headline(found)
    console = "https://us-west-2.console.aws.amazon.com"
    assert f"** into data store `{ID}` in us-west-2, account 444455556666. Manifests" in far
    assert f"[results]({console}/s3/buckets/results)" in far
    assert f"[HealthImaging console in us-west-2]({console}/medical-imaging/home?region=us-west-2), [Heal" in consoles
    of_the_store = [row[-1] for row in rows(found) if row[0] == "AWS/HealthImaging" and row[3] == ID]
    assert {("us-west-2", "444455556666")} == {(row["region"], row["accountId"]) for row in of_the_store}


def test_stores_and_alarms_of_another_region_are_shown_where_cdk_refers_to_them(app, synthesize):
    away = Stack(app, "Away", env=OTHER_REGION, cross_region_references=True)
    stack = central(app, cross_region_references=True)
    import_ = DicomImport(away, "Far")
    alarms = ImportAlarms(away, "Alarms", import_)
    ImportDashboard(stack, "Dashboard", imports=[import_], datastores=[import_.datastore], alarms=[alarms])
    app.synth()
    assert "alarm" in {widget["type"] for widget in body(stack, synthesize)["widgets"]}


def test_fails_what_another_account_makes_without_a_name(app):
    away, stack = Stack(app, "Away", env=OTHER_ACCOUNT), central(app)
    import_ = DicomImport(away, "Far")
    message = (
        "ImportDashboard: datastores: Away/Far/Datastore is in account 444455556666 and the stack in 111122223333: "
        "name it by Datastore.from_datastore_arn once it is created; alarms: Away/Alarms/FailedImports is in account "
        "444455556666 and the stack in 111122223333: show it on a dashboard there"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}; alarms: Away/Alarms/RejectedFiles"):
        ImportDashboard(
            stack,
            "Dashboard",
            imports=[import_],
            datastores=[import_.datastore],
            alarms=[ImportAlarms(away, "Alarms", import_)],
        )


def test_widgets_can_be_added_below(stack):
    dashboard = ImportDashboard(stack, "Dashboard", imports=[DicomImport(stack, "Import")]).dashboard
    assert dashboard.node.path.endswith("Dashboard/Resource")


@pytest.mark.long
def test_the_most_imports_make_a_body_that_cloudwatch_takes(stack, synthesize):
    first = DicomImport(stack, "Import")
    others = [
        DicomImport(stack, f"Import{n}", source=_source_of(first), output_bucket=first.output_bucket,
                    data_access_role=first.data_access_role,
                    datastore=Datastore.from_datastore_id(stack, f"S{n}", f"{n:032}"))
        for n in range(49)
    ]  # fmt: skip
    ImportDashboard(stack, "Dashboard", imports=[first, *others])
    found = body(stack, synthesize)
    widgets = [widget["properties"].get("metrics", []) for widget in found["widgets"]]
    assert len(widgets) <= MOST_WIDGETS
    assert max(len(metrics) for metrics in widgets) <= MOST_METRICS_OF_A_WIDGET
    assert sum(len(metrics) for metrics in widgets) <= MOST_METRICS
    expressions = [row[0]["expression"] for row in rows(found) if isinstance(row[0], dict)]
    assert max(len(expression) for expression in expressions) <= MOST_CHARACTERS
    for metrics in widgets:
        ids = [row[-1]["id"] for row in metrics if "id" in row[-1]]
        assert sorted(set(ids)) == sorted(ids)


def _source_of(import_: DicomImport) -> ImportSource:
    return ImportSource.bucket(import_.input_bucket, "dicom/")


def test_fails_with_nothing_to_show(stack):
    message = r"^ImportDashboard: imports and datastores are empty: give at least one of them \(at Stack/Dashboard\)$"
    with pytest.raises(ValueError, match=message):
        ImportDashboard(stack, "Dashboard")


def test_fails_with_more_than_cloudwatch_takes(stack):
    stores = [Datastore.from_datastore_id(stack, f"Store{n}", f"{n:032}") for n in range(51)]
    alarms = ImportAlarms(stack, "Alarms", DicomImport(stack, "Import"))
    message = (
        "ImportDashboard: datastores are 51, one dashboard shows at most 50: make several; alarms are 102, one "
        "dashboard shows at most 100: make several"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)} \\(at Stack/Dashboard\\)$"):
        ImportDashboard(stack, "Dashboard", datastores=stores, alarms=[alarms] * 51)
