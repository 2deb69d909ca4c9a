"""A data store that CloudFormation cannot express: created once, never replaced, and gone only when it is."""

from __future__ import annotations

from typing import Any

import pytest

from healthimaging_import.contract import DatastoreAttribute, ResourceType
from tests.handler.cloudformation_events import event
from tests.handler.fake_aws import Clock, FakeAws
from tests.handler.state_machine import Machine, call_as_lambda_does

CREATE = "HealthImaging.CreateDatastore"
DELETE = "HealthImaging.DeleteDatastore"
GET = "HealthImaging.GetDatastore"
SETTINGS = {"DatastoreName": "x", "LosslessStorageFormat": "JPEG_2000_LOSSLESS", "OwnerTag": {"owner": "us"}}


def request(
    aws: FakeAws, kind: str, new: dict[str, Any], old: dict[str, Any] | None = None, datastore_id: str = ""
) -> dict[str, Any]:
    asked = event(aws, "import-create", request_id=f"{kind}-{sorted(new)}")
    common = {name: asked["ResourceProperties"][name] for name in ("RoleArn", "StateMachineArn", "WaitSeconds")}
    asked |= {
        "RequestType": kind,
        "ResourceType": ResourceType.DATASTORE.value,
        "ResourceProperties": {**common, **new},
    }
    if old is not None:
        asked["OldResourceProperties"] = {**common, **old}
    return {**asked, "PhysicalResourceId": datastore_id} if datastore_id else asked


def created(aws: FakeAws, machine: Machine) -> str:
    machine.request(request(aws, "Create", SETTINGS))
    return str(aws.responses.pop()["PhysicalResourceId"])


def deletion(aws: FakeAws, datastore_id: str, status: str = "DELETE_IN_PROGRESS") -> dict[str, Any]:
    """The request to delete a store, in a stack of which CloudFormation says that it is in that status."""
    aws.stack_status = status
    return request(aws, "Delete", SETTINGS, datastore_id=datastore_id)


def statuses(aws: FakeAws) -> list[str]:
    return [told["Status"] for told in aws.responses]


def test_a_store_is_created_with_all_its_settings_and_every_attribute(aws: FakeAws, machine: Machine) -> None:
    aws.state.settings.datastore_seconds = 10
    machine.request(request(aws, "Create", SETTINGS))
    (told,) = aws.responses
    (store,) = (store for name, store in aws.state.datastores.items() if name != aws.datastore_id)
    assert ("SUCCESS", store.id) == (told["Status"], told["PhysicalResourceId"])
    assert {name.value for name in DatastoreAttribute} == set(told["Data"])
    assert (store.arn, "ACTIVE") == (told["Data"]["DatastoreArn"], told["Data"]["DatastoreStatus"])
    assert (1, {"owner": "us"}) == (aws.count(CREATE), aws.state.tags[store.arn])
    assert sum(machine.waited) >= 10


def test_a_step_that_is_repeated_creates_no_second_store(aws: FakeAws, machine: Machine) -> None:
    state = machine.receive(request(aws, "Create", SETTINGS))
    for _ in range(2):
        machine.step("step", state)
    assert 2 == len(aws.state.datastores)


def test_fails_with_the_id_of_a_store_that_is_denied_after_its_creation(aws: FakeAws, machine: Machine) -> None:
    aws.fail(GET, "ResourceNotFoundException", 404)
    machine.request(request(aws, "Create", SETTINGS))
    (store,) = (name for name in aws.state.datastores if name != aws.datastore_id)
    assert ("FAILED", store) == (aws.responses[0]["Status"], aws.responses[0]["PhysicalResourceId"])


def test_fails_for_a_change_of_what_a_store_is_created_with(aws: FakeAws, machine: Machine) -> None:
    store = created(aws, machine)
    machine.request(request(aws, "Update", {**SETTINGS, "DatastoreName": "y"}, SETTINGS, store))
    assert ("FAILED", store) == (aws.responses[0]["Status"], aws.responses[0]["PhysicalResourceId"])
    assert aws.responses[0]["Reason"].startswith("datastoreName of a data store cannot be changed: put the old value")


def test_the_rollback_of_a_refused_change_is_not_refused_whatever_the_store_says_of_itself(
    aws: FakeAws, machine: Machine
) -> None:
    # It may tell defaults that nobody gave.
    settings = {"datastoreName": "x", "clientToken": "x", "losslessStorageFormat": "HTJ2K"}
    live = str(aws.healthimaging.CreateDatastore(settings, aws.caller)["datastoreId"])
    before, wanted = {"DatastoreName": "x"}, {"DatastoreName": "x", "LosslessStorageFormat": "JPEG_2000_LOSSLESS"}
    machine.request(request(aws, "Update", wanted, before, live))
    assert "losslessStorageFormat of a data store cannot be changed" in aws.responses[0]["Reason"]
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    machine.request(request(aws, "Update", before, wanted, live))
    assert ["FAILED", "SUCCESS"] == statuses(aws)
    assert {live} == {told["PhysicalResourceId"] for told in aws.responses}


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
def test_a_rollback_is_not_refused_for_a_store_that_is_gone(aws: FakeAws, machine: Machine, code: str) -> None:
    store = created(aws, machine)
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    aws.fail(GET, code, 404, times=99)
    machine.request(request(aws, "Update", SETTINGS, {**SETTINGS, "DatastoreName": "y"}, store))
    assert_restored(aws, store)


def assert_restored(aws: FakeAws, store: str) -> None:
    """A stack that reads an attribute fails its rollback where the response lacks it."""
    (told,) = aws.responses
    arn = f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{store}"
    rest = dict.fromkeys(("DatastoreStatus", "CreatedAt", "UpdatedAt"), "unknown")
    assert ("SUCCESS", store) == (told["Status"], told["PhysicalResourceId"])
    assert {"DatastoreId": store, "DatastoreArn": arn, **rest} == told["Data"]


@pytest.mark.parametrize("how", ["error", "time"])
def test_a_rollback_that_cannot_be_finished_does_not_fail(aws: FakeAws, machine: Machine, how: str) -> None:
    store = created(aws, machine)
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    aws.fail(GET, "ThrottlingException", 429, times=10_000)
    state = machine.receive(request(aws, "Update", SETTINGS, {**SETTINGS, "DatastoreName": "y"}, store))
    if how == "error":
        machine.step("respond", {**state, "error": {"Error": "Lambda.Unknown"}})
    else:
        machine.run(state)
    assert_restored(aws, store)


@pytest.mark.parametrize("code", ["AccessDeniedException", "StateMachineDoesNotExist"])
def test_a_rollback_that_cannot_begin_does_not_fail(aws: FakeAws, machine: Machine, clock: Clock, code: str) -> None:
    store = created(aws, machine)
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    aws.fail("States.StartExecution", code, 400, times=10_000)
    call_as_lambda_does(request(aws, "Update", SETTINGS, {**SETTINGS, "DatastoreName": "y"}, store), clock)
    assert_restored(aws, store)


# -- deletion --------------------------------------------------------------------------------------------------------


def test_a_deletion_waits_until_the_store_is_gone(aws: FakeAws, machine: Machine) -> None:
    store = created(aws, machine)
    aws.state.settings.datastore_seconds = 10
    began = machine.clock.seconds
    machine.request(deletion(aws, store))
    assert ["SUCCESS"] == statuses(aws)
    assert machine.clock.seconds - began >= 10
    assert 1 == aws.count(DELETE)


@pytest.mark.parametrize("operation", [DELETE, GET])
def test_a_store_that_is_gone_is_deleted(aws: FakeAws, machine: Machine, operation: str) -> None:
    store = created(aws, machine)
    aws.fail(operation, "ResourceNotFoundException", 404)
    machine.request(deletion(aws, store))
    assert ["SUCCESS"] == statuses(aws)


def test_a_store_that_never_came_to_be_is_deleted(aws: FakeAws, machine: Machine) -> None:
    machine.request(deletion(aws, "Store-0123456789abcdef"))
    assert (["SUCCESS"], 0) == (statuses(aws), aws.count(DELETE))


def test_fails_at_once_to_delete_a_store_that_is_in_use(aws: FakeAws, machine: Machine) -> None:
    store = created(aws, machine)
    aws.fail(DELETE, "ConflictException", 409)
    machine.request(deletion(aws, store))
    assert (["FAILED"], []) == (statuses(aws), machine.waited)
    assert "holds image sets or runs a job, so it cannot be deleted" in aws.responses[0]["Reason"]


def test_a_deletion_that_is_denied_seconds_after_the_creation_is_tried_again(aws: FakeAws, machine: Machine) -> None:
    store = created(aws, machine)
    aws.fail("STS.AssumeRole", "AccessDenied", 403, times=2)
    aws.fail(DELETE, "AccessDeniedException", 403, times=4)
    machine.restart()
    machine.request(deletion(aws, store, "ROLLBACK_IN_PROGRESS"))
    assert (["SUCCESS"], 5) == (statuses(aws), aws.count(DELETE))


@pytest.mark.parametrize(
    "status",
    [
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "CREATE_IN_PROGRESS",
        "UPDATE_IN_PROGRESS",
        "REVIEW_IN_PROGRESS",
        "IMPORT_IN_PROGRESS",
    ],
)
def test_fails_to_delete_a_store_while_cloudformation_deletes_nothing(
    aws: FakeAws, machine: Machine, status: str
) -> None:
    """Somebody called the function with a request of his own; an empty store would be gone."""
    store = created(aws, machine)
    machine.request(deletion(aws, store, status))
    assert (["FAILED"], 0) == (statuses(aws), aws.count(DELETE))
    assert aws.responses[0]["Reason"].startswith(f"the stack is {status}, in which CloudFormation deletes nothing, so")
    assert 60 <= sum(machine.waited) < 120


@pytest.mark.parametrize(
    "status",
    [
        "DELETE_IN_PROGRESS",
        "ROLLBACK_IN_PROGRESS",
        "UPDATE_ROLLBACK_IN_PROGRESS",
        "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    ],
)
def test_a_store_is_deleted_wherever_cloudformation_deletes_resources(
    aws: FakeAws, machine: Machine, status: str
) -> None:
    store = created(aws, machine)
    machine.request(deletion(aws, store, status))
    assert (["SUCCESS"], 1) == (statuses(aws), aws.count(DELETE))


def test_a_store_is_deleted_where_the_status_of_the_stack_comes_late(aws: FakeAws, machine: Machine) -> None:
    store = created(aws, machine)

    def before_step(number: int) -> None:
        aws.stack_status = "UPDATE_IN_PROGRESS" if number < 3 else "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"

    machine.before_step = before_step
    machine.request(deletion(aws, store))
    assert (["SUCCESS"], 1) == (statuses(aws), aws.count(DELETE))


def test_a_made_up_step_creates_no_store(aws: FakeAws, machine: Machine) -> None:
    aws.stack_status = "UPDATE_COMPLETE"
    state = {"event": request(aws, "Create", SETTINGS), "mode": "DEPLOY", "began_at": aws.clock.seconds}
    assert "wait" == machine.step("step", state)["next"]
    assert 0 == aws.count(CREATE)


@pytest.mark.parametrize("operation", [DELETE, GET])
@pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException"])
def test_fails_after_two_minutes_to_delete_a_store_without_the_right(
    aws: FakeAws, machine: Machine, operation: str, code: str
) -> None:
    store = created(aws, machine)
    aws.fail(operation, code, 403, times=99)
    machine.request(deletion(aws, store))
    assert ["FAILED"] == statuses(aws)
    assert 120 <= sum(machine.waited) < 180
    assert f"{operation.partition('.')[2]} answered {code}" in aws.responses[0]["Reason"]
