"""The examples of examples/ under cfn-lint and the rules for HealthImaging: what they show others will copy.

What the constructs in them make is judged by all judges in the catalogue; these are the apps around it.
"""

from __future__ import annotations

import pytest
from aws_cdk import App

from tests.examples_apps import EXAMPLES, build
from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import Template, read_templates
from tests.judges.findings import Finding, unanswered
from tests.judges.judging import CfnLint, CloudFormationValidate

pytestmark = pytest.mark.judges

ACCEPTED: dict[tuple[str, str], str] = {
    ("development-store", "healthimaging_bucket_is_retained"): "the example is there to leave nothing behind",
    ("development-store", "healthimaging_datastore_is_retained"): "the example is there to leave nothing behind",
    ("development-store", "healthimaging_key_is_retained"): "the example is there to leave nothing behind",
}
"""Findings that an example has on purpose, and why."""


@pytest.fixture(scope="module")
def example_templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Template]]:
    def synthesize(name: str) -> list[Template]:
        outdir = tmp_path_factory.mktemp("example")
        build(name, App(outdir=str(outdir), analytics_reporting=False)).synth()
        # The pipeline itself is CDK's own construct; its stages are what the example shows.
        return [item for item in read_templates(name, outdir) if item.path.name != "Pipeline.template.json"]

    return {name: synthesize(name) for name in EXAMPLES}


def rules(name: str, found: list[Finding]) -> list[str]:
    """What neither the table of all templates nor the one above takes."""
    return sorted({it.rule for it in unanswered(found, ACKNOWLEDGED) if (name, it.rule) not in ACCEPTED})


@pytest.mark.parametrize("name", EXAMPLES)
def test_cfn_lint_finds_nothing_in_the_example(
    name: str, example_templates: dict[str, list[Template]], cfn_lint_runner: CfnLint
) -> None:
    found = [finding for item in example_templates[name] for finding in cfn_lint_runner.findings(item)]
    assert [] == rules(name, found)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rules_for_healthimaging_find_nothing_in_the_example(
    name: str, example_templates: dict[str, list[Template]], validate_engine: CloudFormationValidate
) -> None:
    found = [finding for item in example_templates[name] for finding in validate_engine.findings(item)]
    assert [] == rules(name, found)


def test_what_is_accepted_is_still_found(
    example_templates: dict[str, list[Template]], validate_engine: CloudFormationValidate
) -> None:
    found = {
        (name, it.rule)
        for name in EXAMPLES
        for item in example_templates[name]
        for it in validate_engine.findings(item)
    }
    assert set() == set(ACCEPTED) - found
