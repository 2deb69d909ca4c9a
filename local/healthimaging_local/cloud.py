"""Starts and stops the local cloud: this runs in the user's environment, the cloud in its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from healthimaging_local.accounts import Account
from healthimaging_local.boot import LAMBDA_ROOT_VARIABLE
from healthimaging_local.connection import ACCESS_KEY, HOST, SECRET_KEY, Connection
from healthimaging_local.environments import Environment, installed_environment
from healthimaging_local.errors import CloudError
from healthimaging_local.locks import file_lock
from healthimaging_local.paths import lambda_root, state_folder
from healthimaging_local.processes import end_process_group, free_port
from healthimaging_local.registry import BOOT, Record, record_file, running, write_record

_LOG_TAIL = 30
_PORT_ATTEMPTS = 5
_PORT_TAKEN = "already in use"
_FIRST_NEW_ACCOUNT = 100000000001


class Cloud(Connection):
    """The local cloud as a context manager; it leaves no process and no file behind.

    Example::

        with Cloud() as cloud:
            account = cloud.new_account()
            subprocess.run(["cdk", "deploy"], env=account.child_environ(), check=True)
            jobs = account.client("medical-imaging").list_dicom_import_jobs(datastoreId=...)

    Args:
        name: What it is called in ``healthimaging-local status``; no two running clouds share a name. Default: a name
            made of the id of this process.
        port: Where the gateway listens on 127.0.0.1. Default: a free port is chosen.
        auth: Whether IAM is enforced. Default: True.
        wait_scale: Factor for the waits of Step Functions, and before Lambda's retries, of which 0.1 makes a minute six
            seconds. Default: 1.
        throttling: Whether HealthImaging's rates and bursts are those of AWS. Default: True.
        job_seconds: How long an import job takes, in seconds. Default: 0.3.
        environment: What the emulator runs in. Default: the one of this user, installed at first use.
        log: Where the cloud's log goes. Default: ``cloud.log`` in its folder; its end is quoted when the start fails.
        folder: The cloud's own folder for temporary files. Default: a new one, which ``stop`` removes.
        start_timeout: How long to wait until the cloud answers, in seconds. Default: 300.
        idle_seconds: After how many seconds without a request a cloud in the background ends by itself. Default: 0,
            which is never.
        detached: Whether the cloud outlives the process that started it. Default: False.
    """

    def __init__(
        self,
        *,
        name: str = "",
        port: int = 0,
        auth: bool = True,
        wait_scale: float = 1.0,
        job_seconds: float = 0.3,
        throttling: bool = True,
        environment: Environment | None = None,
        log: Path | None = None,
        folder: Path | None = None,
        start_timeout: float = 300.0,
        idle_seconds: float = 0.0,
        detached: bool = False,
    ) -> None:
        """Remember how to start; nothing runs yet."""
        super().__init__(port)
        self.name = name
        self._auth = auth
        self._wait_scale = wait_scale
        self._job_seconds = job_seconds
        self._environment = environment
        self._throttling = throttling
        self._log = log
        self._given_folder = folder
        self._start_timeout = start_timeout
        self._idle_seconds = idle_seconds
        self._detached = detached
        self._process: subprocess.Popen[bytes] | None = None
        self._new_accounts = count(_FIRST_NEW_ACCOUNT)

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
            CloudError: The emulator could not be installed, a cloud of this name runs, or the process died or did not
                answer in time; the message holds the end of its log.
        """
        environment = self._environment or installed_environment()
        self.name = self.name or _unused_name()
        attempts = 1 if self.port else _PORT_ATTEMPTS
        while True:
            attempts -= 1
            try:
                self._launch(environment, self.port or free_port(HOST))
                self._wait_until_ready()
            except BaseException as error:
                if attempts and isinstance(error, CloudError) and _PORT_TAKEN in str(error):
                    self._end_process()
                    self.port = 0
                    continue
                self.stop()
                raise
            return self

    def _launch(self, environment: Environment, port: int) -> None:
        """Start the process and write its record, while nobody else can start one of this name."""
        with file_lock(state_folder() / "start.lock"):
            if running(self.name):
                raise CloudError(f"the local cloud {self.name!r} runs already: stop it first, or choose another name")
            # Only now: the folder of a name is removed with its cloud, and may be that of the one that runs.
            self._folder = self._folder or self._given_folder or Path(tempfile.mkdtemp(prefix="healthimaging-local-"))
            self._folder.mkdir(parents=True, exist_ok=True)
            self.port = port
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [str(environment.python), "-P", str(BOOT), self.name],
                    env=self._server_environ(environment),
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            write_record(self._record())

    def stop(self) -> None:
        """End the cloud and all of its Lambda workers, politely first, and remove its temporary files."""
        self._end_process()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_process_group(process.pid, lambda: process.poll() is not None)
            process.wait()
            record_file(self.name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, whatever happened."""
        self.stop()

    def new_account(self, *, bootstrapped: bool = True) -> Account:
        """Hand out an account that nothing was done in yet, except that CDK is bootstrapped in it.

        Args:
            bootstrapped: Whether to deploy what ``cdk bootstrap`` does. Default: True.
        """
        account = Account(self, str(next(self._new_accounts)))
        if bootstrapped:
            account.bootstrap()
        return account

    def _record(self) -> Record:
        return Record(
            name=self.name,
            pid=self.pid,
            port=self.port,
            folder=str(self._own_folder()),
            log=str(self.log),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            started_by=Path(sys.argv[0]).name,
            parent=0 if self._detached else os.getpid(),
        )

    def _server_environ(self, environment: Environment) -> dict[str, str]:
        folder = self._own_folder()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTHON", "VIRTUAL_ENV"))}
        own = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
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
            "HEALTHIMAGING_LOCAL_THROTTLING": str(self._throttling).lower(),
            "HEALTHIMAGING_LOCAL_RUNTIME": str(environment.runtime.resolve()),
            "HEALTHIMAGING_LOCAL_REMOVED": os.pathsep.join([str(folder), str(record_file(self.name))]),
            LAMBDA_ROOT_VARIABLE: str(lambda_root()),
        }
        if not self._detached:
            own["HEALTHIMAGING_LOCAL_PARENT"] = str(os.getpid())
        elif self._idle_seconds:
            own["HEALTHIMAGING_LOCAL_IDLE_SECONDS"] = str(self._idle_seconds)
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


_names = count(1)


def _unused_name() -> str:
    """A name of this process: another one cannot have it."""
    return f"process-{os.getpid()}-{next(_names)}"
