"""What docs/deploys.md says of `cdk diff` and of `healthimaging-cdk review`, by the commands themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Duration, Stack, Tags, assertions
from aws_cdk import aws_s3 as s3
from aws_cdk.aws_healthimaging import CfnDatastore
from click.testing import CliRunner

from healthimaging_cdk import Datastore, DicomImport, ImportSource, ImportTolerance
from healthimaging_cdk.cli.review import command as review
from tests.cdk_cli import diff

pytestmark = pytest.mark.slow


def one_import(**options: Any) -> Stack:
    stack = Stack(App(analytics_reporting=False), "Stack")
    DicomImport(stack, "Import", **options)
    return stack


def compared(old: Stack, new: Stack, place: Path) -> tuple[int, str]:
    deployed = dict(assertions.Template.from_stack(old).to_json())
    return diff(new.node.root, deployed, place, "--fail-on", "destructive")


def test_an_import_again_may_be_replaced_and_is_not_destructive(tmp_path):
    status, text = compared(one_import(), one_import(run_id="second"), tmp_path)
    assert 0 == status
    assert "Custom::HealthImagingImport" in text
    assert "RunId" in text


def test_a_change_that_imports_nothing_names_no_property_of_the_intent(tmp_path):
    status, text = compared(one_import(), one_import(tolerance=ImportTolerance(rejected_files=1)), tmp_path)
    assert 0 == status
    assert "MaxRejectedFiles" in text
    assert not [name for name in ("RunId", "InputPrefix", "DatastoreId", "OutputPrefix") if name in text]


def test_the_same_app_has_no_difference(tmp_path):
    status, text = compared(one_import(), one_import(), tmp_path)
    assert (0, True) == (status, "There were no differences" in text)


def stores(**options: Any) -> Stack:
    stack = Stack(App(analytics_reporting=False), "Stack")
    Datastore(stack, "Store", **options)
    return stack


def test_fails_a_changed_name_of_a_store(tmp_path):
    status, text = compared(stores(datastore_name="one"), stores(datastore_name="two"), tmp_path)
    assert 1 == status
    assert "will be replaced" in text


def test_fails_a_changed_tag_of_a_plain_store(tmp_path):
    made = []
    for value in ("one", "two"):
        stack = Stack(App(analytics_reporting=False), "Stack")
        CfnDatastore(stack, "Store", tags={"team": value})
        made.append(stack)
    status, _ = compared(*made, tmp_path)
    assert 1 == status


def test_a_changed_tag_of_a_datastore_is_not_destructive(tmp_path):
    made = []
    for value in ("one", "two"):
        stack = stores()
        Tags.of(stack).add("team", value)
        made.append(stack)
    status, text = compared(*made, tmp_path)
    assert 0 == status, text


def test_a_change_of_rights_destroys_old_policies_and_nothing_else(tmp_path):
    status, text = compared(one_import(), one_import(output_prefix="other/"), tmp_path)
    listed = [line.split(": ", 1)[1] for line in text.splitlines() if line.endswith("will be destroyed")]
    assert 1 == status
    assert {"AWS::IAM::Policy"} == {line.split()[0] for line in listed}
    assert all(word in text for word in ("[+] AWS::IAM::Policy", "Grants", "OutputPrefix"))


# -- the two guards, side by side ------------------------------------------------------------------------------------

Change = Callable[[Stack, bool], None]
"""Fills a stack as it was, or as it is after the change."""


def of_import(before: dict[str, Any], after: dict[str, Any]) -> Change:
    return lambda stack, is_new: of_source(stack, **(after if is_new else before))


def of_source(stack: Stack, prefix: str = "2026-11-27/", name: str = "Import", **options: Any) -> None:
    bucket = s3.Bucket.from_bucket_name(stack, "Images", "images")
    DicomImport(stack, name, source=ImportSource.bucket(bucket, prefix), **options)


def of_store(before: dict[str, Any], after: dict[str, Any]) -> Change:
    return lambda stack, is_new: Datastore(stack, "Store", **(after if is_new else before)) and None


def of_plain_tag(stack: Stack, is_new: bool) -> None:  # noqa: FBT001 - as all of them
    CfnDatastore(stack, "Store", tags={"team": str(is_new)})


def of_tag(stack: Stack, is_new: bool) -> None:  # noqa: FBT001
    Tags.of(Datastore(stack, "Store")).add("team", str(is_new))


def of_store_taken_out(stack: Stack, is_new: bool) -> None:  # noqa: FBT001
    Datastore(stack, "Kept")
    if not is_new:
        Datastore(stack, "Store")


def of_bucket(stack: Stack, is_new: bool) -> None:  # noqa: FBT001
    s3.Bucket(stack, "Bucket", bucket_name="images-new" if is_new else "images-old")


def of_import_taken_out(stack: Stack, is_new: bool) -> None:  # noqa: FBT001
    of_source(stack)
    if not is_new:
        DicomImport(stack, "Second", datastore=Datastore.from_datastore_id(stack, "Other", "0" * 32))


CHANGES: dict[str, Change] = {
    "another `run_id`, tolerance, `timeout` or `job_name` of an import": of_import(
        {},
        {
            "run_id": "2",
            "tolerance": ImportTolerance(rejected_files=1),
            "timeout": Duration.minutes(20),
            "job_name": "nightly",
        },
    ),
    "another tag of a `Datastore`": of_tag,
    "another source, prefix (that of a new day, too), output or role of an import": of_import(
        {}, {"prefix": "2026-11-28/"}
    ),
    "an import that is taken out, with the bucket that it created": of_import_taken_out,
    "another id of an import that creates store and buckets": of_import({}, {"name": "Renamed"}),
    "another name or key of a store, another tag of a `CfnDatastore`": of_store(
        {"datastore_name": "one"}, {"datastore_name": "two"}
    ),
    "a store that is taken out, and retained": of_store_taken_out,
    "another name of a bucket": of_bucket,
}


def guards(change: Change, place: Path) -> tuple[str, str]:
    """The exit codes of both commands for a change."""
    old, new = (Stack(App(analytics_reporting=False, outdir=str(place / name)), "Stack") for name in ("old", "new"))
    change(old, False)
    change(new, True)
    deployed = dict(assertions.Template.from_stack(old).to_json())
    (place / "deployed.json").write_text(json.dumps(deployed), encoding="utf-8")
    status, _ = diff(new.node.root, deployed, place, "--fail-on", "destructive")
    template = str(place / "new" / "Stack.template.json")
    asked = [template, "--against", str(place / "deployed.json"), "--region", "us-east-1", "--fail-on", "data"]
    return str(status), str(CliRunner().invoke(review, asked).exit_code)


def table() -> dict[str, tuple[str, str]]:
    """The table of docs/deploys.md."""
    document = (Path(__file__).parents[2] / "docs" / "deploys.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| ([0-9]+)[^|]* \| ([0-9]+)[^|]* \|$", document, re.MULTILINE)
    return {change: (destructive, data) for change, destructive, data in rows}


def test_the_page_has_a_row_for_each_change() -> None:
    assert list(CHANGES) == list(table())


@pytest.mark.parametrize("change", CHANGES)
def test_both_guards_exit_as_the_page_says(change: str, tmp_path: Path) -> None:
    assert table()[change] == guards(CHANGES[change], tmp_path)


def test_a_changed_tag_of_a_plain_store_fails_both_guards(tmp_path: Path) -> None:
    assert ("1", "4") == guards(of_plain_tag, tmp_path)
