"""What each import changes cannot be an export in use: synth warns, and says what works."""

from __future__ import annotations

import pytest
from aws_cdk import App, CfnOutput, Stack, assertions
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
    app.synth()
    found = assertions.Annotations.from_stack(stack).find_warning("*", assertions.Match.any_value())
    return [str(it.entry.data) for it in found if "exportedResults" in str(it.entry.data)]


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


def test_a_parameter_of_ssm_hands_a_result_over(app):
    stack, other = Stack(app, "Work"), Stack(app, "Other")
    import_ = DicomImport(stack, "Import")
    ssm.StringParameter(stack, "Manifest", parameter_name="/imaging/manifest", string_value=import_.manifest_uri)
    value = ssm.StringParameter.value_for_string_parameter(other, "/imaging/manifest")
    CfnOutput(other, "Manifest", value=value)
    app.synth()
    found = assertions.Annotations.from_stack(stack).find_warning("*", assertions.Match.any_value())
    assert [] == [it.entry.data for it in found]
