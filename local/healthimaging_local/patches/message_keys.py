"""Let topics and queues ask for their keys, as they do on AWS; ministack's never do."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qs

from ministack.core import responses
from ministack.services import cloudwatch, eventbridge, sns, sqs
from ministack.services.cloudformation import provisioners

from healthimaging_local import keys
from healthimaging_local.keys import Use
from healthimaging_local.ports import Json


def topics_need_their_key() -> None:
    """Ask who publishes to an encrypted topic for its key (SNS, "Configuring AWS KMS permissions")."""
    original = sns.handle_request

    async def handle_request(method: str, path: str, headers: Json, body: bytes, query: Json) -> Json:
        form = parse_qs(body.decode("utf-8", errors="replace")) if method == "POST" and body else {}
        given = {name: values[-1] for name, values in {**query, **form}.items() if values}
        topic = given.get("TopicArn") or given.get("TargetArn") or ""
        if given.get("Action") in {"Publish", "PublishBatch"}:
            reason = keys.caller_refusal(headers, query, _topic_uses(topic))
            if reason:
                return sns._error("KMSAccessDenied", reason, 400)
        return await original(method, path, headers, body, query)

    sns.handle_request = handle_request


def _topic_uses(topic_arn: str) -> list[Use]:
    topic = sns._topics.get(topic_arn) or {}
    key = topic.get("attributes", {}).get("KmsMasterKeyId")
    if not key or key.startswith("alias/aws/"):
        return []
    context = {"aws:sns:topicArn": topic_arn}
    return [Use(action, key, "sns", context) for action in ("kms:GenerateDataKey", "kms:Decrypt")]


def alarms_need_the_key_of_their_topic() -> None:
    """Let an alarm publish to an encrypted topic only if the key's policy lets CloudWatch in (SNS, the same page)."""
    original = cloudwatch._dispatch_alarm_actions
    service = "cloudwatch.amazonaws.com"

    def dispatch_alarm_actions(alarm: Json, *rest: Json) -> None:
        kinds = ("AlarmActions", "OKActions", "InsufficientDataActions")
        more = {"aws:SourceArn": alarm["AlarmArn"]}
        allowed = {
            kind: [
                topic
                for topic in alarm.get(kind) or ()
                if not any(
                    keys.service_refusal(service, Use(use.action, use.key, use.via, use.context, more))
                    for use in _topic_uses(topic)
                )
            ]
            for kind in kinds
        }
        original({**alarm, **allowed}, *rest)

    cloudwatch._dispatch_alarm_actions = dispatch_alarm_actions


def topics_of_templates_are_encrypted() -> None:
    """Let CloudFormation's ``KmsMasterKeyId`` be the topic's key; ministack drops it."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::SNS::Topic"]

    def encrypting(original: Callable[..., tuple[str, Json]], position: int) -> Callable[..., tuple[str, Json]]:
        def handler(*arguments: Json, **more: Json) -> tuple[str, Json]:
            made = original(*arguments, **more)
            attributes = sns._topics[made[0]]["attributes"]
            attributes.pop("KmsMasterKeyId", None)
            if key := arguments[position].get("KmsMasterKeyId"):
                attributes["KmsMasterKeyId"] = key
            return made

        return handler

    for name, position in (("create", 1), ("update", 2)):
        handlers[name] = encrypting(handlers[name], position)


def rules_need_the_key_of_their_topic() -> None:
    """Lose an event for an encrypted topic whose key does not let EventBridge in (EventBridge, "Troubleshooting")."""
    original = eventbridge._dispatch_to_sns

    def dispatch_to_sns(arn: str, payload: str) -> None:
        if not any(keys.service_refusal("events.amazonaws.com", use) for use in _topic_uses(arn)):
            original(arn, payload)

    eventbridge._dispatch_to_sns = dispatch_to_sns


def queues_need_their_key() -> None:
    """Ask who sends to or receives from an encrypted queue for its key (SQS, "Key management")."""
    handle, allows = sqs.handle_request, sqs.queue_policy_allows
    needed = {
        "SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"),
        "SendMessageBatch": ("kms:GenerateDataKey", "kms:Decrypt"),
        "ReceiveMessage": ("kms:Decrypt",),
    }

    async def handle_request(method: str, path: str, headers: Json, body: bytes, query: Json) -> Json:
        action, url = _queue_call(headers, body, query, path)
        owner, _, name = "/".join(url.rsplit("/", 2)[-2:]).partition("/")
        queue = sqs._queue_by_arn(f"arn:aws:sqs:{responses.get_region()}:{owner}:{name}")
        uses = _queue_uses(queue, needed.get(action, ()))
        reason = keys.caller_refusal(headers, query, uses)
        if reason:
            answer = responses.error_response_json("KMS.AccessDeniedException", reason, 400)
            return answer[0], {**answer[1], "x-amzn-query-error": "KMS.AccessDeniedException;Sender"}, answer[2]
        return await handle(method, path, headers, body, query)

    def queue_policy_allows(queue_arn: str, service: str, source_arn: str, source_account: str) -> bool:
        if not allows(queue_arn, service, source_arn, source_account):
            return False
        uses = _queue_uses(sqs._queue_by_arn(queue_arn), needed["SendMessage"])
        more = {"aws:SourceArn": source_arn, "aws:SourceAccount": source_account}
        return not any(
            keys.service_refusal(service, Use(use.action, use.key, use.via, use.context, more)) for use in uses
        )

    sqs.handle_request = handle_request
    sqs.queue_policy_allows = queue_policy_allows


def _queue_call(headers: Json, body: bytes, query: Json, path: str) -> tuple[str, str]:
    target = headers.get("x-amz-target", "")
    if target.startswith("AmazonSQS."):
        try:
            return target.partition(".")[2], str(json.loads(body or b"{}").get("QueueUrl", ""))
        except ValueError:
            return "", ""
    form = {**query, **parse_qs(body.decode("utf-8", errors="replace"))}
    given = {name: values[-1] for name, values in form.items() if values}
    return given.get("Action", ""), given.get("QueueUrl", "") or path


def _queue_uses(queue: Json, actions: tuple[str, ...]) -> list[Use]:
    attributes = (queue or {}).get("attributes", {})
    key = attributes.get("KmsMasterKeyId")
    if not key or key.startswith("alias/aws/"):
        return []
    return [Use(action, key, "sqs", {"aws:sqs:arn": attributes.get("QueueArn", "")}) for action in actions]
