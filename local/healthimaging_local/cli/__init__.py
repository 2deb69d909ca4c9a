"""The command ``healthimaging-local``, which the extra ``[local]`` of the wheel brings."""

from __future__ import annotations

import sys

from healthimaging_local.paths import EXTRA


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        from healthimaging_local.cli._group import commands  # noqa: PLC0415 - the extra may not be installed
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit(f"healthimaging-local needs its extra: {EXTRA}")
    commands(prog_name="healthimaging-local")
