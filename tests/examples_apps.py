"""Runs an app of examples/ in this process, as `cdk synth -c NAME=VALUE` runs it in one of its own."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any
from unittest import mock

from aws_cdk import App

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/app.py"))


def build(name: str, app: App | None = None, **context: str) -> App:
    """Run the app of an example with a context; with ``app``, in that app instead of one of its own."""
    folder = ROOT / "examples" / name
    in_file = json.loads((folder / "cdk.json").read_text(encoding="utf-8")).get("context", {})
    made: list[App] = []

    def make_app(**options: Any) -> App:
        said = {**options.get("context", {}), **in_file, **context}
        made.append(app or App(analytics_reporting=False))
        for key, value in said.items():
            made[0].node.set_context(key, value)
        return made[0]

    with mock.patch("aws_cdk.App", make_app), mock.patch.object(App, "synth"):
        runpy.run_path(str(folder / "app.py"))
    (found,) = made
    return found
