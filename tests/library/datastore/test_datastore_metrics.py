"""The metrics of a data store and of an import: what CloudWatch is asked for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from aws_cdk import Duration, NestedStack, Stack
from aws_cdk import aws_cloudwatch as cloudwatch

from healthimaging_cdk import Datastore, DicomImport, StorageTier
from healthimaging_cdk._common.runtime import contract
from healthimaging_import.importing.publish import write_metrics
from healthimaging_import.importing.verdict import ImportResult
from tests.conftest import ROOT

ID = "0123456789abcdef0123456789abcdef"
HERE = {"account": "111122223333", "region": "us-east-1"}
# https://docs.aws.amazon.com/healthimaging/latest/devguide/monitoring-cloudwatch.html
OF_A_STORE = {
    "metric_total_image_set_count": ("TotalImageSetCount", {}),
    "metric_primary_image_set_count": ("PrimaryImageSetCount", {}),
    "metric_small_image_set_count": ("SmallImageSetCount", {}),
    "metric_storage_bytes": ("StorageBytes", {"StorageTier": "AllStorage"}),
    "metric_structured_storage_bytes": ("StructuredStorageBytes", {}),
    "metric_dicom_study_count": ("DICOMStudyCount", {}),
    "metric_dicom_series_count": ("DICOMSeriesCount", {}),
    "metric_dicom_instance_count": ("DICOMInstanceCount", {}),
}
OF_ALL_STORES = {
    "metric_all_data_store_count": ("DataStoreCount", {}),
    "metric_all_image_set_count": ("ImageSetCount", {}),
    "metric_all_storage_bytes": ("StorageBytes", {"StorageTier": "AllStorage"}),
}
OF_AN_IMPORT = {
    "metric_files_scanned": ("FilesScanned", "Sum"),
    "metric_files_imported": ("FilesImported", "Sum"),
    "metric_files_rejected": ("FilesRejected", "Sum"),
    "metric_image_sets_generated": ("ImageSetsGenerated", "Sum"),
    "metric_imports_succeeded": ("ImportsSucceeded", "Sum"),
    "metric_imports_failed": ("ImportsFailed", "Sum"),
    "metric_duration": ("Duration", "Maximum"),
}


def described(stack: Stack, metric: cloudwatch.Metric) -> dict[str, Any]:
    """What is asked of CloudWatch: namespace, name, dimensions, statistic, seconds."""
    return {
        "namespace": metric.namespace,
        "name": metric.metric_name,
        "dimensions": stack.resolve(metric.dimensions),
        "statistic": metric.statistic,
        "seconds": metric.period.to_seconds(),
    }


@pytest.mark.parametrize(("method", "expected"), OF_A_STORE.items())
def test_each_metric_of_a_store_has_the_name_of_the_developer_guide(stack, method, expected):
    name, dimensions = expected
    assert {
        "namespace": "AWS/HealthImaging",
        "name": name,
        "dimensions": {"DatastoreId": ID, **dimensions},
        "statistic": "Average",
        "seconds": 300,
    } == described(stack, getattr(Datastore.from_datastore_id(stack, "Store", ID), method)())


@pytest.mark.parametrize(("method", "expected"), OF_ALL_STORES.items())
def test_each_metric_of_all_stores_is_that_of_the_account(stack, method, expected):
    name, dimensions = expected
    metric = getattr(Datastore, method)()
    assert {
        "namespace": "AWS/HealthImaging",
        "name": name,
        "dimensions": {"AccountId": {"Ref": "AWS::AccountId"}, **dimensions},
        "statistic": "Average",
        "seconds": 300,
    } == described(stack, metric)


def test_a_metric_of_all_stores_of_another_account_names_that_account():
    metric = Datastore.metric_all_data_store_count(account="444455556666")
    assert ("444455556666", {"AccountId": "444455556666"}) == (metric.account, metric.dimensions)


def test_every_metric_is_known_to_the_tests():
    others = {"metric", "metric_all", "metric_call_count", "metric_rejected_rate"}
    of_a_store = {name for name in dir(Datastore) if name.startswith("metric")}
    of_an_import = {name for name in dir(DicomImport) if name.startswith("metric")}
    assert {*OF_A_STORE, *OF_ALL_STORES, *OF_AN_IMPORT, *others} == of_a_store | of_an_import


def test_a_store_of_this_stack_is_named_by_its_attribute(stack):
    store = Datastore(stack, "Store")
    expected = {"DatastoreId": stack.resolve(store.datastore_id)}
    assert expected == stack.resolve(store.metric_total_image_set_count().dimensions)


@pytest.mark.parametrize(
    ("tier", "value"),
    [
        (StorageTier.ALL, "AllStorage"),
        (StorageTier.FREQUENT_ACCESS, "FrequentAccessStorage"),
        (StorageTier.ARCHIVE_INSTANT_ACCESS, "ArchiveInstantAccessStorage"),
    ],
)
def test_bytes_are_counted_by_storage_tier(stack, tier, value):
    store = Datastore.from_datastore_id(stack, "Store", ID)
    for metric in (store.metric_storage_bytes(tier), Datastore.metric_all_storage_bytes(tier)):
        assert value == metric.dimensions["StorageTier"]


def test_options_are_those_of_every_cdk_construct(stack):
    metric = Datastore.from_datastore_id(stack, "Store", ID).metric_storage_bytes(
        statistic="Maximum",
        period=Duration.days(1),
        label="stored",
        color="#00ff00",
        unit=cloudwatch.Unit.BYTES,
        dimensions_map={"Further": "one", "StorageTier": "another"},
    )
    expected = {"DatastoreId": ID, "StorageTier": "another", "Further": "one"}
    described_by = described(stack, metric)
    assert (expected, "Maximum", 86400) == tuple(described_by[key] for key in ("dimensions", "statistic", "seconds"))
    assert ("stored", "#00ff00", cloudwatch.Unit.BYTES) == (metric.label, metric.color, metric.unit)


def test_fails_an_option_that_there_is_not(stack):
    with pytest.raises(TypeError, match="statistics"):
        Datastore(stack, "Store").metric("Any", statistics="Sum")


def test_a_metric_is_read_where_the_store_lies(app):
    stack = Stack(app, "Stack", env=HERE)
    arn = f"arn:aws:medical-imaging:eu-west-1:444455556666:datastore/{ID}"
    stores = [Datastore(stack, "Own"), Datastore.from_datastore_arn(stack, "Imported", arn)]
    read = [store.metric("Any").to_metric_config().metric_stat for store in stores]
    assert [("us-east-1", "111122223333"), ("eu-west-1", "444455556666")] == [(one.region, one.account) for one in read]


def test_a_metric_without_a_known_environment_is_read_where_it_is_shown(stack):
    read = Datastore(stack, "Store").metric("Any").to_metric_config().metric_stat
    assert (None, None) == (read.region, read.account)


def test_calls_of_an_operation_are_searched_for_and_summed(app):
    stack = Stack(app, "Stack", env=HERE)
    store = Datastore.from_datastore_id(stack, "Store", ID)
    calls = store.metric_call_count("GetImageFrame", period=Duration.days(30))
    found = f'Namespace="AWS/HealthImaging" MetricName="CallCount" Operation="GetImageFrame" DatastoreId="{ID}"'
    assert f"SUM(SEARCH('{found}', 'Sum', 2592000))" == calls.expression
    assert ("GetImageFrame", "111122223333", "us-east-1") == (calls.label, calls.search_account, calls.search_region)


@pytest.mark.parametrize("operation", ["", "Get Frame", "Get'Frame", 'Get"Frame'])
def test_fails_an_operation_that_is_not_a_name(stack, operation):
    message = f"operation must be the name of an API operation such as GetImageFrame, got {operation!r}"
    with pytest.raises(ValueError, match=re.escape(f"Datastore.metric_call_count: {message}")):
        Datastore(stack, "Store").metric_call_count(operation)


@pytest.mark.slow
def test_a_store_without_metrics_loads_nothing_of_cloudwatch():
    code = (
        "import sys; from aws_cdk import App, Stack; from healthimaging_cdk import Datastore; "
        "Datastore(Stack(App(), 'S'), 'Store'); sys.exit('aws_cdk.aws_cloudwatch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "constructs", capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()


# -- an import -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("method", "expected"), OF_AN_IMPORT.items())
def test_each_metric_of_an_import_is_that_of_its_own_function(stack, method, expected):
    name, statistic = expected
    import_ = DicomImport(stack, "Import")
    assert {
        "namespace": "HealthImagingCdk",
        "name": name,
        "dimensions": {"Import": stack.resolve(import_.import_name)},
        "statistic": statistic,
        "seconds": 300,
    } == described(stack, getattr(import_, method)())


@pytest.mark.slow
def test_the_names_and_dimensions_are_those_that_the_function_writes(stack, capsys):
    import_ = DicomImport(stack, "Import")
    write_metrics(import_.import_name, ID, contract.Verdict.SUCCEEDED, ImportResult(job_id="j", seconds=1))
    (written,) = (line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line)
    (directive,) = written["_aws"]["CloudWatchMetrics"]
    metrics = [getattr(import_, method)() for method in OF_AN_IMPORT]
    asked = {metric.metric_name for metric in metrics}
    assert set(contract.METRIC_UNITS) == asked
    assert {metric["Name"] for metric in directive["Metrics"]} == asked
    assert {directive["Namespace"]} == {metric.namespace for metric in metrics}
    for metric in metrics:
        assert list(metric.dimensions) in directive["Dimensions"]
        assert metric.dimensions == {name: written[name] for name in metric.dimensions}


def test_an_import_in_a_nested_stack_is_named_by_that_stack(stack):
    nested = NestedStack(stack, "Nested")
    metric = DicomImport(nested, "Import").metric_files_scanned()
    assert json.dumps(nested.resolve(nested.stack_name)) in json.dumps(nested.resolve(metric.dimensions["Import"]))


@pytest.mark.slow
def test_the_rate_of_rejected_files_is_in_percent_and_has_ids_of_its_own(stack):
    first, second = DicomImport(stack, "First"), DicomImport(stack, "Second")
    rate = first.metric_rejected_rate(period=Duration.days(30))
    ids = {metric.metric_name: name for name, metric in rate.using_metrics.items()}
    assert f"100 * {ids['FilesRejected']} / {ids['FilesScanned']}" == rate.expression
    assert "Rejected files (%)" == rate.label
    # An id begins with a small letter and goes on with letters, digits and underscores.
    assert [] == [name for name in ids.values() if not re.fullmatch("[a-z][A-Za-z0-9_]*", name)]
    both = [first.metric_rejected_rate(), first.metric_rejected_rate(period=Duration.hours(1))]
    every = [name for other in (rate, *both, second.metric_rejected_rate()) for name in other.using_metrics]
    assert sorted(set(every)) == sorted(every)


DOCUMENT = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
UNITS = ("Bytes", "Count")
"""HealthImaging's, by how the names of its metrics end; the developer guide has the same."""


def documented() -> dict[str, tuple[str, str, str]]:
    rows = re.findall(r"^\| `(metric_\w+)` \| `(\w+)` \| (\w+) \| (\w+) \|", DOCUMENT, flags=re.MULTILINE)
    return {method: (name, unit, statistic) for method, name, unit, statistic in rows}


def test_the_document_lists_every_metric_with_its_unit_and_statistic():
    stores = {
        method: (name, next(unit for unit in UNITS if name.endswith(unit)), "Average")
        for method, (name, _) in {**OF_A_STORE, **OF_ALL_STORES}.items()
    }
    imports = {method: (name, contract.METRIC_UNITS[name], how) for method, (name, how) in OF_AN_IMPORT.items()}
    assert {**stores, **imports} == documented()


def test_every_method_is_in_the_document():
    offered = {name for public in (Datastore, DicomImport) for name in dir(public) if name.startswith("metric_")}
    assert [] == sorted(name for name in offered if f"`{name}" not in DOCUMENT.replace("Datastore.", ""))
