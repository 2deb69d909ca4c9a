"""Experiments about CloudFormation: what DescribeStacks says when, and the order of a clean-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from healthimaging_cdk._verify import templates
from healthimaging_cdk._verify.experiment import Experiment
from healthimaging_cdk._verify.lab import Lab


def _last_updated_time(lab: Lab) -> Mapping[str, str]:
    def described() -> str:
        stack = lab.client("cloudformation").describe_stacks(StackName=lab.stack_name("times"))["Stacks"][0]
        return str(stack.get("LastUpdatedTime", "missing"))

    def deploy(text: str) -> tuple[str, str]:
        during: list[str] = []
        lab.deploy("times", templates.template({"Topic": _topic(text)}), meanwhile=lambda: during.append(described()))
        return during[0], described()

    created, updated = deploy("one"), deploy("two")
    return {
        "LastUpdatedTime during CreateStack": "missing" if created[0] == "missing" else "there",
        "LastUpdatedTime after CreateStack": "missing" if created[1] == "missing" else "there",
        "LastUpdatedTime after an update": "missing" if updated[1] == "missing" else "there",
        "LastUpdatedTime during and after one update": "the same" if len(set(updated)) == 1 else "different",
    }


def _clean_up_order(lab: Lab) -> Mapping[str, str]:
    kept = {"Kept": _topic("kept")}
    removed = {"Removed": _topic("removed"), "Dependent": {"Type": "AWS::SQS::Queue", "DependsOn": ["Removed"]}}
    lab.deploy("clean-up", templates.template({**kept, **removed}))
    lab.deploy("clean-up", templates.template(kept))
    ended = [
        event["LogicalResourceId"]
        for event in reversed(lab.stack_events("clean-up"))
        if event["ResourceStatus"] == "DELETE_COMPLETE" and event["LogicalResourceId"] in removed
    ]
    return {
        "what an update removes is deleted": "in reverse order of dependency"
        if ended[0] == "Dependent"
        else "in another order"
    }


def _topic(name: str) -> dict[str, Any]:
    return {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": name}}


EXPERIMENTS = (
    Experiment(
        "last-updated-time",
        "What DescribeStacks says of the time of an update.",
        {
            "LastUpdatedTime during CreateStack": "missing",
            "LastUpdatedTime after CreateStack": "missing",
            "LastUpdatedTime after an update": "there",
            "LastUpdatedTime during and after one update": "the same",
        },
        3, 0.0, _last_updated_time,
    ),
    Experiment(
        "clean-up-order",
        "In which order the clean-up of an update deletes.",
        {"what an update removes is deleted": "in reverse order of dependency"},
        4, 0.0, _clean_up_order,
    ),
)  # fmt: skip
