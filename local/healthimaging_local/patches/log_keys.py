"""Let logs, functions and KMS itself ask for keys, as they do on AWS; ministack's never do."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import json
from collections.abc import Callable

from ministack import app
from ministack.core import iam_actions, iam_evaluator, responses
from ministack.services import cloudwatch_logs, lambda_svc
from ministack.services.cloudformation import provisioners

from healthimaging_local import decisions, keys
from healthimaging_local.keys import Use
from healthimaging_local.ports import Json

_LOG_ACTIONS = ("Encrypt", "Decrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo")


def log_groups_need_a_key_that_lets_logs_in() -> None:
    """Refuse an encrypted log group whose key does not let CloudWatch Logs in (Logs, "Encrypt log data")."""
    create = cloudwatch_logs._create_log_group
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Logs::LogGroup"]

    def create_log_group(data: Json) -> Json:
        reason = _log_refusal(data.get("logGroupName", ""), data.get("kmsKeyId") or "")
        return responses.error_response_json("InvalidParameterException", reason, 400) if reason else create(data)

    def checked(original: Callable[..., Json], position: int) -> Callable[..., Json]:
        def handler(*arguments: Json) -> Json:
            properties = arguments[position]
            reason = _log_refusal(properties.get("LogGroupName", "of-a-stack"), properties.get("KmsKeyId") or "")
            if reason:
                raise ValueError(reason)
            return original(*arguments)

        return handler

    cloudwatch_logs._create_log_group = create_log_group
    for name, position in (("create", 1), ("update", 2)):
        handlers[name] = checked(handlers[name], position)


def _log_refusal(group: str, key: str) -> str:
    if not key:
        return ""
    region, account = responses.get_region(), responses.get_account_id()
    arn = f"arn:aws:logs:{region}:{account}:log-group:{group}"
    context = {"aws:logs:arn": arn}
    uses = [Use(f"kms:{name}", key, "", context, {"aws:SourceArn": arn}) for name in _LOG_ACTIONS]
    # Not DescribeKey: it has no encryption context, which the guide's own policy asks of every action.
    if not any(keys.service_refusal(f"logs.{region}.amazonaws.com", use) for use in uses):
        return ""
    return f"The specified KMS key does not exist or is not allowed to be used with Arn '{arn}'"


def functions_log_as_their_role() -> None:
    """Keep no line of a function whose role may not write its log, or not use the key of the log.

    Lambda's guide, "Sending Lambda function logs to CloudWatch Logs"; Logs' guide, "Encrypt log data": who writes to
    an encrypted group needs ``kms:GenerateDataKey`` and ``kms:Decrypt``.
    """
    original = lambda_svc._emit_lambda_logs

    def emit_lambda_logs(func: Json, *rest: Json, **more: Json) -> None:
        config = func.get("config") or func
        if not _log_is_refused(config):
            original(func, *rest, **more)

    lambda_svc._emit_lambda_logs = emit_lambda_logs


def _log_is_refused(config: Json) -> bool:
    role = config.get("Role", "")
    if not app.AUTH or decisions.find_role(role) is None:
        return False
    name = config.get("FunctionName", "unknown")
    group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{name}"
    arn = f"arn:aws:logs:{responses.get_region()}:{responses.get_account_id()}:log-group:{group}"
    session = decisions.session_of(role, name)
    wanted = [("logs:CreateLogStream", f"{arn}:log-stream:x"), ("logs:PutLogEvents", f"{arn}:log-stream:x")]
    known = cloudwatch_logs._log_groups.get(group)
    if known is None:
        wanted.append(("logs:CreateLogGroup", arn))
    if any(decisions.refusal(session, action, resource) for action, resource in wanted):
        return True
    key = (known or {}).get("kmsKeyId")
    if not key:
        return False
    context = {"aws:logs:arn": arn}
    uses = [Use(f"kms:{action}", key, "logs", context) for action in ("GenerateDataKey", "Decrypt")]
    uses.append(Use("kms:DescribeKey", key, "logs"))
    return any(keys.refusal(session, use) for use in uses)


def environments_need_their_key() -> None:
    """Ask who makes a function for the key of its environment (Lambda, "Securing environment variables")."""
    original = lambda_svc._create_function

    def create_function(data: Json, *rest: Json) -> Json:
        key = data.get("KMSKeyArn")
        reason = ""
        if key and app.AUTH:
            principal = decisions.caller()
            context = {"aws:lambda:FunctionArn": _function_arn(data.get("FunctionName", ""))}
            uses = [Use("kms:CreateGrant", key, "lambda", context), Use("kms:Encrypt", key, "lambda", context)]
            reason = next((text for text in (keys.refusal(principal, use) for use in uses) if text), "")
        if reason:
            return responses.error_response_json("KMSAccessDeniedException", reason, 502)
        return original(data, *rest)

    lambda_svc._create_function = create_function


def _function_arn(name: str) -> str:
    return f"arn:aws:lambda:{responses.get_region()}:{responses.get_account_id()}:function:{name}"


def calls_of_kms_know_contexts_and_grants() -> None:
    """Give calls of KMS itself the condition keys of their encryption context, and let grants allow them."""
    context_of, enforce = iam_actions.request_tag_context, iam_evaluator.enforce

    def request_tag_context(service: str, action: str, body: bytes, parameters: Json) -> Json:
        context = context_of(service, action, body, parameters)
        if service != "kms":
            return context
        given = _encryption_context(body)
        more = {f"kms:EncryptionContext:{name}": value for name, value in given.items()}
        return {**context, **more, **({"kms:EncryptionContextKeys": list(given)} if given else {})}

    def enforced(  # noqa: PLR0917 - ministack's signature
        access_key: str, action: str, service: str, region: str, resource_arn: str = "*", service_context: Json = None
    ) -> Json:
        refused = enforce(access_key, action, service, region, resource_arn, service_context)
        if service != "kms" or refused is None or isinstance(refused, iam_evaluator.AuthError):
            return refused
        if refused.decision == "Deny" or keys.find_key(resource_arn, responses.get_account_id()) is None:
            return refused
        prefix = "kms:EncryptionContext:"
        given = {k.removeprefix(prefix): v for k, v in (service_context or {}).items() if k.startswith(prefix)}
        allowed = keys.is_granted(refused.principal_arn, Use(action, resource_arn, "", given), resource_arn)
        return None if allowed else refused

    iam_actions.request_tag_context = request_tag_context
    iam_evaluator.enforce = enforced


def _encryption_context(body: bytes) -> dict[str, str]:
    try:
        given = json.loads(body or b"{}")
    except ValueError:
        return {}
    context = given.get("EncryptionContext") if isinstance(given, dict) else None
    return {str(name): str(value) for name, value in context.items()} if isinstance(context, dict) else {}
