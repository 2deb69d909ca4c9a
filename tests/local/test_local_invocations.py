"""The local cloud against Lambda's guide: concurrency, and what becomes of calls that are throttled or fail."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from healthimaging_local import Account, Cloud

pytestmark = pytest.mark.cloud

CODE = """
import json
import time
import urllib.request

import boto3

def handle(event, context):
    asked = event.get("ResourceProperties", {})
    time.sleep(float(event.get("seconds") or asked.get("Seconds") or 0))
    bucket = "calls-" + context.invoked_function_arn.split(":")[4]
    boto3.client("s3").put_object(Bucket=bucket, Key=str(time.time_ns()), Body=json.dumps(event).encode())
    if event.get("fails"):
        raise RuntimeError("broken")
    if "ResponseURL" in event:
        is_refused = asked.get("Fails") and event["RequestType"] == "Create"
        body = {"Status": "FAILED" if is_refused else "SUCCESS", "Reason": "no", "PhysicalResourceId": "x", "Data": {}}
        body |= {name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")}
        request = urllib.request.Request(event["ResponseURL"], data=json.dumps(body).encode(), method="PUT")
        urllib.request.urlopen(request)
    return {}
"""


def role_for(account: Account, service: str, *statements: dict[str, Any]) -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam, name = account.client("iam"), f"invocations-{service}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))["Role"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=policy)
    return str(role["Arn"])


def allow(action: str, resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


class Invocations:
    """A function in an account of its own, and the calls that it has seen."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.account = cloud.new_account(bootstrapped=False)
        self.functions = self.account.client("lambda")
        self.s3 = self.account.client("s3")
        self.bus = f"arn:aws:events:us-east-1:{self.account.id}:event-bus/default"
        self.bucket = f"calls-{self.account.id}"
        self.s3.create_bucket(Bucket=self.bucket)
        may = [allow("s3:PutObject", f"arn:aws:s3:::{self.bucket}/*"), allow("events:PutEvents", self.bus)]
        role = role_for(self.account, "lambda", *may)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("code.py", CODE)
        self.arn = self.functions.create_function(
            FunctionName="called",
            Runtime="python3.14",
            Handler="code.handle",
            Role=role,
            Timeout=60,
            Code={"ZipFile": content.getvalue()},
        )["FunctionArn"]

    def configure(self, *, age: int = 21600, destination: str = "") -> None:
        more = {"DestinationConfig": {"OnFailure": {"Destination": destination}}} if destination else {}
        self.functions.put_function_event_invoke_config(
            FunctionName="called", MaximumEventAgeInSeconds=age, MaximumRetryAttempts=2, **more
        )

    def later(self, **event: Any) -> None:
        self.functions.invoke(FunctionName="called", InvocationType="Event", Payload=json.dumps(event).encode())

    def now(self, **event: Any) -> Any:
        return self.functions.invoke(FunctionName="called", Payload=json.dumps(event).encode())

    def calls(self) -> list[dict[str, Any]]:
        keys = [it["Key"] for it in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        return [json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()) for key in sorted(keys)]

    def hold(self, seconds: float) -> None:
        """Take the one slot that there is, and be sure of it."""
        self.cloud.settings(concurrent_executions=1)
        self.later(seconds=seconds)
        eventually(self.is_throttled)

    def is_throttled(self) -> bool:
        try:
            self.now()
        except ClientError as error:
            return error.response["Error"]["Code"] == "TooManyRequestsException"
        return False


def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@pytest.fixture
def invocations(cloud: Cloud) -> Iterator[Invocations]:
    yield Invocations(cloud)
    cloud.clear()


@pytest.mark.patch("concurrency_is_limited")
def test_a_call_beyond_the_concurrency_of_its_account_is_throttled(invocations: Invocations) -> None:
    invocations.hold(6)
    with pytest.raises(ClientError, match="Rate Exceeded") as caught:
        invocations.now()
    assert (429, "ConcurrentInvocationLimitExceeded") == (
        caught.value.response["ResponseMetadata"]["HTTPStatusCode"],
        caught.value.response["Reason"],
    )
    other = Invocations(invocations.cloud)
    assert 200 == other.now(other="account")["StatusCode"]


@pytest.mark.patch("asynchronous_calls_wait_in_a_queue")
def test_a_throttled_asynchronous_call_is_made_when_there_is_a_slot(invocations: Invocations) -> None:
    invocations.hold(6)
    for number in range(3):
        invocations.later(number=number)
    found = eventually(lambda: {it["number"] for it in invocations.calls() if "number" in it} == {0, 1, 2})
    assert found
    assert 3 == len([it for it in invocations.calls() if "number" in it])


@pytest.mark.patch("asynchronous_calls_wait_in_a_queue")
def test_an_asynchronous_call_that_fails_three_times_is_told_to_the_event_bus(invocations: Invocations) -> None:
    invocations.configure(destination=invocations.bus)
    told = queue_of_failures(invocations)
    invocations.later(fails=True)
    (record,) = eventually(told)
    assert ("lambda", "RetriesExhausted", {"fails": True}, "broken") == (
        record["source"],
        record["detail"]["requestContext"]["condition"],
        record["detail"]["requestPayload"],
        record["detail"]["responsePayload"]["errorMessage"],
    )
    assert 3 == len(invocations.calls())


@pytest.mark.patch("asynchronous_calls_wait_in_a_queue")
def test_a_throttled_call_that_grows_too_old_is_never_made_and_told_to_the_event_bus(invocations: Invocations) -> None:
    """The age is that of the waits before they are scaled, so that a scaled cloud drops calls as AWS does."""
    invocations.configure(age=60, destination=invocations.bus)
    told = queue_of_failures(invocations)
    invocations.hold(8)
    invocations.later(late=True)
    (record,) = eventually(told)
    assert "EventAgeExceeded" == record["detail"]["requestContext"]["condition"]
    assert {"late": True} not in invocations.calls()


@pytest.mark.patch("rules_call_asynchronously")
def test_a_rule_tries_a_function_that_fails_three_times(invocations: Invocations) -> None:
    events = invocations.account.client("events")
    events.put_rule(Name="calls", EventPattern=json.dumps({"source": ["test"]}))
    events.put_targets(Rule="calls", Targets=[{"Id": "it", "Arn": invocations.arn, "Input": '{"fails": true}'}])
    invocations.functions.add_permission(
        FunctionName="called", StatementId="rule", Action="lambda:InvokeFunction", Principal="events.amazonaws.com"
    )
    events.put_events(Entries=[{"Source": "test", "DetailType": "test", "Detail": "{}"}])
    assert eventually(lambda: len(invocations.calls()) == 3)


@pytest.mark.patch("custom_resources_call_asynchronously")
def test_a_custom_resource_whose_function_is_throttled_is_created_later(invocations: Invocations) -> None:
    invocations.hold(6)
    assert "CREATE_COMPLETE" == deployed(invocations, "late", It={})


def deployed(invocations: Invocations, name: str, **resources: dict[str, Any]) -> str:
    """The status that a stack of custom resources comes to."""
    cloudformation = invocations.account.client("cloudformation")
    own = {"ServiceToken": invocations.arn, "ServiceTimeout": 60}
    template = {"Resources": {it: {"Type": "Custom::It", "Properties": own | more} for it, more in resources.items()}}
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
    status = lambda: cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]  # noqa: E731
    eventually(lambda: not status().endswith("IN_PROGRESS"), 90)
    return str(status())


def asked(invocations: Invocations) -> list[tuple[str, str]]:
    """The requests of CloudFormation, in the order in which the function has done them."""
    return [(it["RequestType"], it["LogicalResourceId"]) for it in invocations.calls() if "RequestType" in it]


@pytest.mark.patch("custom_resources_are_created_at_once")
def test_custom_resources_that_wait_for_nothing_are_created_at_once(invocations: Invocations) -> None:
    """The one that CloudFormation's order has last is done first, as it takes no time."""
    invocations.cloud.settings(custom_resources_at_once=True)
    assert "CREATE_COMPLETE" == deployed(invocations, "together", A={"Seconds": 8}, B={})
    assert [("Create", "B"), ("Create", "A")] == asked(invocations)


@pytest.mark.patch("custom_resources_are_created_at_once")
def test_what_was_created_beside_a_resource_that_failed_is_deleted(invocations: Invocations) -> None:
    invocations.cloud.settings(custom_resources_at_once=True)
    assert "ROLLBACK_COMPLETE" == deployed(invocations, "undone", A={"Fails": "yes"}, B={"Seconds": 5})
    assert [("Create", "A"), ("Create", "B")] == asked(invocations)[:2]
    assert {("Delete", "A"), ("Delete", "B")} == set(asked(invocations)[2:])


@pytest.mark.patch("throttled_tasks_are_named")
def test_a_throttled_task_ends_with_the_error_that_a_retry_names(invocations: Invocations) -> None:
    machines = invocations.account.client("stepfunctions")
    role = role_for(invocations.account, "states", allow("lambda:InvokeFunction", invocations.arn))
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": invocations.arn, "Payload": {"task": True}},
        "End": True,
    }
    definition = json.dumps({"StartAt": "Call", "States": {"Call": task}})
    machine = machines.create_state_machine(name="throttled", definition=definition, roleArn=role)["stateMachineArn"]
    invocations.hold(6)
    execution = machines.start_execution(stateMachineArn=machine)["executionArn"]
    state = lambda: machines.describe_execution(executionArn=execution)  # noqa: E731
    eventually(lambda: state()["status"] != "RUNNING")
    assert ("FAILED", "Lambda.TooManyRequestsException") == (state()["status"], state()["error"])


def queue_of_failures(invocations: Invocations) -> Callable[[], list[dict[str, Any]]]:
    """What a rule for failed invocations brings, once it has brought anything."""
    sqs, events = invocations.account.client("sqs"), invocations.account.client("events")
    queue = sqs.create_queue(QueueName="failures")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="failures", EventPattern=json.dumps({"source": ["lambda"]}))
    events.put_targets(Rule="failures", Targets=[{"Id": "it", "Arn": arn}])

    def found() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]

    return found
