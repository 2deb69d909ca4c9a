"""The emulator's own virtual environment, and the boto3 of a Lambda runtime: installed at first use, once a user.

The emulator pins a botocore that need not be the user's. One process installs, others wait for it; an installation that
was interrupted is begun anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from healthimaging_local.errors import CloudError
from healthimaging_local.locks import file_lock
from healthimaging_local.paths import PACKAGE, environment_folder, python_label
from healthimaging_local.progress import Progress, progress_on_stderr

VENV_VARIABLE = "HEALTHIMAGING_LOCAL_VENV"
"""Names a virtual environment with another version of the emulator, to try it."""

_EMULATOR = PACKAGE / "requirements" / "emulator.txt"
_RUNTIME = PACKAGE / "requirements" / "lambda-runtime.txt"
_MARKER = ".installed"
_ERROR_LINES = 15
# Options of the user's that would send the packages to another place.
_PIP_PLACES = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON")


@dataclass(frozen=True)
class Environment:
    """What the emulator runs in.

    Attributes:
        venv: The virtual environment of the emulator.
        runtime: The folder with the boto3 of a Lambda runtime.
    """

    venv: Path
    runtime: Path

    @property
    def python(self) -> Path:
        """The interpreter of the emulator."""
        return self.venv / "bin" / "python"


def installed_environment(progress: Progress | None = None) -> Environment:
    """Return the environment of this version, installed if it is not there yet.

    The first installation downloads some 25 MB from the package index that pip is configured for.

    Args:
        progress: What shows the steps. Default: lines or a spinner on stderr.

    Raises:
        CloudError: It could not be installed; the message holds the end of pip's output, and what to do.
    """
    folder = environment_folder(_label())
    environment = Environment(folder / "venv", folder / "runtime")
    if not _is_current(environment):
        _install_once(folder, environment, progress)
    tried = os.environ.get(VENV_VARIABLE)
    return Environment(Path(tried), environment.runtime) if tried else environment


def _install_once(folder: Path, environment: Environment, progress: Progress | None) -> None:
    with file_lock(folder / "install.lock"):
        if not _is_current(environment):
            with progress or progress_on_stderr() as steps:
                _install(environment, steps)


def _label() -> str:
    pinned = re.search(r"^(ministack)==(.+)$", _EMULATOR.read_text(encoding="utf-8"), re.MULTILINE)
    version = "-".join(pinned.groups()) if pinned else "ministack"
    return f"{version}-{python_label()}-{_digest()[:8]}"


def _digest() -> str:
    parts = [_EMULATOR.read_text(encoding="utf-8"), _RUNTIME.read_text(encoding="utf-8")]
    parts += [python_label(), platform.system(), platform.machine()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_current(environment: Environment) -> bool:
    """Whether all of it was installed, and the Python that it was made of is still there."""
    marker = environment.venv / _MARKER
    complete = marker.is_file() and marker.read_text(encoding="utf-8") == _digest()
    return complete and environment.python.exists() and environment.runtime.is_dir()


def _install(environment: Environment, progress: Progress) -> None:
    for folder in (environment.venv, environment.runtime):
        _remove(folder)
    try:
        progress.step(f"Installing the local cloud into {environment.venv.parent}, which happens once")
        _run([sys.executable, "-m", "venv", str(environment.venv)], progress)
        pip = [str(environment.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        progress.step("Installing the emulator")
        _run([*pip, "-r", str(_EMULATOR)], progress)
        progress.step("Installing the boto3 of a Lambda runtime")
        _run([*pip, "--no-deps", "--target", str(environment.runtime), "-r", str(_RUNTIME)], progress)
        (environment.venv / _MARKER).write_text(_digest(), encoding="utf-8")
    except BaseException:
        _remove(environment.venv)
        raise


def _remove(folder: Path) -> None:
    if folder.is_symlink():  # what it leads to is somebody else's
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _run(command: list[str], progress: Progress) -> None:
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 - our own interpreter, and requirements of the package
        command, env=_environ(os.environ), text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            lines.append(line.rstrip())
            progress.detail(line.strip())
    if process.returncode != 0:
        raise CloudError(_explain(command, lines))


def _environ(inherited: Mapping[str, str]) -> dict[str, str]:
    unwanted = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", *_PIP_PLACES)
    return {name: value for name, value in inherited.items() if name not in unwanted}


def _explain(command: list[str], lines: list[str]) -> str:
    output = "\n".join(lines[-_ERROR_LINES:])
    if "venv" in command[1:3] and importlib.util.find_spec("ensurepip") is None:
        advice = f"{sys.executable} cannot make virtual environments: install its venv package (python3-venv)"
    else:
        advice = (
            "installing the local cloud takes the package index once: check the network, or name your index "
            "(PIP_INDEX_URL), and try again"
        )
    return f"{advice}\n{output}"
