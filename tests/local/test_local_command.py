"""The command `healthimaging-local`, the environments it installs, and that no cloud is forgotten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from healthimaging_local import Cloud, CloudError, environments, node, processes, registry
from healthimaging_local.cli.using import CDK_CLI, _call
from healthimaging_local.connection import Connection
from healthimaging_local.paths import HOME_VARIABLE, PACKAGE
from healthimaging_local.processes import alive, command_of, end_process_group
from healthimaging_local.progress import Lines
from healthimaging_local.registry import Record, all_running, record_file
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, in which the emulator is installed already."""
    cache = tmp_path / "home" / "cache"
    cache.mkdir(parents=True)
    installed = environments.installed_environment().venv.parent
    (cache / environments._label()).symlink_to(installed)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def words(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "healthimaging_local", *arguments]


@pytest.fixture
def command(home: Path) -> Command:
    environ = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), HOME_VARIABLE: str(home)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words(*arguments), env=environ, capture_output=True, text=True, timeout=600, check=False)

    return run


def until(check: Callable[[], bool], seconds: float = 600) -> bool:
    deadline = time.monotonic() + seconds
    while not check() and time.monotonic() < deadline:
        time.sleep(0.1)
    return check()


@pytest.mark.cloud
def test_clouds_run_side_by_side_by_name_and_are_listed_until_they_are_stopped(command: Command, home: Path) -> None:
    try:
        for name in ("one", "two"):
            started = command("start", "--name", name)
            assert 0 == started.returncode, started.stderr
        again = command("start", "--name", "one")
        assert (1, True) == (again.returncode, "'one' runs already" in again.stderr)
        listed = json.loads(command("status", "--json").stdout)
        assert ["one", "two"] == [it["name"] for it in listed]
        shown = command("environ", "--name", "two").stdout
        assert f"export AWS_ENDPOINT_URL=http://127.0.0.1:{listed[1]['port']}" in shown.splitlines()
        injected = command("inject", "StartDICOMImportJob", "--name", "one", "--times", "3", "--list")
        assert [3] == [it["times"] for it in json.loads(injected.stdout)["injections"]]
        assert "Running on" in command("logs", "--name", "one").stdout
        assert 0 == command("stop", "--name", "one").returncode
        assert ["two"] == [it["name"] for it in json.loads(command("status", "--json").stdout)]
    finally:
        stopped = command("stop", "--all")
    assert "the local cloud 'two' is stopped\n" == stopped.stdout
    assert "no local cloud runs\n" == command("status").stdout
    assert ["start.lock"] == sorted(it.name for it in (home / "state").iterdir())


def throttling(port: int) -> bool:
    return bool(Connection(port).control("GET", "settings")["throttling"])


@pytest.mark.cloud
def test_throttling_can_be_turned_off_at_the_start(command: Command) -> None:
    program = (
        "from healthimaging_local.connection import Connection; import os; "
        "print(Connection(int(os.environ['AWS_ENDPOINT_URL'].rpartition(':')[2])).control('GET', 'settings')"
        "['throttling'])"
    )
    assert "False\n" == command("run", "--no-throttling", "--", sys.executable, "-c", program).stdout
    try:
        for name, options in (("as-aws", ()), ("fast", ("--no-throttling",))):
            assert 0 == command("start", "--name", name, "--no-bootstrap", *options).returncode
        assert {"as-aws": True, "fast": False} == {it.name: throttling(it.port) for it in all_running()}
        late = command("run", "--name", "as-aws", "--no-throttling", "--job-seconds", "1", "--", "true")
        assert 1 == late.returncode
        assert "'as-aws' runs already: --no-throttling, --job-seconds must be given to its start" in late.stderr
    finally:
        command("stop", "--all")


@pytest.mark.cloud
def test_run_bootstraps_a_cloud_for_one_command_and_returns_its_code(command: Command) -> None:
    program = (
        "import boto3, os; print(boto3.client('ssm').get_parameter(Name='/cdk-bootstrap/hnb659fds/version')"
        "['Parameter']['Value'], os.environ['CDK_DEFAULT_ACCOUNT']); raise SystemExit(7)"
    )
    ended = command("run", "--", sys.executable, "-c", program)
    assert (7, "30 111122223333\n") == (ended.returncode, ended.stdout), ended.stderr
    assert "no local cloud runs\n" == command("status").stdout


@pytest.mark.cloud
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.usefixtures("home")
def test_the_cloud_of_run_ends_however_the_command_line_ends(number: signal.Signals) -> None:
    environ = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    # It ends with its input, so that it does not outlive a command line that is killed.
    until_end = words("run", "--", "cat")
    with subprocess.Popen(until_end, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert until(lambda: bool(all_running()))
        (record,) = all_running()
        until(lambda: Path(record.log).exists() and "PutParameter" in Path(record.log).read_text(encoding="utf-8"))
        assert process.pid == record.parent
        process.send_signal(number)
    assert until(lambda: not alive(record.pid) and not Path(record.folder).exists())
    assert until(lambda: not record_file(record.name).exists())


@pytest.mark.cloud
@pytest.mark.usefixtures("home")
def test_a_cloud_in_the_background_ends_when_nobody_uses_it() -> None:
    cloud = Cloud(name="idle", detached=True, idle_seconds=2).start()
    folder = cloud.log.parent
    assert cloud._process
    assert 0 != cloud._process.wait(timeout=600)
    assert (False, False) == (folder.exists(), record_file("idle").exists())


@pytest.mark.cloud
def test_a_cloud_of_the_tests_is_listed_with_the_process_that_it_ends_with(cloud: Cloud) -> None:
    (record,) = [it for it in all_running() if it.name == cloud.name]
    assert (cloud.port, os.getpid()) == (record.port, record.parent)


def test_fails_for_a_name_that_could_leave_the_folder() -> None:
    for name in ("../x", "", ".x", "a/b", "x" * 65):
        with pytest.raises(CloudError, match="a cloud's name must be"):
            record_file(name)


def test_fails_for_a_cloud_that_does_not_run(command: Command) -> None:
    for arguments in (("environ",), ("inject", "GetDatastore"), ("logs",), ("run", "--name", "gone", "--", "true")):
        ended = command(*arguments)
        assert (1, True) == (ended.returncode, "does not run: start it with `healthimaging-local start" in ended.stderr)
    assert "unset AWS_ENDPOINT_URL " in command("environ", "--unset").stdout


class Installation:
    """Counts installations, whose commands only make the folders."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.fails = False

    def run(self, command: list[str], _: Any) -> None:
        self.commands.append(command)
        time.sleep(0.05)
        if self.fails and "pip" in command:
            raise CloudError("no network")
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()
        elif "--target" in command:
            Path(command[command.index("--target") + 1]).mkdir()


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    made = Installation()
    monkeypatch.setattr(environments, "_run", made.run)
    return made


def test_several_first_uses_at_once_install_once(installation: Installation) -> None:
    found = []
    uses = [
        threading.Thread(target=lambda: found.append(environments.installed_environment(Lines(sys.stderr))))
        for _ in range(4)
    ]
    for use in uses:
        use.start()
    for use in uses:
        use.join()
    assert (3, 1) == (len(installation.commands), len(set(found)))


def test_an_installation_that_failed_is_begun_anew(installation: Installation) -> None:
    installation.fails = True
    with pytest.raises(CloudError, match="no network"):
        environments.installed_environment()
    installation.fails = False
    assert environments.installed_environment().python.exists()


@pytest.mark.usefixtures("installation")
def test_another_version_is_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    first = environments.installed_environment()
    monkeypatch.setattr(environments, "python_label", lambda: "python3.14")
    assert first.venv.parent != environments.installed_environment().venv.parent


def test_fails_with_what_to_do_when_the_index_cannot_be_reached() -> None:
    said = environments._explain(["python", "-m", "pip", "install"], ["ERROR: No matching distribution"])
    assert "PIP_INDEX_URL" in said
    assert "ERROR: No matching distribution" in said


def test_fails_in_plain_words_without_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "packaged_node", lambda: None)
    with pytest.raises(CloudError, match=r"CDK needs Node.js 22 or 24.*healthimaging-cdk\[local\]"):
        node.with_node({"PATH": str(tmp_path)})
    with pytest.raises(CloudError, match=r"CDK needs Node.js 22 or 24"):
        node.check_node({"PATH": str(tmp_path)})
    node.check_node({"PATH": str(tmp_path), "JSII_NODE": "/opt/node"})


def test_npx_brings_the_cdk_that_the_project_uses() -> None:
    pinned = json.loads((ROOT / "tools" / "package.json").read_text(encoding="utf-8"))["dependencies"]["aws-cdk"]
    assert f"aws-cdk@{pinned}" == CDK_CLI


def test_a_cloud_is_known_by_its_name_also_where_paths_hold_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    boot = "/home/a b/boot.py"
    monkeypatch.setattr(registry, "BOOT", boot)
    commands = {1: f"/home/a b/python -P {boot} one ", 2: f"/home/a b/python -P {boot} one-more ", 3: ""}
    monkeypatch.setattr(registry, "command_of", commands.get)
    records = [Record("one", pid, 4566, "", "", "", "", 0) for pid in commands]
    assert [True, False, False] == [record.is_running for record in records]


def test_a_command_line_is_read_as_a_whole_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, whose ps cuts lines off."""
    with subprocess.Popen([sys.executable, "-c", "input()", "x" * 500, "end"], stdin=subprocess.PIPE) as process:
        monkeypatch.setattr(processes, "Path", lambda _: Path("/nowhere"))
        assert until(lambda: f"{'x' * 500} end" in command_of(process.pid))
        process.communicate(b"\n")
    assert not command_of(process.pid)


def test_a_group_that_is_gone_needs_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS refuses a signal to a group of zombies, Linux knows no such group."""
    for error in (ProcessLookupError, PermissionError):

        def refuse(*_: int, error: type[OSError] = error) -> None:
            raise error

        monkeypatch.setattr(os, "killpg", refuse)
        end_process_group(1 << 22, lambda: False)


def test_fails_with_the_name_of_a_script_whose_interpreter_is_not_there(tmp_path: Path) -> None:
    script = tmp_path / "aws"
    script.write_text("#!/no/such/python\n", encoding="utf-8")
    script.chmod(0o755)
    with pytest.raises(CloudError, match=f"{script} cannot be started, or the interpreter in its first line: No such"):
        _call(("aws",), os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
