"""The examples of examples/ under cfn-lint and the rules for HealthImaging: what they show others will copy.

What the constructs in them make is judged by all judges in the catalogue; these are the apps around it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from aws_cdk import App

from healthimaging_cdk.review.checks import find
from healthimaging_cdk.review.reading.assembly import load_assembly
from tests.examples_apps import EXAMPLES, build
from tests.judges import judging
from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import Template, read_templates
from tests.judges.findings import unanswered
from tests.judges.judging import CfnLint

pytestmark = pytest.mark.judges


@pytest.fixture(scope="module")
def example_templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Template]]:
    def synthesize(name: str) -> list[Template]:
        outdir = tmp_path_factory.mktemp("example")
        build(name, App(outdir=str(outdir), analytics_reporting=False)).synth()
        # The pipeline itself is CDK's own construct; its stages are what the example shows.
        return [item for item in read_templates(name, outdir) if item.path.name != "Pipeline.template.json"]

    return {name: synthesize(name) for name in EXAMPLES}


@pytest.mark.parametrize("name", EXAMPLES)
def test_cfn_lint_finds_nothing_in_the_example(
    name: str, example_templates: dict[str, list[Template]], cfn_lint_runner: CfnLint
) -> None:
    found = [finding for item in example_templates[name] for finding in cfn_lint_runner.findings(item)]
    assert [] == unanswered(found, ACKNOWLEDGED)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rules_find_nothing_that_the_example_does_not_acknowledge(
    name: str, example_templates: dict[str, list[Template]]
) -> None:
    assert [] == unanswered(judging.health_imaging_checks(example_templates[name]), ACKNOWLEDGED)


def test_what_the_example_acknowledges_is_found_without_it(tmp_path: Path) -> None:
    app = build("development-store", App(outdir=str(tmp_path), analytics_reporting=False))
    app.synth()
    found = find(load_assembly(tmp_path), is_strict=True)
    assert {"HI101", "HI105"} == {item.id for item in found if item.acknowledged}
