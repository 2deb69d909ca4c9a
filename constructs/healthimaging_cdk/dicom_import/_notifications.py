"""The notifications of an import: the function publishes its verdicts to a topic."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from constructs import Construct

from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk.dicom_import.options import Notify


def make_topic(scope: Construct, encryption_key: kms.IKey | None) -> cdk.aws_sns.Topic:
    """Create the topic of an import that is given none."""
    from aws_cdk import aws_sns as sns  # noqa: PLC0415 - only for an import with notifications

    parent = Construct(scope, "Notifications")
    return sns.Topic(
        parent,
        "Topic",
        display_name="DICOM import",
        enforce_ssl=True,
        # The key that AWS manages may be used by everybody in the account who may use SNS.
        master_key=encryption_key or kms.Alias.from_alias_name(parent, "ManagedKey", "alias/aws/sns"),
    )


def notification_properties(topic: cdk.aws_sns.ITopic | None, notify: Notify | None) -> contract.ImportProperties:
    """The topic as the custom resource takes it: told of failures, unless something else is asked for."""
    if topic is None:
        return {}
    return {"NotificationTopicArn": topic.topic_arn, "Notify": (notify or Notify.FAILURES).value}


__all__ = ["make_topic", "notification_properties"]
