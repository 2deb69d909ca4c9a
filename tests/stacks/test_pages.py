"""Examples of pages that are no part of an app: each runs on the local cloud, as a reader would run it."""

from __future__ import annotations

import json
import shutil
import stat
import time
from pathlib import Path

import boto3
import pytest
from aws_cdk import App, Stack

from healthimaging_cdk import DicomImport, ImportSource
from tests.conftest import ROOT
from tests.deployment import P10_FILES, Account
from tests.library.test_readme import CALLS_AWS, PAGES, examples

pytestmark = [pytest.mark.cloud, pytest.mark.slow]

APP = """
from aws_cdk import App, Stack
from healthimaging_cdk import DicomImport, ImportSource

app = App()
DicomImport(Stack(app, "Imaging"), "Import", source=ImportSource.directory("phantoms"))
app.synth()
"""


def blocks(name: str) -> list[str]:
    return examples((ROOT / "docs" / name).read_text(encoding="utf-8"))


@pytest.fixture
def phantoms(tmp_path: Path) -> Path:
    folder = tmp_path / "phantoms"
    folder.mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(P10_FILES / name, folder)
    return folder


def test_the_local_cloud_deploys_an_app_with_the_cdk_cli(
    tmp_path: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert phantoms.is_dir()
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "cdk.json").write_text(json.dumps({"app": "python3 app.py", "requireApproval": "never"}))
    commands = tmp_path / "bin"
    commands.mkdir()
    cdk = commands / "cdk"
    cdk.write_text(f"#!/bin/sh\nexec '{ROOT}/.venv/bin/node' '{ROOT}/tools/node_modules/aws-cdk/bin/cdk' \"$@\"\n")
    cdk.chmod(cdk.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{commands}:{ROOT / '.venv' / 'bin'}", prepend=":")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'constructs'}")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("local-cloud.md")
    exec(compile(block, "local-cloud.md", "exec"), {})


def test_image_sets_are_deleted_by_hand(
    account: Account, tmp_path: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(analytics_reporting=False, outdir=str(tmp_path / "cdk.out"))
    DicomImport(Stack(app, "Imaging"), "Import", source=ImportSource.directory(str(phantoms)))
    store = account.deploy_one(app).output("DatastoreId")
    assert 2 == len(account.image_sets(store))
    for name, value in account.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    (block,) = (block for block in blocks("moving-a-data-store.md") if CALLS_AWS in block)
    exec(compile(block.replace("DATASTORE_ID", store), "moving-a-data-store.md", "exec"), {})
    assert ([], [4.5, 4.5]) == (account.image_sets(store), waited)


def test_every_example_that_calls_aws_is_run_here() -> None:
    calling = [page.name for page in PAGES if any(CALLS_AWS in block for block in examples(page.read_text("utf-8")))]
    assert ["moving-a-data-store.md"] == calling
