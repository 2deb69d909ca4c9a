"""What docs/pipelines.md says of CDK Pipelines: the pipeline of the example, synthesized."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from aws_cdk import App, Stack, assertions

from tests.examples_apps import build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pipeline() -> dict[str, Any]:
    app = build("pipeline", App(analytics_reporting=False))
    stack = app.node.find_child("Pipeline")
    assert isinstance(stack, Stack)
    return dict(assertions.Template.from_stack(stack).to_json())


def stages(pipeline: dict[str, Any]) -> dict[str, list[str]]:
    (found,) = [it for it in pipeline["Resources"].values() if it["Type"] == "AWS::CodePipeline::Pipeline"]
    return {stage["Name"]: [action["Name"] for action in stage["Actions"]] for stage in found["Properties"]["Stages"]}


def test_each_stage_deploys_data_before_the_import_and_production_waits_for_approval(pipeline):
    found = stages(pipeline)
    assert ["Test", "Production"] == list(found)[-2:]
    for name in ("Test", "Production"):
        deploys = [action for action in found[name] if action.endswith(".Deploy")]
        assert ["Data.Deploy", "Import.Deploy"] == deploys
    assert "LookAtTheSummaryOfTest" in found["Production"]
    assert "LookAtTheSummaryOfTest" not in found["Test"]


def test_the_functions_asset_is_published_once_for_both_stages_by_a_role_of_its_own(pipeline):
    (asset,) = stages(pipeline)["Assets"]
    assert "Function_Code" in asset
    roles = [name for name in pipeline["Resources"] if "AssetsFileRole" in name]
    policies = [
        it["Properties"]["PolicyDocument"]["Statement"]
        for it in pipeline["Resources"].values()
        if it["Type"] == "AWS::IAM::Policy" and any(role in json.dumps(it["Properties"]["Roles"]) for role in roles)
    ]
    assumed = [it for it in itertools.chain.from_iterable(policies) if it["Action"] == "sts:AssumeRole"]
    assert assumed
    assert all("file-publishing-role" in json.dumps(it["Resource"]) for it in assumed)


def test_no_step_of_the_pipeline_has_a_right_of_healthimaging(pipeline):
    """What imports is the function of each stage; CloudFormation deploys it with the roles of the bootstrap."""
    assert "medical-imaging" not in json.dumps(pipeline)
