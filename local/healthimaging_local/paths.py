"""Where the local cloud keeps what it installs and what it runs: folders of the user, outside of any project.

``HEALTHIMAGING_LOCAL_HOME`` names one folder for all of it. A checkout of the project installs into its own ``.cloud``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from healthimaging_local.errors import CloudError

HOME_VARIABLE = "HEALTHIMAGING_LOCAL_HOME"
PACKAGE = Path(__file__).resolve().parent
EXTRA = "pip install 'healthimaging-cdk[local]'"

_NAME = "healthimaging-local"


def checkout() -> Path | None:
    """The checkout that this package is in, or nothing where a wheel was installed."""
    root = PACKAGE.parent.parent
    return root if (root / "local" / PACKAGE.name).is_dir() and (root / "pyproject.toml").is_file() else None


def lambda_root() -> Path:
    """The folder that holds ``healthimaging_import``, whose service model the emulator reads."""
    packaged = PACKAGE.parent / "healthimaging_cdk" / "_lambda"
    return packaged if packaged.is_dir() else PACKAGE.parent.parent / "lambda"


def cache_folder() -> Path:
    """The folder for what can be made again."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home) / "cache" if home else _user_folder("user_cache_path")


def state_folder() -> Path:
    """The folder for what runs: one record and one folder for each cloud."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home) / "state" if home else _user_folder("user_state_path")


def environment_folder(label: str) -> Path:
    """The folder for one version of the emulator's environment."""
    root = checkout()
    if root is not None and HOME_VARIABLE not in os.environ:
        return root / ".cloud"
    return cache_folder() / label


def python_label() -> str:
    """The Python that an environment is made of, as a part of a folder's name."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def _user_folder(function: str) -> Path:
    try:
        import platformdirs  # noqa: PLC0415 - of the extra, and not needed inside the emulator
    except ModuleNotFoundError as error:
        raise CloudError(f"the local cloud needs its extra: {EXTRA}") from error
    folder: Path = getattr(platformdirs, function)(_NAME, appauthor=False)
    return folder
