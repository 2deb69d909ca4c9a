"""`make release-check`: builds the distributions and tries them as PyPI and a user would.

Ends with 1 and the list of what is wrong, if anything is. Leaves dist/ with the sdist, the wheel and sbom.cdx.json.
"""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
MINORS = range(11, 15)
LICENCES = ("apache", "mit", "bsd", "isc", "python software foundation", "psf", "mpl", "unlicense", "0bsd")
IN_SDIST = ("CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md", "docs/deploys.md", "examples/minimal/app.py")
CONSUMER = """
import importlib.metadata, json
from aws_cdk import App, Stack, assertions
import healthimaging_cdk
app = App(analytics_reporting=False)
stack = Stack(app, "Consumer")
healthimaging_cdk.DicomImport(stack, "Import")
template = assertions.Template.from_stack(stack).to_json()
kinds = [resource["Type"] for resource in template["Resources"].values()]
assert kinds.count("Custom::HealthImagingImport") == 1, kinds
assert kinds.count("AWS::HealthImaging::Datastore") == 1, kinds
assert healthimaging_cdk.__version__ == importlib.metadata.version("healthimaging-cdk")
assert "site-packages" in healthimaging_cdk.__file__, healthimaging_cdk.__file__
print(json.dumps({name: importlib.metadata.version(name) for name in ("healthimaging-cdk", "aws-cdk-lib")}))
"""

problems: list[str] = []


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a tool; what it printed, or a problem."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        problems.append(f"{' '.join(map(str, command))[:120]}\n{tail}")
    return done.stdout


def tool(name: str) -> Path:
    """A program of this environment."""
    return Path(sys.executable).parent / name


def build() -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST)
    sdists, wheels = list(DIST.glob("*.tar.gz")), list(DIST.glob("*.whl"))
    if len(sdists) != 1 or len(wheels) != 1:
        raise SystemExit("\n".join(problems) or "the build left no sdist or no wheel")
    return sdists[0], wheels[0]


def check_contents(sdist: Path, wheel: Path) -> None:
    """Check what is in both files and what PyPI would say of them."""
    run(tool("twine"), "check", "--strict", sdist, wheel)
    run(tool("check-wheel-contents"), "--toplevel", "healthimaging_cdk,healthimaging_local", wheel)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    problems.extend(f"the sdist lacks {name}" for name in IN_SDIST if name not in names)
    with zipfile.ZipFile(wheel) as archive:
        odd = [name for name in archive.namelist() if "__pycache__" in name or name.endswith((".pyc", ".orig"))]
        (path,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        check_metadata(email.message_from_bytes(archive.read(path)))
    problems.extend(f"the wheel has {name}" for name in odd)


def check_metadata(metadata: Message) -> None:
    """Check name, version, author, addresses, classifiers, and the links of the description."""
    source = (ROOT / "constructs" / "healthimaging_cdk" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, flags=re.MULTILINE)
    if metadata["Version"] != version:
        problems.append(f"the wheel has version {metadata['Version']}, the library says {version}")
    needed = ("Author", "Summary", "License-Expression", "License-File", "Project-URL", "Requires-Python")
    problems.extend(f"the metadata has no {field}" for field in needed if not metadata[field])
    if len(metadata.get_all("Classifier", [])) < len(MINORS):
        problems.append("the metadata has hardly any classifier")
    relative = re.findall(r"\]\((?!https?:|mailto:|#)([^)]+)\)", str(metadata.get_payload()))
    problems.extend(f"PyPI would show a dead link: {link}" for link in relative)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.sub(r"(?<=\d)rc", "-rc", version)
    if f"## {released}" not in changes:
        problems.append(f"CHANGELOG.md has no section {released}")
    unreleased = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", changes, flags=re.MULTILINE | re.DOTALL)
    if unreleased and re.search(r"^- ", unreleased[1], flags=re.MULTILINE):
        problems.append(f"CHANGELOG.md has changes under Unreleased: they belong into {released}")
    if not os.environ.get("PROJECT_URL"):
        print("note: PROJECT_URL is not set, so the README on PyPI has no links into the repository")


def pythons() -> Iterator[Path]:
    """Each Python that the metadata claims and this machine has."""
    for minor in MINORS:
        found = shutil.which(f"python3.{minor}")
        # Version managers leave a command behind for each version that they could install.
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            yield Path(found)
        else:
            print(f"note: Python 3.{minor} was not found, so it was not tried")


def oldest() -> str:
    """The oldest aws-cdk-lib that the metadata claims."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (found,) = [it for it in project["dependencies"] if it.startswith("aws-cdk-lib")]
    return re.sub(r">=([\d.]+).*", r"==\1", found)


def check_consumers(wheel: Path, folder: Path) -> None:
    """Install the wheel on each Python, with the oldest and the newest aws-cdk-lib, and synthesize."""
    for python in pythons():
        for requirement in (oldest(), "aws-cdk-lib<3"):
            environment = folder / f"{python.name}-{'oldest' if '==' in requirement else 'newest'}"
            run(python, "-m", "venv", environment)
            installed = environment / "bin" / "python"
            run(installed, "-m", "pip", "install", "--quiet", wheel, requirement)
            print(f"{environment.name}: {run(installed, '-c', CONSUMER, cwd=folder).strip()}")
            if environment.name.endswith("newest"):
                run(tool("cyclonedx-py"), "environment", installed, "--output-file", DIST / "sbom.cdx.json")
                check_extras(installed, wheel)
                check_licences(installed)


def check_extras(python: Path, wheel: Path) -> None:
    """Install the extras, and ask each command what it does."""
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[cli,local]")
    for command in (["healthimaging-cdk", "--help"], ["healthimaging-cdk", "verify-aws", "--list"]):
        run(python.parent / command[0], *command[1:])
    run(python.parent / "healthimaging-local", "--help")


def check_licences(python: Path) -> None:
    """Refuse a dependency whose licence is not a permissive one."""
    program = (
        "import importlib.metadata as m, json; print(json.dumps({d.name: [d.metadata.get('License-Expression') or '', "
        "d.metadata.get('License') or '', *d.metadata.get_all('Classifier', [])] for d in m.distributions()}))"
    )
    for name, said in json.loads(run(python, "-c", program) or "{}").items():
        words = " ".join(it for it in said if "::" not in it or it.startswith("License")).lower()
        if not any(licence in words for licence in LICENCES):
            problems.append(f"{name} has a licence nobody has looked at: {words[:100] or 'none'}")


def check_workflows() -> None:
    """Lint the workflows."""
    run(tool("zizmor"), "--offline", "--quiet", *sorted((ROOT / ".github" / "workflows").glob("*.yml")))


def main() -> int:
    """Check everything, say what is wrong."""
    sdist, wheel = build()
    steps: list[Callable[[], None]] = [lambda: check_contents(sdist, wheel), check_workflows]
    for step in steps:
        step()
    with tempfile.TemporaryDirectory() as folder:
        check_consumers(wheel, Path(folder))
    for problem in problems:
        print(f"\nPROBLEM: {problem}")
    print(f"\n{wheel.name}, {sdist.name}: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
