"""What ``cdk bootstrap`` deploys, as far as deploys of file assets need it.

The names are those of CDK's default synthesizer, the logical ids those of its bootstrap template, so that ``cdk
bootstrap`` can update the stack (CDK's developer guide, "Customize AWS CDK bootstrapping").
"""

from __future__ import annotations

from typing import Any

BOOTSTRAP_STACK = "CDKToolkit"
ASSETS_BUCKET = "cdk-hnb659fds-assets-{account}-{region}"

_VERSION = "30"
_DEPLOY_ACTIONS = [
    "cloudformation:*",
    "s3:GetObject*",
    "s3:GetBucket*",
    "s3:List*",
    "s3:PutObject*",
    "s3:DeleteObject*",
    "s3:Abort*",
    "ssm:GetParameter",
    "ssm:GetParameters",
    "sts:GetCallerIdentity",
]


def bootstrap_template(account: str, region: str) -> dict[str, Any]:
    """Return the template of the stack ``CDKToolkit``."""
    bucket = ASSETS_BUCKET.format(account=account, region=region)
    role = f"arn:aws:iam::{account}:role/cdk-hnb659fds-{{}}-role-{account}-{region}"
    own_account = {"AWS": f"arn:aws:iam::{account}:root"}
    contents = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    publishing = _allow(["s3:GetObject*", "s3:GetBucket*", "s3:List*", "s3:DeleteObject*", "s3:PutObject*"], contents)
    pass_role = _allow(["iam:PassRole"], [role.format("cfn-exec")])
    deploying = [_allow(_DEPLOY_ACTIONS, ["*"]), pass_role]
    reading = [_allow(["*:Describe*", "*:Get*", "*:List*"], ["*"])]
    everything = [_allow(["*"], ["*"])]
    resources = {
        "StagingBucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": bucket}},
        "FilePublishingRole": _role("file-publishing", account, region, own_account, [publishing]),
        "ImagePublishingRole": _role("image-publishing", account, region, own_account, [_allow(["ecr:*"], ["*"])]),
        "LookupRole": _role("lookup", account, region, own_account, reading),
        "DeploymentActionRole": _role("deploy", account, region, own_account, deploying),
        "CloudFormationExecutionRole": _role(
            "cfn-exec", account, region, {"Service": "cloudformation.amazonaws.com"}, everything
        ),
        "CdkBootstrapVersion": {
            "Type": "AWS::SSM::Parameter",
            "Properties": {"Type": "String", "Name": "/cdk-bootstrap/hnb659fds/version", "Value": _VERSION},
        },
    }
    outputs = {
        "BucketName": {"Value": {"Ref": "StagingBucket"}},
        "BucketDomainName": {"Value": {"Fn::GetAtt": ["StagingBucket", "RegionalDomainName"]}},
        "BootstrapVersion": {"Value": {"Fn::GetAtt": ["CdkBootstrapVersion", "Value"]}},
    }
    return {"Description": "Stands for CDK's bootstrap stack", "Resources": resources, "Outputs": outputs}


def _role(name: str, account: str, region: str, who: dict[str, str], allowed: list[dict[str, Any]]) -> dict[str, Any]:
    trust = {"Effect": "Allow", "Principal": who, "Action": ["sts:AssumeRole"]}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": f"cdk-hnb659fds-{name}-role-{account}-{region}",
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": "default", "PolicyDocument": {"Version": "2012-10-17", "Statement": allowed}}],
        },
    }


def _allow(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}
