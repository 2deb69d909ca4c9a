"""A deploy without feature flags, and one with all that `cdk init` writes: data in one stack, import in another."""

from __future__ import annotations

import pytest
from aws_cdk import App

from stacks.data_stack import DataStack
from stacks.import_stack import ImportStack
from tests.feature_flags import RECOMMENDED

pytestmark = [pytest.mark.cloud, pytest.mark.long]


def app_of(name: str, context: dict) -> App:
    app = App(analytics_reporting=False, post_cli_context=context)
    data = DataStack(app, f"{name}Data")
    ImportStack(
        app, f"{name}Work", datastore=data.datastore, input_bucket=data.input_bucket, output_bucket=data.output_bucket
    )
    return app


@pytest.mark.parametrize(("name", "flags"), [("None", {}), ("Recommended", RECOMMENDED)])
def test_an_import_of_another_stacks_data_deploys(account, name, flags):
    first = account.deploy(app_of(name, flags))
    assert ["CREATE_COMPLETE"] * 2 == [deployed.status for deployed in first.values()]
    account.upload(first[f"{name}Data"].outputs["InputBucketName"], "dicom/", "CT_small.dcm")
    second = account.deploy(app_of(name, {**flags, "run_id": "again"}))[f"{name}Work"]
    assert "UPDATE_COMPLETE" == second.status
    assert any("1 imported" in value for value in second.outputs.values())
