"""Patches of ministack's CloudFormation: what an update changes, and what it must not."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

from ministack import app
from ministack.services import cloudformation as stacks_store
from ministack.services.cloudformation import handlers, provisioners, stacks

from healthimaging_local.ports import Json


def exports_in_use_stay() -> None:
    """Fail an update that changes or removes an export which another stack imports, and drop what is removed.

    CloudFormation's guide, "Get exported outputs from a deployed stack": not before all imports are gone.
    """
    original = stacks._resolve_stack_outputs

    def resolve_stack_outputs(*arguments: Json) -> Json:
        outputs, exports = original(*arguments)
        *_, stack_name, stack_id = arguments
        former = [it for it in list(stacks_store._exports.values()) if it["StackId"] == stack_id]
        for export in former:
            name = export["Name"]
            now = exports.get(name)
            if now is not None and now["Value"] == export["Value"]:
                continue
            users = _importers(name, stack_name)
            if users:
                verb = "deleted" if now is None else "updated"
                raise ValueError(f"Export {name} cannot be {verb} as it is in use by {', '.join(users)}")
            if now is None:
                stacks_store._exports.pop(name, None)
        return outputs, exports

    stacks._resolve_stack_outputs = resolve_stack_outputs


def _importers(name: str, exporter: str) -> list[str]:
    return sorted(
        other
        for other, stack in list(stacks_store._stacks.items())
        if other != exporter
        and stack.get("StackStatus") != "DELETE_COMPLETE"
        and name in handlers._imported_export_names(stack, other)
    )


def nested_stacks_keep_their_attributes() -> None:
    """Let a resource of a nested stack that an update leaves alone keep its attributes; ministack forgets them."""
    original = provisioners._update_resource

    def update_resource(  # noqa: PLR0917 - ministack's signature
        resource_type: str,
        physical_id: str,
        before: Json,
        after: Json,
        stack_name: str,
        logical_id: str | None = None,
        attributes: Json = None,
    ) -> Json:
        if attributes is None:
            stack = stacks_store._stacks.get(stack_name) or {}
            attributes = (stack.get("_resources", {}).get(logical_id) or {}).get("Attributes")
        return original(resource_type, physical_id, before, after, stack_name, logical_id, attributes)

    provisioners._update_resource = update_resource


def stack_tags_reach_stores() -> None:
    """Give a new store the tags of its stack.

    The registry schema of the type says taggable, tagOnCreate, and not tagUpdatable. What CloudFormation does when they
    change, nobody has seen: nothing here, or a new store while the setting ``stack_tags_reach_stores`` says so.
    """
    original = provisioners._with_stack_tags
    kind = "AWS::HealthImaging::Datastore"
    provisioners._STACK_TAG_PROPERTY[kind] = ("Tags", "map")

    def with_stack_tags(resource_type: str, properties: Json, tags: Json, stack_name: str, *rest: Json) -> Json:
        if resource_type == kind and not app._loaded_modules["medical_imaging"].state.settings.stack_tags_reach_stores:
            # Those of now, also for the state before: no difference between them replaces a store.
            stack = stacks_store._stacks.get(stack_name)
            tags = tags if stack is None else stack.get("Tags") or []
        return original(resource_type, properties, tags, stack_name, *rest)

    provisioners._with_stack_tags = with_stack_tags
    stacks._with_stack_tags = with_stack_tags
