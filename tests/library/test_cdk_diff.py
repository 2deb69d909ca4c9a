"""What docs/deploys.md says of `cdk diff`, by the CDK CLI itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack, Tags, assertions
from aws_cdk.aws_healthimaging import CfnDatastore

from healthimaging_cdk import Datastore, DicomImport, ImportTolerance
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
