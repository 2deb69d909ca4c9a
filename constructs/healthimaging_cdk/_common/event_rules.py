"""How the ``on_*`` methods of this library make their EventBridge rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import aws_cdk as cdk
from constructs import Construct

from healthimaging_cdk._common.argument_types import check_options


class OnEventOptions(TypedDict, total=False):
    """What every ``on_*`` method takes, as :class:`aws_cdk.aws_events.OnEventOptions` has it."""

    target: cdk.aws_events.IRuleTarget
    """What gets the event. Default: none, until ``add_target`` gives the rule a target."""
    description: str
    """What the rule is for. Default: no description."""
    rule_name: str
    """The rule's name. Default: CloudFormation gives it one."""
    event_pattern: cdk.aws_events.EventPattern
    """What else has to match. It is merged as CDK merges patterns: of two lists for one field, any entry matches."""
    cross_stack_scope: Construct
    """Where the rule is created if source and target are in different stacks of one account and Region, which may avoid
    a cycle between them. Default: beside its source."""


def make_rule(
    scope: Construct,
    construct_id: str,
    options: OnEventOptions,
    *,
    source: str,
    detail: Mapping[str, Any],
    detail_type: str | None = None,
) -> cdk.aws_events.Rule:
    """A rule on the default event bus for one kind of event, with the options of the user."""
    from aws_cdk import aws_events as events  # noqa: PLC0415 - a construct without rules needs none

    check_options(f"rule {construct_id}", OnEventOptions, options, scope)
    given: dict[str, Any] = {**options}
    target = given.pop("target", None)
    rule = events.Rule(scope, construct_id, **given)
    rule.add_event_pattern(
        source=[source], detail_type=[detail_type] if detail_type is not None else None, detail=detail
    )
    rule.add_target(target)
    return rule
