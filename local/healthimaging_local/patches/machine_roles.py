"""What a state machine does, it does as its role: every task asks the role's policies first.

The page of each service of Step Functions' guide ("Integrating services") lists the actions. The names of the errors
that a refusal ends with are not listed there (docs/local-cloud.md).
"""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import json
from collections.abc import Iterator
from contextvars import ContextVar

from ministack import app
from ministack.core import iam_actions, responses
from ministack.services import stepfunctions as machines
from ministack.services.cloudformation import provisioners

from healthimaging_local import decisions
from healthimaging_local.machine_rights import SERVICE, Question, ask
from healthimaging_local.ports import Json

_LOG_DELIVERY = (
    "CreateLogDelivery",
    "GetLogDelivery",
    "UpdateLogDelivery",
    "DeleteLogDelivery",
    "ListLogDeliveries",
    "PutResourcePolicy",
    "DescribeResourcePolicies",
    "DescribeLogGroups",
)
_sdk_call: ContextVar[str] = ContextVar("sdk_call", default="")
"""The service, as Step Functions spells it, of the ``aws-sdk`` task that a thread is in."""


def machine_roles_are_asked() -> None:
    """Ask the role before every task, item reader and Map Run; ministack asks nobody."""
    invoke, call_back = machines._invoke_resource, machines._invoke_with_callback
    sdk, send = machines._invoke_aws_sdk_integration, app.call_service_handler_sync

    def invoke_resource(resource: str, given: Json) -> Json:
        ask(_questions(resource, given))
        return invoke(resource, given)

    def invoke_with_callback(resource: str, given: Json, *rest: Json) -> Json:
        ask(_questions(resource.replace(".waitForTaskToken", ""), given))
        return call_back(resource, given, *rest)

    def invoke_sdk(resource: str, given: Json) -> Json:
        token = _sdk_call.set(resource.split(":")[6].lower())
        try:
            return sdk(resource, given)
        finally:
            _sdk_call.reset(token)

    def call_service(  # noqa: PLR0917 - ministack's signature
        handler: Json, method: str, path: str, headers: Json, body: Json, query: Json, *rest: Json
    ) -> Json:
        service = _sdk_call.get()
        if not service:
            return send(handler, method, path, headers, body, query, *rest)
        ask(_sdk_questions(service, method, path, headers, body, query), _sdk_error(service))
        token = _sdk_call.set("")  # what the service itself calls is not the machine's call
        try:
            return send(handler, method, path, headers, body, query, *rest)
        finally:
            _sdk_call.reset(token)

    machines._invoke_resource = invoke_resource
    machines._invoke_with_callback = invoke_with_callback
    machines._invoke_aws_sdk_integration = invoke_sdk
    app.call_service_handler_sync = call_service
    _ask_for_map_runs()


def _ask_for_map_runs() -> None:
    """A Distributed Map starts executions of its own machine, and reads its items as the role."""
    run_map, read, text_of = machines._run_distributed_map, machines._read_map_items, machines._s3_object_text

    def run_distributed_map(  # noqa: PLR0917 - ministack's signature
        state: Json, raw: Json, effective: Json, iterator: Json, execution: Json, ctx: Json
    ) -> Json:
        ask([("states:StartExecution", execution["stateMachineArn"])], "States.Permissions")
        return run_map(state, raw, effective, iterator, execution, ctx)

    def read_map_items(reader: Json, effective: Json, context: Json) -> Json:
        if reader.get("Resource", "").endswith("s3:listObjectsV2"):
            given = reader.get("Parameters") or reader.get("Arguments") or {}
            bucket = machines._resolve_params_obj(given, effective, context).get("Bucket")
            ask([("s3:ListBucket", f"arn:aws:s3:::{bucket}")], "States.ItemReaderFailed")
        return read(reader, effective, context)

    def s3_object_text(bucket: str, key: str) -> Json:
        ask([("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}")], "States.ItemReaderFailed")
        return text_of(bucket, key)

    machines._run_distributed_map = run_distributed_map
    machines._read_map_items = read_map_items
    machines._s3_object_text = s3_object_text


def machines_need_a_role_that_trusts_them() -> None:
    """Refuse a state machine whose role does not let Step Functions in, or may not deliver its log."""
    create, update = machines._create_state_machine, machines._update_state_machine

    def create_state_machine(data: Json) -> Json:
        arn = f"arn:aws:states:{responses.get_region()}:{responses.get_account_id()}:stateMachine:{data.get('name')}"
        reason = _check_role_of(arn, data.get("roleArn", ""), data.get("loggingConfiguration"))
        return responses.error_response_json("AccessDeniedException", reason, 400) if reason else create(data)

    def update_state_machine(data: Json) -> Json:
        arn = data.get("stateMachineArn", "")
        known = machines._state_machines.get(arn) or {}
        logging = data.get("loggingConfiguration", known.get("loggingConfiguration"))
        reason = _check_role_of(arn, data.get("roleArn") or known.get("roleArn", ""), logging) if known else ""
        return responses.error_response_json("AccessDeniedException", reason, 400) if reason else update(data)

    table = provisioners._RESOURCE_HANDLERS["AWS::StepFunctions::StateMachine"]
    make = table["create"]

    def create_resource(logical_id: str, properties: Json, *rest: Json) -> Json:
        # Its own name is not known yet; a trust policy that names the machine would be a cycle in a template.
        arn = f"arn:aws:states:{responses.get_region()}:{responses.get_account_id()}:stateMachine:"
        arn += properties.get("StateMachineName", logical_id)
        reason = _check_role_of(arn, properties["RoleArn"], properties.get("LoggingConfiguration"))
        if reason:
            raise ValueError(reason)
        return make(logical_id, properties, *rest)

    table["create"] = create_resource
    machines._create_state_machine = create_state_machine
    machines._update_state_machine = update_state_machine


def _check_role_of(machine_arn: str, role_arn: str, logging: Json) -> str:
    """Why Step Functions does not take a role for a state machine; empty when it does."""
    account = responses.get_account_id()
    if not decisions.trusts(role_arn, SERVICE, {"aws:SourceAccount": account, "aws:SourceArn": machine_arn}):
        return (
            "Neither the global service principal states.amazonaws.com, nor the regional one is authorized to assume "
            f"the provided role: {role_arn}"
        )
    level = (logging or {}).get("level") or (logging or {}).get("Level") or "OFF"
    if level != "OFF":
        session = decisions.session_of(role_arn, "states")
        for action in _LOG_DELIVERY:
            if decisions.refusal(session, f"logs:{action}", "*"):
                return "The state machine IAM Role is not authorized to access the Log Destination"
    return ""


def _questions(resource: str, given: Json) -> Iterator[Question]:
    """What a task asks of IAM; those of ``aws-sdk`` are asked when their request is made."""
    region, account = responses.get_region(), responses.get_account_id()
    clean = resource.removeprefix("arn:aws:states:::")
    service, _, rest = clean.partition(":")
    action = rest.partition(".")[0]
    if ":function:" in resource:
        yield "lambda:InvokeFunction", resource
    elif clean.startswith("lambda:invoke"):
        yield "lambda:InvokeFunction", _function_arn(given, region, account)
    elif clean.startswith("states:startExecution"):
        yield "states:StartExecution", str(given.get("StateMachineArn") or given.get("stateMachineArn"))
        if ".sync" in clean:
            rule = f"arn:aws:events:{region}:{account}:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"
            yield from ((f"events:{name}", rule) for name in ("PutTargets", "PutRule", "DescribeRule"))
    elif clean.startswith("sqs:sendMessage"):
        owner, name = str(given.get("QueueUrl", "")).rsplit("/", 2)[-2:]
        yield "sqs:SendMessage", f"arn:aws:sqs:{region}:{owner}:{name}"
    elif clean.startswith("sns:publish"):
        yield "sns:Publish", str(given.get("TopicArn") or given.get("TargetArn") or "*")
    elif clean.startswith("events:putEvents"):
        for bus in iam_actions.eventbridge_resource_arns(json.dumps(given).encode(), region, account):
            yield "events:PutEvents", bus
    elif service == "dynamodb":
        table = str(given.get("TableName"))
        arn = table if table.startswith("arn:") else f"arn:aws:dynamodb:{region}:{account}:table/{table}"
        yield f"dynamodb:{action[:1].upper()}{action[1:]}", arn


def _function_arn(given: Json, region: str, account: str) -> str:
    """The ARN of the function that a task names by name, partial ARN or ARN, with its version or alias."""
    function = str(given.get("FunctionName", ""))
    if not function.startswith("arn:"):
        function = f"arn:aws:lambda:{region}:{account}:function:{function.rpartition(':function:')[2]}"
    qualifier = given.get("Qualifier")
    return f"{function}:{qualifier}" if qualifier and function.count(":") == 6 else function  # noqa: PLR2004


def _sdk_questions(  # noqa: PLR0917 - a request of ministack's
    service: str, method: str, path: str, headers: Json, body: Json, query: Json
) -> Iterator[Question]:
    """What the request of an ``aws-sdk`` task asks, as if it had come over HTTP."""
    key = machines._AWS_SDK_SERVICE_MAP[service].get("service_key", service)
    content = body.encode() if isinstance(body, str) else body or b""
    lists = {name: value if isinstance(value, list) else [value] for name, value in (query or {}).items()}
    parameters = app._routing_params(method, path, headers, content, lists)
    action = iam_actions.extract_iam_action(key, method, path, headers, content, parameters)
    if action:
        region, account = responses.get_region(), responses.get_account_id()
        yield action, iam_actions.extract_resource_arn(key, method, path, headers, content, parameters, region, account)


def _sdk_error(service: str) -> str:
    prefix = machines._AWS_SDK_ERROR_PREFIX.get(service, service.capitalize())
    return f"{prefix}.{prefix}Exception"
