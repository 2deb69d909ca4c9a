"""A fake AWS for real clients, and short ways to say what is to be imported."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config

from healthimaging_import import cfn, handler, receiving
from healthimaging_import.aws import clients
from healthimaging_import.aws.clients import Aws
from healthimaging_import.importing import publish
from healthimaging_import.importing import record as records_module
from healthimaging_import.importing.context import ImportContext
from healthimaging_import.importing.last_runs import LastRuns
from healthimaging_import.importing.lifecycle import run
from healthimaging_import.importing.mode import Mode
from healthimaging_import.importing.record import Owner, Records
from healthimaging_import.importing.request import ImportRequest
from healthimaging_import.importing.verdict import ImportResult
from tests.handler.fake_aws import DICOM, RESULTS, ROLE, SOURCE, Clock, FakeAws, Server
from tests.handler.state_machine import Machine

_ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=600, inject_host_prefix=False)


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
    monkeypatch.setattr(clients, "_create_client", _create_cached_client)
    monkeypatch.setattr(cfn, "_PUT_PAUSES", (0, 0, 0, 0))
    monkeypatch.setattr(publish, "_PAUSES", (0, 0, 0))
    clients._sessions.clear()
    monkeypatch.setattr(records_module, "time", server.aws.clock)
    return server.aws


def _create_cached_client(service: str, credentials: dict[str, str], **_: bool) -> Any:
    return _client(service, tuple(sorted(credentials.items())))


@functools.cache
def _client(service: str, credentials: tuple[tuple[str, str], ...]) -> Any:
    """A client takes 50 ms to create: those of equal credentials are created once for all tests."""
    return clients._session().client(service, config=_ONCE, **dict(credentials))


@pytest.fixture
def source(aws: FakeAws) -> FakeAws:
    """One good file under the prefix."""
    aws.put(SOURCE, "studies/1.dcm", DICOM)
    return aws


@pytest.fixture
def clock(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the fake, by which the function goes as well."""
    monkeypatch.setattr(handler, "time", aws.clock)
    monkeypatch.setattr(receiving, "time", aws.clock)
    return aws.clock


@pytest.fixture
def machine(aws: FakeAws, clock: Clock) -> Machine:
    return Machine(aws, clock)


@pytest.fixture
def calls(aws: FakeAws) -> Aws:
    """The AWS calls, where IAM knows all roles and policies."""
    assert aws.endpoint
    return Aws(ROLE)


@pytest.fixture
def propagating(aws: FakeAws) -> Aws:
    """The AWS calls, where IAM may not yet know a role or policy."""
    assert aws.endpoint
    return Aws(ROLE, iam_propagating=True)


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
    """One request for an import, step by step, as a custom resource would run it."""

    def __init__(
        self, request: ImportRequest, calls: Aws, clock: Clock, request_id: str, *, is_run_given: bool, **options: Any
    ) -> None:
        self.clock = clock
        self.seconds_left = 600.0
        self._options = {"mode": Mode.DEPLOY, **options}
        self._request, self._calls, self._is_run_given = request, calls, is_run_given
        clock.seconds += 1
        self._me = Owner(request_id, clock.seconds)
        self._context: ImportContext | None = None

    @property
    def context(self) -> ImportContext:
        """The context, with the run resolved as of the first look."""
        if self._context is None:
            records, request = Records(self._calls, self._request), self._request
            last_runs = LastRuns(records)
            if not self._is_run_given:
                request = request.for_run(last_runs.resolve(request))
            self._context = ImportContext(
                request=request,
                aws=self._calls,
                records=records,
                last_runs=last_runs,
                me=self._me,
                clock=self.clock.time,
                time_left=lambda: self.seconds_left,
                **{"is_current": last_runs.is_current(request, None), **self._options},
            )
        return self._context

    def step(self) -> ImportResult:
        self.context.last_runs, self.context.has_ended = LastRuns(self.context.records), False  # which no step keeps
        return run(self.context)


@pytest.fixture
def deploy(aws: FakeAws, request_for: Callable[..., ImportRequest]) -> Callable[..., Deploy]:
    """A request for an import: later ones are later requests, also under an earlier id."""
    options = ("mode", "is_current", "check_still_wanted", "judge_until", "has_new_rights")

    def make(request_id: str = "first", *, iam_propagating: bool = False, **changes: Any) -> Deploy:
        given = {name: changes.pop(name) for name in options if name in changes}
        calls = Aws(ROLE, iam_propagating=iam_propagating)
        return Deploy(request_for(**changes), calls, aws.clock, request_id, is_run_given="run_id" in changes, **given)

    return make
