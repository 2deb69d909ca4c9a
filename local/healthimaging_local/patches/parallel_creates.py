"""Patch of ministack's CloudFormation: what waits for nothing is created at once, custom resources at least."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context

from ministack import app
from ministack.core import responses
from ministack.services import cloudformation as stacks_store
from ministack.services.cloudformation import stacks

from healthimaging_local.patches.stacks import CREATED_AHEAD
from healthimaging_local.ports import Json


def custom_resources_are_created_at_once() -> None:
    """Create all custom resources of a new stack that wait for nothing more, while the setting says so.

    CloudFormation creates in parallel what does not depend on each other; ministack creates one after the other.
    """
    sort, provision = stacks._topological_sort, stacks._provision_resource
    begun: dict[tuple[str, str], Future[Json]] = {}
    threads = ThreadPoolExecutor(max_workers=64)

    def topological_sort(resources: Json, conditions: Json) -> Json:
        ordered = sort(resources, conditions)
        return list(_custom_last(ordered, resources)) if _is_on() else ordered

    def provision_resource(resource_type: str, logical_id: str, properties: Json, stack_name: str) -> Json:
        stack = stacks_store._stacks[stack_name]
        if not _is_on() or not _is_custom(resource_type) or stack["StackStatus"] != "CREATE_IN_PROGRESS":
            return provision(resource_type, logical_id, properties, stack_name)
        stack_id = stack["StackId"]
        if (stack_id, logical_id) not in begun:
            for name, kind, resolved in _ready(stack):
                context = copy_context()
                begun[stack_id, name] = threads.submit(context.run, provision, kind, name, resolved, stack_name)
        try:
            return begun.pop((stack_id, logical_id)).result()
        except Exception:
            others = {name: begun.pop((it, name)) for it, name in list(begun) if it == stack_id}
            wait(others.values())
            stack["_resources"] |= {
                name: _record(stack, name, future.result()) for name, future in others.items() if not future.exception()
            }
            raise

    stacks._topological_sort = topological_sort
    stacks._provision_resource = provision_resource


def _is_on() -> bool:
    return bool(app._loaded_modules["medical_imaging"].state.settings.custom_resources_at_once)


def _is_custom(resource_type: str) -> bool:
    return resource_type.startswith("Custom::") or resource_type == "AWS::CloudFormation::CustomResource"


def _type_of(definition: Json) -> str:
    return str(definition.get("Type", "AWS::CloudFormation::CustomResource"))


def _custom_last(ordered: list[str], resources: Json) -> Iterator[str]:
    """The same order, but custom resources come only when nothing else can."""
    waits = {name: stacks._extract_deps(resources[name], set(ordered)) for name in ordered}
    left = list(ordered)
    while left:
        ready = [name for name in left if waits[name].isdisjoint(left)]
        others = [name for name in ready if not _is_custom(_type_of(resources[name]))]
        batch = others or ready
        yield from batch
        left = [name for name in left if name not in batch]


def _ready(stack: Json) -> Iterator[tuple[str, str, Json]]:
    """The custom resources that are not there and wait for nothing, with their properties."""
    template, there = stack["_template"], stack["_resources"]
    conditions = stacks._evaluate_conditions(template, stack["_resolved_params"])
    resources = {name: it for name, it in template["Resources"].items() if conditions.get(it.get("Condition"), True)}
    for name, definition in resources.items():
        needs = stacks._extract_deps(definition, set(resources))
        if name not in there and _is_custom(_type_of(definition)) and needs <= there.keys():
            properties = stacks._resolve_refs(
                copy.deepcopy(definition.get("Properties", {})),
                there,
                stack["_resolved_params"],
                conditions,
                template.get("Mappings", {}),
                stack["StackName"],
                stack["StackId"],
            )
            yield (
                name,
                _type_of(definition),
                {key: value for key, value in properties.items() if value is not stacks._NO_VALUE},
            )


def _record(stack: Json, logical_id: str, result: Json) -> Json:
    physical_id, attributes = result
    definition = stack["_template"]["Resources"][logical_id]
    return {
        "PhysicalResourceId": physical_id,
        "ResourceType": _type_of(definition),
        "ResourceStatus": "CREATE_COMPLETE",
        "LogicalResourceId": logical_id,
        "Properties": definition.get("Properties", {}),
        "Attributes": attributes,
        "Timestamp": responses.now_iso(),
        CREATED_AHEAD: True,
    }
