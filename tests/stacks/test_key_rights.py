"""Rights on keys are needed and enough: a stack's whole life, with one key for everything that can have one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from aws_cdk import App, RemovalPolicy, Stack
from aws_cdk import aws_kms as kms

from healthimaging_cdk import Datastore, DicomImport, ImportSource, LosslessStorageFormat, Notify
from tests.deployment import P10_FILES, Account
from tests.stacks.test_least_privilege import NAME, Life, Rights, unexplained

pytestmark = pytest.mark.cloud


def make_app(folder: Path, run_id: str) -> App:
    app = App(analytics_reporting=False)
    stack = Stack(app, NAME)
    key = kms.Key(stack, "Key", removal_policy=RemovalPolicy.DESTROY)
    store = Datastore(
        stack,
        "Store",
        encryption_key=key,
        lossless_storage_format=LosslessStorageFormat.JPEG_2000_LOSSLESS,
        removal_policy=RemovalPolicy.DESTROY,
        auto_delete_image_sets=True,
    )
    source = ImportSource.directory(folder)
    options = {"encryption_key": key, "notify": Notify.OUTCOMES, "run_id": run_id}
    DicomImport(stack, "Import", datastore=store, source=source, **options)
    return app


@pytest.fixture(scope="module")
def life(shared_account: Account, tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder = tmp_path_factory.mktemp("files")
    shutil.copy(P10_FILES / "CT_small.dcm", folder)
    life = Life()
    shared_account.cloud.clear()
    for run_id in ("1", "2"):
        app = make_app(folder, run_id)
        life.statuses.append(shared_account.deploy_one(app).status)
        life.look_at_roles(shared_account, app)
    life.statuses.append(shared_account.destroy(NAME).status)
    life.look_at_decisions(shared_account)
    return life


def on_keys(rights: Rights) -> Rights:
    return {role: {pair for pair in pairs if pair[0].startswith("kms:")} for role, pairs in rights.items()}


def test_they_are_enough(life):
    assert ["CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"] == life.statuses


def test_each_is_needed(life):
    allowed = on_keys(life.allowed)
    assert sum(map(len, allowed.values())) >= 8
    assert [] == unexplained(allowed, on_keys(life.used), [])
