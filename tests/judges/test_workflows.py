"""zizmor, a linter of GitHub workflows, on ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.judges

_ROOT = Path(__file__).parents[2]
_ZIZMOR = Path(sys.executable).parent / "zizmor"


def _lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [_ZIZMOR, "--offline", "--no-progress", *paths]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_zizmor_finds_nothing() -> None:
    workflows = sorted((_ROOT / ".github" / "workflows").glob("*.yml"))
    assert workflows
    done = _lint(*workflows)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_fails_for_a_title_that_becomes_a_command(tmp_path: Path) -> None:
    workflow = tmp_path / ".github" / "workflows" / "seeded.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text(
        "name: a\non: pull_request_target\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n"
        "      - run: echo ${{ github.event.pull_request.title }}\n",
        encoding="utf-8",
    )
    done = _lint(workflow)
    assert 0 != done.returncode
    assert "template-injection" in done.stdout
