"""Bugs that were found by trying to break the handler, and mended: one test each."""

from __future__ import annotations

import random
import socket
import threading
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError
from botocore.parsers import ResponseParserError
from hypothesis import example, given
from hypothesis import strategies as st

from healthimaging_import import handler
from healthimaging_import.cloudformation import Answer, Event, send
from healthimaging_import.faults import explained
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.request import Asset
from healthimaging_import.rules import ServiceModel
from healthimaging_import.source import unpack
from healthimaging_import.wording import denial, plain
from tests.handler.cloudformation_events import event
from tests.handler.fake_aws import DICOM, SOURCE, FakeAws
from tests.handler.state_machine import Clock, Machine
from tests.handler.test_cloudformation import EVENT
from tests.handler.test_importing import refusal
from tests.handler.test_source import MEGABYTE, plenty, with_asset, zipped

__all__ = ["with_asset"]


def test_whoever_joined_a_job_never_starts_another_though_somebody_else_saw_it_fail(aws: FakeAws, deploy: Any) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    first, second = deploy("first"), deploy("second")
    aws.jobs_may_run.clear()
    first.step()
    second.step()
    aws.wait_for_jobs()
    assert "it imported nothing" in refusal(second)
    assert "it imported nothing" in refusal(first)
    assert 1 == len(aws.jobs())


def test_a_deploy_that_a_deletion_replaced_never_starts_another_job(aws: FakeAws, deploy: Any) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    first, deletion = deploy("first"), deploy("deletion", may_start=False)
    aws.jobs_may_run.clear()
    first.step()
    deletion.step()
    aws.wait_for_jobs()
    refusal(deletion)
    refusal(first)
    assert 1 == len(aws.jobs())


@given(st.text(alphabet="aé /.,');^", min_size=1))
@example("DOE JANE/1.dcm")
@example("O'NEIL/1.dcm")
@example("DOE, JANE (1).dcm")
def test_no_part_of_any_key_comes_through(key: str) -> None:
    denied = "User: arn:aws:sts::111122223333:assumed-role/Import/x is not authorized to perform: s3:GetObject"
    why = " because no identity-based policy allows the s3:GetObject action"
    for resource in (f"arn:aws:s3:::source/{key}", f'"arn:aws:s3:::source/{key}"', key):
        assert f"{denied} on resource: ...{why}" == denial(f"{denied} on resource: {resource}{why}")
        assert f"{denied} on resource: ..." == denial(f"{denied} on resource: {resource}")


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(alphabet="aé漢😀", max_size=2000), max_size=16))
@example({str(number): "é" * 200 for number in range(16)})
@example({str(number): "a" * 1000 for number in range(16)})
def test_an_answer_with_any_attributes_is_small_enough(data: dict[str, str]) -> None:
    assert len(Answer(success=True, data=data).document(EVENT)) <= 4096


def test_an_answer_that_nobody_can_read_is_tried_again(aws: FakeAws) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    answers = [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with listener:
        send(Event.parse({**event(aws, "import-create"), "ResponseURL": url}), Answer(success=True))
        thread.join(2)


def test_fails_in_time_while_the_source_is_still_unpacked(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(handler, "time", clock)
    machine = Machine(aws, clock)
    aws.put("assets", "local.zip", zipped({f"{number}": b"1" for number in range(3)}))
    machine.context._milliseconds = 0
    began = clock.seconds
    asked = event(aws, "import-create", AssetBucket="assets", AssetKey="local.zip", WaitSeconds="20")
    machine.run({"event": asked})
    assert 20 <= clock.seconds - began < 30


def test_fails_at_once_for_a_call_that_botocore_itself_refuses() -> None:
    with pytest.raises(Refused), explained("medical-imaging", "StartDICOMImportJob"):
        raise ParamValidationError(report="x")


@pytest.mark.parametrize("size", [1, 7, 12])
def test_a_zip_is_read_once(clients: Any, aws: FakeAws, with_asset: Any, size: int) -> None:
    noise = random.Random(1).randbytes(size * MEGABYTE)
    request = with_asset({"a": noise, "b": noise}, zipfile.ZIP_STORED)
    unpack(clients.s3, request, 0, plenty)
    read = sum(call.sent for call in aws.calls if call.operation == "S3.GetObject")
    assert read < (2 * size + 12) * MEGABYTE


def test_fails_for_a_zip_that_is_damaged_with_what_to_do(clients: Any, aws: FakeAws, request_for: Any) -> None:
    aws.put("assets", "local.zip", b"not a zip")
    with pytest.raises(Refused, match="build the asset again"):
        unpack(clients.s3, request_for(asset=Asset("assets", "local.zip")), 0, plenty)


def test_fails_for_a_name_with_two_leading_slashes(clients: Any, with_asset: Any) -> None:
    with pytest.raises(Refused, match="leaves its folder"):
        unpack(clients.s3, with_asset({"//x": b"hostile"}), 0, plenty)


def test_a_denied_asset_may_pass_while_iam_settles(aws: FakeAws, deploy: Any) -> None:
    aws.put("assets", "local.zip", zipped({"1.dcm": DICOM}))
    aws.fail("S3.HeadObject", "403", 403)
    with pytest.raises(TryLater):
        deploy(settling=True, asset=Asset("assets", "local.zip")).step()


def test_fails_for_an_owner_in_digits_that_are_not_ascii() -> None:
    assert 1 == len(ServiceModel.load().violations("AwsAccountId", "\N{ARABIC-INDIC DIGIT ONE}" * 12))


def test_a_refused_prefix_is_not_repeated(deploy: Any) -> None:
    assert "DOE" not in refusal(deploy(input_prefix="DOE^JANE"))


def test_an_answer_whose_names_alone_are_too_long_is_cut_too() -> None:
    names = {chr(0x1F600 + number) * 20: "" for number in range(17)}
    assert len(Answer(success=True, data=names).document(EVENT)) <= 4096


def test_an_answer_of_aws_that_cannot_be_parsed_is_tried_later() -> None:
    with pytest.raises(TryLater), explained("s3", "s3:GetObject"):
        raise ResponseParserError("<html>")


def test_a_limit_that_healthimaging_names_is_told() -> None:
    assert "FILE_COUNTS_LIMIT ..." == plain("FILE_COUNTS_LIMIT DOE^JANE")
    assert "..." == plain("DOE_LIMIT")
