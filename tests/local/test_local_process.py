"""The local cloud as a process: it starts, it stops, and it leaves nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from healthimaging_local import Cloud, CloudError
from healthimaging_local.environments import Environment
from healthimaging_local.paths import PACKAGE
from healthimaging_local.processes import alive
from tests.deployment import eventually

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
    environ = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=600, check=False
    )
    pid, folder = ended.stdout.split()
    eventually(lambda: not (alive(int(pid)) or Path(folder).exists()))
    assert (False, False) == (alive(int(pid)), Path(folder).exists())


def test_two_clouds_run_side_by_side(cloud: Cloud) -> None:
    with Cloud() as other:
        other.client("s3").create_bucket(Bucket="only-in-the-other")
        names = {bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]}
    assert "only-in-the-other" not in names


def test_fails_when_the_port_is_taken(cloud: Cloud) -> None:
    with pytest.raises(CloudError, match="already in use"):
        Cloud(port=cloud.port).start()


def test_fails_with_the_end_of_the_log_when_the_process_dies(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho the reason\nexit 3\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(CloudError, match="ended with 3:\nthe reason"):
        Cloud(environment=Environment(tmp_path, tmp_path)).start()


def test_only_the_loopback_interface_is_served(cloud: Cloud) -> None:
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        address, port = local.split(":")
        if state == "0A" and int(port, 16) == cloud.port:
            assert "127.0.0.1" == socket.inet_ntoa(bytes.fromhex(address)[::-1])


def test_the_environment_for_children_holds_no_other_aws_variable(cloud: Cloud) -> None:
    environ = cloud.child_environ({"AWS_PROFILE": "mine", "PATH": "/bin"})
    assert ("/bin", cloud.endpoint, False) == (environ["PATH"], environ["AWS_ENDPOINT_URL"], "AWS_PROFILE" in environ)
