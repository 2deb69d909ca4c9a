"""Calls of the function by somebody who may, with made-up requests: no data goes, and nothing is sent elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aws_cdk import App, RemovalPolicy, Stack

from healthimaging_cdk import Datastore, DicomImport, ImportSource
from tests.deployment import P10_FILES, Account, eventually

pytestmark = pytest.mark.cloud

DELETION, IMPORT = "Custom::HealthImagingImageSetDeletion", "Custom::HealthImagingImport"
REQUEST_ID = "11111111-2222-3333-4444-555555555555"


class Elsewhere(HTTPServer):
    """A server that is not CloudFormation, and what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/response"


class _Handler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.server.requests.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def living(shared_account: Account, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A stack whose store holds an image set that goes with it."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "ct.dcm").write_bytes((P10_FILES / "CT_small.dcm").read_bytes())
    app = App(analytics_reporting=False)
    stack = Stack(app, "Living")
    store = Datastore(stack, "Store", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY)
    DicomImport(stack, "Import", datastore=store, source=ImportSource.directory(folder))
    assert "CREATE_COMPLETE" == shared_account.deploy_one(app).status
    return "Living"


def made_up(account: Account, stack: str, kind: str, **members: Any) -> dict[str, Any]:
    """A request that CloudFormation has sent for a resource of a stack, with some members of our own."""
    states = account.cloud.client("stepfunctions")
    machine = account.resource_id(stack, "AWS::StepFunctions::StateMachine")
    for execution in states.list_executions(stateMachineArn=machine)["executions"]:
        event = json.loads(states.describe_execution(executionArn=execution["executionArn"])["input"])["event"]
        if event["ResourceType"] == kind:
            return {**event, "PhysicalResourceId": account.resource_id(stack, kind), "RequestId": REQUEST_ID, **members}
    raise AssertionError(f"{stack} has had no request for {kind}")


def state(event: dict[str, Any], mode: str, **members: Any) -> dict[str, Any]:
    """What an execution carries."""
    return {"event": event, "mode": mode, "deploy": "", "began_at": time.time(), "carried": {}, **members}


@pytest.fixture
def event(account: Account, living: str) -> Iterator[dict[str, Any]]:
    """A request for the deletion of the image sets, which are there afterwards, and so is the store's mark."""
    made = made_up(account, living, DELETION, RequestType="Delete")
    properties = made["ResourceProperties"]
    before = account.image_sets(properties["DatastoreId"])
    yield made
    assert [] == account.cloud.calls("DeleteImageSet")
    assert (1, before) == (len(before), account.image_sets(properties["DatastoreId"]))
    tags = account.healthimaging.list_tags_for_resource(resourceArn=properties["DatastoreArn"])["tags"]
    assert "true" == tags["healthimaging-cdk:auto-delete-image-sets"]


@pytest.mark.parametrize("carried", [{}, {"requested": []}, {"requested": ["0" * 32], "locked": []}])
def test_a_made_up_step_of_a_deletion_deletes_nothing_of_a_living_stack(account, living, event, carried):
    answer = account.invoke(living, {"step": "step", "state": state(event, "DELETE", carried=carried)})
    assert {"next": "respond", "success": True} == {"next": answer["next"], "success": answer["response"]["success"]}


def test_a_made_up_step_of_the_first_version_deletes_nothing_of_a_living_stack(account, living, event):
    old = {"event": {**event, "ResponseURL": ""}, "began_at": time.time(), "progress": {"going": []}}
    answer = account.invoke(living, {"step": "advance", "state": old})
    assert "answer" == answer["next"]


def test_a_made_up_deletion_of_the_whole_request_deletes_nothing_of_a_living_stack(account, living, event, elsewhere):
    account.invoke(living, {**event, "ResponseURL": elsewhere.url})
    assert eventually(lambda: ended(account, living, REQUEST_ID))
    assert [] == elsewhere.requests


@pytest.mark.parametrize("step", ["respond", "answer"])
def test_a_made_up_response_goes_to_no_other_address(account, living, elsewhere, step):
    event = made_up(account, living, IMPORT, RequestType="Update", ResponseURL=elsewhere.url)
    response = {"success": True, "reason": "", "data": {}, "physical_resource_id": "", "detached": False}
    account.invoke(living, {"step": step, "state": state(event, "DEPLOY", response=response)})
    assert [] == elsewhere.requests
    assert '"step": "not responded", "reason": "the response is not for CloudFormation"' in account.log_lines()


def ended(account: Account, stack: str, name: str) -> bool:
    """Whether there was an execution of that name, and it is over."""
    states = account.cloud.client("stepfunctions")
    machine = account.resource_id(stack, "AWS::StepFunctions::StateMachine")
    executions = states.list_executions(stateMachineArn=machine)["executions"]
    return [it["status"] != "RUNNING" for it in executions if it["name"] == name] == [True]
