"""No template asks CloudFormation for two resources that wait for each other; synth only warns of that."""

from __future__ import annotations

import copy
from graphlib import CycleError
from typing import Any

import pytest

from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.intrinsics import creation_order, dependencies

pytestmark = pytest.mark.judges


@pytest.mark.parametrize("example", CATALOGUE)
def test_every_template_has_an_order_in_which_it_can_be_made(
    example: str, templates: dict[str, list[Template]]
) -> None:
    for template in templates[example]:
        assert set(template.resources) == set(creation_order(template.document))


@pytest.mark.parametrize(
    "link",
    [
        {"Ref": "Last"},
        {"Fn::GetAtt": ["Last", "Arn"]},
        {"Fn::GetAtt": "Last.Arn"},
        {"Fn::Sub": "arn:${AWS::Partition}:s3:::${Last}"},
        {"Fn::Sub": "${Last.Arn}/*"},
        {"Fn::Sub": ["${bucket}/*", {"bucket": {"Ref": "Last"}}]},
        {"Fn::Join": ["", ["a", {"Fn::If": ["Condition", {"Ref": "Last"}, "b"]}]]},
    ],
    ids=str,
)
def test_fails_for_a_cycle_of_references(link: dict[str, Any]) -> None:
    document = {
        "Resources": {
            "First": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": link}},
            "Middle": {"Type": "AWS::S3::Bucket", "DependsOn": "First"},
            "Last": {"Type": "AWS::S3::Bucket", "DependsOn": ["Middle"]},
        }
    }
    with pytest.raises(CycleError):
        creation_order(document)


def test_fails_when_the_log_group_is_made_to_wait_for_the_job(templates: dict[str, list[Template]]) -> None:
    document = copy.deepcopy(templates["one line"][0].document)
    job = next(name for name, item in document["Resources"].items() if item["Type"] == "Custom::HealthImagingImport")
    logs = next(item for item in document["Resources"].values() if item["Type"] == "AWS::Logs::LogGroup")
    logs["DependsOn"] = job
    with pytest.raises(CycleError):
        creation_order(document)


def test_fails_for_a_reference_to_nothing() -> None:
    with pytest.raises(ValueError, match="refers to"):
        dependencies({"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "DependsOn": "Nothing"}}})


def test_an_escaped_placeholder_is_no_reference() -> None:
    escaped = {"Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"Name": {"Fn::Sub": "${!Bucket}"}}}}}
    assert {"Bucket": set()} == dependencies(escaped)
