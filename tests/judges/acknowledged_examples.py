"""The findings that stay in the examples of examples/, on top of those that the catalogue acknowledges.

docs/judges.md shows the same table.
"""

from __future__ import annotations

from tests.judges.findings import Acknowledgement

SAME_AS = {
    "development-store": "removed with the stack",
    "existing-store-and-buckets": "bring your own",
    "notifications": "watched",
    "pipeline": "ready-made app",
    "private-network": "in a VPC",
}
"""The entry of the catalogue that uses what an example uses: its acknowledgements are the example's as well."""

_DEVELOPMENT, _NETWORK = ("development-store",), ("private-network",)
_AUTO_DELETE = (
    "CDK writes it for auto_delete_objects, for its own provider, which deletes the objects and their bucket with the "
    "stack. The example is a store for development, where that is wanted; the other examples keep their buckets."
)
_VPC = (
    "The VPC stands for the one that the user has, so that the example can be deployed alone. Flow logs and the rules "
    "of its default security group are its owner's; nothing here uses that group, and no subnet has internet egress."
)
_NO_DIGITS = (
    "The rule cannot read the range of the VPC from a reference, and says so. The group of the endpoints lets in port "
    "443 from this range and nothing else."
)

OF_EXAMPLES = [
    Acknowledgement(
        (
            "Control Tower: CT.S3.PR.11",
            "cdk-nag: HIPAA.Security-S3BucketVersioningEnabled",
            "cdk-nag: NIST.800.53.R5-S3BucketVersioningEnabled",
            "cdk-nag: PCI.DSS.321-S3BucketVersioningEnabled",
            "checkov: CKV_AWS_21",
        ),
        "AWS::S3::Bucket",
        "The bucket holds phantoms for development, copies of files beside the app, and goes with its stack. The "
        "buckets of the other examples have versions.",
        _DEVELOPMENT,
    ),
    Acknowledgement(
        (
            "IAM: s3:PutBucketPolicy on the wrong resource",
            "IAM: wildcard action s3:DeleteObject*",
            "IAM: wildcard action s3:GetBucket*",
            "IAM: wildcard action s3:List*",
        ),
        "AWS::S3::BucketPolicy",
        _AUTO_DELETE,
        _DEVELOPMENT,
    ),
    Acknowledgement(("IAM: managed policy",), "AWS::IAM::Role", _AUTO_DELETE, _DEVELOPMENT),
    Acknowledgement(
        (
            "cdk-nag: AwsSolutions-VPC7",
            "cdk-nag: HIPAA.Security-VPCDefaultSecurityGroupClosed",
            "cdk-nag: HIPAA.Security-VPCFlowLogsEnabled",
            "cdk-nag: NIST.800.53.R5-VPCDefaultSecurityGroupClosed",
            "cdk-nag: NIST.800.53.R5-VPCFlowLogsEnabled",
            "cdk-nag: PCI.DSS.321-VPCDefaultSecurityGroupClosed",
            "cdk-nag: PCI.DSS.321-VPCFlowLogsEnabled",
        ),
        "AWS::EC2::VPC",
        _VPC,
        _NETWORK,
    ),
    Acknowledgement(
        (
            "cdk-nag: AwsSolutions-EC23",
            "cdk-nag: HIPAA.Security-EC2RestrictedCommonPorts",
            "cdk-nag: HIPAA.Security-EC2RestrictedSSH",
            "cdk-nag: NIST.800.53.R5-EC2RestrictedCommonPorts",
            "cdk-nag: NIST.800.53.R5-EC2RestrictedSSH",
            "cdk-nag: PCI.DSS.321-EC2RestrictedCommonPorts",
            "cdk-nag: PCI.DSS.321-EC2RestrictedSSH",
        ),
        "AWS::EC2::SecurityGroup",
        _NO_DIGITS,
        _NETWORK,
    ),
]
