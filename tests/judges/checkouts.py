"""Copies of the checkout and installed wheels: places to synthesize from, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.judges.judging import ROOT

_PARTS = [
    "app.py",
    "cdk.json",
    "stacks",
    "constructs",
    "lambda",
    "pyproject.toml",
    "hatch_build.py",
    "README.md",
    "LICENSE",
]
_CACHES = shutil.ignore_patterns("__pycache__", "*.pyc")

# The library is announced before the app runs: a test that got the checkout's in place of its own would prove nothing.
_PROGRAM = """
import runpy, sys
import healthimaging_cdk
print(healthimaging_cdk.__file__)
sys.path.insert(0, "")
runpy.run_path("app.py", run_name="__main__")
"""


def copy_checkout(to: Path, parts: Iterable[str] = _PARTS) -> Path:
    """Copy what a synth or a build needs, without caches; the files get the time of now."""
    to.mkdir(parents=True)
    for part in parts:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, to / part, ignore=_CACHES, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, to / part)
    return to


def build_wheel(to: Path) -> Path:
    """Build the wheel from the checkout."""
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", to, ROOT], cwd=to)
    (wheel,) = to.glob("*.whl")
    return wheel


def install_wheel(wheel: Path, to: Path) -> Path:
    """Install a wheel into a folder, as pip does it, byte code included."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--compile"]
    _run([*pip, "--target", to, wheel], cwd=to.parent)
    return to


def other_python(site_packages: Path) -> Path | None:
    """The newest other Python on this machine that the library supports and that can use this one's packages."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    # Version managers and CI images install the versions side by side.
    folders += [*Path(sys.base_prefix).parent.glob("*/bin"), *Path(sys.base_prefix).parent.parent.glob("*/*/bin")]
    environment = os.environ | {"PYTHONPATH": str(site_packages)}
    for minor in range(30, 10, -1):
        for python in (folder / f"python3.{minor}" for folder in folders if minor != sys.version_info.minor):
            if python.exists():
                probe = subprocess.run([python, "-c", "import jsii"], env=environment, capture_output=True, check=False)
                if probe.returncode == 0:
                    return python
    return None


def synthesize_app(
    project: Path,
    outdir: Path,
    libraries: Iterable[Path],
    *,
    python: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Run a project's app.py; all files it writes, by their path.

    The libraries come first on the path, so that the checkout's own, installed as editable, is not found.
    """
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_DEFAULT_"))}
    path = os.pathsep.join(str(library) for library in libraries)
    done = _run(
        [python or sys.executable, "-c", _PROGRAM],
        cwd=project,
        environment=keep | {"PYTHONPATH": path, "CDK_OUTDIR": str(outdir)} | dict(environment or {}),
    )
    library = Path(done.stdout.splitlines()[0])
    assert any(library.is_relative_to(folder) for folder in libraries), f"{library} is not of {path}"
    written = [file for file in sorted(outdir.rglob("*")) if file.is_file()]
    return {file.relative_to(outdir).as_posix(): file.read_bytes() for file in written}


def _run(
    command: list[str | Path], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done
