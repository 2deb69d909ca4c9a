"""Each template is synthesized once, and judged once by each judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.judges import checkouts, judging, policies
from tests.judges.catalogue import CATALOGUE, Template, synthesize
from tests.judges.findings import Finding
from tests.once import Once

V = TypeVar("V")

_JUDGES = ["checks", "validate", "control_tower", "cfn_lint", "cdk_nag", "iam", "cloudsplaining", "checkov"]


class Memo(dict[str, V]):
    """What a function makes of a name and an empty folder, made once a session, when a worker first asks for it."""

    def __init__(self, once: Once, kind: str, make: Callable[[str, Path], V]) -> None:
        super().__init__()
        self._once, self._kind, self._make = once, kind, make

    def __missing__(self, name: str) -> V:
        made = self[name] = self._once.get(f"{self._kind} of {name}", lambda folder: self._make(name, folder))
        return made


Findings = dict[str, list[Finding]]
"""By the example's name."""


@pytest.fixture(scope="session")
def dicom_folder(once: Once) -> Path:
    """Something to import."""

    def make(folder: Path) -> Path:
        (folder / "image.dcm").write_bytes(bytes(128) + b"DICM")
        return folder

    return once.get("dicom folder", make)


@pytest.fixture(scope="session")
def templates(once: Once, dicom_folder: Path) -> dict[str, list[Template]]:
    return Memo(once, "templates", lambda example, folder: synthesize(example, folder, dicom_folder))


def judged(
    once: Once, templates: dict[str, list[Template]], judge: str, of: Callable[[Template], Iterable[Finding]]
) -> Findings:
    """What a judge finds in each example, one template after the other."""
    return Memo(once, judge, lambda example, _: [found for item in templates[example] for found in of(item)])


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
    once: Once, templates: dict[str, list[Template]], validate_engine: judging.CloudFormationValidate
) -> Findings:
    return judged(once, templates, "validate", validate_engine.findings)


@pytest.fixture(scope="session")
def checks_findings(once: Once, templates: dict[str, list[Template]]) -> Findings:
    return Memo(once, "checks", lambda example, _: list(judging.health_imaging_checks(templates[example])))


@pytest.fixture(scope="session")
def control_tower_findings(
    once: Once, templates: dict[str, list[Template]], control_tower: judging.ControlTower
) -> Findings:
    return judged(once, templates, "control tower", control_tower.findings)


@pytest.fixture(scope="session")
def cfn_lint_findings(once: Once, templates: dict[str, list[Template]], cfn_lint_runner: judging.CfnLint) -> Findings:
    return judged(once, templates, "cfn-lint", cfn_lint_runner.findings)


@pytest.fixture(scope="session")
def cdk_nag_findings(once: Once, dicom_folder: Path) -> Findings:
    def judge(example: str, folder: Path) -> list[Finding]:
        return judging.cdk_nag(example, lambda app: CATALOGUE[example](app, dicom_folder), folder)

    return Memo(once, "cdk-nag", judge)


@pytest.fixture(scope="session")
def iam_findings(once: Once, templates: dict[str, list[Template]]) -> Findings:
    def judge(example: str, _: Path) -> list[Finding]:
        return [found for item in templates[example] for found in policies.judge(item, templates[example])]

    return Memo(once, "iam", judge)


@pytest.fixture(scope="session")
def cloudsplaining_findings(once: Once, templates: dict[str, list[Template]]) -> Findings:
    def judge(example: str, _: Path) -> list[Finding]:
        return [found for item in templates[example] for found in judging.cloudsplaining(item, templates[example])]

    return Memo(once, "cloudsplaining", judge)


@pytest.fixture(scope="session")
def defective() -> Template:
    """A template that checkov sees beside the good ones, so that it starts once."""
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"AccessControl": "PublicRead"}}
    return Template("defective", Path("Defective.template.json"), {"Resources": {"Bucket": bucket}})


@pytest.fixture(scope="session")
def checkov_findings(once: Once, templates: dict[str, list[Template]], defective: Template) -> Findings:
    def judge(folder: Path) -> Findings:
        everything = [template for example in CATALOGUE for template in templates[example]]
        found: Findings = {example: [] for example in [*CATALOGUE, defective.example]}
        for finding in judging.checkov([*everything, defective], folder):
            found[finding.example].append(finding)
        return found

    return once.get("checkov", judge)


@pytest.fixture(scope="session")
def all_findings(request: pytest.FixtureRequest) -> list[Finding]:
    judges: list[Findings] = [request.getfixturevalue(f"{judge}_findings") for judge in _JUDGES]
    return [finding for judge in judges for example in CATALOGUE for finding in judge[example]]


@pytest.fixture(scope="session")
def wheel(once: Once) -> Path:
    return once.get("wheel", checkouts.build_wheel)


@pytest.fixture(scope="session")
def installed_wheel(once: Once, wheel: Path) -> Path:
    return once.get("installed wheel", lambda folder: checkouts.install_wheel(wheel, folder / "site-packages"))
