"""A request that comes when CloudFormation does nothing with the stack."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, Stack

from healthimaging_cdk import DicomImport
from tests.deployment import Account, eventually

# The function waits two minutes for CloudFormation to say otherwise.
pytestmark = [pytest.mark.cloud, pytest.mark.long]


def executions(account: Account) -> list[dict[str, Any]]:
    arn = account.resource_id("Unasked", "AWS::StepFunctions::StateMachine")
    found: list[dict[str, Any]] = account.client("stepfunctions").list_executions(stateMachineArn=arn)["executions"]
    return found


def test_an_event_that_comes_when_nobody_waits_for_it_starts_nothing(account):
    app = App(analytics_reporting=False)
    DicomImport(Stack(app, "Unasked"), "Import")
    assert "CREATE_COMPLETE" == account.deploy_one(app).status
    account.upload(account.resource_id("Unasked", "AWS::S3::Bucket", "InputBucket"), "dicom/", "CT_small.dcm")
    ended = next(it["executionArn"] for it in executions(account) if it["status"] == "SUCCEEDED")
    event = json.loads(account.client("stepfunctions").describe_execution(executionArn=ended)["input"])["event"]
    request_id = "11111111-2222-3333-4444-555555555555"
    event["RequestId"] = request_id
    event["ResourceProperties"].update(RunId="late", WaitSeconds="2")
    function = account.resource_id("Unasked", "AWS::Lambda::Function")
    payload = json.dumps(event).encode()
    account.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=payload)
    said = f'"step": "responded", "success": false, "request_id": "{request_id}"'
    assert eventually(lambda: said in account.log_lines())
    assert [] == account.jobs(event["ResourceProperties"]["DatastoreId"])
    assert request_id not in [it["name"] for it in executions(account)]
