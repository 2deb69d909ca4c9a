"""Where ministack differs from AWS in a way that matters here, and the mend. docs/local-cloud.md lists them all."""

from __future__ import annotations

import os
from typing import Any

from ministack import app
from ministack.core import iam_evaluator
from ministack.services import cloudformation as stacks_store
from ministack.services import iam
from ministack.services.cloudformation import stacks

RUNTIME_VARIABLE = "HEALTHIMAGING_LOCAL_RUNTIME"


def mend_all() -> None:
    """Apply every mend."""
    every_request_is_secure()
    trust_alone_allows_assume_role()
    failed_delete_keeps_dependencies()
    workers_use_the_runtime_sdk()


def every_request_is_secure() -> None:
    """Let ``aws:SecureTransport`` be true: on loopback plain HTTP stands for TLS.

    Bucket policies that refuse plain HTTP are a must on AWS and would refuse everything here.
    """
    original = app.pin_request_origin

    def pin_request_origin(source_ip: str, _: object) -> None:
        original(source_ip, True)

    app.pin_request_origin = pin_request_origin


def trust_alone_allows_assume_role() -> None:
    """Let a role be assumed by a principal of its account that its trust policy names, without an identity policy.

    AWS: "add the user as a principal directly in the role's trust policy" (IAM user guide, "Granting a user
    permissions to switch roles"). A trust policy that names only the account still needs an identity policy.
    """

    def role_trust_policy_for_arn(role_arn: str) -> tuple[Any, str] | None:
        parts = role_arn.split(":", 5)
        if len(parts) < 6 or not parts[5].startswith("role/"):
            return None
        role = iam._roles.get_scoped(parts[4], None, parts[5].rsplit("/", 1)[-1])
        return (role.get("AssumeRolePolicyDocument"), parts[4]) if role else None

    iam.role_trust_policy_for_arn = role_trust_policy_for_arn
    iam_evaluator._RESOURCE_POLICY_LOOKUPS["sts"] = ("iam", "role_trust_policy_for_arn")


def failed_delete_keeps_dependencies() -> None:
    """Let the deletion of a stack keep what a resource that failed to delete depends on.

    CloudFormation deletes a resource only after everything that depends on it is gone. Here the kept resource is
    reported as DELETE_FAILED too; on AWS it simply stays.
    """
    original = stacks._delete_resource

    def delete_resource(
        resource_type: str, physical_id: str, props: dict[str, Any], stack_name: Any = None, logical_id: Any = None
    ) -> None:
        stack = stacks_store._stacks.get(stack_name) or {}
        if stack.get("StackStatus") == "DELETE_IN_PROGRESS":
            resources = stack.get("_resources", {})
            failed = [
                name
                for name, resource in resources.items()
                if resource.get("ResourceStatus") == "DELETE_FAILED" and name != logical_id
            ]
            definitions = (stack.get("_template") or {}).get("Resources", {})
            needed_by = [
                name for name in failed if logical_id in stacks._with_dependencies([name], definitions, set(resources))
            ]
            if needed_by:
                raise ValueError(f"kept, because {', '.join(needed_by)} depends on it and failed to delete")
        original(resource_type, physical_id, props, stack_name, logical_id)

    stacks._delete_resource = delete_resource


def workers_use_the_runtime_sdk() -> None:
    """Let Lambda workers import the SDK of a Lambda runtime, not the emulator's own newer one.

    For child processes only: this process has its modules already. The checkout leaves the path with it, so that a
    function sees its own asset and the runtime, as on AWS.
    """
    runtime = os.environ.get(RUNTIME_VARIABLE, "")
    if runtime:
        os.environ["PYTHONPATH"] = runtime
    else:
        os.environ.pop("PYTHONPATH", None)
