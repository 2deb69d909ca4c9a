"""What an update of a stack changes, and what it must not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from healthimaging_local import Cloud
from tests.local.test_local_cloudformation import IAM, create, delete, output, settled, stores, update

pytestmark = pytest.mark.cloud


def exporter(name: str, value: str, *, exported: bool = True) -> str:
    parameter = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": value}}
    outputs = {"V": {"Value": value, **({"Export": {"Name": name}} if exported else {})}}
    return json.dumps({"Resources": {"P": parameter}, "Outputs": outputs})


def importer(name: str) -> str:
    value = {"Fn::ImportValue": name}
    parameter = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": value}}
    return json.dumps({"Resources": {"P": parameter}})


@pytest.mark.patch("exports_in_use_stay")
@pytest.mark.parametrize("change", ["updated", "deleted"])
def test_fails_to_change_or_remove_an_export_in_use(cloud: Cloud, change: str) -> None:
    name = f"export-{change}"
    stack = create(cloud, name, exporter(name, "1"))
    user = create(cloud, f"{name}-user", importer(name))
    body = exporter(name, "2", exported=change == "updated")
    refused = update(cloud, stack, body)
    assert "UPDATE_ROLLBACK_COMPLETE" == refused["StackStatus"]
    events = cloud.client("cloudformation").describe_stack_events(StackName=stack["StackId"])["StackEvents"]
    reason = f"Export {name} cannot be {change} as it is in use by {name}-user"
    assert any(reason == event.get("ResourceStatusReason") for event in events)
    delete(cloud, user)
    assert "UPDATE_COMPLETE" == update(cloud, stack, body)["StackStatus"]
    exports = {it["Name"]: it["Value"] for it in cloud.client("cloudformation").list_exports()["Exports"]}
    assert ("2" if change == "updated" else None) == exports.get(name)


@pytest.mark.patch("nested_stacks_keep_their_attributes")
def test_a_nested_stack_is_updated(cloud: Cloud) -> None:
    """What its update leaves alone keeps its attributes, and what has changed changes."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="nested-templates")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]}}

    def parent(value: str) -> str:
        resources = {
            "R": {"Type": "AWS::IAM::Role", "Properties": role},
            "P": {
                "Type": "AWS::SSM::Parameter",
                "Properties": {"Type": "String", "Value": {"Fn::Sub": "${R.Arn} " + value}},
            },
        }
        outputs = {"V": {"Value": {"Fn::GetAtt": ["P", "Value"]}}}
        body = json.dumps({"Resources": resources, "Outputs": outputs})
        s3.put_object(Bucket="nested-templates", Key=f"{value}.json", Body=body)
        url = f"{cloud.endpoint}/nested-templates/{value}.json"
        nested = {"Type": "AWS::CloudFormation::Stack", "Properties": {"TemplateURL": url}}
        own = {"V": {"Value": {"Fn::GetAtt": ["N", "Outputs.V"]}}}
        return json.dumps({"Resources": {"N": nested}, "Outputs": own})

    stack = create(cloud, "nested-parent", parent("one"))
    first = output(stack, "V")
    stack = update(cloud, stack, parent("two"))
    assert ("UPDATE_COMPLETE", first.replace("one", "two")) == (stack["StackStatus"], output(stack, "V"))


def tagged(cloud: Cloud, name: str, *values: str, first: bool = False) -> dict[str, Any]:
    store = {"Type": "AWS::HealthImaging::Datastore", "Properties": {}, "UpdateReplacePolicy": "Retain"}
    body = json.dumps({"Resources": {"Store": store}, "Outputs": {"StoreId": {"Value": {"Ref": "Store"}}}})
    client = cloud.client("cloudformation")
    call = client.create_stack if first else client.update_stack
    call(StackName=name, TemplateBody=body, Capabilities=IAM, Tags=[{"Key": "team", "Value": it} for it in values])
    return settled(cloud, name)


def tags_of(cloud: Cloud, store: str) -> dict[str, str]:
    arn = f"arn:aws:medical-imaging:{cloud.region}:{cloud.account}:datastore/{store}"
    found: dict[str, str] = cloud.client("medical-imaging").list_tags_for_resource(resourceArn=arn)["tags"]
    return found


@pytest.mark.patch("stack_tags_reach_stores")
def test_a_new_store_has_the_tags_of_its_stack_and_keeps_them(cloud: Cloud) -> None:
    """Its type is taggable and tagOnCreate; nothing is added of CloudFormation's own."""
    store = output(tagged(cloud, "stack-tags", "a", first=True))
    assert {"team": "a"} == tags_of(cloud, store)
    for values in ("b", ""):
        assert store == output(tagged(cloud, "stack-tags", *values))
        assert {"team": "a"} == tags_of(cloud, store)


@pytest.mark.patch("stack_tags_reach_stores")
def test_another_tag_of_its_stack_would_replace_a_store(cloud: Cloud) -> None:
    """Only while the setting says so: nobody has seen it."""
    first = output(tagged(cloud, "changed-stack-tags", "a", first=True))
    cloud.settings(stack_tags_reach_stores=True)
    try:
        stack = tagged(cloud, "changed-stack-tags", "b")
    finally:
        cloud.settings(stack_tags_reach_stores=False)
    assert ("UPDATE_COMPLETE", True) == (stack["StackStatus"], output(stack) != first)
    assert {"team": "b"} == tags_of(cloud, output(stack))
    assert {first, output(stack)} <= stores(cloud), "what was replaced is retained"
