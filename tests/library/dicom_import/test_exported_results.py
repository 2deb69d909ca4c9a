"""What each import changes cannot be an export in use: synth warns, and says what works."""

from __future__ import annotations

import pytest
from aws_cdk import App, CfnOutput, Fn, NestedStack, Stack, assertions
from aws_cdk import aws_ssm as ssm

from healthimaging_cdk import DicomImport
from tests.feature_flags import REFERENCES

pytestmark = pytest.mark.slow

CHANGING = ["manifest_uri", "job_id", "job_status", "submitted_at", "number_of_imported_files", "summary", "warnings"]


def warned(strength: str, *used: str) -> list[str]:
    app = App(analytics_reporting=False, post_cli_context={REFERENCES: strength})
    stack, other = Stack(app, "Work"), Stack(app, "Other")
    import_ = DicomImport(stack, "Import")
    for name in used:
        CfnOutput(other, name.replace("_", ""), value=getattr(import_, name))
    return warnings_of(stack)


def warnings_of(stack: Stack) -> list[str]:
    stack.node.root.synth()
    found = assertions.Annotations.from_stack(stack).find_warning("*", assertions.Match.any_value())
    return [str(it.entry.data) for it in found if "exportedResults" in str(it.entry.data)]


@pytest.mark.long
@pytest.mark.parametrize("strength", ["strong", "both"])
@pytest.mark.parametrize("name", CHANGING)
def test_an_export_of_a_result_is_warned_of(strength, name):
    (warning,) = warned(strength, name)
    assert "is exported to another stack, and CloudFormation refuses to change an export in use" in warning
    assert "a parameter of SSM or by a weak reference (docs/deploys.md)" in warning


def test_one_warning_names_all_results():
    (warning,) = warned("strong", "manifest_uri", "job_id")
    assert warning.startswith("JobId, ManifestUri of this import")


def test_what_lasts_and_what_is_weak_is_not_warned_of():
    assert [] == warned("strong", "datastore_id")
    assert [] == warned("weak", *CHANGING)
    assert [] == warned("strong")


@pytest.mark.parametrize("name", CHANGING)
def test_an_output_that_exports_a_result_by_name_is_warned_of(stack, name):
    """Whether or not a stack of this app imports it: others can."""
    import_ = DicomImport(stack, "Import")
    CfnOutput(stack, "Told", value=getattr(import_, name), export_name="imaging-result")
    (warning,) = warnings_of(stack)
    assert "of this import is exported by Stack/Told, and CloudFormation refuses to change an export in use" in warning
    assert "Hand it over by an output without export_name, a parameter of SSM or by a weak reference" in warning


def test_a_result_inside_an_exported_text_is_warned_of(stack):
    import_ = DicomImport(stack, "Import")
    CfnOutput(stack, "Told", value=Fn.join("/", ["job", import_.job_id]), export_name="imaging-result")
    (warning,) = warnings_of(stack)
    assert warning.startswith("JobId of this import is exported by Stack/Told")


def test_the_result_of_a_nested_import_that_its_parent_exports_is_warned_of(stack):
    import_ = DicomImport(NestedStack(stack, "Nested"), "Import")
    CfnOutput(stack, "Told", value=import_.manifest_uri, export_name="imaging-manifest")
    (warning,) = warnings_of(stack)
    assert warning.startswith("ManifestUri of this import is exported by Stack/Told")


def test_exports_of_what_lasts_and_outputs_that_are_no_exports_are_not_warned_of(stack):
    import_ = DicomImport(stack, "Import")
    CfnOutput(stack, "Store", value=import_.datastore_id, export_name="imaging-store")
    CfnOutput(stack, "Bucket", value=import_.output_bucket.bucket_name, export_name="imaging-results")
    CfnOutput(stack, "Told", value=import_.manifest_uri)
    assert [] == warnings_of(stack)


def test_each_import_is_warned_of_its_own_exports(stack):
    first, second = DicomImport(stack, "First"), DicomImport(stack, "Second")
    CfnOutput(stack, "Told", value=second.job_id, export_name="imaging-job")
    CfnOutput(stack, "Store", value=first.datastore_id, export_name="imaging-store")
    (warning,) = warnings_of(stack)
    assert warning.startswith("JobId of this import is exported by Stack/Told")


def test_a_parameter_of_ssm_hands_a_result_over(app):
    stack, other = Stack(app, "Work"), Stack(app, "Other")
    import_ = DicomImport(stack, "Import")
    ssm.StringParameter(stack, "Manifest", parameter_name="/imaging/manifest", string_value=import_.manifest_uri)
    value = ssm.StringParameter.value_for_string_parameter(other, "/imaging/manifest")
    CfnOutput(other, "Manifest", value=value)
    app.synth()
    found = assertions.Annotations.from_stack(stack).find_warning("*", assertions.Match.any_value())
    assert [] == [it.entry.data for it in found]
