"""Tags of a data store change in place, and those of others stay."""

from __future__ import annotations

from typing import Any

import pytest

from healthimaging_import.contract import TAGS_OWNER_TAG
from tests.handler.cloudformation_events import event
from tests.handler.fake_aws import FakeAws
from tests.handler.state_machine import Machine

TAG = "HealthImaging.TagResource"
UNTAG = "HealthImaging.UntagResource"


def request(aws: FakeAws, kind: str, new: dict[str, str], old: dict[str, str] | None = None) -> dict[str, Any]:
    asked = {**event(aws, "tags-create", request_id=kind, Tags=new), "RequestType": kind}
    if kind != "Create":
        asked["PhysicalResourceId"] = "StoreTags-1"
    if old is not None:
        asked["OldResourceProperties"] = {**asked["ResourceProperties"], "Tags": old}
    return asked


def statuses(aws: FakeAws) -> list[str]:
    return [told["Status"] for told in aws.responses]


def test_tags_are_set_replaced_and_removed_and_foreign_ones_stay(aws: FakeAws, machine: Machine) -> None:
    aws.state.tags[aws.datastore_arn] = {"foreign": "stays"}
    machine.request(request(aws, "Create", {"gone": "1", "changed": "1"}))
    machine.request(request(aws, "Update", {"changed": "2", "added": "1"}, {"gone": "1", "changed": "1"}))
    assert {"foreign": "stays", "changed": "2", "added": "1"} == aws.tags()
    assert ["SUCCESS", "SUCCESS"] == statuses(aws)


def test_a_tag_that_moved_from_old_to_new_is_never_missing(aws: FakeAws, machine: Machine) -> None:
    machine.request(request(aws, "Update", {"a": "1"}, {"a": "1"}))
    assert 0 == aws.count(UNTAG)


def test_nothing_is_called_when_there_is_nothing_to_change(aws: FakeAws, machine: Machine) -> None:
    machine.request(request(aws, "Create", {}))
    assert (0, 0, ["SUCCESS"]) == (aws.count(TAG), aws.count(UNTAG), statuses(aws))


def test_changing_tags_twice_is_changing_them_once(aws: FakeAws, machine: Machine) -> None:
    state = machine.receive(request(aws, "Update", {"b": "2"}, {"a": "1"}))
    for _ in range(2):
        machine.step("step", state)
    assert {"b": "2"} == aws.tags()


def test_tags_of_another_store_are_left_there(aws: FakeAws, machine: Machine) -> None:
    moved = request(aws, "Update", {"b": "2"}, {"a": "1"})
    moved["OldResourceProperties"]["DatastoreArn"] = aws.datastore_arn[:-32] + "f" * 32
    machine.request(moved)
    assert ({"b": "2"}, 0) == (aws.tags(), aws.count(UNTAG))


def test_fails_for_a_store_that_is_gone(aws: FakeAws, machine: Machine) -> None:
    created = request(aws, "Create", {"a": "1"})
    created["ResourceProperties"]["DatastoreArn"] = aws.datastore_arn[:-32] + "f" * 32
    machine.request(created)
    assert aws.responses[0]["Reason"].startswith("ListTagsForResource answered ResourceNotFoundException")


@pytest.mark.parametrize("operation", [TAG, UNTAG])
@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_a_rollback_is_not_refused_for_what_is_gone(aws: FakeAws, machine: Machine, operation: str, code: str) -> None:
    aws.stack_status = "UPDATE_ROLLBACK_IN_PROGRESS"
    aws.fail(operation, code, 404, times=999)
    machine.request(request(aws, "Update", {"a": "1"}, {"b": "1"}))
    assert ["SUCCESS"] == statuses(aws)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", {"foreign": "1"}),
        ("DELETE_IN_PROGRESS", {"foreign": "1", "team": "radiology"}),
        ("ROLLBACK_IN_PROGRESS", {"foreign": "1", "team": "radiology"}),
        ("UPDATE_COMPLETE", {"foreign": "1", "team": "radiology"}),  # somebody called the function by hand
    ],
)
def test_tags_go_with_their_resource_but_not_with_the_whole_stack(
    aws: FakeAws, machine: Machine, status: str, expected: dict[str, str]
) -> None:
    aws.state.tags[aws.datastore_arn] = {"foreign": "1", "team": "radiology"}
    aws.stack_status = status
    machine.request(request(aws, "Delete", {"team": "radiology"}))
    assert (["SUCCESS"], expected) == (statuses(aws), aws.tags())


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_a_deletion_is_not_refused_for_tags_that_cannot_be_removed(aws: FakeAws, machine: Machine, code: str) -> None:
    aws.stack_status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
    aws.fail(UNTAG, code)
    machine.request(request(aws, "Delete", {"a": "1"}))
    assert (["SUCCESS"], 1) == (statuses(aws), aws.count(UNTAG))


def test_a_made_up_step_sets_no_tags(aws: FakeAws, machine: Machine) -> None:
    """They could opt in to the deletion of image sets."""
    aws.stack_status = "UPDATE_COMPLETE"
    state = {"event": request(aws, "Create", {"a": "1"}), "mode": "DEPLOY", "began_at": aws.clock.seconds}
    assert "wait" == machine.step("step", state)["next"]
    assert {} == aws.tags()


def test_a_busy_service_is_asked_again(aws: FakeAws, machine: Machine) -> None:
    aws.fail(TAG, "ThrottlingException", 429, times=3)
    machine.request(request(aws, "Create", {"a": "1"}))
    assert (["SUCCESS"], {"a": "1"}, 3) == (statuses(aws), aws.tags(), len(machine.waited))


def test_a_denial_may_pass_while_iam_propagates(aws: FakeAws, machine: Machine) -> None:
    aws.fail(TAG, "AccessDeniedException", 403, times=2)
    machine.request(request(aws, "Create", {"a": "1"}))
    machine.request(request(aws, "Update", {"a": "2"}, {"a": "1"}))
    aws.fail(TAG, "AccessDeniedException", 403)
    machine.request({**request(aws, "Update", {"a": "3"}, {"a": "2"}), "RequestId": "denied"})
    assert ["SUCCESS", "SUCCESS", "FAILED"] == statuses(aws)


def moved(aws: FakeAws, kind: str, new: dict[str, str]) -> dict[str, Any]:
    """The same of the resource that another scope has for the store."""
    return {**request(aws, kind, new), "LogicalResourceId": "MovedTags", "RequestId": f"moved-{kind}"}


TAGS = {"team": "radiology", "cost": "1"}
CLEANUP, UNDONE = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"


def without_mark(aws: FakeAws) -> dict[str, str]:
    return {key: value for key, value in aws.tags().items() if key != TAGS_OWNER_TAG}


def test_a_store_that_is_moved_keeps_its_tags(aws: FakeAws, machine: Machine) -> None:
    machine.request(request(aws, "Create", TAGS))
    assert aws.tags() == TAGS
    machine.request(moved(aws, "Create", {**TAGS, "cost": "2"}))
    aws.stack_status = CLEANUP
    machine.request(request(aws, "Delete", TAGS))
    assert {**TAGS, "cost": "2"} == without_mark(aws)
    machine.request({**moved(aws, "Delete", TAGS), "RequestId": "gone"})
    assert (["SUCCESS"] * 4, {}) == (statuses(aws), aws.tags())


def test_a_tag_that_is_dropped_in_the_deploy_that_moves_a_store_goes(aws: FakeAws, machine: Machine) -> None:
    aws.state.tags[aws.datastore_arn] = {"foreign": "1"}
    machine.request(request(aws, "Create", TAGS))
    machine.request(moved(aws, "Create", {"team": "cardiology", "new": "1"}))
    aws.stack_status = CLEANUP
    machine.request(request(aws, "Delete", TAGS))
    assert {"foreign": "1", "team": "cardiology", "new": "1"} == without_mark(aws)


def test_the_mark_of_fifty_tags_fits_into_a_tag(aws: FakeAws, machine: Machine) -> None:
    many = {f"key-{number}" + "x" * 100: "1" for number in range(47)}
    machine.request(request(aws, "Create", {**many, "dropped": "1"}))
    machine.request(moved(aws, "Create", many))
    assert len(aws.tags()[TAGS_OWNER_TAG]) <= 256
    aws.stack_status = CLEANUP
    machine.request(request(aws, "Delete", {**many, "dropped": "1"}))
    assert many == without_mark(aws)


def test_all_tags_stay_where_the_mark_of_an_earlier_version_names_no_keys(aws: FakeAws, machine: Machine) -> None:
    machine.request(request(aws, "Create", TAGS))
    aws.state.tags[aws.datastore_arn][TAGS_OWNER_TAG] = "0123456789abcdef/earlier"
    aws.stack_status = CLEANUP
    machine.request(request(aws, "Delete", TAGS))
    assert TAGS == without_mark(aws)


def test_a_store_that_is_moved_back_keeps_its_tags(aws: FakeAws, machine: Machine) -> None:
    machine.request(request(aws, "Create", TAGS))
    machine.request(moved(aws, "Create", TAGS))
    aws.stack_status = CLEANUP
    machine.request(request(aws, "Delete", TAGS))
    machine.request({**request(aws, "Create", TAGS), "RequestId": "back"})
    machine.request(moved(aws, "Delete", TAGS))
    assert TAGS == without_mark(aws)


@pytest.mark.parametrize("times", [1, 2])
def test_a_move_that_is_rolled_back_leaves_the_tags_to_whom_they_were(
    aws: FakeAws, machine: Machine, times: int
) -> None:
    machine.request(request(aws, "Create", TAGS))
    for number in range(times):
        aws.stack_status = "UPDATE_IN_PROGRESS"
        machine.request({**moved(aws, "Create", TAGS), "RequestId": f"create-{number}"})
        aws.stack_status = UNDONE
        machine.request({**moved(aws, "Delete", TAGS), "RequestId": f"delete-{number}"})
        assert TAGS == aws.tags()
    aws.stack_status = CLEANUP
    machine.request(request(aws, "Delete", TAGS))
    assert {} == aws.tags()


def test_tags_that_are_new_go_with_a_deploy_that_is_rolled_back(aws: FakeAws, machine: Machine) -> None:
    aws.state.tags[aws.datastore_arn] = {"foreign": "1"}
    machine.request(request(aws, "Create", TAGS))
    aws.stack_status = UNDONE
    machine.request(request(aws, "Delete", TAGS))
    assert {"foreign": "1"} == aws.tags()


def test_tags_stay_where_it_cannot_be_read_whose_they_are(aws: FakeAws, machine: Machine) -> None:
    machine.request(request(aws, "Create", TAGS))
    aws.stack_status = CLEANUP
    aws.fail("HealthImaging.ListTagsForResource", "AccessDeniedException", 403)
    machine.request(request(aws, "Delete", TAGS))
    assert (["SUCCESS", "SUCCESS"], TAGS) == (statuses(aws), aws.tags())
