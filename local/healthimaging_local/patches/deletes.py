"""Patches of ministack's CloudFormation: which deletes fail, and what is kept then."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

from ministack.services import cloudformation as stacks_store
from ministack.services import s3
from ministack.services.cloudformation import stacks

from healthimaging_local.ports import Json


def deletes_fail_as_on_aws() -> None:
    """Let a delete fail where CloudFormation's would: a bucket that is not empty, and what a kept resource needs.

    CloudFormation deletes a resource only after everything that depends on it is gone. Here what is kept for that
    reason is reported as DELETE_FAILED too; on AWS it simply stays.
    """
    original = stacks._delete_resource
    failed = FailedDeletes()

    def delete_resource(
        resource_type: str, physical_id: str, props: dict[str, Json], stack_name: str = "", logical_id: str = ""
    ) -> None:
        stack = stacks_store._stacks.get(stack_name) or {}
        dependents = failed.dependents(stack, logical_id)
        try:
            if dependents:
                raise ValueError(f"kept: {', '.join(dependents)} depends on it and was not deleted")  # noqa: TRY301
            if resource_type == "AWS::S3::Bucket" and _holds_objects(physical_id):
                message = "The bucket you tried to delete is not empty (Service: S3, Status Code: 409)"
                raise ValueError(message)  # noqa: TRY301
            original(resource_type, physical_id, props, stack_name, logical_id)
        except Exception:
            failed.note(stack, logical_id)
            raise

    stacks._delete_resource = delete_resource


def _holds_objects(bucket: str) -> bool:
    record = s3._buckets.get(bucket) or {}
    return bool(record.get("objects")) or s3._bucket_has_versions(bucket)


class FailedDeletes:
    """Which resources of a stack could not be deleted, while one phase of one operation lasts."""

    def __init__(self) -> None:
        """Begin with none."""
        self._failed: dict[str, set[str]] = {}

    def note(self, stack: dict[str, Json], logical_id: str) -> None:
        """Remember one failed delete."""
        self._of(stack).add(logical_id)

    def dependents(self, stack: dict[str, Json], logical_id: str) -> list[str]:
        """The resources that depend on ``logical_id`` and could not be deleted."""
        definitions = (stack.get("_template") or {}).get("Resources", {})
        return sorted(
            name
            for name in self._of(stack) - {logical_id}
            if logical_id in stacks._with_dependencies([name], definitions, set(definitions))
        )

    def _of(self, stack: dict[str, Json]) -> set[str]:
        """The failed ones of the phase that the stack's own last event began."""
        events = stacks_store._stack_events.get(stack.get("StackId")) or []
        phases = [event["EventId"] for event in events if event["PhysicalResourceId"] == event["StackId"]]
        return self._failed.setdefault(phases[-1] if phases else "", set())
