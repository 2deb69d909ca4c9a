"""The notifications of an import: its verdicts, from the default event bus to a topic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from healthimaging_cdk._keys import key_statements
from healthimaging_cdk._runtime import rules
from healthimaging_cdk.import_options import Notify

if TYPE_CHECKING:
    from aws_cdk import aws_sns as sns


_BAD = {"outcome": list(rules.BAD_VERDICTS)}
_CONDITIONS: dict[Notify, dict[str, Any]] = {
    Notify.FAILURES: _BAD,
    Notify.REJECTIONS: {"$or": [_BAD, {"counts": {"rejected": [{"numeric": [">", 0]}]}}]},
    Notify.OUTCOMES: {},
}
_MESSAGE = (
    "DICOM import <import>: <outcome>",
    "<scanned> files scanned, <imported> imported, <customer> rejected for customer errors, <server> for server errors",
    "Job <job> of data store <store>, status <status>. Where its manifest and the reasons of rejection lie:",
    "aws medical-imaging get-dicom-import-job --datastore-id <store> --job-id <job> --query jobProperties.outputS3Uri",
)
_PATHS = {
    "import": "$.detail.import",
    "outcome": "$.detail.outcome",
    "store": "$.detail.datastoreId",
    "job": "$.detail.jobId",
    "status": "$.detail.jobStatus",
    "scanned": "$.detail.counts.scanned",
    "imported": "$.detail.counts.imported",
    "customer": "$.detail.counts.customer_errors",
    "server": "$.detail.counts.server_errors",
}


class Notifications(Construct):
    """A rule, and the role with which EventBridge publishes to the topic.

    A role and not the topic's policy: EventBridge sends neither topics nor keys the condition keys that a policy would
    need to let in this rule alone (docs/decisions/0006).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        import_name: str,
        of: Notify,
        topic: sns.ITopic | None,
        encryption_key: kms.IKey | None,
    ) -> None:
        from aws_cdk import aws_events as events  # noqa: PLC0415 - only for who asks for notifications

        super().__init__(scope, construct_id)
        self.topic = topic or self._make_topic(encryption_key)
        key = encryption_key if topic is None else topic.master_key
        self.rule = events.CfnRule(
            self,
            "Rule",
            description="Tells the notification topic how a DICOM import of healthimaging-cdk ended",
            event_pattern={
                "source": [rules.EVENT_SOURCE],
                "detail-type": [rules.EVENT_DETAIL_TYPE],
                "detail": {"import": [import_name], **_CONDITIONS[of]},
            },
            targets=[
                events.CfnRule.TargetProperty(
                    arn=self.topic.topic_arn,
                    id="Topic",
                    role_arn=self._role(key).role_arn,
                    input_transformer=events.CfnRule.InputTransformerProperty(
                        input_paths_map=_PATHS, input_template="\n".join(json.dumps(line) for line in _MESSAGE)
                    ),
                )
            ],
        )

    def _make_topic(self, encryption_key: kms.IKey | None) -> sns.Topic:
        from aws_cdk import aws_sns as sns  # noqa: PLC0415 - only for who asks for notifications

        return sns.Topic(
            self,
            "Topic",
            display_name="DICOM import",
            enforce_ssl=True,
            # The key that AWS manages lets in whoever may use SNS in the account.
            master_key=encryption_key or kms.Alias.from_alias_name(self, "ManagedKey", "alias/aws/sns"),
        )

    def _role(self, key: kms.IKey | None) -> iam.Role:
        statements = [
            iam.PolicyStatement(actions=["sns:Publish"], resources=[self.topic.topic_arn]),
            *key_statements((key, ["kms:Decrypt", "kms:GenerateDataKey"])),
        ]
        return iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("events.amazonaws.com").with_conditions(
                {"StringEquals": {"aws:SourceAccount": Stack.of(self).account}}
            ),
            description="Lets EventBridge tell the notification topic how a DICOM import ended",
            inline_policies={"Publish": iam.PolicyDocument(statements=statements)},
        )


__all__ = ["Notifications"]
