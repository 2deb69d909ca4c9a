"""The code that runs in AWS, as synth sees it: where it lies, and the rules both sides share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

_HERE = Path(__file__).resolve().parent


def _find_root() -> Path:
    packaged = _HERE / "_lambda"
    return packaged if packaged.is_dir() else _HERE.parent.parent / "lambda"


LAMBDA_ROOT = _find_root()
"""The Lambda asset: beside this module in a wheel, in ``lambda/`` of a checkout."""

if TYPE_CHECKING:
    from healthimaging_import import rules
else:
    # The asset is no part of this package, so its one shared module is loaded from its file.
    _NAME = f"{__package__}._rules"
    _spec = importlib.util.spec_from_file_location(_NAME, LAMBDA_ROOT / "healthimaging_import" / "rules.py")
    rules = importlib.util.module_from_spec(_spec)
    sys.modules[_NAME] = rules
    _spec.loader.exec_module(rules)

__all__ = ["LAMBDA_ROOT", "rules"]
