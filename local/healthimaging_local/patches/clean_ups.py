"""Patches of ministack's CloudFormation: in which order an update deletes what it no longer needs."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field

from ministack.services import cloudformation as stacks_store
from ministack.services.cloudformation import provisioners, stacks

from healthimaging_local.ports import Json

_Delete = Callable[..., None]


def clean_ups_follow_the_dependencies() -> None:
    """Delete what depended on a replaced resource before the replaced one, if the update removes it.

    ministack deletes all that was replaced, and then all that was removed.
    """
    resolve, blocks = stacks._resolve_stack_outputs, stacks._runs_on_worker_thread
    clean_ups = _CleanUps(stacks._delete_resource, provisioners._update_resource)

    def resolve_stack_outputs(*arguments: Json) -> Json:
        resolved = resolve(*arguments)
        clean_ups.begin(arguments[-2], surviving=arguments[2])
        return resolved

    def runs_on_worker_thread(resource_type: str) -> bool:
        """Any delete of a clean-up may wait for a custom resource that has to go first."""
        return clean_ups.current.get() is not None or bool(blocks(resource_type))

    stacks._resolve_stack_outputs = resolve_stack_outputs
    stacks._runs_on_worker_thread = runs_on_worker_thread
    stacks._delete_resource = clean_ups.delete_resource
    stacks._update_resource = provisioners._update_resource = clean_ups.update_resource


@dataclass
class _CleanUp:
    """What one update still has to delete: the resources that are not in its new template."""

    stack: Json
    removed: Collection[str]
    definitions: Json
    ended: dict[str, Exception | None] = field(default_factory=dict)
    """The removed ones that were deleted before their turn, with what went wrong."""

    def dependents(self, logical_id: str) -> list[str]:
        """The removed resources that depended on one, each before what it depended on itself."""
        everything = set(self.definitions)
        needed = {name: stacks._with_dependencies([name], self.definitions, everything) for name in self.removed}
        return sorted(
            (name for name in needed if logical_id in needed[name]), key=lambda name: (-len(needed[name]), name)
        )

    def is_deleted(self, logical_id: str) -> bool:
        """Whether a removed resource is not retained."""
        policy = stacks._resource_policy(
            self.definitions[logical_id],
            "DeletionPolicy",
            self.stack["_resources"],
            self.stack.get("_resolved_params", {}),
            self.stack.get("_conditions", {}),
            (self.stack.get("_template") or {}).get("Mappings", {}),
            self.stack["StackName"],
            self.stack["StackId"],
        )
        return bool(policy == "Delete")


class _CleanUps:
    """Stands before ministack's deletes while a clean-up lasts."""

    def __init__(self, delete: _Delete, update: Callable[..., Json]) -> None:
        self.current: ContextVar[_CleanUp | None] = ContextVar("clean_up", default=None)
        self._delete = delete
        self._update = update
        self._own_deletes: dict[tuple[str, str, str], list[tuple[_Delete, Json, Json]]] = {}

    def begin(self, stack_name: str, surviving: Collection[str]) -> None:
        """Remember what is removed, before the first delete."""
        stack = stacks_store._stacks[stack_name]
        definitions = (stack.get("_template") or {}).get("Resources", {})
        removed = set(stack.get("_resources", {})) - set(surviving)
        self.current.set(_CleanUp(stack, removed & set(definitions), definitions))

    def update_resource(self, resource_type: str, physical_id: str, *arguments: Json) -> Json:
        """Hold back what a handler itself deletes of a predecessor: it is done with the rest of the clean-up."""
        result = self._update(resource_type, physical_id, *arguments)
        deferred = provisioners._DEFERRED_PREDECESSOR_DELETES.get()
        if deferred and result[0] != physical_id:
            self._own_deletes[arguments[2], arguments[3], physical_id] = list(deferred)
            deferred.clear()
        return result

    def delete_resource(
        self, resource_type: str, physical_id: str, properties: Json, stack_name: str = "", logical_id: str = ""
    ) -> None:
        """Delete a resource after all that depended on it."""
        clean_up = self.current.get()
        if clean_up is not None and clean_up.stack["StackName"] != stack_name:  # of a nested stack
            clean_up = None
        if clean_up is not None and logical_id in clean_up.ended:
            error = clean_up.ended[logical_id]
            if error is not None:
                raise error
            return
        own: list[tuple[_Delete, Json, Json]] = []
        if clean_up is not None and logical_id not in clean_up.removed:
            self._delete_dependents(clean_up, logical_id)
            own = self._own_deletes.pop((stack_name, logical_id, physical_id), [])
        for function, arguments, options in own:
            function(*arguments, **options)
        self._delete(resource_type, physical_id, properties, stack_name, logical_id)

    def _delete_dependents(self, clean_up: _CleanUp, logical_id: str) -> None:
        for name in clean_up.dependents(logical_id):
            if name in clean_up.ended or not clean_up.is_deleted(name):
                continue
            record = clean_up.stack["_resources"][name]
            error = None
            try:
                self._delete(
                    record["ResourceType"],
                    record["PhysicalResourceId"],
                    record["Properties"],
                    clean_up.stack["StackName"],
                    name,
                )
            except Exception as failure:  # noqa: BLE001 - told when ministack comes to it
                error = failure
            clean_up.ended[name] = error
