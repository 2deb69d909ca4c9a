"""Stores that were deployed as CfnDatastore: kept by a Datastore in its place, or by a mixin as they are."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import App, Mixins, NestedStack, Stack, Tags, assertions
from aws_cdk.aws_healthimaging import CfnDatastore

from healthimaging_cdk import Datastore, LosslessStorageFormat, RetainDatastores
from tests.cdk_cli import diff

pytestmark = [pytest.mark.slow, pytest.mark.long]

STORE, TAGS = "AWS::HealthImaging::Datastore", "Custom::HealthImagingDatastoreTags"
DEPLOYED = {"datastore_name": "radiology", "tags": {"team": "radiology"}}
KEPT = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}


def synthesized(stack: Stack) -> dict[str, Any]:
    return dict(assertions.Template.from_stack(stack).to_json())


@pytest.fixture
def deployed() -> dict[str, Any]:
    """The template of a stack with a CfnDatastore."""
    stack = Stack(App(), "Stack")
    CfnDatastore(stack, "Store", **DEPLOYED)
    return synthesized(stack)


def test_a_datastore_in_its_place_is_the_same_resource(stack, deployed):
    store = Datastore(stack, "Store", datastore_name="radiology")
    store.keep_deployed("Store", tags={"team": "radiology"})
    found = synthesized(stack)
    assert {"Store": {**deployed["Resources"]["Store"], **KEPT}} == found["Resources"]
    assert {"Ref": "Store"} != stack.resolve(store.datastore_id) == {"Fn::GetAtt": ["Store", "DatastoreId"]}


def test_cdk_diff_shows_no_replacement(stack, deployed, tmp_path):
    Datastore(stack, "Store", datastore_name="radiology").keep_deployed("Store", tags={"team": "radiology"})
    status, text = diff(stack.node.root, deployed, tmp_path, "--fail-on", "destructive")
    assert (0, False) == (status, "replace" in text.replace("UpdateReplacePolicy", "")), text


@pytest.mark.parametrize(("name", "tags"), [("other", {"team": "radiology"}), ("radiology", {}), ("radiology", None)])
def test_fails_cdk_diff_for_a_changed_name_or_tag(stack, deployed, tmp_path, name, tags):
    Datastore(stack, "Store", datastore_name=name).keep_deployed("Store", tags)
    status, text = diff(stack.node.root, deployed, tmp_path, "--fail-on", "destructive")
    assert 1 == status
    assert "Store will be replaced" in text


def test_fails_cdk_diff_for_a_datastore_that_does_not_keep_it(stack, deployed, tmp_path):
    Datastore(stack, "Store", datastore_name="radiology")
    status, text = diff(stack.node.root, deployed, tmp_path, "--fail-on", "destructive")
    assert 1 == status
    assert "Store will be destroyed" in text or "will be" in text


def test_further_tags_change_in_place(stack):
    store = Datastore(stack, "Store")
    store.keep_deployed("Store", tags={"team": "radiology"})
    Tags.of(stack).add("cost.center", "7")
    found = synthesized(stack)
    assert {"team": "radiology"} == found["Resources"]["Store"]["Properties"]["Tags"]
    (tagging,) = [it for it in found["Resources"].values() if it["Type"] == TAGS]
    assert {"cost.center": "7"} == tagging["Properties"]["Tags"]


def test_fails_a_store_that_cloudformation_has_not_created(stack):
    store = Datastore(stack, "Store", lossless_storage_format=LosslessStorageFormat.HTJ2K)
    with pytest.raises(ValueError, match="none that CloudFormation has created: omit them"):
        store.keep_deployed("Store")


# -- the mixin -------------------------------------------------------------------------------------------------------


def test_the_mixin_retains_and_leaves_tags_as_they_are(stack, deployed, tmp_path):
    CfnDatastore(stack, "Store", **DEPLOYED)
    Mixins.of(stack).apply(RetainDatastores())
    Tags.of(stack).add("cost-center", "7")
    found = synthesized(stack)["Resources"]["Store"]
    assert {"team": "radiology", "cost-center": "7"} == found["Properties"]["Tags"]
    assert KEPT.items() <= found.items()
    other = Stack(App(), "Stack")
    CfnDatastore(other, "Store", **DEPLOYED)
    Mixins.of(other).apply(RetainDatastores())
    status, text = diff(other.node.root, deployed, tmp_path, "--fail-on", "destructive")
    assert 0 == status, text


def test_the_mixin_brings_tags_in_place_on_request(stack):
    CfnDatastore(stack, "Store", datastore_name="radiology")
    Mixins.of(stack).apply(RetainDatastores(tags_in_place=True))
    Tags.of(stack).add("team", "radiology")
    found = synthesized(stack)["Resources"]
    assert "Tags" not in found["Store"]["Properties"]
    (tagging,) = [it["Properties"] for it in found.values() if it["Type"] == TAGS]
    assert ({"team": "radiology"}, {"Fn::GetAtt": ["Store", "DatastoreArn"]}) == (
        tagging["Tags"],
        tagging["DatastoreArn"],
    )


def test_deployed_tags_stay_in_the_template(stack, deployed):
    CfnDatastore(stack, "Store", **DEPLOYED)
    Mixins.of(stack).apply(RetainDatastores(tags_in_place=True, deployed_tags={"team": "radiology"}))
    Tags.of(stack).add("cost-center", "7")
    found = synthesized(stack)["Resources"]
    assert deployed["Resources"]["Store"]["Properties"] == found["Store"]["Properties"]


def test_the_mixin_reaches_every_store_but_those_of_a_datastore(stack):
    nested = NestedStack(stack, "Nested")
    CfnDatastore(nested, "Store", tags={"team": "radiology"})
    Datastore(stack, "Own")
    Mixins.of(stack).apply(RetainDatastores(tags_in_place=True))
    assert {"Tags"}.isdisjoint(synthesized(nested)["Resources"]["Store"].get("Properties", {}))
    assert 2 == len(synthesized(stack)["Resources"])  # the nested stack, and a store without anything that tags it


def test_fails_deployed_tags_without_tags_in_place():
    with pytest.raises(ValueError, match="deployed_tags are for tags_in_place=True"):
        RetainDatastores(deployed_tags={})
