"""Step Functions: a machine does what its role may, within AWS's limits, and can be redriven."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.deployment import eventually
from tests.local.test_local_cloud import Scene, allow, document, refusal
from tests.local.test_local_cloud import scene as scene  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.cloud

TRUST = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
LARGE = 256 * 1024


def role(scene: Scene, *statements: dict[str, Any], trust: dict[str, Any] | None = None) -> str:
    arn = scene.make_role(f"{scene.name}-machine", trust or TRUST)
    if statements:
        change(scene, *statements)
    return arn


def change(scene: Scene, *statements: dict[str, Any]) -> None:
    name = f"{scene.name}-machine"
    scene.iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(*statements))


def machine(scene: Scene, role_arn: str, states: dict[str, Any], **more: Any) -> str:
    definition = json.dumps({"StartAt": next(iter(states)), "States": states})
    answer = scene.cloud.client("stepfunctions").create_state_machine(
        name=scene.name, definition=definition, roleArn=role_arn, **more
    )
    return str(answer["stateMachineArn"])


def ended(scene: Scene, execution: str) -> dict[str, Any]:
    client = scene.cloud.client("stepfunctions")
    assert eventually(lambda: client.describe_execution(executionArn=execution)["status"] != "RUNNING")
    described: dict[str, Any] = client.describe_execution(executionArn=execution)
    return described


def run(scene: Scene, machine_arn: str, given: Any = None, **more: Any) -> dict[str, Any]:
    client = scene.cloud.client("stepfunctions")
    started = client.start_execution(stateMachineArn=machine_arn, input=json.dumps(given or {}), **more)
    return ended(scene, started["executionArn"])


def events(scene: Scene, execution: dict[str, Any]) -> list[str]:
    client = scene.cloud.client("stepfunctions")
    pages = client.get_paginator("get_execution_history").paginate(executionArn=execution["executionArn"])
    return [event["type"] for page in pages for event in page["events"]]


def function(scene: Scene, source: str) -> str:
    """A function that is called like the test, with a role that may do nothing."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("index.py", source)
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    made = scene.cloud.client("lambda").create_function(
        FunctionName=scene.name,
        Runtime="python3.13",
        Handler="index.handler",
        Role=scene.make_role(f"{scene.name}-function", trust),
        Code={"ZipFile": content.getvalue()},
    )
    return str(made["FunctionArn"])


def task(resource: str, **parameters: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Parameters": parameters, "End": True}


@pytest.mark.patch("machine_roles_are_asked")
def test_fails_to_invoke_a_function_without_the_right(scene: Scene) -> None:
    arn = function(scene, "def handler(event, context):\n    return {'got': event}\n")
    made = machine(scene, role(scene), {"Call": task("lambda:invoke", FunctionName=arn, Payload={"a": 1})})
    refused = run(scene, made)
    assert ("FAILED", "Lambda.AWSLambdaException") == (refused["status"], refused["error"])
    assert f"is not authorized to perform: lambda:InvokeFunction on resource: {arn}" in refused["cause"]
    change(scene, allow("lambda:InvokeFunction", arn))
    assert {"got": {"a": 1}} == json.loads(run(scene, made)["output"])["Payload"]


@pytest.mark.patch("machine_roles_are_asked")
def test_fails_to_read_an_object_without_the_right(scene: Scene) -> None:
    read = task("aws-sdk:s3:headObject", Bucket=scene.source, Key="in/bad.dcm")
    made = machine(scene, role(scene), {"Read": read})
    refused = run(scene, made)
    assert ("FAILED", "S3.S3Exception") == (refused["status"], refused["error"])
    assert "s3:GetObject" in refused["cause"]
    change(scene, allow("s3:GetObject", f"arn:aws:s3:::{scene.source}/in/*"))
    assert "SUCCEEDED" == run(scene, made)["status"]


@pytest.mark.patch("machine_roles_are_asked")
def test_fails_to_start_another_machine_without_the_right(scene: Scene) -> None:
    arn = role(scene)
    client = scene.cloud.client("stepfunctions")
    definition = json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}})
    inner = client.create_state_machine(name=f"{scene.name}-inner", definition=definition, roleArn=arn)
    made = machine(scene, arn, {"Start": task("states:startExecution", StateMachineArn=inner["stateMachineArn"])})
    refused = run(scene, made)
    assert ("FAILED", True) == (refused["status"], "states:StartExecution" in refused["cause"])
    assert [] == client.list_executions(stateMachineArn=inner["stateMachineArn"])["executions"]
    change(scene, allow("states:StartExecution", inner["stateMachineArn"]))
    assert "SUCCEEDED" == run(scene, made)["status"]


@pytest.mark.patch("machine_roles_are_asked")
@pytest.mark.parametrize("missing", ["s3:ListBucket", "states:StartExecution"])
def test_fails_a_distributed_map_whose_role_may_not_list_or_start(scene: Scene, missing: str) -> None:
    arn = role(scene)
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "Item",
        "States": {"Item": {"Type": "Pass", "End": True}},
    }
    reader = {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": scene.source}}
    made = machine(scene, arn, {"Each": {"Type": "Map", "ItemReader": reader, "ItemProcessor": processor, "End": True}})
    rights = {"s3:ListBucket": f"arn:aws:s3:::{scene.source}", "states:StartExecution": made}
    change(scene, *(allow(action, resource) for action, resource in rights.items() if action != missing))
    refused = run(scene, made)
    assert ("FAILED", True) == (refused["status"], missing in refused["cause"])
    change(scene, *(allow(action, resource) for action, resource in rights.items()))
    assert 2 == len(json.loads(run(scene, made)["output"]))


@pytest.mark.patch("result_writers_write")
def test_a_result_writer_writes_what_became_of_each_item(scene: Scene) -> None:
    fail = {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 2, "Next": "Bad"}], "Default": "Good"}
    states = {"Item": fail, "Bad": {"Type": "Fail", "Error": "Two"}, "Good": {"Type": "Pass", "End": True}}
    each = {
        "Type": "Map",
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": "Item",
            "States": states,
        },
        "ToleratedFailureCount": 1,
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject",
            "Parameters": {"Bucket": scene.results, "Prefix": "maps"},
        },
        "ResultSelector": {"where.$": "$.ResultWriterDetails"},
        "End": True,
    }
    arn = role(scene)
    made = machine(scene, arn, {"Each": each})
    start = allow("states:StartExecution", made)
    writes = ["s3:PutObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"]
    change(scene, start, *(allow(action, f"arn:aws:s3:::{scene.results}/other/*") for action in writes))
    items = [{"n": 1}, {"n": 2}, {"n": 3}]
    refused = run(scene, made, items)
    assert ("FAILED", "States.ResultWriterFailed") == (refused["status"], refused["error"])
    change(scene, start, *(allow(action, f"arn:aws:s3:::{scene.results}/maps/*") for action in writes))
    done = run(scene, made, items)
    assert "SUCCEEDED" == done["status"], done
    where = json.loads(done["output"])["where"]
    s3 = scene.s3

    def read(key: str) -> Any:
        return json.load(s3.get_object(Bucket=scene.results, Key=key)["Body"])

    manifest = read(where["Key"])
    assert (scene.results, True) == (manifest["DestinationBucket"], where["Key"].startswith("maps/"))
    succeeded, failed = (read(manifest["ResultFiles"][kind][0]["Key"]) for kind in ("SUCCEEDED", "FAILED"))
    assert [1, 3] == sorted(json.loads(it["Output"])["n"] for it in succeeded)
    assert [("Two", 2)] == [(it["Error"], json.loads(it["Input"])["n"]) for it in failed]
    assert [] == manifest["ResultFiles"]["PENDING"]


@pytest.mark.patch("machines_need_a_role_that_trusts_them")
@pytest.mark.parametrize("principal", ["lambda.amazonaws.com", "states.amazonaws.com"])
def test_fails_to_make_a_machine_with_a_role_that_does_not_trust_step_functions(scene: Scene, principal: str) -> None:
    trust = {**TRUST, "Principal": {"Service": principal}}
    if principal == "states.amazonaws.com":
        trust["Condition"] = {"StringEquals": {"aws:SourceAccount": "444455556666"}}
    arn = role(scene, trust=trust)
    with pytest.raises(ClientError) as caught:
        machine(scene, arn, {"Done": {"Type": "Succeed"}})
    assert "AccessDeniedException" == refusal(caught)[0]


@pytest.mark.patch("machines_need_a_role_that_trusts_them")
def test_fails_to_make_a_machine_whose_role_may_not_deliver_its_log(scene: Scene) -> None:
    logs = {
        "level": "ERROR",
        "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": "arn:aws:logs:us-east-1:1:log-group:a:*"}}],
    }
    arn = role(scene, allow("logs:CreateLogDelivery", "*"))
    with pytest.raises(ClientError) as caught:
        machine(scene, arn, {"Done": {"Type": "Succeed"}}, loggingConfiguration=logs)
    assert "Log Destination" in refusal(caught)[1]


@pytest.mark.patch("executions_remember_their_place")
@pytest.mark.patch("executions_can_be_redriven")
def test_a_redrive_goes_on_where_it_failed(scene: Scene) -> None:
    arn = function(scene, "def handler(event, context):\n    return event\n")
    states = {
        "Before": {"Type": "Pass", "Result": {"kept": True}, "ResultPath": "$.before", "Next": "Both"},
        "Both": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Quiet", "States": {"Quiet": {"Type": "Pass", "End": True}}},
                {"StartAt": "Call", "States": {"Call": task("lambda:invoke", FunctionName=arn, Payload={"b": 2})}},
            ],
            "Next": "After",
        },
        "After": {"Type": "Succeed"},
    }
    made = machine(scene, role(scene), states)
    failed = run(scene, made, {"a": 1})
    assert ("FAILED", "REDRIVABLE", 0) == (failed["status"], failed["redriveStatus"], failed["redriveCount"])
    change(scene, allow("lambda:InvokeFunction", arn))
    client = scene.cloud.client("stepfunctions")
    client.redrive_execution(executionArn=failed["executionArn"])
    again = ended(scene, failed["executionArn"])
    assert ("SUCCEEDED", 1) == (again["status"], again["redriveCount"])
    quiet, called = json.loads(again["output"])
    assert ({"a": 1, "before": {"kept": True}}, {"b": 2}) == (quiet, called["Payload"])
    seen = events(scene, again)
    assert 2 == seen.count("PassStateEntered"), "what had succeeded was repeated"
    assert 1 == seen.count("ExecutionRedriven")
    with pytest.raises(ClientError) as caught:
        client.redrive_execution(executionArn=failed["executionArn"])
    assert ("ExecutionNotRedrivable", "Execution is SUCCEEDED and cannot be redriven") == refusal(caught)


def test_fails_to_redrive_what_does_not_exist(scene: Scene) -> None:
    with pytest.raises(ClientError) as caught:
        scene.cloud.client("stepfunctions").redrive_execution(
            executionArn="arn:aws:states:us-east-1:111122223333:execution:none:none"
        )
    assert "ExecutionDoesNotExist" == refusal(caught)[0]


def test_an_aborted_execution_goes_on_in_its_state(scene: Scene) -> None:
    states = {"Wait": {"Type": "Wait", "Seconds": 300, "Next": "Done"}, "Done": {"Type": "Succeed"}}
    made = machine(scene, role(scene), states)
    client = scene.cloud.client("stepfunctions")
    arn = client.start_execution(stateMachineArn=made)["executionArn"]
    assert eventually(lambda: "WaitStateEntered" in events(scene, client.describe_execution(executionArn=arn)))
    client.stop_execution(executionArn=arn)
    client.redrive_execution(executionArn=arn)
    again = ended(scene, arn)
    seen = events(scene, again)
    assert ("SUCCEEDED", 2, 1) == (again["status"], seen.count("WaitStateEntered"), seen.count("WaitStateExited"))


@pytest.mark.patch("the_same_start_is_answered_again")
def test_the_same_name_and_input_start_one_execution_while_it_runs(scene: Scene) -> None:
    made = machine(scene, role(scene), {"Wait": {"Type": "Wait", "Seconds": 50, "End": True}})
    client = scene.cloud.client("stepfunctions")
    first = client.start_execution(stateMachineArn=made, name="one", input='{"a": 1}')
    again = client.start_execution(stateMachineArn=made, name="one", input='{"a": 1}')
    assert (first["executionArn"], first["startDate"]) == (again["executionArn"], again["startDate"])
    assert 1 == len(client.list_executions(stateMachineArn=made)["executions"])
    with pytest.raises(ClientError) as caught:
        client.start_execution(stateMachineArn=made, name="one", input='{"a": 2}')
    assert "ExecutionAlreadyExists" == refusal(caught)[0]
    ended(scene, first["executionArn"])
    with pytest.raises(ClientError) as caught:
        client.start_execution(stateMachineArn=made, name="one", input='{"a": 1}')
    assert "ExecutionAlreadyExists" == refusal(caught)[0]


@pytest.mark.patch("the_same_start_is_answered_again")
@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("InvalidName", {"name": "a name"}),
        ("InvalidExecutionInput", {"input": "{"}),
        ("ValidationException", {"input": json.dumps("x" * LARGE)}),
    ],
)
def test_fails_to_start_with_a_name_or_input_that_is_not_allowed(scene: Scene, code: str, more: dict[str, str]) -> None:
    made = machine(scene, role(scene), {"Done": {"Type": "Succeed"}})
    with pytest.raises(ClientError) as caught:
        scene.cloud.client("stepfunctions").start_execution(stateMachineArn=made, **more)
    assert code == refusal(caught)[0]


@pytest.mark.patch("payloads_are_limited")
@pytest.mark.patch("terminal_errors_are_not_caught_by_all")
def test_fails_a_task_that_returns_more_than_256_kib(scene: Scene) -> None:
    arn = function(scene, "def handler(event, context):\n    return 'é' * event['n']\n")
    call = task("lambda:invoke", FunctionName=arn, **{"Payload.$": "$"})
    call["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    call["ResultSelector"] = {}
    made = machine(
        scene, role(scene, allow("lambda:InvokeFunction", arn)), {"Call": call, "Caught": {"Type": "Succeed"}}
    )
    assert "SUCCEEDED" == run(scene, made, {"n": LARGE // 2 - 100})["status"]
    failed = run(scene, made, {"n": LARGE // 2})
    assert ("FAILED", "States.DataLimitExceeded") == (failed["status"], failed["error"])


@pytest.mark.patch("executions_remember_their_place")
def test_fails_a_state_whose_output_is_more_than_256_kib(scene: Scene) -> None:
    grow = {"Type": "Pass", "Parameters": {"a.$": "$", "b.$": "$"}, "Next": "Grow"}
    failed = run(scene, machine(scene, role(scene), {"Grow": grow}), {"text": "x" * 1000})
    assert ("FAILED", "States.DataLimitExceeded") == (failed["status"], failed["error"])


@pytest.mark.long
@pytest.mark.patch("histories_are_limited")
def test_fails_an_execution_with_25_000_events(scene: Scene) -> None:
    made = machine(scene, role(scene), {"Again": {"Type": "Pass", "Next": "Again"}})
    failed = run(scene, made)
    assert ("FAILED", "States.Runtime") == (failed["status"], failed["error"])
    assert "maximum number of history events" in failed["cause"]
    assert ("NOT_REDRIVABLE", "Execution history event limit exceeded") == (
        failed["redriveStatus"],
        failed["redriveStatusReason"],
    )
    seen = events(scene, failed)
    assert (25_000, "ExecutionFailed") == (len(seen), seen[-1])


@pytest.mark.patch("histories_are_limited")
def test_a_task_has_five_events(scene: Scene) -> None:
    arn = function(scene, "def handler(event, context):\n    return event\n")
    made = machine(
        scene, role(scene, allow("lambda:InvokeFunction", arn)), {"Call": task("lambda:invoke", FunctionName=arn)}
    )
    expected = ["TaskStateEntered", "TaskScheduled", "TaskStarted", "TaskSucceeded", "TaskStateExited"]
    assert expected == events(scene, run(scene, made))[1:-1]


@pytest.mark.patch("retries_wait_as_told")
@pytest.mark.parametrize(
    ("more", "least", "most"),
    [
        ({}, 3.0, 30.0),  # 10 + 100 + 200 s, at a hundredth: more than ministack's 60 s a wait
        ({"MaxDelaySeconds": 11}, 0.3, 2.5),
        ({"MaxDelaySeconds": 20, "JitterStrategy": "FULL"}, 0.0, 2.5),
    ],
)
def test_retry_waits_as_it_is_told(scene: Scene, more: dict[str, Any], least: float, most: float) -> None:
    call = task("aws-sdk:s3:headObject", Bucket=scene.source, Key="in/bad.dcm")
    call["Retry"] = [
        {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 10, "BackoffRate": 10, "MaxAttempts": 3, **more}
    ]
    if not more:
        call["Retry"][0] |= {"IntervalSeconds": 100, "BackoffRate": 1}
    failed = run(scene, machine(scene, role(scene), {"Read": call}))
    assert 4 == events(scene, failed).count("TaskFailed")
    took = (failed["stopDate"] - failed["startDate"]).total_seconds()
    assert least <= took < most
