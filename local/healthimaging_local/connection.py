"""A connection to a cloud that runs: credentials, clients, and what tests ask of it."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from healthimaging_local.errors import CloudError

Json: TypeAlias = Any
"""A parsed JSON value."""

ACCOUNT = "111122223333"
REGION = "us-east-1"
HOST = "127.0.0.1"
ACCESS_KEY = "local-cloud-administrator"
SECRET_KEY = "local-cloud"  # noqa: S105 - opens nothing but a process on loopback


class Connection:
    """How clients and tests speak to a running cloud.

    Attributes:
        port: Where its gateway listens on 127.0.0.1.
        account: The account of its administrator.
        region: The Region of everything in it.
    """

    def __init__(self, port: int, folder: Path | None = None) -> None:
        """Name the port of a cloud, and the folder that it keeps its files in."""
        self.port = port
        self.account = ACCOUNT
        self.region = REGION
        self._folder = folder
        self._session: Json = None

    @property
    def endpoint(self) -> str:
        """The URL of the gateway, for ``AWS_ENDPOINT_URL``."""
        return f"http://{HOST}:{self.port}"

    def environ(self) -> dict[str, str]:
        """The variables that turn any AWS SDK or CLI, and the CDK CLI, to this cloud as an administrator."""
        folder = self._own_folder()
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
            # Profiles of the user's own must not leak in.
            "AWS_CONFIG_FILE": str(folder / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
            "CDK_DEFAULT_ACCOUNT": self.account,
            "CDK_DEFAULT_REGION": self.region,
            "CDK_DISABLE_VERSION_CHECK": "1",
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            # The CDK CLI remembers the account of an access key in its home folder, across clouds.
            "CDK_HOME": str(folder / "cdk"),
        }

    def child_environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """``environ`` over ``base`` (this process's environment when omitted) without any other AWS variable."""
        inherited = os.environ if base is None else base
        return {**{k: v for k, v in inherited.items() if not k.startswith("AWS_")}, **self.environ()}

    def client(self, service: str, **overrides: Json) -> Json:
        """A boto3 client for a service, as the administrator unless ``overrides`` bring other credentials."""
        import boto3  # noqa: PLC0415 - slow, and not needed to start or stop a cloud
        from botocore.config import Config  # noqa: PLC0415

        arguments: dict[str, Any] = {
            "endpoint_url": self.endpoint,
            "region_name": self.region,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "config": Config(inject_host_prefix=False, s3={"addressing_style": "path"}),
        }
        # One session: it reads each service's model once, which is most of the time a client takes.
        self._session = self._session or boto3.session.Session()
        return self._session.client(service, **{**arguments, **overrides})

    def inject(self, operation: str, error: str = "ThrottlingException", **more: Json) -> None:
        """Let the next call of an operation fail: ``times``, ``message``, ``service``, ``status``, ``resource``."""
        self.control("POST", "inject", {"operation": operation, "error": error, **more})

    def calls(self, operation: str = "", service: str = "medical-imaging") -> list[dict[str, Any]]:
        """The calls so far, oldest first: service, operation, status, clientToken, injected."""
        query = urllib.parse.urlencode({"operation": operation, "service": service})
        found: list[dict[str, Any]] = self.control("GET", f"calls?{query}")["calls"]
        return found

    def decisions(self) -> list[dict[str, Any]]:
        """What the policies of callers decided so far, oldest first: principal, action, resource, decision."""
        found: list[dict[str, Any]] = self.control("GET", "decisions")["decisions"]
        return found

    def settings(self, **changes: float) -> dict[str, float]:
        """The settings of HealthImaging (quotas, job_seconds, ...), after changing those that are given."""
        answer: dict[str, float] = self.control("PUT", "settings", changes)
        return answer

    def clear(self) -> None:
        """Forget calls, decisions and injections, and put the settings back to what the cloud started with."""
        for name in ("calls", "decisions", "inject", "settings"):
            self.control("DELETE", name)

    def control(self, method: str, path: str, document: object = None) -> Json:
        """One call under ``/_healthimaging/``, which needs no credentials."""
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(  # noqa: S310 - our own http endpoint
            f"{self.endpoint}/_healthimaging/{path}", data=data, method=method
        )
        try:
            with _opener().open(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise CloudError(f"{method} {path}: {error.read().decode()}") from error

    def _own_folder(self) -> Path:
        if self._folder is None:
            raise CloudError("the local cloud is not running, call start() first")
        return self._folder


def _opener() -> urllib.request.OpenerDirector:
    """Without the proxies of the environment: the cloud is on this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
