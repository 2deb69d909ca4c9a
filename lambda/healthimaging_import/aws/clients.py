"""The AWS calls of one request: with its role, the packaged service model, and every failure translated.

boto3 is imported with the first client: responding to CloudFormation must not need it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from healthimaging_import import log
from healthimaging_import.errors import ConflictError, TerminalError
from healthimaging_import.service_model import MODELS

if TYPE_CHECKING:
    import boto3

T = TypeVar("T")
CALL_SECONDS = 40
"""How long one call without retries can take: to connect, to one address after the other, and to read."""
IAM_PROPAGATION_SECONDS = 120
"""How long IAM may not know new rights everywhere."""
_SENT_ONCE = frozenset({"StartDICOMImportJob"})
"""Without retries by botocore: how long such a call may be on its way has to be known."""
_REUSE_SECONDS = 1200
"""A role's clients are used again for so long; its credentials last an hour, a step a quarter of one."""
_GONE = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId"})


@dataclass
class _RoleSession:
    """A role's credentials and the clients that have them."""

    since: float
    credentials: dict[str, str]
    clients: dict[tuple[str, bool], Any] = field(default_factory=dict)


_sessions: dict[str, _RoleSession] = {}


@dataclass
class Aws:
    """The AWS calls of one request.

    The function's own role can do nothing but log. Each custom resource brings a role that trusts the function, so that
    none can use the rights of another and no policy grows with their number.
    """

    role_arn: str
    iam_propagating: bool = False
    """Whether IAM may not yet know the role's rights everywhere."""

    def call(
        self, service: str, operation: str, read: Callable[[Any], T], *, purpose: str = "", **parameters: object
    ) -> T:
        """Call an operation and read its answer.

        Args:
            service: its name in botocore.
            operation: as AWS names it.
            read: takes the answer; what it raises for an answer that is not as it should be is translated as well.
            purpose: what the call is about, for a reason that holds no object key.
            **parameters: the operation's own.

        Raises:
            RetryableError: another try can succeed.
            TerminalError: it cannot; ``code`` is the error code of AWS.
        """
        with self._translating(service, operation, purpose):
            client = self.client(service, once=operation in _SENT_ONCE)
            return read(getattr(client, _method(operation))(**parameters))

    def start_execution(self, state_machine_arn: str, name: str, state: Mapping[str, Any]) -> None:
        """Start an execution of a state machine, unless there is one of that name."""
        given = {"stateMachineArn": state_machine_arn, "name": name, "input": json.dumps(state)}
        try:
            self.call("stepfunctions", "StartExecution", bool, **given)
        except TerminalError as error:
            if error.code != "ExecutionAlreadyExists":
                raise
            log.line("doubled event", execution=name)

    def describe_stack(self, stack_id: str) -> dict[str, Any]:
        """Return what CloudFormation says of a stack."""
        parameters = {"StackName": stack_id}
        return self.call("cloudformation", "DescribeStacks", lambda answer: dict(answer["Stacks"][0]), **parameters)

    def read_object(self, bucket: str, key: str, read: Callable[[Any], T], *, purpose: str) -> T | None:
        """Read an S3 object; None while there is none of that key."""
        with self._translating("s3", "GetObject", purpose):
            client = self.client("s3")
            try:
                return read(client.get_object(Bucket=bucket, Key=key))
            except client.exceptions.NoSuchKey:
                return None

    def read_bytes(self, bucket: str, key: str, most: int | None = None, *, purpose: str) -> tuple[bytes, str] | None:
        """Return the bytes of an S3 object, or its first ones, and its tag; None while there is none of that key."""
        return self.read_object(
            bucket, key, lambda answer: (bytes(answer["Body"].read(most)), str(answer["ETag"])), purpose=purpose
        )

    def write_object(self, bucket: str, key: str, body: bytes, tag: str | None, *, purpose: str) -> str:
        """Write a JSON object to S3 if it still has that tag; returns its new one.

        An empty tag stands for no such object, None for anything.

        Raises:
            ConflictError: it has another tag.
        """
        condition = {} if tag is None else {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        try:
            written: str = self.call(
                "s3", "PutObject", itemgetter("ETag"), purpose=purpose,
                Bucket=bucket, Key=key, Body=body, ContentType="application/json", **condition,
            )  # fmt: skip
        except TerminalError as error:
            if error.code in ("PreconditionFailed", "NoSuchKey"):
                raise ConflictError("another execution of the same import is at work") from None
            raise
        return written

    def pages(
        self,
        service: str,
        operation: str,
        read: Callable[[Any], T],
        *,
        purpose: str = "",
        if_denied: str = "",
        **parameters: object,
    ) -> Iterator[T]:
        """Call a listing operation and read its answer page by page, as :meth:`call` does.

        ``if_denied`` says what else a person has to look at when the call is denied.
        """
        with self._translating(service, operation, purpose, if_denied):
            for page in self.client(service).get_paginator(_method(operation)).paginate(**parameters):
                yield read(page)

    def client(self, service: str, *, once: bool = False) -> Any:  # noqa: ANN401 - boto3 creates its clients at run time
        """Return the client of a service, with the role's rights."""
        session = _sessions.get(self.role_arn)
        if session is None or time.monotonic() - session.since > _REUSE_SECONDS:
            session = _sessions[self.role_arn] = _RoleSession(time.monotonic(), self._assume_role())
        if (service, once) not in session.clients:
            session.clients[service, once] = _create_client(service, session.credentials, once=once)
        return session.clients[service, once]

    def _assume_role(self) -> dict[str, str]:
        with self._translating("sts", "AssumeRole"):
            given = {"RoleArn": self.role_arn, "RoleSessionName": "healthimaging-import"}
            answer = _create_client("sts", {}).assume_role(**given)["Credentials"]
            return {
                "aws_access_key_id": answer["AccessKeyId"],
                "aws_secret_access_key": answer["SecretAccessKey"],
                "aws_session_token": answer["SessionToken"],
            }

    @contextmanager
    def _translating(self, service: str, operation: str, purpose: str = "", if_denied: str = "") -> Iterator[None]:
        try:
            yield
        except Exception as failure:
            from healthimaging_import.aws.errors import FAILURES, translate  # noqa: PLC0415 - it needs botocore

            if not isinstance(failure, FAILURES):
                raise
            error = translate(
                failure, service, operation, purpose=purpose, if_denied=if_denied, iam_propagating=self.iam_propagating
            )
            if error.code in _GONE:
                _sessions.pop(self.role_arn, None)
            raise error from None


def _method(operation: str) -> str:
    from botocore import xform_name  # noqa: PLC0415 - as the module says

    name: str = xform_name(operation)
    return name


def _create_client(service: str, credentials: dict[str, str], *, once: bool = False) -> Any:  # noqa: ANN401 - as above
    from botocore.config import Config  # noqa: PLC0415 - as the module says

    retries = {"mode": "standard", "total_max_attempts": 1 if once else 4}
    config = Config(retries=retries, connect_timeout=5, read_timeout=20)
    return _session().client(service, config=config, **credentials)


@cache
def _session() -> boto3.Session:
    import boto3  # noqa: PLC0415 - as the module says
    import botocore.session  # noqa: PLC0415

    core = botocore.session.Session()
    # Searched before botocore's own folder: a runtime's boto3 may be older than a member of the request.
    core.set_config_variable("data_path", str(MODELS))
    # The global endpoint, which an older boto3 prefers in older Regions, has no VPC endpoint.
    core.set_config_variable("sts_regional_endpoints", "regional")
    return boto3.Session(botocore_session=core)
