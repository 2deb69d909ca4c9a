"""Starts and stops the local cloud. Standard library only: it runs in the main environment, the cloud in its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from healthimaging_local.processes import end_process_group, free_port

Json: TypeAlias = Any
"""A parsed JSON value."""

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "111122223333"
REGION = "us-east-1"
HOST = "127.0.0.1"
LAUNCHER = "healthimaging_local.launcher"

_ACCESS_KEY = "local-cloud-administrator"
_SECRET_KEY = "local-cloud"  # noqa: S105 - opens nothing but a process on loopback
_LOG_TAIL = 30


class CloudError(RuntimeError):
    """The local cloud did not start, ended by itself, or refused a control call."""


class Cloud:
    """The local cloud as a context manager; it leaves no process and no file behind.

    Example::

        with Cloud() as cloud:
            subprocess.run(["npx", "cdk", "bootstrap"], env=cloud.child_environ(), check=True)
            jobs = cloud.client("medical-imaging").list_dicom_import_jobs(datastoreId=...)

    Args:
        port: Where the gateway listens on 127.0.0.1. A free port is chosen when omitted.
        auth: Whether IAM is enforced (it is by default).
        wait_scale: Factor for the waits of Step Functions; 1 by default, 0.1 makes a minute six seconds.
        job_seconds: How long an import job takes; 0.3 by default.
        venv: The cloud's virtual environment; ``.cloud/venv`` of the checkout when omitted.
        runtime: The folder that holds the boto3 of a Lambda runtime; ``.cloud/runtime`` when omitted.
        log: Where the cloud's log goes; a temporary file when omitted, quoted when the start fails.
        folder: The cloud's own folder for temporary files; a new one, removed by ``stop``, when omitted.
        start_timeout: Seconds to wait until the cloud answers; 60 by default.
        detached: Whether the cloud outlives the process that started it; by default it does not.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        auth: bool = True,
        wait_scale: float = 1.0,
        job_seconds: float = 0.3,
        venv: Path | None = None,
        runtime: Path | None = None,
        log: Path | None = None,
        folder: Path | None = None,
        start_timeout: float = 60.0,
        detached: bool = False,
    ) -> None:
        """Remember how to start; nothing runs yet."""
        self.port = port
        self.account = ACCOUNT
        self.region = REGION
        self._auth = auth
        self._wait_scale = wait_scale
        self._job_seconds = job_seconds
        self._venv = venv or ROOT / ".cloud" / "venv"
        self._runtime = runtime or ROOT / ".cloud" / "runtime"
        self._log = log
        self._given_folder = folder
        self._folder: Path | None = None
        self._start_timeout = start_timeout
        self._detached = detached
        self._process: subprocess.Popen[bytes] | None = None
        self._session: Json = None

    @property
    def endpoint(self) -> str:
        """The URL of the gateway, for ``AWS_ENDPOINT_URL``."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group; 0 when nothing runs."""
        return self._process.pid if self._process else 0

    @property
    def log(self) -> Path:
        """The log file."""
        return self._log or self._own_folder() / "cloud.log"

    def start(self) -> Self:
        """Start the cloud and wait until it answers.

        Raises:
            CloudError: The environments are missing, or the process died or did not answer in time; the message
                holds the end of its log.
        """
        python = self._venv / "bin" / "python"
        for needed, remedy in ((python, "cloud.txt"), (self._runtime, "lambda-runtime.txt")):
            if not needed.exists():
                raise CloudError(f"{needed} is missing: install requirements/{remedy} there (docs/local-cloud.md)")
        self._folder = self._given_folder or Path(tempfile.mkdtemp(prefix="healthimaging-local-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port(HOST)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [str(python), "-m", LAUNCHER],
                env=self._server_environ(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the cloud and all of its Lambda workers, politely first, and remove its temporary files."""
        process, self._process = self._process, None
        if process is not None:
            end_process_group(process.pid, lambda: process.poll() is not None)
            process.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, whatever happened."""
        self.stop()

    def environ(self) -> dict[str, str]:
        """The variables that turn any AWS SDK or CLI, and the CDK CLI, to this cloud as an administrator."""
        folder = self._own_folder()
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
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
            "aws_access_key_id": _ACCESS_KEY,
            "aws_secret_access_key": _SECRET_KEY,
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
            with _opener().open(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise CloudError(f"{method} {path}: {error.read().decode()}") from error

    def _own_folder(self) -> Path:
        if self._folder is None:
            raise CloudError("the local cloud is not running, call start() first")
        return self._folder

    def _server_environ(self) -> dict[str, str]:
        folder = self._own_folder()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTHON", "VIRTUAL_ENV"))}
        own = {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "local"), str(ROOT / "lambda")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AUTH": "true" if self._auth else "false",
            "BIND_HOST": HOST,
            "MINISTACK_HOST": HOST,
            "MINISTACK_ACCOUNT_ID": self.account,
            "MINISTACK_REGION": self.region,
            "GATEWAY_PORT": str(self.port),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "SFN_WAIT_SCALE": str(self._wait_scale),
            "LOG_LEVEL": os.environ.get("HEALTHIMAGING_LOCAL_LOG_LEVEL", "INFO"),
            "STATE_DIR": str(folder / "state"),
            "S3_DATA_DIR": str(folder / "s3"),
            "TMPDIR": str(folder),
            "HEALTHIMAGING_LOCAL_JOB_SECONDS": str(self._job_seconds),
            "HEALTHIMAGING_LOCAL_RUNTIME": str(self._runtime.resolve()),
        }
        if not self._detached:
            own["HEALTHIMAGING_LOCAL_PARENT"] = str(os.getpid())
            own["HEALTHIMAGING_LOCAL_FOLDER"] = str(folder)
        return {**inherited, **own}

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                raise CloudError(f"the local cloud ended with {self._process.returncode}:\n{self._log_tail()}")
            try:
                answer = self.control("GET", "process")
            except (OSError, CloudError, ValueError):
                answer = {}
            if answer.get("pid") == self.pid:
                return
            time.sleep(0.05)
        raise CloudError(f"the local cloud did not answer in {self._start_timeout:g} s:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL:])


def _opener() -> urllib.request.OpenerDirector:
    """Without the proxies of the environment: the cloud is on this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
