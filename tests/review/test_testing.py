"""healthimaging_cdk.testing, as users' tests use it."""

from __future__ import annotations

from pathlib import Path

import pytest
from aws_cdk import Acknowledgment, App, RemovalPolicy, Stack, Validations, assertions

from healthimaging_cdk import Datastore, DicomImport
from healthimaging_cdk.testing import assert_imports, assert_no_findings, assert_store_is_retained
from tests.review.rule_examples import EXAMPLES, importing, template, viewer


@pytest.mark.slow
def test_an_import_passes_all_of_them(stack: Stack) -> None:
    DicomImport(stack, "Import")
    synthesized = assertions.Template.from_stack(stack)
    assert_store_is_retained(synthesized)
    assert_imports(synthesized, source="dicom/", output="results/")
    assert_no_findings(synthesized)


@pytest.mark.parametrize("example", ["HI101", "HI105"])
def test_fails_for_a_store_or_a_key_that_is_not_retained(example: str) -> None:
    with pytest.raises(AssertionError, match="must be Retain"):
        assert_store_is_retained(EXAMPLES[example][1])


def test_fails_without_a_store() -> None:
    with pytest.raises(AssertionError, match="there is no data store"):
        assert_store_is_retained(template(Role=viewer()))


def test_an_import_is_told_by_its_uri() -> None:
    assert_imports(importing())
    assert_imports(importing(), source="s3://images/studies/2026/", output="s3://results/imports/")


def test_fails_for_another_source_and_lists_what_there_is() -> None:
    with pytest.raises(
        AssertionError, match=r"(?s)no import of studies/2027/.*Import imports s3://images/studies/2026/"
    ):
        assert_imports(importing(), source="studies/2027/")


def test_fails_with_each_finding_and_its_fix() -> None:
    with pytest.raises(AssertionError, match=r"HI102 error at Store: .* Fix: tag the store"):
        assert_no_findings(EXAMPLES["HI102"][1])


def test_a_rule_that_is_ignored_does_not_count() -> None:
    assert_no_findings(EXAMPLES["HI102"][1], ignore={"HI102": "a test account"})


def test_what_a_stack_acknowledges_does_not_count(app: App, tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    stack = Stack(app, "Stack")
    store = Datastore(stack, "Store", removal_policy=RemovalPolicy.DESTROY)
    for rule in ("HI101", "HI104"):
        Validations.of(store).acknowledge(Acknowledgment(id=f"HealthImagingChecks::{rule}", reason="A test account"))
    assert_no_findings(stack)
    assert_no_findings(tmp_path)


@pytest.mark.slow
def test_a_stack_is_looked_at_alone(app: App) -> None:
    Datastore(Stack(app, "Other"), "Store", removal_policy=RemovalPolicy.DESTROY)
    stack = Stack(app, "Stack")
    DicomImport(stack, "Import")
    assert_no_findings(stack)


@pytest.mark.parametrize("given", [None, 1, "cdk.out", []])
def test_fails_for_what_is_no_template(given: object) -> None:
    with pytest.raises(TypeError, match=r"template must be an aws_cdk\.assertions\.Template"):
        assert_no_findings(given)
