"""Zips of folders, written by the zip writer of the CDK CLI itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

_TOOLS = Path(__file__).parent.parent / "tools"


class CliZip:
    """A process that zips one folder after the other: to load the CLI takes a second."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [os.environ["JSII_NODE"], str(_TOOLS / "zip.cjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def write(self, folder: Path, zip_file: Path) -> None:
        """Zip a folder."""
        process = self._process
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps([str(folder), str(zip_file)]) + "\n")
        process.stdin.flush()
        assert (failure := json.loads(process.stdout.readline())) is None, failure

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
