"""The stores that the imports of a stack create are created one after the other."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import App, NestedStack, Stack

from healthimaging_cdk import Datastore, DicomImport

pytestmark = pytest.mark.slow

STORE = "AWS::HealthImaging::Datastore"


def waits(stack: Stack) -> dict[str, list[str]]:
    """Which stores each store names in its DependsOn."""
    app = stack.node.root
    assert isinstance(app, App)
    template: dict[str, Any] = app.synth().get_stack_by_name(stack.stack_name).template
    stores = {name: it for name, it in template["Resources"].items() if it["Type"] == STORE}
    return {name: [need for need in it.get("DependsOn", []) if need in stores] for name, it in stores.items()}


def short(found: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name[:1]: [need[:1] for need in needs] for name, needs in found.items()}


def test_each_store_waits_for_the_one_before(stack):
    for name in ("A", "B", "C"):
        DicomImport(stack, name)
    assert {"A": [], "B": ["A"], "C": ["B"]} == short(waits(stack))


@pytest.mark.parametrize("number", [0, 1])
def test_where_an_import_waits_for_a_later_one_the_stores_do_too(stack, number):
    imports = [DicomImport(stack, name, customer_managed_key=False) for name in ("A", "B", "C")]
    imports[number].node.add_dependency(imports[2])
    found = short(waits(stack))
    expected = [{"B": [], "C": ["B"], "A": ["C"]}, {"A": [], "C": ["A"], "B": ["C"]}][number]
    assert {name: set(needs) for name, needs in expected.items()} == {name: set(it) for name, it in found.items()}


def test_stores_of_ones_own_are_left_as_they_are(stack):
    Datastore(stack, "D")
    DicomImport(stack, "A", datastore=Datastore(stack, "E"))
    DicomImport(stack, "B")
    assert {"D": [], "E": [], "B": []} == short(waits(stack))


def test_each_stack_has_an_order_of_its_own(stack):
    DicomImport(stack, "A")
    nested = NestedStack(stack, "N")
    DicomImport(nested, "A")
    DicomImport(nested, "B")
    assert {"A": []} == short(waits(stack))
