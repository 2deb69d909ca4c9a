"""Builds the site as `make docs` does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT

MKDOCS = ROOT / ".docs" / "bin" / "mkdocs"


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(MKDOCS), "build", "--strict", "--site-dir", str(folder), *options]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
