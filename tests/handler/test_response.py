"""CloudFormation's requests in, our responses out: in time, in 4 KB, without the URL anywhere else."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import botocore.session
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from healthimaging_import import cfn
from healthimaging_import.cfn import Request, Response, send
from tests.handler import cloudformation_events
from tests.handler.fake_aws import STACK_ID, FakeAws

CREATE = cloudformation_events.read("import-create")
REQUEST = Request(CREATE)
PUT_PAUSES = cfn._PUT_PAUSES


# -- requests in -------------------------------------------------------------------------------------------------------


def test_a_create_is_taken_apart() -> None:
    assert "Create" == REQUEST.request_type
    assert "11111111-1111-4111-8111-111111111111" == REQUEST.request_id
    assert STACK_ID == REQUEST.stack_id
    assert "ImportResource" == REQUEST.logical_resource_id
    assert "Custom::HealthImagingImport" == REQUEST.resource_type
    assert "source" == REQUEST.resource_properties["InputBucket"]
    assert {} == REQUEST.old_resource_properties
    assert f"{STACK_ID}/ImportResource" == REQUEST.scope


def test_an_update_brings_the_old_properties() -> None:
    update = Request(cloudformation_events.read("import-update"))
    assert ("2", None) == (update.resource_properties.get("RunId"), update.old_resource_properties.get("RunId"))


def test_a_physical_id_stays_the_same_for_the_life_of_the_resource() -> None:
    ids = [
        Request(cloudformation_events.read(name)).new_physical_resource_id
        for name in ("import-create", "import-update", "import-delete")
    ]
    assert 1 == len(set(ids))
    changed = {"RunId": "3", "Completion": "submit", "MaxFiles": "1", "JobName": "other"}
    assert ids[0] == with_properties(**changed).new_physical_resource_id


def with_properties(kind: str = "Create", **changes: str) -> Request:
    known = {"PhysicalResourceId": "theirs", "RequestId": "other", "RequestType": kind}
    return Request({**CREATE, **known, "ResourceProperties": {**CREATE["ResourceProperties"], **changes}})


@pytest.mark.parametrize(
    "right", ["Grants", "RoleArn", "DataAccessRoleArn", "DatastoreId", "InputBucket", "InputPrefix", "OutputPrefix"]
)
def test_an_import_with_other_rights_has_another_physical_id(right: str) -> None:
    # CloudFormation asks for the deletion of the old one before it takes the old rights away.
    assert with_properties().new_physical_resource_id != with_properties(**{right: "other"}).new_physical_resource_id


@pytest.mark.parametrize(
    ("kind", "success", "expected"),
    [("Update", True, "new"), ("Update", False, "theirs"), ("Delete", True, "theirs"), ("Delete", False, "theirs")],
)
def test_only_an_update_that_succeeded_changes_the_physical_id(kind: str, *, success: bool, expected: str) -> None:
    request = with_properties(kind, Grants="other")
    document = json.loads(Response(success=success).document(request))
    wanted = request.new_physical_resource_id if expected == "new" else expected
    assert wanted == document["PhysicalResourceId"]


@pytest.mark.parametrize("kind", ["Tags", "Datastore", "ImageSetDeletion"])
def test_other_resources_keep_the_physical_id_that_cloudformation_knows(kind: str) -> None:
    event = {**CREATE, "PhysicalResourceId": "theirs", "ResourceType": f"Custom::HealthImaging{kind}"}
    assert "theirs" == Request(event).new_physical_resource_id


@pytest.mark.parametrize("change", [{"StackId": "other"}, {"LogicalResourceId": "Other"}])
def test_another_resource_has_another_physical_id_and_scope(change: dict[str, str]) -> None:
    other = Request({**CREATE, **change})
    assert REQUEST.new_physical_resource_id != other.new_physical_resource_id
    assert REQUEST.scope != other.scope


def test_a_request_that_is_printed_shows_neither_url_nor_properties() -> None:
    assert "SECRET" not in repr(REQUEST)
    assert "studies/" not in repr(REQUEST)


def test_properties_may_be_missing() -> None:
    bare = {name: value for name, value in CREATE.items() if name != "ResourceProperties"}
    assert {} == Request(bare).resource_properties


# -- responses out -----------------------------------------------------------------------------------------------------


def test_a_response_has_what_cloudformation_asks_for() -> None:
    assert {
        "Status": "SUCCESS",
        "Reason": "",
        "PhysicalResourceId": REQUEST.new_physical_resource_id,
        "StackId": STACK_ID,
        "RequestId": REQUEST.request_id,
        "LogicalResourceId": "ImportResource",
        "Data": {"JobId": "1"},
    } == json.loads(Response(success=True, data={"JobId": "1"}).document(REQUEST))


def test_a_failure_gives_its_reason() -> None:
    document = json.loads(Response(success=False, reason="no job was started").document(REQUEST))
    assert ("FAILED", "no job was started") == (document["Status"], document["Reason"])


def test_a_response_can_name_what_was_created() -> None:
    document = json.loads(Response(success=True, physical_resource_id="created").document(REQUEST))
    assert "created" == document["PhysicalResourceId"]


texts = st.text(alphabet=st.characters(exclude_categories=[]), max_size=5000)


@given(texts)
@example("é" * 5000)
@example("😀" * 5000)
@example("\x00" * 5000)
@example("\ud800" * 5000)
def test_a_response_with_any_reason_is_small_enough(reason: str) -> None:
    body = Response(success=False, reason=reason).document(REQUEST)
    assert len(body) <= 4096
    assert reason.startswith(json.loads(body)["Reason"])


@given(texts, st.text(alphabet='aé漢😀\x00"\\', max_size=5000))
@example("é" * 5000, "漢" * 5000)
@example("", "😀" * 5000)
@example("", "a" * 5000)
def test_a_response_with_any_attribute_is_small_enough(reason: str, value: str) -> None:
    data = {"JobId": "1" * 32, "JobStatus": "COMPLETED", "ManifestUri": value}
    body = Response(success=True, reason=reason, data=data).document(REQUEST)
    assert len(body) <= 4096
    assert {"JobId": "1" * 32, "JobStatus": "COMPLETED"}.items() <= json.loads(body)["Data"].items()


def test_the_longest_reason_fills_the_response_without_breaking_it() -> None:
    document = json.loads(Response(success=False, reason="word " * 1000).document(REQUEST))
    assert 1600 == len(document["Reason"])


# -- the way there ---------------------------------------------------------------------------------------------------


def parsed(aws: FakeAws) -> Request:
    return Request(cloudformation_events.event(aws, "import-create"))


def test_a_response_is_put_to_the_url(aws: FakeAws) -> None:
    send(parsed(aws), Response(success=True))
    (sent,) = aws.responses
    assert ("SUCCESS", REQUEST.request_id) == (sent["Status"], sent["RequestId"])


def test_a_response_is_put_without_a_content_type(aws: FakeAws, server: Any) -> None:
    # The URL is signed for an empty one.
    seen: list[str | None] = []
    serve = aws.serve

    def watch(method: str, target: str, headers: Any, body: bytes) -> Any:
        seen.append(headers.get("Content-Type"))
        return serve(method, target, headers, body)

    server.aws.serve = watch
    send(parsed(aws), Response(success=True))
    assert [""] == seen


@pytest.mark.parametrize("statuses", [[500], [503, 503, 503, 503], [403, 500]])
def test_sending_is_tried_again(aws: FakeAws, statuses: list[int]) -> None:
    aws.response_statuses = list(statuses)
    send(parsed(aws), Response(success=True))
    assert 1 == len(aws.responses)
    assert len(statuses) + 1 == aws.count("Response")


def test_fails_after_five_tries_without_telling_the_url(aws: FakeAws) -> None:
    aws.response_statuses = [500] * 9
    with pytest.raises(OSError, match="CloudFormation could not be reached") as raised:
        send(parsed(aws), Response(success=True))
    assert 5 == aws.count("Response")
    assert "SECRET" not in f"{raised.value!r}{raised.value.__cause__!r}"
    assert raised.value.__suppress_context__
    refusal = raised.value.__context__
    assert isinstance(refusal, HTTPError)
    refusal.close()


def parsed_with(monkeypatch: pytest.MonkeyPatch, url: str) -> Request:
    """A request whose response goes to an address of the tests."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://" + urlsplit(url).netloc)
    return Request({**CREATE, "ResponseURL": url})


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cfn, "_PUT_PAUSES", (0, 0, 0, 0))


def test_fails_without_telling_the_url_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/?X-Amz-Signature=SECRET"
    event = parsed_with(monkeypatch, url)
    with pytest.raises(OSError, match=r"CloudFormation could not be reached .URLError.") as raised:
        send(event, Response(success=True))
    assert "SECRET" not in str(raised.value)


@pytest.fixture
def rude() -> Iterator[tuple[str, list[int]]]:
    """A server that hangs up twice, once at once and once in the middle of its response, and then behaves."""
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


def test_a_connection_that_breaks_is_tried_again(monkeypatch: pytest.MonkeyPatch, rude: tuple[str, list[int]]) -> None:
    url, served = rude
    send(parsed_with(monkeypatch, url), Response(success=True))
    assert 3 == len(served)


def test_the_pauses_between_tries_fit_into_an_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(cfn, "_PUT_PAUSES", PUT_PAUSES)
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(OSError, match="could not be reached"):
        send(parsed_with(monkeypatch, "http://127.0.0.1:9/"), Response(success=True))
    assert [1, 2, 4, 8] == slept


@pytest.mark.slow
@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(alphabet="aé漢😀", max_size=2000), max_size=16))
@example({str(number): "é" * 200 for number in range(16)})
@example({str(number): "a" * 1000 for number in range(16)})
@example({chr(0x1F600 + number) * 20: "" for number in range(17)})
def test_a_response_with_any_attributes_is_small_enough(data: dict[str, str]) -> None:
    assert len(Response(success=True, data=data).document(REQUEST)) <= 4096


def test_an_answer_that_nobody_can_read_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
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
    with listener:
        send(parsed_with(monkeypatch, f"http://127.0.0.1:{listener.getsockname()[1]}/"), Response(success=True))
        thread.join(2)


# -- to CloudFormation alone -----------------------------------------------------------------------------------------


@pytest.fixture
def own_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """On AWS, in the Region of the stack of CREATE."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.mark.parametrize(
    "url",
    [
        "https://attacker.example/x",
        "http://169.254.169.254/latest/meta-data",
        "http://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com.attacker.example/x",
        "https://attacker.example/cloudformation-custom-resource-response-useast1.s3.amazonaws.com/",
        "https://cloudformation-custom-resource-evil.s3.us-east-1.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1-evil.s3.us-east-1.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3-accesspoint.us-east-1.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com:8443/x",
        "https://user@cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.eu-west-1.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3-website-us-east-1.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.us-east-1.amazonaws.com.cn/x",
        "https://s3.us-east-1.amazonaws.com/cloudformation-custom-resource-response-useast1-evil/x",
        "https://s3.us-east-1.amazonaws.com/evil/cloudformation-custom-resource-response-useast1/x",
        "https://s3.us-east-1.amazonaws.com/cloudformation-custom-resource-response-useast1/../evil/x",
        "https://s3.us-east-1.amazonaws.com.attacker.example/cloudformation-custom-resource-response-useast1/x",
        "https://s3.us-east-1.amazonaws.com/cloudformation-custom-resource-response-useast1/%2e%2e/evil/x",
        "https://s3.us-east-1.amazonaws.com/cloudformation-custom-resource-response-useast1%2f..%2fevil/x",
        "https://s3.us-east-1.amazonaws.com/cloudformation-custom-resource-response-useast1/x%2F%2E.%2Fevil/x",
        "https://s3.us-east-1.amazonaws.com//cloudformation-custom-resource-response-useast1/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com\\@attacker.example/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/\\attacker.example",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com%2eattacker.example/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com%00.attacker.example/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com#@attacker.example/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/#@attacker.example/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com?@attacker.example/x",
        "https://attacker.example#.cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com./x",
        "https://cloudformation-custom-resource-response-useast1.s3.AMAZONAWS.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.\u24d0mazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.am\u0430zonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.xn--mazonaws-l8f.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/\u2100",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x y",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x\r\nHost: attacker.example",
        "https://cloudformation-custom-resource-response-useast1.s3.amazon\naws.com/x",
        " https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x\n",
        "<URL:https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x>",
        "https:cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x",
        "https://[cloudformation-custom-resource-response-useast1.s3.amazonaws.com]/x",
        "https://[::1/x",
        "file:///etc/passwd",
        "",
    ],
)
@pytest.mark.usefixtures("own_region")
def test_no_response_goes_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    monkeypatch.setattr(cfn.urllib.request, "urlopen", lambda *_, **__: pytest.fail("a response was sent"))
    send(Request({**CREATE, "ResponseURL": url}), Response(success=True))
    assert {"step": "not responded", "reason": "the response is not for CloudFormation"} == json.loads(
        capsys.readouterr().out
    )


PLACES = [
    ("aws", "us-east-1", "amazonaws.com"),
    ("aws", "eu-west-1", "amazonaws.com"),
    ("aws-cn", "cn-north-1", "amazonaws.com.cn"),
    ("aws-us-gov", "us-gov-west-1", "amazonaws.com"),
    ("aws-eusc", "eusc-de-east-1", "amazonaws.eu"),
    ("aws-iso-b", "us-isob-east-1", "sc2s.sgov.gov"),
    ("aws", "me-central-1", "amazonaws.com"),
]
ENDPOINTS = [
    "s3",
    "s3.{region}",
    "s3-{region}",
    "s3.dualstack.{region}",
    "s3-fips.{region}",
    "s3-fips.dualstack.{region}",
]


@pytest.mark.parametrize("way", ["https://{bucket}.{host}/arn", "https://{host}/{bucket}/arn"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("place", PLACES)
def test_cloudformations_own_addresses_are_known(
    monkeypatch: pytest.MonkeyPatch, way: str, endpoint: str, place: tuple[str, str, str]
) -> None:
    """Every endpoint that S3's page of endpoints names, dual-stack ones included, with the bucket in host or path."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    partition, region, suffix = place
    monkeypatch.setenv("AWS_REGION", region)
    host = f"{endpoint.format(region=region)}.{suffix}"
    bucket = f"cloudformation-custom-resource-response-{region.replace('-', '')}"
    url = f"{way.format(bucket=bucket, host=host)}?X-Amz-Signature=1"
    stack_id = CREATE["StackId"].replace("arn:aws:", f"arn:{partition}:").replace("us-east-1", region)
    assert Request({**CREATE, "ResponseURL": url, "StackId": stack_id}).is_from_cloudformation
    elsewhere = CREATE["StackId"].replace("us-east-1", "us-west-2")
    assert not Request({**CREATE, "ResponseURL": url, "StackId": elsewhere}).is_from_cloudformation


PARTITIONS = botocore.session.Session().get_data("partitions")["partitions"]


@pytest.mark.parametrize(
    ("region", "suffix"),
    [
        (region, partition["outputs"]["dnsSuffix"])
        for partition in PARTITIONS
        for region in partition["regions"]
        if re.match(partition["regionRegex"], region)
    ],
)
def test_every_region_has_the_domain_that_botocore_knows(
    monkeypatch: pytest.MonkeyPatch, region: str, suffix: str
) -> None:
    """Regions that have to be opted into, and those of every partition, are Regions like all others."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_REGION", region)
    host = f"cloudformation-custom-resource-response-{region.replace('-', '')}.s3.{region}"
    stack_id = CREATE["StackId"].replace("us-east-1", region)
    for domain in {partition["outputs"]["dnsSuffix"] for partition in PARTITIONS}:
        request = Request({**CREATE, "ResponseURL": f"https://{host}.{domain}/x", "StackId": stack_id})
        assert (domain == suffix) == request.is_from_cloudformation


@pytest.mark.parametrize(
    "stack_id",
    [
        "",
        "arn",
        "arn:aws:cloudformation",
        "arn:aws:cloudformation::111122223333:stack/S/1",
        "arn:aws:cloudformation:us-west-2:111122223333:stack/S/1",
        "arn:aws:cloudformation:US-EAST-1:111122223333:stack/S/1",
        "arn:aws:s3:us-east-1:111122223333:stack/S/1",
    ],
)
@pytest.mark.usefixtures("own_region")
def test_a_stack_that_is_not_in_the_functions_region_has_no_address(stack_id: str) -> None:
    for region in ("useast1", "uswest2", ""):
        url = f"https://cloudformation-custom-resource-response-{region}.s3.amazonaws.com/x"
        assert not Request({**CREATE, "ResponseURL": url, "StackId": stack_id}).is_from_cloudformation


@pytest.mark.parametrize(
    "url",
    [
        "https://cloudformation-custom-resource-response-evil.s3.amazonaws.com/x",
        "https://s3.amazonaws.com/cloudformation-custom-resource-response-evil/x",
        "https://cloudformation-custom-resource-response-evil.s3.evil.amazonaws.com/x",
        "https://s3.evil.amazonaws.com/cloudformation-custom-resource-response-evil/x",
        "https://cloudformation-custom-resource-response-useast1.s3.amazonaws.com/x",
    ],
)
@pytest.mark.usefixtures("own_region")
def test_a_region_made_up_in_the_stack_id_opens_no_bucket_of_a_stranger(url: str) -> None:
    """Anybody may create the bucket of a Region that does not exist."""
    made_up = CREATE["StackId"].replace("us-east-1", "evil")
    assert not Request({**CREATE, "ResponseURL": url, "StackId": made_up}).is_from_cloudformation


@pytest.mark.parametrize("partition", ["aws-cn", "aws-eusc", "aws-iso-e", "aws-us-gov", "aws-evil", "nowhere", ""])
@pytest.mark.parametrize("domain", ["amazonaws.com.cn", "amazonaws.eu", "cloud.adc-e.uk", "api.aws", "evil"])
@pytest.mark.usefixtures("own_region")
def test_a_partition_made_up_in_the_stack_id_opens_no_other_domain(partition: str, domain: str) -> None:
    url = f"https://cloudformation-custom-resource-response-useast1.s3.us-east-1.{domain}/x"
    made_up = CREATE["StackId"].replace("arn:aws:", f"arn:{partition}:")
    assert not Request({**CREATE, "ResponseURL": url, "StackId": made_up}).is_from_cloudformation


@pytest.mark.parametrize("stack_region", ["", "us-east-1"])
def test_a_function_that_does_not_know_its_region_responds_to_nobody(
    monkeypatch: pytest.MonkeyPatch, stack_region: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    stack_id = CREATE["StackId"].replace("us-east-1", stack_region)
    for url in ("https://cloudformation-custom-resource-response-.s3.amazonaws.com/x", CREATE["ResponseURL"]):
        assert not Request({**CREATE, "ResponseURL": url, "StackId": stack_id}).is_from_cloudformation


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirection_is_not_followed(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """The host was checked, and one that it names was not."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, socket.create_server(("127.0.0.1", 0)) as listener:
        elsewhere.settimeout(0.2)
        target = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/x"
        head = f"HTTP/1.1 {code} Elsewhere\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

        def serve() -> None:
            for _ in range(5):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(head.encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(OSError, match="CloudFormation could not be reached"):
            send(parsed_with(monkeypatch, f"http://127.0.0.1:{listener.getsockname()[1]}/"), Response(success=True))
        thread.join(10)
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_a_cloud_that_is_not_aws_takes_responses_where_it_takes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:4566")
    assert Request({**CREATE, "ResponseURL": "http://localhost:4566/x"}).is_from_cloudformation
    assert not Request({**CREATE, "ResponseURL": "http://localhost:4567/x"}).is_from_cloudformation
    assert not Request({**CREATE, "ResponseURL": "http://localhost:4566@x/"}).is_from_cloudformation
    assert not Request({**CREATE, "ResponseURL": "http://[localhost:4566/x"}).is_from_cloudformation
