"""Try a version of ministack: ``make try-emulator VERSION=1.5.34``.

Prints which private names are gone, which tests of patches fail, and which the version makes unnecessary: those whose
tests pass without them. With the pinned version no patch may be unnecessary.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from healthimaging_local.environments import VENV_VARIABLE, installed_environment
from healthimaging_local.patches import PATCHES, WITHOUT_VARIABLE
from healthimaging_local.paths import PACKAGE
from healthimaging_local.tables import EMULATOR, PINNED_VERSION

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = PACKAGE / "requirements"


def main() -> None:
    """Install the version, run the tests of the patches with all of them, then without each."""
    version = sys.argv[1] if len(sys.argv) > 1 else PINNED_VERSION
    chosen = sys.argv[2:] or [name for names in PATCHES.values() for name in names]
    with tempfile.TemporaryDirectory(prefix="try-emulator-") as folder:
        venv = installed_environment().venv if version == PINNED_VERSION else install(version, Path(folder))
        say(f"{EMULATOR} {version}: {len(chosen)} patches")
        missing = missing_names(venv)
        if missing:
            sys.exit(f"adapt the local cloud first: {missing}")
        if run(venv, "all"):
            say("these fail with all patches: adapt their patches first")
        passed = [name for name in chosen if not run(venv, name, without=True)]
    report("necessary", [name for name in chosen if name not in passed])
    report("unnecessary: take them out", passed)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def report(title: str, names: list[str]) -> None:
    """Print a list of patches, by what they patch."""
    say(f"\n{title}: {len(names)}")
    for group, members in PATCHES.items():
        found = [name for name in members if name in names]
        if found:
            say(f"  {group}: {', '.join(found)}")


def install(version: str, folder: Path) -> Path:
    """Make the emulator's environment with another version of it."""
    text = (REQUIREMENTS / "emulator.txt").read_text(encoding="utf-8")
    changed = folder / "emulator.txt"
    changed.write_text(re.sub(rf"^{EMULATOR}==.*$", f"{EMULATOR}=={version}", text, flags=re.MULTILINE), "utf-8")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(changed)]
    if subprocess.run(pip, check=False).returncode:
        sys.exit(
            f"{EMULATOR} {version} cannot be installed: name a version that is there (pip index versions {EMULATOR})"
        )
    return venv


def missing_names(venv: Path) -> str:
    """What the check of the tables says in the version; empty when all is there."""
    program = (
        "from healthimaging_local.tables import EmulatorChangedError, check_tables\n"
        "try:\n    check_tables()\nexcept EmulatorChangedError as error:\n    print(error)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "local")}
    ended = subprocess.run(
        [str(venv / "bin" / "python"), "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


def run(venv: Path, patch: str, *, without: bool = False) -> list[str]:
    """Run the tests that name a patch, with or without it, and return those that failed."""
    environ = {**os.environ, VENV_VARIABLE: str(venv), "PATCH_TESTS": patch, WITHOUT_VARIABLE: patch if without else ""}
    named = 'mark.patch("' if patch == "all" else f'mark.patch("{patch}")'
    files = [str(it) for it in sorted(ROOT.glob("tests/local/test_*.py")) if named in it.read_text(encoding="utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider", *files]
    if patch != "all":
        command.append("-x")
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", ended.stdout, re.MULTILINE)
    if ended.returncode not in (0, 1):
        sys.exit(f"{ended.stdout}\n{ended.stderr}")
    say(f"{'without ' if without else ''}{patch}: {', '.join(failed) or 'all tests pass'}")
    return failed


if __name__ == "__main__":
    main()
