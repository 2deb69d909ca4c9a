"""Where ministack differs from AWS in a way that matters here: patches, grouped by what they patch.

A group is a module of this package, a patch is a function of it without arguments. docs/local-cloud.md says why each is
there. A patch has a test that fails without it, which names it: ``@pytest.mark.patch("name")``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module

WITHOUT_VARIABLE = "HEALTHIMAGING_LOCAL_WITHOUT"

# In the order in which they are applied: a later one may wrap an earlier one.
PATCHES: Mapping[str, Sequence[str]] = {
    "identity": (
        "every_request_is_secure",
        "trust_alone_allows_assume_role",
        "put_events_knows_its_source",
        "principal_arn_is_the_role",
    ),
    "workers": ("workers_use_the_runtime_sdk",),
    "bucket_owners": ("foreign_buckets_know_the_caller", "expected_bucket_owners_count"),
    "network": (
        "security_groups_take_further_rules",
        "vpcs_have_their_block",
        "functions_have_their_network",
        "endpoints_are_told_in_full",
    ),
    "alarms": (
        "log_lines_are_metrics",
        "alarms_take_metric_math",
        "alarms_look_at_each_period",
        "topics_decide_about_alarms",
    ),
    "bucket_tags": ("buckets_have_the_tags_of_their_template",),
    "bucket_policies": ("bucket_policies_deny_the_root",),
    "deletes": ("deletes_fail_as_on_aws",),
    "stacks": (
        "updates_end_with_a_clean_up",
        "rollbacks_update_custom_resources_back",
        "failed_creates_of_custom_resources_are_deleted",
        "new_stacks_have_no_last_updated_time",
    ),
    "clean_ups": ("clean_ups_follow_the_dependencies",),
    "parallel_creates": ("custom_resources_are_created_at_once",),
    "machines": (
        "executions_remember_their_place",
        "retries_wait_as_told",
        "the_same_start_is_answered_again",
        "executions_can_be_redriven",
    ),
    "machine_limits": ("histories_are_limited", "payloads_are_limited", "terminal_errors_are_not_caught_by_all"),
    "stack_updates": (
        "exports_in_use_stay",
        "nested_stacks_keep_their_attributes",
        "stack_tags_reach_stores",
    ),
    "policies": (
        "policies_have_iams_characters_and_lengths",
        "a_principal_is_a_role_with_its_path",
        "trust_conditions_are_asked_wherever_a_role_is_assumed",
        "functions_need_a_role_that_trusts_them",
    ),
    "object_names": (
        "wildcards_match_every_character",
        "objects_are_asked_about_by_their_whole_key",
        "keys_are_limited",
    ),
    "object_keys": (
        "buckets_of_templates_are_encrypted",
        "objects_take_the_managed_key",
        "objects_need_their_key",
    ),
    "message_keys": (
        "topics_need_their_key",
        "topics_of_templates_are_encrypted",
        "alarms_need_the_key_of_their_topic",
        "rules_need_the_key_of_their_topic",
        "queues_need_their_key",
    ),
    "log_keys": (
        "log_groups_need_a_key_that_lets_logs_in",
        "functions_log_as_their_role",
        "environments_need_their_key",
        "calls_of_kms_know_contexts_and_grants",
    ),
    "result_writer": ("result_writers_write",),
    "invocations": (
        "concurrency_is_limited",
        "throttled_tasks_are_named",
        "asynchronous_calls_wait_in_a_queue",
        "rules_call_asynchronously",
        "custom_resources_call_asynchronously",
    ),
    "machine_roles": ("machine_roles_are_asked", "machines_need_a_role_that_trusts_them"),
}


def apply_patches(without: Collection[str] = ()) -> None:
    """Apply every patch, except those that are to be left out to see what they are still good for.

    Raises:
        ValueError: ``without`` names something that is no patch.
    """
    unknown = sorted(set(without) - {name for names in PATCHES.values() for name in names})
    if unknown:
        raise ValueError(f"no patch is called {', '.join(unknown)}: see healthimaging_local.patches.PATCHES")
    for group, names in PATCHES.items():
        module = import_module(f"{__name__}.{group}")
        for name in names:
            if name not in without:
                getattr(module, name)()
