"""HealthImagingChecks in a synth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Acknowledgment, App, Environment, NestedStack, Stack, Stage, Validations
from aws_cdk import aws_healthimaging as healthimaging

from healthimaging_cdk import DicomImport, HealthImagingChecks
from healthimaging_cdk.review import plugin
from healthimaging_cdk.review.checks import PLUGIN

_KEY = "arn:aws:kms:us-east-1:111122223333:key/a"


def _app(folder: Path) -> App:
    app = App(outdir=str(folder), analytics_reporting=False)
    Validations.of(app).add_plugins(HealthImagingChecks())
    return app


def _report(folder: Path, kind: str = "violations") -> list[tuple[str, str]]:
    report = json.loads((folder / "validation-report.json").read_text(encoding="utf-8"))
    return sorted(
        (violation["ruleName"], place["constructPath"])
        for found in report["pluginReports"]
        if found["pluginName"] == PLUGIN
        for violation in found.get(kind, ())
        for place in violation["violatingConstructs"]
    )


def test_an_error_ends_the_synth_and_names_the_construct(tmp_path: Path) -> None:
    app = _app(tmp_path)
    healthimaging.CfnDatastore(Stack(app, "Images"), "Store", kms_key_arn=_KEY)
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    assert [("HI101", "Images/Store")] == _report(tmp_path)


def test_nested_stacks_stages_and_their_regions_are_looked_at(tmp_path: Path) -> None:
    app = _app(tmp_path)
    stage = Stage(app, "Production", env=Environment(account="111122223333", region="eu-central-1"))
    nested = NestedStack(Stack(stage, "Images"), "Inner")
    healthimaging.CfnDatastore(nested, "Store", kms_key_arn=_KEY)
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    path = "Production/Images/Inner/Store"
    assert [("HI101", path), ("HI106", path)] == _report(tmp_path)


def test_a_finding_is_acknowledged_on_its_construct_or_above(tmp_path: Path) -> None:
    app = _app(tmp_path)
    stack = Stack(app, "Images")
    stores = [healthimaging.CfnDatastore(stack, name, kms_key_arn=_KEY) for name in ("One", "Two")]
    for construct in (stores[0], stores[1]):
        Validations.of(construct).acknowledge(Acknowledgment(id=f"{PLUGIN}::HI101", reason="A test account"))
    app.synth()
    assert [("HI101", "Images/One"), ("HI101", "Images/Two")] == _report(tmp_path, "suppressedViolations")


def test_fails_for_the_one_that_is_not_acknowledged(tmp_path: Path) -> None:
    app = _app(tmp_path)
    stack = Stack(app, "Images")
    stores = [healthimaging.CfnDatastore(stack, name, kms_key_arn=_KEY) for name in ("One", "Two")]
    Validations.of(stores[0]).acknowledge(Acknowledgment(id=f"{PLUGIN}::HI101", reason="A test account"))
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    assert [("HI101", "Images/Two")] == _report(tmp_path)


def test_a_warning_lets_the_synth_go_on(tmp_path: Path) -> None:
    app = _app(tmp_path)
    store = healthimaging.CfnDatastore(Stack(app, "Images"), "Store")
    store.add_override("DeletionPolicy", "Retain")
    store.add_override("UpdateReplacePolicy", "Retain")
    app.synth()
    assert [("HI104", "Images/Store")] == _report(tmp_path)


def test_stacks_of_two_environments_are_each_told_once(tmp_path: Path) -> None:
    app = _app(tmp_path)
    for region in ("us-east-1", "eu-west-1"):
        env = Environment(account="111122223333", region=region)
        healthimaging.CfnDatastore(Stack(app, region, env=env), "Store", kms_key_arn=_KEY)
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    assert [("HI101", "eu-west-1/Store"), ("HI101", "us-east-1/Store")] == _report(tmp_path)


@pytest.mark.slow
def test_this_librarys_import_has_no_finding(tmp_path: Path) -> None:
    app = _app(tmp_path)
    DicomImport(Stack(app, "Images"), "Import")
    app.synth()
    assert [] == _report(tmp_path)


def test_an_error_in_the_plugin_never_ends_the_synth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("a template nobody has thought of")

    monkeypatch.setattr(plugin, "find", broken)
    app = _app(tmp_path)
    healthimaging.CfnDatastore(Stack(app, "Images"), "Store")
    app.synth()
    assert [] == _report(tmp_path)


def test_it_has_a_name_a_version_and_ids() -> None:
    checks = HealthImagingChecks()
    assert PLUGIN == checks.name
    assert 26 == len(set(checks.rule_ids))
    assert checks.version[0].isdigit()
