"""Data stores and tags of the local HealthImaging."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest


def test_a_datastore_is_active_after_a_moment(imaging: Any) -> None:
    imaging.state.settings.datastore_seconds = 3600
    store = imaging.datastore()
    assert "CREATING" == imaging.ask("GET", f"/datastore/{store}")["datastoreProperties"]["datastoreStatus"]
    imaging.state.datastores[store].active_at = imaging.state.now()
    assert "ACTIVE" == imaging.ask("GET", f"/datastore/{store}")["datastoreProperties"]["datastoreStatus"]


def test_fails_to_import_into_a_datastore_that_is_not_active(imaging: Any) -> None:
    imaging.state.settings.datastore_seconds = 3600
    assert 409 == imaging.start(imaging.datastore()).status


def test_the_same_client_token_gives_the_same_datastore(imaging: Any) -> None:
    assert imaging.datastore() == imaging.datastore()


def test_fails_when_a_client_token_is_used_for_another_datastore(imaging: Any) -> None:
    imaging.datastore()
    answer = imaging.send("POST", "/datastore", {"datastoreName": "other", "clientToken": "store"})
    assert "ConflictException" == answer.headers["x-amzn-errortype"]


def test_a_datastore_of_another_account_or_region_is_not_found(imaging: Any) -> None:
    store = imaging.datastore()
    for change in ({"account": "444455556666"}, {"region": "eu-west-1"}):
        own = imaging.caller
        imaging.caller = type(own)(**{"account": own.account, "region": own.region, **change})
        assert (404, []) == (
            imaging.send("GET", f"/datastore/{store}").status,
            imaging.ask("GET", "/datastore")["datastoreSummaries"],
        )
        imaging.caller = own


def test_datastores_are_listed_in_pages(imaging: Any) -> None:
    ids = [imaging.datastore(clientToken=f"t{number}") for number in range(3)]
    first = imaging.ask("GET", "/datastore", maxResults="2")
    second = imaging.ask("GET", "/datastore", maxResults="2", nextToken=first["nextToken"])
    found = [item["datastoreId"] for page in (first, second) for item in page["datastoreSummaries"]]
    assert (ids, False) == (found, "nextToken" in second)


def test_fails_when_a_page_token_is_not_ours(imaging: Any) -> None:
    assert 400 == imaging.send("GET", "/datastore", nextToken="bm9uc2Vuc2U=").status


def test_an_empty_datastore_is_deleted(imaging: Any) -> None:
    store = imaging.datastore()
    assert "DELETING" == imaging.ask("DELETE", f"/datastore/{store}")["datastoreStatus"]
    assert 404 == imaging.send("GET", f"/datastore/{store}").status


def test_fails_to_delete_a_datastore_that_holds_image_sets(imaging: Any, sample: Any) -> None:
    store = imaging.datastore()
    imaging.storage.put("source", "in/ct.dcm", sample("CT_small.dcm"))
    imaging.run(store)
    answer = imaging.send("DELETE", f"/datastore/{store}")
    assert (409, True) == (answer.status, "still holds 1 image sets" in json.loads(answer.body)["message"])


def test_a_datastore_can_be_deleted_once_its_image_sets_are(imaging: Any, sample: Any) -> None:
    store = imaging.datastore()
    imaging.storage.put("source", "in/ct.dcm", sample("CT_small.dcm"))
    imaging.run(store)
    (found,) = imaging.search(store)
    path = f"/datastore/{store}/imageSet/{found['imageSetId']}"
    assert "DELETED" == imaging.ask("POST", f"{path}/deleteImageSet")["imageSetState"]
    assert 409 == imaging.send("POST", f"{path}/deleteImageSet").status
    assert ("DELETED", []) == (imaging.ask("POST", f"{path}/getImageSet")["imageSetState"], imaging.search(store))
    assert 200 == imaging.send("DELETE", f"/datastore/{store}").status


def test_a_deletion_that_takes_time_is_read_as_deleting_deleted_and_not_found(
    imaging: Any, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.time()]
    monkeypatch.setattr(imaging.state, "now", lambda: clock[0])
    imaging.state.settings.image_set_seconds = 5
    imaging.state.settings.deleted_image_set_seconds = 5
    store = imaging.datastore()
    imaging.storage.put("source", "in/ct.dcm", sample("CT_small.dcm"))
    imaging.run(store)
    (found,) = imaging.search(store)
    path = f"/datastore/{store}/imageSet/{found['imageSetId']}"

    def statuses(answer: dict[str, Any]) -> tuple[Any, ...]:
        return (answer["imageSetState"], answer["imageSetWorkflowStatus"], "deletedAt" in answer)

    assert ("LOCKED", "DELETING", False) == statuses(imaging.ask("POST", f"{path}/deleteImageSet"))
    assert ("LOCKED", "DELETING", False) == statuses(imaging.ask("POST", f"{path}/getImageSet"))
    assert (409, 409, []) == (
        imaging.send("POST", f"{path}/deleteImageSet").status,
        imaging.send("DELETE", f"/datastore/{store}").status,
        imaging.search(store),
    )
    clock[0] += 6
    assert ("DELETED", "DELETED", True) == statuses(imaging.ask("POST", f"{path}/getImageSet"))
    versions = imaging.ask("POST", f"{path}/listImageSetVersions")["imageSetPropertiesList"]
    assert ["DELETED", "ACTIVE"] == [version["imageSetState"] for version in versions]
    clock[0] += 5
    assert 404 == imaging.send("POST", f"{path}/getImageSet").status
    assert 200 == imaging.send("DELETE", f"/datastore/{store}").status


def test_tags_change_in_place(imaging: Any) -> None:
    store = imaging.datastore(tags={"team": "a", "stage": "x"})
    path = f"/tags/{imaging.state.datastores[store].arn}"
    imaging.ask("POST", path, {"tags": {"team": "b"}})
    imaging.ask("DELETE", path, tagKeys="stage")
    assert {"team": "b"} == imaging.ask("GET", path)["tags"]


@pytest.mark.parametrize("tags", [{"aws:x": "y"}, {"key": "v" * 257}])
def test_fails_to_set_a_tag_that_the_model_forbids(imaging: Any, tags: dict[str, str]) -> None:
    path = f"/tags/{imaging.state.datastores[imaging.datastore()].arn}"
    assert 400 == imaging.send("POST", path, {"tags": tags}).status


def test_fails_to_tag_what_does_not_exist(imaging: Any) -> None:
    arn = f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{'0' * 32}"
    assert 404 == imaging.send("POST", f"/tags/{arn}", {"tags": {"a": "b"}}).status


def test_ids_are_the_same_in_every_run(imaging: Any) -> None:
    first = imaging.datastore()
    imaging.state.reset()
    assert first == imaging.datastore()


def test_events_tell_of_a_datastore(imaging: Any) -> None:
    store = imaging.datastore()
    imaging.ask("DELETE", f"/datastore/{store}")
    assert [f"Data Store {what}" for what in ("Creating", "Created", "Deleting", "Deleted")] == [
        name for name, _, _ in imaging.bus.sent
    ]
