"""The code that runs in AWS, as synth sees it: where it is, and the two modules that both sides share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

_LIBRARY = Path(__file__).resolve().parent.parent


def _find_root() -> Path:
    packaged = _LIBRARY / "_lambda"
    return packaged if packaged.is_dir() else _LIBRARY.parent.parent / "lambda"


LAMBDA_ROOT = _find_root()
"""The Lambda asset: in the package in a wheel, in ``lambda/`` of a checkout."""

if TYPE_CHECKING:
    from healthimaging_import import contract, service_model
else:

    def _load(name: str) -> ModuleType:
        """Load a module of the asset from its file: the asset is no part of this package."""
        full_name = f"{__package__}._{name}"
        spec = importlib.util.spec_from_file_location(full_name, LAMBDA_ROOT / "healthimaging_import" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module
        spec.loader.exec_module(module)
        return module

    contract, service_model = _load("contract"), _load("service_model")

__all__ = ["LAMBDA_ROOT", "contract", "service_model"]
