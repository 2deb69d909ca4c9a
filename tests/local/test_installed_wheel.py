"""The built wheel in an empty environment: the page "Test your own stack" is done block by block."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.judges.checkouts import build_wheel
from tests.once import Once

pytestmark = [pytest.mark.cloud, pytest.mark.long]

PAGE = (ROOT / "docs" / "test-your-own-stack.md").read_text(encoding="utf-8")
# Another Python than this one (CONTRIBUTING.md).
PYTHON = os.environ.get("THEIR_PYTHON", sys.executable)
# What a shell and npm need. Node.js is not among it: the extra brings it.
TOOLS = ("bash", "cat", "cp", "dirname", "env", "mkdir", "ps", "rm", "sed", "sh", "tr", "uname")
FILE = re.compile(r"# file: (\S+)\n")


@dataclass(frozen=True)
class Project:
    """An empty folder beside an environment that knows where the wheel is, and nothing else."""

    folder: Path
    environ: dict[str, str]

    def run(self, script: str, *, check: bool = True) -> str:
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600,
            check=False,
        )
        assert not check or ended.returncode == 0, f"{script}\n{ended.stdout}"
        return ended.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, once: Once) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("their-project")
    wheels = once.get("wheel", build_wheel).parent
    venv = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([PYTHON, "-m", "venv", str(venv)], check=True)
    tools = tmp_path_factory.mktemp("tools")
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    unwanted = ("AWS_", "CDK_", "HEALTHIMAGING_", "JSII_", "PYTEST", "PYTHON", "VIRTUAL_ENV", "COV_")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(unwanted)},
        "PATH": f"{venv / 'bin'}:{tools}",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",  # Python compiles what is used when it is used
        "HEALTHIMAGING_LOCAL_HOME": str(tmp_path_factory.mktemp("home")),
    }
    made = Project(folder, environ)
    yield made
    if (venv / "bin" / "healthimaging-local").exists():
        made.run("healthimaging-local stop --all")


# What the output of a block must hold, by words of the block.
EXPECTED = {
    "healthimaging-local install": ["Installing the emulator", "Installing the boto3 of a Lambda runtime"],
    "healthimaging-local run -- cdk deploy": ["Imaging.", "1 imported"],
    "healthimaging-local logs --functions": ["'default' answers at http://127.0.0.1:", '"step"', "1 imported"],
    "list_datastores": ["datastoreId", "ACTIVE"],
    "-c run_id=again": ["1 imported", "'default' is stopped"],
    "healthimaging-local status": ["nightly", "review", "'nightly' is stopped", "'review' is stopped"],
    "pytest -q -n 2": ["3 passed", "3 passed"],
}


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_block_of_the_page_does_what_the_page_says(project: Project) -> None:
    seen = set()
    for language, text in blocks():
        if language == "python":
            name = FILE.match(text)
            assert name, f"a block without `# file:`:\n{text}"
            (project.folder / name[1]).write_text(text, encoding="utf-8")
            continue
        output = project.run(text)
        for line in (it for it in EXPECTED if it in text):
            seen.add(line)
            missing = [expected for expected in EXPECTED[line] if expected not in output]
            assert [] == missing, f"{text}\n{output}"
    assert set(EXPECTED) <= seen
    assert "no local cloud runs\n" == project.run("healthimaging-local status")


DEPLOY = """
import os, subprocess, sys
from healthimaging_local import Cloud

with Cloud(wait_scale=0.05) as cloud:
    for folder in sys.argv[1:]:
        environ = {**os.environ, "CDK_OUTDIR": f"{folder}.out"}
        subprocess.run([sys.executable, "app.py"], cwd=folder, env=environ, check=True)
        for name, deployed in cloud.new_account().deploy(f"{folder}.out").items():
            print(os.path.basename(folder), name, deployed.status, deployed.reason)
"""
EXAMPLES = ("minimal", "notifications", "private-network", "several-imports")


def test_examples_of_the_docs_deploy_from_the_wheel(project: Project) -> None:
    for name in EXAMPLES:
        shutil.copytree(ROOT / "examples" / name, project.folder / "examples" / name)
    (project.folder / "deploy.py").write_text(DEPLOY, encoding="utf-8")
    folders = " ".join(f'"$PWD/examples/{name}"' for name in EXAMPLES)
    output = project.run(f"healthimaging-local run -- python deploy.py {folders}")
    deployed = [line.split()[:3] for line in output.splitlines() if "_COMPLETE" in line]
    assert set(EXAMPLES) == {name for name, _, _ in deployed}, output
    assert {"CREATE_COMPLETE"} == {status for _, _, status in deployed}, output
