"""The deletion of a data store's image sets: guarded in every step, and finished when they are gone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from healthimaging_import.contract import OPT_IN_TAG, ResourceType
from healthimaging_local.state import ImageSet, Instance
from tests.handler.cloudformation_events import event
from tests.handler.fake_aws import FakeAws
from tests.handler.state_machine import Machine

DELETE = "HealthImaging.DeleteImageSet"
GET = "HealthImaging.GetImageSet"
SEARCH = "HealthImaging.SearchImageSets"


def fill(aws: FakeAws, count: int) -> list[str]:
    """Put image sets into the store; returns their ids."""
    now = aws.clock.seconds
    image_sets = aws.state.datastores[aws.datastore_id].image_sets
    for number in range(count):
        name = f"{number:032}"
        arn = f"{aws.datastore_arn}/imageset/{name}"
        image_sets[name] = ImageSet(name, arn, "1.2", f"1.2.{number}", (), "1", True, now, now)
        image_sets[name].versions.append((1, now, "CREATED"))
        image_sets[name].instances["1.2.3"] = Instance("1.2.3", {})
    return list(image_sets)


def left(aws: FakeAws) -> list[str]:
    return [item.id for item in aws.state.datastores[aws.datastore_id].image_sets.values() if item.deleted_at is None]


def request(aws: FakeAws, kind: str, **properties: Any) -> dict[str, Any]:
    asked = event(aws, "tags-create", request_id=kind, DatastoreId=aws.datastore_id, **properties)
    del asked["ResourceProperties"]["Tags"]
    asked |= {"ResourceType": ResourceType.IMAGE_SET_DELETION.value, "RequestType": kind}
    return asked if kind == "Create" else {**asked, "PhysicalResourceId": "x"}


@pytest.fixture
def going(aws: FakeAws, machine: Machine) -> FakeAws:
    """A store that is marked, in a stack that is being deleted."""
    machine.request(request(aws, "Create"))
    aws.responses.clear()
    aws.stack_status = "DELETE_IN_PROGRESS"
    return aws


def test_a_store_is_marked_when_the_option_is_taken(aws: FakeAws, machine: Machine) -> None:
    machine.request(request(aws, "Create"))
    assert ("SUCCESS", "true") == (aws.responses[0]["Status"], aws.tags()[OPT_IN_TAG])


@pytest.mark.parametrize("status", ["DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
def test_image_sets_are_deleted_one_in_five_seconds(going: FakeAws, machine: Machine, status: str) -> None:
    fill(going, 4)
    going.stack_status = status
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", []) == (going.responses[0]["Status"], left(going))
    assert (4, 4) == (going.count(DELETE), going.count(GET))
    assert [5] * 4 == machine.waited


def test_an_empty_store_needs_no_deletion(going: FakeAws, machine: Machine) -> None:
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", 0) == (going.responses[0]["Status"], going.count(DELETE))


# -- the guards ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    ["UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_IN_PROGRESS"],
)
def test_the_option_is_taken_back_with_the_mark_and_no_image_set_goes(
    going: FakeAws, machine: Machine, status: str
) -> None:
    fill(going, 2)
    going.stack_status = status
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", 2, {}) == (going.responses[0]["Status"], len(left(going)), going.tags())


@pytest.mark.parametrize("status", ["UPDATE_COMPLETE", "CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "DELETE_FAILED"])
def test_a_deletion_that_nobody_asked_for_leaves_the_mark_and_the_image_sets(
    going: FakeAws, machine: Machine, status: str
) -> None:
    """Somebody called the function with a request of his own."""
    fill(going, 2)
    going.stack_status = status
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", 2, "true") == (going.responses[0]["Status"], len(left(going)), going.tags()[OPT_IN_TAG])


@pytest.mark.parametrize("tags", [{}, {OPT_IN_TAG: "false"}, {"other": "true"}])
def test_a_live_store_that_is_not_marked_is_left_alone(going: FakeAws, machine: Machine, tags: dict[str, str]) -> None:
    fill(going, 2)
    going.state.tags[going.datastore_arn] = tags
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", 2) == (going.responses[0]["Status"], len(left(going)))


@pytest.mark.parametrize("guard", ["stack", "mark"])
def test_every_guard_is_asked_again_in_every_step(going: FakeAws, machine: Machine, guard: str) -> None:
    fill(going, 4)

    def before_step(number: int) -> None:
        if number == 2 and guard == "stack":
            going.stack_status = "UPDATE_IN_PROGRESS"
        elif number == 2:
            going.state.tags[going.datastore_arn] = {}

    machine.before_step = before_step
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", 2) == (going.responses[0]["Status"], len(left(going)))


@pytest.mark.parametrize("carried", [{}, {"requested": []}, {"requested": ["0" * 32], "locked": ["0" * 32]}])
def test_a_state_that_somebody_made_up_deletes_nothing_of_a_living_stack(
    aws: FakeAws, machine: Machine, carried: dict[str, list[str]]
) -> None:
    machine.request(request(aws, "Create"))
    fill(aws, 2)
    aws.stack_status = "UPDATE_COMPLETE"
    made_up = {**request(aws, "Delete"), "ResponseURL": "http://127.0.0.1:9/"}
    machine.step("step", {"event": made_up, "mode": "DELETE", "began_at": aws.clock.seconds, "carried": carried})
    old = {"event": made_up, "began_at": aws.clock.seconds, "progress": {"going": []}}
    for step in ("advance", "answer"):
        machine.step(step, old)
    assert (2, 0, 1) == (len(left(aws)), aws.count(DELETE), aws.count("Response"))
    assert "true" == aws.tags()[OPT_IN_TAG]


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_a_store_whose_tags_cannot_be_read_is_left_alone(going: FakeAws, machine: Machine, code: str) -> None:
    fill(going, 2)
    going.fail("HealthImaging.ListTagsForResource", code, times=99)
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", 2) == (going.responses[0]["Status"], len(left(going)))


def test_fails_before_anything_is_deleted_for_more_image_sets_than_one_in_ten_seconds(
    going: FakeAws, machine: Machine
) -> None:
    fill(going, 31)
    machine.request(request(going, "Delete"))
    assert "FAILED" == going.responses[0]["Status"]
    expected = (
        f"data store {going.datastore_id} holds 31 image sets; 30 of them can be deleted while CloudFormation waits"
    )
    assert going.responses[0]["Reason"].startswith(expected)
    assert (31, 0) == (len(left(going)), going.count(DELETE))


@pytest.mark.slow
def test_as_many_as_can_be_deleted_in_time_are(going: FakeAws, machine: Machine) -> None:
    fill(going, 30)
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", []) == (going.responses[0]["Status"], left(going))


# -- locked ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_locked_image_set_does_not_keep_the_others_and_is_named_at_the_end(going: FakeAws, machine: Machine) -> None:
    first, *others = fill(going, 10)
    going.fail(DELETE, "ConflictException", 409, subject=first, times=10_000)
    machine.request(request(going, "Delete"))
    assert [first] == left(going)
    assert all(1 == going.count(DELETE, name) for name in others)
    expected = (
        f"1 image sets of data store {going.datastore_id} are locked by other requests: {first}; wait for "
        "those to end, then delete the stack again"
    )
    assert ("FAILED", expected) == (going.responses[0]["Status"], going.responses[0]["Reason"])


def test_fails_with_the_locks_where_all_image_sets_are_locked(going: FakeAws, machine: Machine) -> None:
    for name in fill(going, 3):
        going.fail(DELETE, "ConflictException", 409, subject=name, times=10_000)
    machine.request(request(going, "Delete"))
    assert "FAILED" == going.responses[0]["Status"]
    assert "3 image sets of data store" in going.responses[0]["Reason"]
    assert "are locked by other requests" in going.responses[0]["Reason"]


def test_an_image_set_that_was_locked_for_a_while_is_deleted(going: FakeAws, machine: Machine) -> None:
    names = fill(going, 5)
    for name in names[:2]:
        going.fail(DELETE, "ConflictException", 409, subject=name, times=2)
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", []) == (going.responses[0]["Status"], left(going))


# -- gone ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 1])
def test_an_image_set_is_gone_when_healthimaging_says_so(going: FakeAws, machine: Machine, kept: float) -> None:
    going.state.settings.image_set_seconds = 60
    going.state.settings.deleted_image_set_seconds = kept
    fill(going, 2)
    began = machine.clock.seconds
    machine.request(request(going, "Delete"))
    assert "SUCCESS" == going.responses[0]["Status"]
    assert 60 <= machine.clock.seconds - began < 75
    assert going.count(GET) > 2


def test_an_image_set_is_gone_though_a_search_still_lists_it(
    going: FakeAws, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {"imageSetsMetadataSummaries": [{"imageSetId": name} for name in fill(going, 2)]}
    monkeypatch.setattr(going.healthimaging, "SearchImageSets", lambda *_: listed)  # its index lags for good
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", [], 2) == (going.responses[0]["Status"], left(going), going.count(DELETE))


@pytest.mark.parametrize("operation", [SEARCH, DELETE, GET, "HealthImaging.ListTagsForResource"])
def test_a_deletion_is_not_refused_for_a_store_that_is_gone_by_now(
    going: FakeAws, machine: Machine, operation: str
) -> None:
    fill(going, 2)
    going.fail(operation, "ResourceNotFoundException", 404, times=10_000)
    machine.request(request(going, "Delete"))
    assert "SUCCESS" == going.responses[0]["Status"]


def test_an_image_set_that_somebody_else_deletes_is_deleted(going: FakeAws, machine: Machine) -> None:
    first, *_ = fill(going, 2)
    going.fail(DELETE, "ResourceNotFoundException", 404, subject=first, after=True)
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", []) == (going.responses[0]["Status"], left(going))


# -- rollbacks and losses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
def test_a_rollback_is_not_refused_for_a_mark_that_cannot_be_set(aws: FakeAws, machine: Machine, code: str) -> None:
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    aws.fail("HealthImaging.TagResource", code, 403, times=99)
    machine.request({**request(aws, "Update"), "OldResourceProperties": request(aws, "Create")["ResourceProperties"]})
    assert "SUCCESS" == aws.responses[0]["Status"]


@pytest.mark.parametrize(
    "status",
    ["ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"],
)
def test_a_step_that_is_lost_in_a_rollback_does_not_fail_it(going: FakeAws, machine: Machine, status: str) -> None:
    going.stack_status = status
    state = machine.receive(request(going, "Delete"))
    machine.step("respond", {**state, "error": {"Error": "Lambda.Unknown"}})
    assert ("SUCCESS", "x") == (going.responses[0]["Status"], going.responses[0]["PhysicalResourceId"])


def test_image_sets_that_cannot_be_deleted_do_not_fail_a_rollback(going: FakeAws, machine: Machine) -> None:
    """The deletion of the store comes next, and says what it holds."""
    (name,) = fill(going, 1)
    going.stack_status = "ROLLBACK_IN_PROGRESS"
    going.fail(DELETE, "ConflictException", 409, subject=name, times=10_000)
    machine.request(request(going, "Delete"))
    assert ("SUCCESS", [name]) == (going.responses[0]["Status"], left(going))


def test_fails_for_a_step_that_is_lost_in_the_deletion_of_the_stack(going: FakeAws, machine: Machine) -> None:
    state = machine.receive(request(going, "Delete"))
    machine.step("respond", {**state, "error": {"Error": "Lambda.Unknown"}})
    assert "FAILED" == going.responses[0]["Status"]


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_a_made_up_step_marks_no_store_that_a_person_has_unmarked(
    going: FakeAws, machine: Machine, status: str
) -> None:
    going.state.tags[going.datastore_arn].pop(OPT_IN_TAG)
    going.stack_status = status
    state = {"event": request(going, "Update"), "mode": "DEPLOY", "began_at": going.clock.seconds}
    assert "wait" == machine.step("step", state)["next"]
    assert OPT_IN_TAG not in going.tags()


def test_fails_to_take_the_option_where_the_store_may_not_be_tagged(aws: FakeAws, machine: Machine) -> None:
    aws.fail("HealthImaging.TagResource", "ResourceNotFoundException", 404)
    machine.request(request(aws, "Create"))
    assert aws.responses[0]["Reason"].startswith("TagResource answered ResourceNotFoundException")


@pytest.mark.parametrize("operation", [SEARCH, DELETE])
@pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException"])
def test_fails_after_two_minutes_to_delete_image_sets_without_the_right(
    going: FakeAws, machine: Machine, operation: str, code: str
) -> None:
    fill(going, 2)
    going.fail(operation, code, 403, times=99)
    machine.request(request(going, "Delete"))
    assert f"{operation.partition('.')[2]} answered {code}" in going.responses[0]["Reason"]
    assert 120 <= sum(machine.waited) < 180


def test_fails_where_it_is_not_known_what_becomes_of_the_stack(going: FakeAws, machine: Machine) -> None:
    fill(going, 2)
    going.fail("CloudFormation.DescribeStacks", "AccessDenied", 403, times=99)
    machine.request(request(going, "Delete"))
    assert ("FAILED", 2) == (going.responses[0]["Status"], len(left(going)))


def test_an_execution_carries_ids_alone(going: FakeAws, machine: Machine) -> None:
    names = fill(going, 3)
    machine.request(request(going, "Delete"))
    assert set(names) >= {name for output in machine.outputs for name in output["carried"].get("requested", [])}
    assert "SECRET" not in json.dumps(machine.outputs)


def moved(aws: FakeAws, kind: str) -> dict[str, Any]:
    """The same of the resource that another scope has for the store."""
    return {**request(aws, kind), "LogicalResourceId": "MovedDeletion", "RequestId": f"moved-{kind}"}


def test_a_store_that_is_moved_keeps_its_opt_in_tag(aws: FakeAws, machine: Machine) -> None:
    machine.request(request(aws, "Create"))
    machine.request(moved(aws, "Create"))
    aws.stack_status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    fill(aws, 1)
    machine.request(request(aws, "Delete"))
    assert ("true", 1) == (aws.tags()[OPT_IN_TAG], len(left(aws)))
    machine.request(moved(aws, "Delete"))  # the option is taken back
    assert ({}, 1) == (aws.tags(), len(left(aws)))


def test_a_move_that_is_rolled_back_leaves_the_opt_in_tag(aws: FakeAws, machine: Machine) -> None:
    machine.request(request(aws, "Create"))
    machine.request(moved(aws, "Create"))
    aws.stack_status = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"
    machine.request(moved(aws, "Delete"))
    assert {OPT_IN_TAG: "true"} == aws.tags()
