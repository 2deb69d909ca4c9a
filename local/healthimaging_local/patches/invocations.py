"""Patches of ministack's Lambda: how many invocations run at once, and what becomes of an asynchronous one.

Lambda's guide: "Understanding Lambda function scaling", "How Lambda handles errors and retries with asynchronous
invocation", "Capturing records of Lambda asynchronous invocations".
"""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import json
import logging
import threading
from contextvars import ContextVar, copy_context

from ministack import app
from ministack.core import responses
from ministack.services import eventbridge
from ministack.services import lambda_svc as functions
from ministack.services import stepfunctions as machines
from ministack.services.cloudformation import custom_resource

from healthimaging_local import decisions
from healthimaging_local.ports import Json

_LOGGER = logging.getLogger(__name__)
_THROTTLED = "TooManyRequestsException"
_LONGEST_THROTTLE_PAUSE = 300.0
_SECONDS_BEFORE_RETRY = 60.0
_DEFAULT_RETRIES = 2
_DEFAULT_AGE_SECONDS = 6 * 3600
_FAILURE = "Lambda Function Invocation Result - Failure"

_asks_for_a_resource: ContextVar[bool] = ContextVar("asks_for_a_resource", default=False)
"""Whether CloudFormation calls the function of a custom resource in this thread."""


def concurrency_is_limited() -> None:
    """Throttle what goes beyond the setting ``concurrent_executions``, in each account and Region by itself."""
    original, lock = functions._acquire_execution_slot, threading.Lock()

    def acquire_execution_slot(function: Json, config: Json) -> Json:
        limit = app._loaded_modules["medical_imaging"].state.settings.concurrent_executions
        account, region = functions._account_region_from_function_config(config)
        with lock:
            running = sum(
                count for key, count in list(functions._inflight.items()) if key.startswith(f"{account}:{region}:")
            )
            return (None, "account") if 0 < limit <= running else original(function, config)

    functions._acquire_execution_slot = acquire_execution_slot


def throttled_tasks_are_named() -> None:
    """End a task whose function is throttled with ``Lambda.TooManyRequestsException``, which a Retry can name."""
    original = machines._call_lambda

    def call_lambda(function: Json, event: Json) -> Json:
        try:
            return original(function, event)
        except machines._ExecutionError as error:
            if f'"__type": "{_THROTTLED}"' not in str(error.cause):
                raise
            raise machines._ExecutionError(f"Lambda.{_THROTTLED}", error.cause) from None

    machines._call_lambda = call_lambda


def asynchronous_calls_wait_in_a_queue() -> None:
    """Try a throttled call again for as long as it may grow old, one that failed twice, and tell the destination."""
    functions.invoke_async_with_retry = _invoke_later


def rules_call_asynchronously() -> None:
    """Let a rule of EventBridge call a function asynchronously; ministack calls it once, whatever comes of it."""

    def dispatch_to_lambda(arn: str, payload: str) -> None:
        function, config, name = functions._get_func_record_for_ref(arn)
        if function and config:
            _invoke_later(functions._execution_record_for_config(function, config), json.loads(payload))
        else:
            _LOGGER.warning("function %s of a rule is not there", name)

    eventbridge._dispatch_to_lambda = dispatch_to_lambda


def custom_resources_call_asynchronously() -> None:
    """Let CloudFormation call the function of a custom resource asynchronously, as Lambda's guide says it does."""
    ask, execute = custom_resource.invoke_custom_resource, functions._execute_function_with_config_scope

    def invoke_custom_resource(*arguments: Json, **options: Json) -> Json:
        token = _asks_for_a_resource.set(True)
        try:
            return ask(*arguments, **options)
        finally:
            _asks_for_a_resource.reset(token)

    def execute_function(function: Json, event: Json) -> Json:
        if not _asks_for_a_resource.get():
            return execute(function, event)
        _invoke_later(function, event)
        return {}

    custom_resource.invoke_custom_resource = invoke_custom_resource
    functions._execute_function_with_config_scope = execute_function


def _invoke_later(function: Json, event: Json) -> None:
    context = copy_context()
    context.run(_asks_for_a_resource.set, False)
    threading.Thread(target=context.run, args=(_deliver, function, event), daemon=True).start()


def _deliver(function: Json, event: Json) -> None:
    """Call until the call succeeds, or until there is no try or no time left. Times are those before ``wait_scale``."""
    config, settings = function.get("config") or function, _settings(function)
    retries = int(settings.get("MaximumRetryAttempts", _DEFAULT_RETRIES))
    time_left = float(settings.get("MaximumEventAgeInSeconds", _DEFAULT_AGE_SECONDS))
    throttles = failures = 0
    with responses.request_scope(*functions._account_region_from_function_config(config)):
        while config["FunctionName"] in functions._functions:
            result = functions._execute_function(function, event)
            if not result.get("error"):
                return
            if result.get("throttle"):
                pause = min(2.0**throttles, _LONGEST_THROTTLE_PAUSE)
                throttles += 1
            else:
                failures += 1
                pause = _SECONDS_BEFORE_RETRY * failures
            if failures > retries:
                _tell(function, event, result, "RetriesExhausted", failures)
                return
            machines._scaled_sleep(min(pause, time_left))
            time_left -= pause
            if time_left < 0:
                _tell(function, event, result, "EventAgeExceeded", failures)
                return


def _settings(function: Json) -> dict[str, Json]:
    """What is set for asynchronous calls of the function."""
    found = function.get("event_invoke_config") or (function.get("event_invoke_configs") or {}).get("$LATEST") or {}
    return {name: value for name, value in found.items() if value is not None}


def _tell(function: Json, event: Json, result: Json, condition: str, calls: int) -> None:
    """Send the record of a call that is given up to the function's destination for failures."""
    config = function.get("config") or function
    destination = (_settings(function).get("DestinationConfig") or {}).get("OnFailure", {}).get("Destination") or ""
    if ":event-bus/" not in destination:
        target = destination or (config.get("DeadLetterConfig") or {}).get("TargetArn")
        if target:
            functions._route_async_failure(target, config["FunctionName"], event, result)
        return
    reason = decisions.refusal(decisions.session_of(config["Role"], "lambda"), "events:PutEvents", destination)
    if reason:
        _LOGGER.warning("the record of a failed invocation is lost: %s", reason)
        return
    body = result.get("body")
    detail = {
        "version": "1.0",
        "timestamp": responses.now_iso(),
        "requestContext": {
            "requestId": event.get("RequestId", ""),
            "functionArn": f"{config['FunctionArn']}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": calls,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": body if isinstance(body, dict) else {},
    }
    entry = {
        "EventBusName": destination,
        "Source": "lambda",
        "DetailType": _FAILURE,
        "Detail": json.dumps(detail),
        "Resources": [destination, config["FunctionArn"]],
    }
    eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
