"""The command ``healthimaging-cdk``, which the extra ``[cli]`` of the wheel brings. One command a module.

Synth loads none of it, and a command loads only the module that it stands in.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    try:
        from healthimaging_cdk.cli._group import commands  # noqa: PLC0415 - the extra may not be installed
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit("healthimaging-cdk needs its extra: pip install 'healthimaging-cdk[cli]'")
    commands()
