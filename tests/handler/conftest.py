"""A fake AWS for real clients, and short ways to say what an import is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.loaders
import pytest
from botocore.config import Config

from healthimaging_import import aws as aws_module
from healthimaging_import import cloudformation
from healthimaging_import.aws import Clients
from healthimaging_import.importing import Importer, Outcome, Progress
from healthimaging_import.request import ImportRequest
from healthimaging_import.verdict import Tolerance
from tests.handler.fake_aws import RESULTS, ROLE, SOURCE, FakeAws, Server

_ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=2, read_timeout=5)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def aws(server: Server, monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """A new, empty AWS. Clients do not retry by themselves, so a fault is seen at once."""
    server.aws = FakeAws(server.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(aws_module, "_CONFIG", _ONCE)
    monkeypatch.setattr(aws_module, "_boto3_session", _session_made_once(server.endpoint))
    monkeypatch.setattr(cloudformation, "_PUT_PAUSES", (0, 0, 0, 0))
    return server.aws


@functools.cache
def _session_made_once(_: str) -> Callable[[dict[str, str]], boto3.Session]:
    """A client takes 50 ms to make: those of equal credentials are made once for all tests."""
    make = aws_module._boto3_session
    loader = functools.cache(botocore.loaders.create_loader)

    @functools.cache
    def made(credentials: tuple[tuple[str, str], ...]) -> boto3.Session:
        session = make(dict(credentials))
        core = session._session
        core.register_component("data_loader", loader(core.get_config_variable("data_path")))
        session.client = functools.cache(_hashable(session.client))
        return session

    return lambda credentials: made(tuple(sorted(credentials.items())))


def _hashable(client: Callable[..., Any]) -> Callable[..., Any]:
    return lambda service, *, config: client(service, config=config)


@pytest.fixture
def clients(aws: FakeAws) -> Clients:
    assert aws.endpoint
    return Clients()


@pytest.fixture
def request_for(aws: FakeAws) -> Callable[..., ImportRequest]:
    """An import request that differs from a good one in what is given."""

    def make(**changes: Any) -> ImportRequest:
        return ImportRequest(
            **{
                "scope": "stack/Import",
                "datastore_id": aws.datastore_id,
                "data_access_role_arn": ROLE,
                "input_bucket": SOURCE,
                "input_prefix": "studies/",
                "output_bucket": RESULTS,
                "output_prefix": "imports/",
                **changes,
            }
        )

    return make


class Deploy:
    """One request for an import, step by step, as a state machine would carry it."""

    def __init__(self, request: ImportRequest, clients: Clients, asked_by: str, **options: Any) -> None:
        self.clock = 1000.0
        self.progress = Progress()
        self.seconds_left = 600.0
        self.importer = Importer(
            request=request,
            clients=clients,
            asked_by=asked_by,
            now=lambda: self.clock,
            time_left=lambda: self.seconds_left,
            **options,
        )

    def step(self) -> Outcome:
        return self.importer.step(self.progress)


@pytest.fixture
def deploy(clients: Clients, request_for: Callable[..., ImportRequest]) -> Callable[..., Deploy]:
    def make(
        asked_by: str = "first",
        *,
        tolerance: Tolerance | None = None,
        settling: bool = False,
        may_start: bool = True,
        **changes: Any,
    ) -> Deploy:
        options = {"tolerance": tolerance or Tolerance(), "settling": settling, "may_start": may_start}
        return Deploy(request_for(**changes), clients, asked_by, **options)

    return make
