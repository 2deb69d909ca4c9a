"""The CDK CLI, on an app that is synthesized already."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from aws_cdk import App

_CLI = Path(__file__).parent.parent / "tools" / "node_modules" / "aws-cdk" / "bin" / "cdk"


def diff(app: App, deployed: dict[str, Any], place: Path, *options: str) -> tuple[int, str]:
    """The exit code and the words of ``cdk diff`` of the app's only stack against a template."""
    assembly = app.synth()
    (stack,) = assembly.stacks
    template = place / "deployed.json"
    template.write_text(json.dumps(deployed), encoding="utf-8")
    command = [str(_CLI), "diff", stack.hierarchical_id, "--app", assembly.directory, "--template", str(template)]
    done = subprocess.run(
        [os.environ["JSII_NODE"], *command, "--no-color", "--no-notices", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        env={**os.environ, "HOME": str(place), "CI": ""},
    )
    return done.returncode, done.stdout + done.stderr
