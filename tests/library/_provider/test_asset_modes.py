"""The function's files are readable by Lambda in the zip that the CDK CLI publishes, whatever the umask was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from healthimaging_cdk._common.runtime import LAMBDA_ROOT

pytestmark = pytest.mark.slow

SYNTH = """
import sys
from pathlib import Path
from aws_cdk import App, Stack
from healthimaging_cdk import DicomImport
app = App(outdir=sys.argv[1], context={"aws:cdk:disable-asset-staging": len(sys.argv) > 2})
DicomImport(Stack(app, "Stack"), "Import")
app.synth()
"""


def installed(place: Path, umask: int) -> Path:
    """The library as `git clone` or an installer leaves it under a umask."""
    library = Path(sys.modules["healthimaging_cdk"].__file__).parent
    shutil.copytree(library, place / "constructs" / "healthimaging_cdk", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(LAMBDA_ROOT, place / "lambda", ignore=shutil.ignore_patterns("__pycache__"))
    for path in place.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
    return place


def synthesize(place: Path, umask: int, *options: str) -> Path:
    subprocess.run(
        [sys.executable, "-c", SYNTH, str(place / "cdk.out"), *options],
        check=True,
        env={**os.environ, "PYTHONPATH": f"{place / 'constructs'}"},
        cwd=place,
        umask=umask,
    )
    return place / "cdk.out"


@pytest.mark.parametrize("umask", [0o077, *(pytest.param(it, marks=pytest.mark.long) for it in (0o022, 0o027))])
def test_the_published_zip_is_world_readable(tmp_path, cli_zip, umask):
    out = synthesize(installed(tmp_path, umask), umask)
    (staged,) = (it.parent for it in out.glob("asset.*/healthimaging_import"))
    cli_zip.write(staged, tmp_path / "function.zip")
    with zipfile.ZipFile(tmp_path / "function.zip") as archive:
        modes = {member.filename: member.external_attr >> 16 & 0o777 for member in archive.infolist()}
    assert {"healthimaging_import/handler.py", "healthimaging_import/contract.py"} < set(modes)
    assert [] == [(name, oct(mode)) for name, mode in modes.items() if mode & 0o444 != 0o444]


def test_an_installation_is_left_as_it_is_where_staging_is_turned_off(tmp_path):
    place = installed(tmp_path, 0o077)
    synthesize(place, 0o077, "unstaged")
    assert {0o600} == {file.stat().st_mode & 0o777 for file in (place / "lambda").rglob("*.py")}
