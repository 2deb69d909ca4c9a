"""The private tables and functions of ministack that the launcher needs, checked before anything is changed.

ministack has no plugin interface. Its version is pinned, and when one of these names is gone the cloud must say so in
one sentence instead of failing somewhere in the middle of a deployment.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

EMULATOR = "ministack"
PINNED_VERSION = "1.5.33"

NEEDED: Mapping[str, Sequence[str]] = {
    "ministack.app": (
        "AUTH",
        "SERVICE_REGISTRY",
        "SERVICE_HANDLERS",
        "_dispatch_service_request",
        "_loaded_modules",
        "_routing_params",
        "call_service_handler_sync",
        "_state_map",
        "app",
        "main",
        "pin_request_origin",
    ),
    "ministack.core.router": ("SERVICE_PATTERNS", "detect_service", "extract_access_key_id", "extract_region"),
    "ministack.core.responses": (
        "error_response_json",
        "get_account_id",
        "get_region",
        "json_response",
        "now_iso",
        "request_scope",
    ),
    "ministack.core.iam_actions": (
        "SERVICE_TO_IAM_NAMESPACE",
        "_BOTOCORE_SERVICE_MAP",
        "_REST_ROUTE_CACHE",
        "_compile_uri",
        "_SERVICE_PROTOCOL",
        "access_denied_response",
        "eventbridge_resource_arns",
        "extract_iam_action",
        "extract_resource_arn",
        "identity_denial_message",
        "request_tag_context",
    ),
    "ministack.core.iam_evaluator": (
        "AuthError",
        "EvalContext",
        "PrincipalInfo",
        "_POLICY_REQUIRED",
        "_RESOURCE_POLICY_LOOKUPS",
        "_fnmatch_compile",
        "_gather_role_policies",
        "_gather_user_policies",
        "_permissions_boundary",
        "_principal_matches",
        "_resolve_condition_key",
        "_resource_policy",
        "caller_arn",
        "combine_resource_policy",
        "enforce",
        "evaluate",
        "evaluate_resource_policy",
        "parse_policy_document",
        "resolve_principal",
    ),
    "ministack.services.cloudwatch": (
        "_calc_stats",
        "_dims_from_list",
        "_dims_key",
        "_dispatch_alarm_actions",
        "_evaluate_alarm",
        "_evaluate_all_alarms",
        "_evaluate_parent_alarms",
        "_metrics",
        "_record_history",
        "_stat_value",
        "_store_datum",
    ),
    "ministack.services.cloudwatch_logs": (
        "_append_log_events",
        "_create_log_group",
        "_log_groups",
    ),
    "ministack.services.ec2": ("_security_groups", "_vpce_fields_xml", "_vpcs"),
    "ministack.services.iam": ("_IAM_HANDLERS", "_error", "_p", "_roles"),
    "ministack.services.lambda_svc": (
        "_account_region_from_function_config",
        "_acquire_execution_slot",
        "_create_function",
        "_emit_lambda_logs",
        "_execute_function",
        "_execute_function_with_config_scope",
        "_execution_record_for_config",
        "_functions",
        "_get_func_record_for_ref",
        "_inflight",
        "_route_async_failure",
        "_vpc_config_with_id",
        "invoke_async_with_retry",
    ),
    "ministack.services.s3": (
        "_apply_bucket_scope",
        "_bucket_encryption",
        "_bucket_has_versions",
        "_bucket_owner_account",
        "_bucket_tags",
        "_buckets",
        "_delete_bucket_encryption",
        "_error",
        "_foreign_bucket_allows",
        "_object_versions",
        "_put_bucket_encryption",
        "_put_object",
        "_resolve_sse_write_headers",
        "_stored_sse_headers",
        "handle_request",
    ),
    "ministack.services.sns": (
        "_error",
        "_topics",
        "handle_request",
        "topic_policy_for_arn",
    ),
    "ministack.services.stepfunctions": (
        "_AWS_SDK_ERROR_PREFIX",
        "_AWS_SDK_SERVICE_MAP",
        "_ExecutionError",
        "_add_event",
        "_apply_input_path",
        "_apply_output_path",
        "_apply_result_path",
        "_apply_result_selector",
        "_call_lambda",
        "_create_state_machine",
        "_describe_execution",
        "_emit_execution_status_event",
        "_error_matches",
        "_execute_choice",
        "_execute_map",
        "_execute_parallel",
        "_execute_pass",
        "_execute_task",
        "_execute_wait",
        "_executions",
        "_fail_execution",
        "_fail_state_error",
        "_finalize_response",
        "_find_matching_retrier",
        "_invoke_aws_sdk_integration",
        "_invoke_resource",
        "_invoke_with_callback",
        "_map_runs",
        "_read_map_items",
        "_resolve_params_obj",
        "_resolve_state_machine_arn",
        "_run_distributed_map",
        "_run_execution",
        "_run_sub_machine",
        "_s3_object_text",
        "_scaled_sleep",
        "_start_execution",
        "_state_machines",
        "_update_state_machine",
        "handle_request",
    ),
    "ministack.services.kms": (
        "_aliases",
        "_create_grant",
        "_grants",
        "_keys",
    ),
    "ministack.services.sqs": (
        "_queue_by_arn",
        "handle_request",
        "queue_policy_allows",
    ),
    "ministack.services.sts": ("register_session",),
    "ministack.services.eventbridge": ("_dispatch_to_lambda", "_dispatch_to_sns", "_put_events"),
    "ministack.services.tagging": ("_RESOURCE_TAG_COLLECTORS",),
    "ministack.services.cloudformation": ("_exports", "_stack_events", "_stacks"),
    "ministack.services.cloudformation.custom_resource": ("deliver_response", "invoke_custom_resource"),
    "ministack.services.cloudformation.handlers": (
        "_ACTION_HANDLERS",
        "_imported_export_names",
        "_p",
        "_roll_back_operation",
    ),
    "ministack.services.cloudformation.provisioners": (
        "_DEFERRED_PREDECESSOR_DELETES",
        "_REPLACING_PROPERTIES",
        "_RESOURCE_HANDLERS",
        "_S3_BUCKET_CONFIGURATIONS",
        "_STACK_TAG_PROPERTY",
        "_with_stack_tags",
        "_cw_metric_alarm_record",
        "_ec2_sg_permissions",
        "_s3_apply_configurations",
        "_update_resource",
    ),
    "ministack.services.cloudformation.stacks": (
        "_NO_VALUE",
        "_add_event",
        "_delete_resource",
        "_evaluate_conditions",
        "_extract_deps",
        "_provision_resource",
        "_resolve_refs",
        "_resolve_stack_outputs",
        "_resource_policy",
        "_roll_back_operation",
        "_runs_on_worker_thread",
        "_update_resource",
        "_topological_sort",
        "_with_dependencies",
        "_with_stack_tags",
    ),
}


class EmulatorChangedError(Exception):
    """The installed ministack is not the one this launcher was written for."""


def check_tables(needed: Mapping[str, Sequence[str]] = NEEDED) -> None:
    """Raise ``EmulatorChangedError``, with all missing names in one message, unless everything needed is there."""
    missing = []
    for module_name, names in needed.items():
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            missing.append(module_name)
            continue
        missing += [f"{module_name}.{name}" for name in names if not hasattr(module, name)]
    if missing:
        raise EmulatorChangedError(
            f"{EMULATOR} lacks {', '.join(missing)}: the local cloud is written for {EMULATOR}=={PINNED_VERSION}, "
            "install that version (requirements/cloud.txt) or adapt local/healthimaging_local"
        )
