"""Each template is synthesized once, and judged once by each judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.judges import checkouts, judging, policies
from tests.judges.catalogue import CATALOGUE, Template, synthesize
from tests.judges.findings import Finding

V = TypeVar("V")

_JUDGES = ["checks", "validate", "control_tower", "cfn_lint", "cdk_nag", "iam", "cloudsplaining", "checkov"]


class Memo(dict[str, V]):
    """What a function makes of a name, made when first asked for."""

    def __init__(self, make: Callable[[str], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> V:
        made = self[name] = self._make(name)
        return made


Findings = dict[str, list[Finding]]
"""By the example's name."""


@pytest.fixture(scope="session")
def dicom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something to import."""
    folder = tmp_path_factory.mktemp("dicom")
    (folder / "image.dcm").write_bytes(bytes(128) + b"DICM")
    return folder


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory, dicom_folder: Path) -> dict[str, list[Template]]:
    return Memo(lambda example: synthesize(example, tmp_path_factory.mktemp("cdk.out"), dicom_folder))


@pytest.fixture(scope="session")
def validate_engine() -> judging.CloudFormationValidate:
    return judging.CloudFormationValidate()


@pytest.fixture(scope="session")
def control_tower() -> judging.ControlTower:
    return judging.ControlTower()


@pytest.fixture(scope="session")
def cfn_lint_runner() -> judging.CfnLint:
    return judging.CfnLint()


@pytest.fixture(scope="session")
def validate_findings(
    templates: dict[str, list[Template]], validate_engine: judging.CloudFormationValidate
) -> Findings:
    return Memo(lambda example: [found for item in templates[example] for found in validate_engine.findings(item)])


@pytest.fixture(scope="session")
def checks_findings(templates: dict[str, list[Template]]) -> Findings:
    return Memo(lambda example: list(judging.health_imaging_checks(templates[example])))


@pytest.fixture(scope="session")
def control_tower_findings(templates: dict[str, list[Template]], control_tower: judging.ControlTower) -> Findings:
    return Memo(lambda example: [found for item in templates[example] for found in control_tower.findings(item)])


@pytest.fixture(scope="session")
def cfn_lint_findings(templates: dict[str, list[Template]], cfn_lint_runner: judging.CfnLint) -> Findings:
    return Memo(lambda example: [found for item in templates[example] for found in cfn_lint_runner.findings(item)])


@pytest.fixture(scope="session")
def cdk_nag_findings(tmp_path_factory: pytest.TempPathFactory, dicom_folder: Path) -> Findings:
    def judge(example: str) -> list[Finding]:
        folder = tmp_path_factory.mktemp("cdk-nag")
        return judging.cdk_nag(example, lambda app: CATALOGUE[example](app, dicom_folder), folder)

    return Memo(judge)


@pytest.fixture(scope="session")
def iam_findings(templates: dict[str, list[Template]]) -> Findings:
    return Memo(
        lambda example: [found for item in templates[example] for found in policies.judge(item, templates[example])]
    )


@pytest.fixture(scope="session")
def cloudsplaining_findings(templates: dict[str, list[Template]]) -> Findings:
    return Memo(
        lambda example: [
            found for item in templates[example] for found in judging.cloudsplaining(item, templates[example])
        ]
    )


@pytest.fixture(scope="session")
def defective() -> Template:
    """A template that checkov sees beside the good ones, so that it starts once."""
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"AccessControl": "PublicRead"}}
    return Template("defective", Path("Defective.template.json"), {"Resources": {"Bucket": bucket}})


@pytest.fixture(scope="session")
def checkov_findings(
    tmp_path_factory: pytest.TempPathFactory, templates: dict[str, list[Template]], defective: Template
) -> Findings:
    everything = [template for example in CATALOGUE for template in templates[example]]
    found: Findings = {example: [] for example in [*CATALOGUE, defective.example]}
    for finding in judging.checkov([*everything, defective], tmp_path_factory.mktemp("checkov")):
        found[finding.example].append(finding)
    return found


@pytest.fixture(scope="session")
def all_findings(request: pytest.FixtureRequest) -> list[Finding]:
    judges: list[Findings] = [request.getfixturevalue(f"{judge}_findings") for judge in _JUDGES]
    return [finding for judge in judges for example in CATALOGUE for finding in judge[example]]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkouts.build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def installed_wheel(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    return checkouts.install_wheel(wheel, tmp_path_factory.mktemp("installed") / "site-packages")
