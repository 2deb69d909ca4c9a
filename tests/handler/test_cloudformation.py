"""CloudFormation's events in, its answers out: in time, in 4 KB, without the URL anywhere else."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from healthimaging_import.cloudformation import Answer, Event, send
from tests.handler import cloudformation_events
from tests.handler.fake_aws import STACK_ID, FakeAws

CREATE = cloudformation_events.read("import-create")
EVENT = Event.parse(CREATE)


# -- events in -------------------------------------------------------------------------------------------------------


def test_a_create_is_taken_apart() -> None:
    assert "Create" == EVENT.request_type
    assert "11111111-1111-4111-8111-111111111111" == EVENT.request_id
    assert STACK_ID == EVENT.stack_id
    assert "ImportResource" == EVENT.logical_id
    assert "Custom::HealthImagingImport" == EVENT.resource_type
    assert "source" == EVENT.properties["InputBucket"]
    assert {} == EVENT.old_properties
    assert f"{STACK_ID}/ImportResource" == EVENT.scope


def test_an_update_brings_the_old_properties() -> None:
    update = Event.parse(cloudformation_events.read("import-update"))
    assert ("2", None) == (update.properties.get("RunId"), update.old_properties.get("RunId"))


def test_a_physical_id_stays_the_same_for_the_life_of_the_resource() -> None:
    ids = [
        Event.parse(cloudformation_events.read(name)).physical_id
        for name in ("import-create", "import-update", "import-delete")
    ]
    assert 1 == len(set(ids))
    changed = {**CREATE, "RequestId": "other", "ResourceProperties": {}}
    assert ids[0] == Event.parse(changed).physical_id


def test_the_physical_id_that_cloudformation_knows_is_kept() -> None:
    assert "theirs" == Event.parse({**CREATE, "PhysicalResourceId": "theirs"}).physical_id


@pytest.mark.parametrize("change", [{"StackId": "other"}, {"LogicalResourceId": "Other"}])
def test_another_resource_has_another_physical_id_and_scope(change: dict[str, str]) -> None:
    other = Event.parse({**CREATE, **change})
    assert EVENT.physical_id != other.physical_id
    assert EVENT.scope != other.scope


def test_an_event_that_is_printed_shows_neither_url_nor_properties() -> None:
    assert "SECRET" not in repr(EVENT)
    assert "studies/" not in repr(EVENT)


def test_properties_may_be_missing() -> None:
    bare = {name: value for name, value in CREATE.items() if name != "ResourceProperties"}
    assert {} == Event.parse(bare).properties


# -- answers out -----------------------------------------------------------------------------------------------------


def test_an_answer_has_what_cloudformation_asks_for() -> None:
    assert {
        "Status": "SUCCESS",
        "Reason": "",
        "PhysicalResourceId": EVENT.physical_id,
        "StackId": STACK_ID,
        "RequestId": EVENT.request_id,
        "LogicalResourceId": "ImportResource",
        "Data": {"JobId": "1"},
    } == json.loads(Answer(success=True, data={"JobId": "1"}).document(EVENT))


def test_a_failure_gives_its_reason() -> None:
    document = json.loads(Answer(success=False, reason="no job was started").document(EVENT))
    assert ("FAILED", "no job was started") == (document["Status"], document["Reason"])


def test_an_answer_can_name_what_was_made() -> None:
    document = json.loads(Answer(success=True, physical_id="made").document(EVENT))
    assert "made" == document["PhysicalResourceId"]


texts = st.text(alphabet=st.characters(exclude_categories=[]), max_size=5000)


@given(texts)
@example("é" * 5000)
@example("😀" * 5000)
@example("\x00" * 5000)
@example("\ud800" * 5000)
def test_an_answer_with_any_reason_is_small_enough(reason: str) -> None:
    body = Answer(success=False, reason=reason).document(EVENT)
    assert len(body) <= 4096
    assert reason.startswith(json.loads(body)["Reason"])


@given(texts, st.text(alphabet='aé漢😀\x00"\\', max_size=5000))
@example("é" * 5000, "漢" * 5000)
@example("", "😀" * 5000)
@example("", "a" * 5000)
def test_an_answer_with_any_attribute_is_small_enough(reason: str, value: str) -> None:
    data = {"JobId": "1" * 32, "JobStatus": "COMPLETED", "ManifestUri": value}
    body = Answer(success=True, reason=reason, data=data).document(EVENT)
    assert len(body) <= 4096
    assert {"JobId": "1" * 32, "JobStatus": "COMPLETED"}.items() <= json.loads(body)["Data"].items()


def test_the_longest_reason_fills_the_answer_without_breaking_it() -> None:
    document = json.loads(Answer(success=False, reason="word " * 1000).document(EVENT))
    assert 1600 == len(document["Reason"])


# -- the way there ---------------------------------------------------------------------------------------------------


def parsed(aws: FakeAws) -> Event:
    return Event.parse(cloudformation_events.event(aws, "import-create"))


def test_an_answer_is_put_to_the_url(aws: FakeAws) -> None:
    send(parsed(aws), Answer(success=True))
    (answer,) = aws.answers
    assert ("SUCCESS", EVENT.request_id) == (answer["Status"], answer["RequestId"])


def test_an_answer_is_put_without_a_content_type(aws: FakeAws, server: Any) -> None:
    # The URL is signed for an empty one.
    seen: list[str | None] = []
    serve = aws.serve

    def watch(method: str, target: str, headers: Any, body: bytes) -> Any:
        seen.append(headers.get("Content-Type"))
        return serve(method, target, headers, body)

    server.aws.serve = watch
    send(parsed(aws), Answer(success=True))
    assert [""] == seen


@pytest.mark.parametrize("statuses", [[500], [503, 503, 503, 503], [403, 500]])
def test_sending_is_tried_again(aws: FakeAws, statuses: list[int]) -> None:
    aws.answer_statuses = list(statuses)
    send(parsed(aws), Answer(success=True))
    assert 1 == len(aws.answers)
    assert len(statuses) + 1 == aws.count("Answer")


def test_fails_after_five_tries_without_telling_the_url(aws: FakeAws) -> None:
    aws.answer_statuses = [500] * 9
    with pytest.raises(OSError, match="CloudFormation could not be answered") as raised:
        send(parsed(aws), Answer(success=True))
    assert 5 == aws.count("Answer")
    assert "SECRET" not in f"{raised.value!r}{raised.value.__cause__!r}"
    assert raised.value.__suppress_context__
    refusal = raised.value.__context__
    assert isinstance(refusal, HTTPError)
    refusal.close()


def test_fails_without_telling_the_url_when_nobody_listens(aws: FakeAws) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/?X-Amz-Signature=SECRET"
    event = Event.parse({**cloudformation_events.event(aws, "import-create"), "ResponseURL": url})
    with pytest.raises(OSError, match=r"CloudFormation could not be answered .URLError.") as raised:
        send(event, Answer(success=True))
    assert "SECRET" not in str(raised.value)


@pytest.fixture
def rude() -> Iterator[tuple[str, list[int]]]:
    """A server that hangs up twice, once at once and once in the middle of its answer, and then behaves."""
    listener = socket.create_server(("127.0.0.1", 0))
    served: list[int] = []
    answers = [b"", b"HTTP/1.1 500 Oh\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                served.append(len(answer))
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/", served
    thread.join(2)
    listener.close()


def test_a_connection_that_breaks_is_tried_again(aws: FakeAws, rude: tuple[str, list[int]]) -> None:
    url, served = rude
    send(Event.parse({**cloudformation_events.event(aws, "import-create"), "ResponseURL": url}), Answer(success=True))
    assert 3 == len(served)


def test_the_pauses_between_tries_fit_into_an_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    url = "http://127.0.0.1:9/"
    with pytest.raises(OSError, match="could not be answered"):
        send(Event.parse({**CREATE, "ResponseURL": url}), Answer(success=True))
    assert [1, 2, 4, 8] == slept
