"""Patches of ministack's CloudFormation: what a custom resource is sent while a stack is updated or rolled back.

docs/local-cloud.md lists them. All of it is our reading of AWS's documentation, none was seen on AWS.
"""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from http import HTTPStatus

from ministack.core import responses
from ministack.services import cloudformation as stacks_store
from ministack.services.cloudformation import custom_resource, handlers, stacks

from healthimaging_local.ports import Json

_CLEAN_UP = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
_NEVER_UPDATED = b"<LastUpdatedTime></LastUpdatedTime>"

CREATED_AHEAD = "_created_ahead"
"""Marks what was created beside a resource whose creation failed: a rollback deletes it, too."""


def updates_end_with_a_clean_up() -> None:
    """Show UPDATE_COMPLETE_CLEANUP_IN_PROGRESS, and events, while an update deletes what it no longer needs.

    ministack does the same deletes in the same order under UPDATE_IN_PROGRESS. The outputs are resolved once, after
    the last resource was updated and before the first delete.
    """
    resolve, delete = stacks._resolve_stack_outputs, stacks._delete_resource
    cleaning_up = ContextVar("cleaning_up", default=False)

    def resolve_stack_outputs(*arguments: Json) -> Json:
        resolved = resolve(*arguments)
        *_, stack_name, stack_id = arguments
        stack = stacks_store._stacks[stack_name]
        if stack["StackStatus"] == "UPDATE_IN_PROGRESS":
            stack["StackStatus"] = _CLEAN_UP
            stacks._add_event(
                stack_id, stack_name, stack_name, "AWS::CloudFormation::Stack", _CLEAN_UP, physical_id=stack_id
            )
            cleaning_up.set(True)
        return resolved

    def delete_resource(
        resource_type: str, physical_id: str, properties: Json, stack_name: str = "", logical_id: str = ""
    ) -> None:
        stack_id = (stacks_store._stacks.get(stack_name) or {}).get("StackId")
        has_events = cleaning_up.get() and stack_id
        event = (stack_id, stack_name, logical_id, resource_type)
        if has_events:
            stacks._add_event(*event, "DELETE_IN_PROGRESS", physical_id=physical_id)
        delete(resource_type, physical_id, properties, stack_name, logical_id)
        if has_events:
            stacks._add_event(*event, "DELETE_COMPLETE", physical_id=physical_id)

    stacks._resolve_stack_outputs = resolve_stack_outputs
    stacks._delete_resource = delete_resource


def rollbacks_update_custom_resources_back() -> None:
    """Send an Update to a custom resource whose own update gave it another id, before its new id is deleted.

    ministack sends the Delete alone. It sends an Update only to a resource that kept its id, so the old record is
    given the new id until that Update is answered.
    """
    original = stacks._roll_back_operation

    async def roll_back_operation(
        stack_name: str, stack_id: str, stack: Json, operation: Json, reason_override: str = ""
    ) -> None:
        await original(stack_name, stack_id, stack, _prepare_rollback(stack, operation), reason_override)

    stacks._roll_back_operation = handlers._roll_back_operation = roll_back_operation


def _prepare_rollback(stack: Json, operation: Json) -> Json:
    """The operation with its custom resources treated as on AWS: the moved ones and the one that was not created."""
    current = stack.get("_resources", {})
    previous = ((operation.get("is_update") and operation.get("previous_stack")) or {}).get("_resources", {})
    created = list(operation.get("created", []))
    failed = operation.get("failed_logical_id")
    if failed not in created and current.get(failed, {}).get("ResourceStatus") == "CREATE_FAILED":
        created.append(failed)
    created += [name for name, it in current.items() if it.get(CREATED_AHEAD) and name not in created]
    moved = [name for name in created if _is_moved(current.get(name, {}), previous.get(name))]
    for name in moved:
        previous[name]["PhysicalResourceId"] = current[name]["PhysicalResourceId"]

    def in_order() -> Iterator[str]:
        """Name a moved resource again once its Update told the old id: ministack then deletes the new id."""
        for name in created:
            yield name
            if name in moved and previous[name]["PhysicalResourceId"] != current[name]["PhysicalResourceId"]:
                yield name

    replaced = [name for name in operation.get("replaced_ids", []) if name not in moved]
    return {**operation, "created": in_order(), "replaced_ids": replaced}


def _is_moved(current: Json, previous: Json) -> bool:
    return (
        previous is not None
        and _is_custom(current.get("ResourceType", ""))
        and current["PhysicalResourceId"] != previous["PhysicalResourceId"]
    )


def _is_custom(resource_type: str) -> bool:
    return resource_type.startswith("Custom::") or resource_type == "AWS::CloudFormation::CustomResource"


def failed_creates_of_custom_resources_are_deleted() -> None:
    """Send a Delete to a custom resource whose Create failed, with the id that the failure named.

    ministack forgets the resource. AWS names the resource itself when nobody answered.
    """
    provision, deliver = stacks._provision_resource, custom_resource.deliver_response
    told: dict[tuple[str, str], Json] = {}

    def deliver_response(token: str, response: Json) -> bool:
        if isinstance(response, dict):
            told[str(response.get("StackId")), str(response.get("LogicalResourceId"))] = response
        return bool(deliver(token, response))

    def provision_resource(resource_type: str, logical_id: str, properties: Json, stack_name: str) -> Json:
        if not _is_custom(resource_type):
            return provision(resource_type, logical_id, properties, stack_name)
        stack = stacks_store._stacks[stack_name]
        key = (stack["StackId"], logical_id)
        told.pop(key, None)
        try:
            return provision(resource_type, logical_id, properties, stack_name)
        except (RuntimeError, TimeoutError) as error:
            generated = f"{stack_name}-{logical_id}-{uuid.uuid4().hex[:12].upper()}"
            stack["_resources"][logical_id] = {
                "PhysicalResourceId": told.get(key, {}).get("PhysicalResourceId") or generated,
                "ResourceType": resource_type,
                "ResourceStatus": "CREATE_FAILED",
                "ResourceStatusReason": str(error),
                "LogicalResourceId": logical_id,
                "Properties": properties,
                "Attributes": {},
                "Timestamp": responses.now_iso(),
            }
            raise

    custom_resource.deliver_response = deliver_response
    stacks._provision_resource = provision_resource


def new_stacks_have_no_last_updated_time() -> None:
    """Leave ``LastUpdatedTime`` out until a stack is updated; one that a change set creates has it, as on AWS."""
    table: dict[str, Callable[[Json], Json]] = handlers._ACTION_HANDLERS
    create, describe = table["CreateStack"], table["DescribeStacks"]

    def create_stack(parameters: Json) -> Json:
        response = create(parameters)
        if response[0] == HTTPStatus.OK:
            stacks_store._stacks[handlers._p(parameters, "StackName")].pop("LastUpdatedTime", None)
        return response

    def describe_stacks(parameters: Json) -> Json:
        status, headers, body = describe(parameters)
        return status, headers, body.replace(_NEVER_UPDATED, b"")

    table["CreateStack"] = create_stack
    table["DescribeStacks"] = describe_stacks
