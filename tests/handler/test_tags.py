"""Tags of a data store change in place, and those of others stay."""

from __future__ import annotations

import pytest

from healthimaging_import.aws import Clients
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.tags import change_tags, remove_tags
from tests.handler.fake_aws import FakeAws


def test_tags_are_set_replaced_and_removed_and_foreign_ones_stay(clients: Clients, aws: FakeAws) -> None:
    aws.state.tags[aws.datastore_arn] = {"foreign": "stays", "gone": "1", "changed": "1"}
    change_tags(
        clients.healthimaging,
        aws.datastore_arn,
        old={"gone": "1", "changed": "1"},
        new={"changed": "2", "added": "1"},
    )
    assert {"foreign": "stays", "changed": "2", "added": "1"} == aws.tags()


def test_a_tag_that_moved_from_old_to_new_is_never_missing(clients: Clients, aws: FakeAws) -> None:
    change_tags(clients.healthimaging, aws.datastore_arn, old={"a": "1"}, new={"a": "1"})
    assert 0 == aws.count("HealthImaging.UntagResource")


def test_nothing_is_called_when_there_is_nothing_to_change(clients: Clients, aws: FakeAws) -> None:
    change_tags(clients.healthimaging, aws.datastore_arn, old={}, new={})
    assert [] == aws.calls


def test_changing_tags_twice_is_changing_them_once(clients: Clients, aws: FakeAws) -> None:
    for _ in range(2):
        change_tags(clients.healthimaging, aws.datastore_arn, old={"a": "1"}, new={"b": "2"})
    assert {"b": "2"} == aws.tags()


def test_fails_for_a_store_that_is_gone(clients: Clients, aws: FakeAws) -> None:
    missing = aws.datastore_arn[:-32] + "f" * 32
    with pytest.raises(Refused, match="TagResource answered ResourceNotFoundException"):
        change_tags(clients.healthimaging, missing, old={}, new={"a": "1"})


def test_tags_of_a_store_that_is_gone_are_removed_already(clients: Clients, aws: FakeAws) -> None:
    remove_tags(clients.healthimaging, aws.datastore_arn[:-32] + "f" * 32, {"a": "1"})
    assert 1 == aws.count("HealthImaging.UntagResource")


def test_removing_takes_away_only_what_was_set(clients: Clients, aws: FakeAws) -> None:
    aws.state.tags[aws.datastore_arn] = {"ours": "1", "foreign": "1"}
    remove_tags(clients.healthimaging, aws.datastore_arn, {"ours": "1"})
    assert {"foreign": "1"} == aws.tags()


def test_a_busy_service_is_asked_again_later(clients: Clients, aws: FakeAws) -> None:
    aws.fail("HealthImaging.UntagResource", "ThrottlingException", 429)
    with pytest.raises(TryLater):
        remove_tags(clients.healthimaging, aws.datastore_arn, {"ours": "1"})


def test_a_denial_may_pass_while_iam_settles(clients: Clients, aws: FakeAws) -> None:
    aws.fail("HealthImaging.TagResource", "AccessDeniedException", 403, times=2)
    with pytest.raises(TryLater):
        change_tags(clients.healthimaging, aws.datastore_arn, old={}, new={"a": "1"}, settling=True)
    with pytest.raises(Refused):
        change_tags(clients.healthimaging, aws.datastore_arn, old={}, new={"a": "1"})
