"""cdk-nag: AwsSolutions, HIPAA Security, NIST 800-53 R5 and PCI DSS 3.2.1, as plug-ins of the synth."""

from __future__ import annotations

from pathlib import Path

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from tests.judges.acknowledged import ACKNOWLEDGED
from tests.judges.catalogue import CATALOGUE
from tests.judges.findings import Finding, unanswered
from tests.judges.judging import cdk_nag

pytestmark = pytest.mark.judges


@pytest.mark.parametrize("example", CATALOGUE)
def test_cdk_nag_finds_nothing_that_is_not_acknowledged(
    example: str, cdk_nag_findings: dict[str, list[Finding]]
) -> None:
    assert [] == unanswered(cdk_nag_findings[example], ACKNOWLEDGED)


def test_fails_for_a_bucket_that_anybody_may_read_in_the_clear(tmp_path: Path) -> None:
    found = cdk_nag("seeded", _bucket, tmp_path)
    rules = {finding.rule for finding in unanswered(found, ACKNOWLEDGED)}
    packs = ("HIPAA.Security", "NIST.800.53.R5", "PCI.DSS.321")
    expected = {"AwsSolutions-S10", *(f"{pack}-S3BucketSSLRequestsOnly" for pack in packs)}
    expected |= {f"{pack}-S3DefaultEncryptionKMS" for pack in packs}
    assert expected == expected & rules


@pytest.mark.parametrize("resource", ["*", "arn:aws:s3:::*", "arn:aws:s3:::images*"])
def test_fails_for_a_wildcard_that_is_not_a_prefix_of_one_bucket(resource: str, tmp_path: Path) -> None:
    found = cdk_nag("seeded", lambda app: _role(app, "s3:GetObject", resource), tmp_path)
    assert [f"AwsSolutions-IAM5[Resource::{resource}]"] == [item.rule for item in unanswered(found, ACKNOWLEDGED)]


def test_fails_for_a_wildcard_action(tmp_path: Path) -> None:
    found = cdk_nag("seeded", lambda app: _role(app, "s3:Get*", "arn:aws:s3:::images/dicom/image.dcm"), tmp_path)
    assert ["AwsSolutions-IAM5[Action::s3:Get*]"] == [item.rule for item in unanswered(found, ACKNOWLEDGED)]


def _bucket(app: App) -> None:
    s3.Bucket(Stack(app, "Seeded"), "Bucket")


def _role(app: App, action: str, resource: str) -> None:
    statement = iam.PolicyStatement(actions=[action], resources=[resource])
    iam.Role(
        Stack(app, "Seeded"),
        "Role",
        assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        inline_policies={"Policy": iam.PolicyDocument(statements=[statement])},
    )
