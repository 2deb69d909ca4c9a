"""The examples of examples/ under every judge: what they show, others will copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from aws_cdk import App

from healthimaging_cdk.review.checks import find
from healthimaging_cdk.review.reading.assembly import load_assembly
from tests.examples_apps import EXAMPLES, build
from tests.judges import judging, policies
from tests.judges.acknowledged import ACKNOWLEDGED, table
from tests.judges.acknowledged_examples import OF_EXAMPLES, SAME_AS
from tests.judges.catalogue import CATALOGUE, Template, read_templates
from tests.judges.findings import Acknowledgement, Finding, unanswered

pytestmark = [pytest.mark.judges, pytest.mark.long]

CONTEXT = {"another-account": {"images_key_arn": "arn:aws:kms:us-east-1:444455556666:key/1"}}
"""What an example is told so that it creates all of its stacks."""
PIPELINE = "Pipeline"
"""The stack of CDK's own construct for pipelines: the stages are what that example shows."""


def build_whole(name: str, app: App) -> App:
    return build(name, app, **CONTEXT.get(name, {}))


@pytest.fixture(scope="module")
def example_templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Template]]:
    def synthesize(name: str) -> list[Template]:
        outdir = tmp_path_factory.mktemp("example")
        build_whole(name, App(outdir=str(outdir), analytics_reporting=False)).synth()
        return [item for item in read_templates(name, outdir) if item.path.name != f"{PIPELINE}.template.json"]

    return {name: synthesize(name) for name in EXAMPLES}


@pytest.fixture(scope="module")
def example_findings(
    example_templates: dict[str, list[Template]],
    tmp_path_factory: pytest.TempPathFactory,
    cfn_lint_runner: judging.CfnLint,
    validate_engine: judging.CloudFormationValidate,
    control_tower: judging.ControlTower,
) -> list[Finding]:
    everything = [item for templates in example_templates.values() for item in templates]
    found = list(judging.checkov(everything, tmp_path_factory.mktemp("checkov")))
    for name, templates in example_templates.items():
        found += judging.health_imaging_checks(templates)
        folder = tmp_path_factory.mktemp("cdk-nag")
        nag = judging.cdk_nag(name, lambda app, name=name: build_whole(name, app), folder)
        found += [item for item in nag if not item.where.startswith(f"{PIPELINE}/")]
        for item in templates:
            found += cfn_lint_runner.findings(item)
            found += validate_engine.findings(item)
            found += control_tower.findings(item)
            found += policies.judge(item, templates)
            found += judging.cloudsplaining(item, templates)
    return found


def left_by_the_catalogue(findings: list[Finding]) -> list[Finding]:
    """The findings that the acknowledgements of the catalogue do not answer."""
    renamed = {replace(item, example=SAME_AS.get(item.example, item.example)): item for item in findings}
    return [renamed[item] for item in unanswered(renamed, ACKNOWLEDGED)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_judge_finds_in_the_example_what_is_not_acknowledged(name: str, example_findings: list[Finding]) -> None:
    found = [item for item in example_findings if item.example == name]
    assert {"checkov", "cdk-nag", "Control Tower"} <= {item.judge for item in found}
    assert [] == unanswered(left_by_the_catalogue(found), OF_EXAMPLES)


@pytest.mark.parametrize("row", OF_EXAMPLES, ids=lambda row: f"{row.findings[0]} {row.on}")
def test_every_acknowledgement_of_an_example_is_still_needed(
    row: Acknowledgement, example_findings: list[Finding]
) -> None:
    left = [item for item in left_by_the_catalogue(example_findings) if row.covers(item)]
    assert (set(row.findings), set(row.examples)) == ({it.name for it in left}, {it.example for it in left})
    assert row.reason.endswith(".")
    assert len(row.reason) > 80


def test_every_entry_that_an_example_is_like_is_one() -> None:
    assert set() == set(SAME_AS) - set(EXAMPLES)
    assert set() == set(SAME_AS.values()) - set(CATALOGUE)


def test_the_document_shows_what_is_acknowledged_in_the_examples() -> None:
    document = Path(__file__).parents[2] / "docs" / "judges.md"
    text = document.read_text(encoding="utf-8")
    assert table(OF_EXAMPLES) in text, "python -m tests.judges.acknowledged prints it anew"


def test_what_the_example_acknowledges_is_found_without_it(tmp_path: Path) -> None:
    app = build("development-store", App(outdir=str(tmp_path), analytics_reporting=False))
    app.synth()
    found = find(load_assembly(tmp_path), is_strict=True)
    assert {"HI101", "HI105"} == {item.id for item in found if item.acknowledged}
