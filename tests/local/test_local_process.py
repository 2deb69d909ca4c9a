"""The local cloud as a process: it starts, it stops, and it leaves nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from healthimaging_local import Cloud, CloudError
from healthimaging_local.cloud import ROOT
from healthimaging_local.processes import alive

pytestmark = pytest.mark.cloud


def test_stopping_leaves_no_process_and_no_file() -> None:
    with Cloud() as cloud:
        pid, folder = cloud.pid, cloud.log.parent
        assert (True, True) == (alive(pid), folder.is_dir())
    assert (False, False) == (alive(pid), folder.exists())


def test_the_cloud_ends_with_the_process_that_started_it() -> None:
    script = (
        "import os, sys\n"
        "from healthimaging_local import Cloud\n"
        "cloud = Cloud().start()\n"
        "print(cloud.pid, cloud.log.parent, flush=True)\n"
        "os._exit(1)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "local")}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    pid, folder = ended.stdout.split()
    deadline = time.monotonic() + 10
    while (alive(int(pid)) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (False, False) == (alive(int(pid)), Path(folder).exists())


def test_two_clouds_run_side_by_side(cloud: Cloud) -> None:
    with Cloud() as other:
        other.client("s3").create_bucket(Bucket="only-in-the-other")
        names = {bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]}
    assert "only-in-the-other" not in names


def test_fails_when_the_port_is_taken(cloud: Cloud) -> None:
    with pytest.raises(CloudError, match="already in use"):
        Cloud(port=cloud.port).start()


def test_fails_when_the_environment_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CloudError, match=r"requirements/cloud\.txt"):
        Cloud(venv=tmp_path).start()


def test_fails_with_the_end_of_the_log_when_the_process_dies(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho the reason\nexit 3\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(CloudError, match="ended with 3:\nthe reason"):
        Cloud(venv=tmp_path).start()


def test_only_the_loopback_interface_is_served(cloud: Cloud) -> None:
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        address, port = local.split(":")
        if state == "0A" and int(port, 16) == cloud.port:
            assert "127.0.0.1" == socket.inet_ntoa(bytes.fromhex(address)[::-1])


def test_the_environment_for_children_holds_no_other_aws_variable(cloud: Cloud) -> None:
    environ = cloud.child_environ({"AWS_PROFILE": "mine", "PATH": "/bin"})
    assert ("/bin", cloud.endpoint, False) == (environ["PATH"], environ["AWS_ENDPOINT_URL"], "AWS_PROFILE" in environ)


def test_one_command_starts_the_cloud_and_one_stops_it() -> None:
    if (ROOT / ".cloud" / "run" / "state.json").exists():
        pytest.skip("a cloud of the checkout's own is running")
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "local")}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "healthimaging_local", *words],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = command("start", "--port", str(port))
    try:
        shown = command("environ")
        again = command("start", "--port", str(port))
    finally:
        stopped = command("stop")
    assert (0, 0, 1, 0) == (started.returncode, shown.returncode, again.returncode, stopped.returncode), started.stderr
    assert f"export AWS_ENDPOINT_URL=http://127.0.0.1:{port}" in shown.stdout.splitlines()
    assert not (ROOT / ".cloud" / "run").exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)
