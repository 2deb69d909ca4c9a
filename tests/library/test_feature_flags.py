"""The library under every feature flag that `cdk init` writes; all of tests/library runs so by FEATURE_FLAGS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, CfnOutput, Stack, Tags
from aws_cdk import aws_ec2 as ec2

from healthimaging_cdk import (
    Datastore,
    DicomImport,
    HealthImagingEndpoints,
    ImportAlarms,
    ImportNetwork,
    LosslessStorageFormat,
    Notify,
)
from stacks.data_stack import DataStack
from stacks.import_stack import ImportStack
from tests.feature_flags import RECOMMENDED, REFERENCES

pytestmark = pytest.mark.slow


def in_a_vpc(app: App) -> None:
    stack = Stack(app, "Network")
    vpc = ec2.Vpc(stack, "Vpc")
    ImportNetwork(stack, "Inside", vpc=vpc, endpoints=HealthImagingEndpoints(stack, "Endpoints", vpc=vpc))
    DicomImport(stack, "Import")


def in_one_stack(app: App) -> None:
    stack = Stack(app, "Everything")
    ImportAlarms(stack, "Alarms", DicomImport(stack, "Import", notify=Notify.FAILURES))
    Datastore(stack, "Custom", lossless_storage_format=LosslessStorageFormat.HTJ2K)
    Tags.of(stack).add("team", "radiology")


def in_two_stacks(app: App) -> None:
    data = DataStack(app, "Data")
    ImportStack(app, "Work", datastore=data.datastore, input_bucket=data.input_bucket, output_bucket=data.output_bucket)


@pytest.mark.parametrize("make", [in_a_vpc, in_one_stack, in_two_stacks])
@pytest.mark.parametrize("flags", [{REFERENCES: "strong"}, RECOMMENDED], ids=["none", "recommended"])
def test_an_app_synthesizes_without_a_word(flags, make):
    app = App(analytics_reporting=False, post_cli_context=flags)
    make(app)
    assembly = app.synth()
    assert [] == [message.entry.data for stack in assembly.stacks for message in stack.messages]


def test_fails_the_errors_of_aspects_end_synth_and_name_their_construct():
    app = App(analytics_reporting=False, post_cli_context=RECOMMENDED)
    Tags.of(Datastore(Stack(app, "Stack"), "Store")).add("cost centre", "7")
    with pytest.raises(RuntimeError, match=r"tags key 'cost centre' must match(.|\n)*Stack/Store"):
        app.synth()


def used_by_another_stack(strength: str) -> tuple[dict[str, Any], dict[str, Any]]:
    app = App(analytics_reporting=False, post_cli_context={REFERENCES: strength})
    data, work = Stack(app, "Data"), Stack(app, "Work")
    CfnOutput(work, "Id", value=Datastore(data, "Store").datastore_id)
    assembly = app.synth()
    return tuple(assembly.get_stack_by_name(name).template for name in ("Data", "Work"))


def test_a_strong_reference_is_an_export_that_keeps_the_store_in_its_stack():
    data, work = used_by_another_stack("strong")
    assert "Fn::ImportValue" in json.dumps(work)
    assert ["Export"] == [key for output in data["Outputs"].values() for key in output if key == "Export"]


def test_a_weak_reference_is_looked_up_at_each_deploy_and_keeps_nothing():
    data, work = used_by_another_stack("weak")
    assert "Fn::GetStackOutput" in json.dumps(work)
    assert "Export" not in json.dumps(data)
