"""Experiments about roles: which rights and conditions an import needs, and a function in a VPC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from healthimaging_cdk._verify import templates
from healthimaging_cdk._verify.experiment import NOTED, Experiment
from healthimaging_cdk._verify.lab import Lab, error_code
from healthimaging_cdk._verify.samples import p10_file

_S3_RIGHTS = ("list input", "list output", "get", "put")
_KMS_RIGHTS = ("decrypt", "generate")
_TRUSTS = ("both", "account", "arn", "none", "wrong account")
_ENI_ACTIONS = [
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
]
_TRAIL_SECONDS = 900


def _bench_arns(lab: Lab) -> tuple[str, str, str]:
    return (
        lab.bench["DatastoreArn"],
        f"arn:{_partition(lab)}:s3:::{lab.bench['InputBucket']}",
        f"arn:{_partition(lab)}:s3:::{lab.bench['OutputBucket']}",
    )


def _partition(lab: Lab) -> str:
    return lab.bench["DatastoreArn"].split(":")[1]


def _roles(lab: Lab, stack: str, roles: Mapping[str, Mapping[str, Any]], **resources: Any) -> dict[str, str]:  # noqa: ANN401 - of a template
    """Create roles in one stack, and return their ARNs by name."""
    ids = {name: f"Role{number}" for number, name in enumerate(roles)}
    outputs = lab.deploy(
        stack,
        templates.template(
            {**resources, **{ids[name]: role for name, role in roles.items()}},
            {ids[name]: templates.get(ids[name], "Arn") for name in roles},
        ),
    )
    return {name: outputs[ids[name]] for name in roles}


def _import_with(lab: Lab, prefix: str, token: str, role_arn: str, **changes: str) -> str:
    job = lab.job(lab.start_with_new_role(prefix, token, dataAccessRoleArn=role_arn, **changes))
    summary = lab.manifest(job) if job["jobStatus"] == "COMPLETED" else None
    return f"{job['jobStatus']}, {summary['numberOfImportedFiles']} imported" if summary else str(job["jobStatus"])


def _s3_rights(lab: Lab) -> Mapping[str, str]:
    arns = _bench_arns(lab)
    lab.upload("rights/", {"image.dcm": p10_file("rights")})
    roles = {right: templates.data_access_role(*arns, without=[right]) for right in _S3_RIGHTS}
    created = _roles(lab, "s3-rights", {"none": templates.data_access_role(*arns), **roles})
    answers = {"with all four rights": _import_with(lab, "rights/", "s3-none", created.pop("none"))}
    for right, arn in created.items():
        answers[f"without {right}"] = _import_with(lab, "rights/", f"s3-{right.replace(' ', '-')}", arn)
    return answers


def _kms_rights(lab: Lab) -> Mapping[str, str]:
    datastore_arn = lab.bench["DatastoreArn"]
    buckets = (templates.get("Input", "Arn"), templates.get("Output", "Arn"))
    key_arn = templates.get("Key", "Arn")
    roles = {"none": templates.data_access_role(datastore_arn, *buckets, key_arn=key_arn)}
    for right in _KMS_RIGHTS:
        roles[right] = templates.data_access_role(datastore_arn, *buckets, without=[right], key_arn=key_arn)
    ids = {name: f"Role{number}" for number, name in enumerate(roles)}
    resources = {
        "Key": templates.key(),
        "Input": templates.bucket("Key"),
        "Output": templates.bucket("Key"),
        **{ids[name]: role for name, role in roles.items()},
    }
    outputs = lab.deploy(
        "kms-rights",
        templates.template(
            resources,
            {
                "Input": {"Ref": "Input"},
                "Output": {"Ref": "Output"},
                **{ids[name]: templates.get(ids[name], "Arn") for name in roles},
            },
        ),
    )
    lab.client("s3").put_object(Bucket=outputs["Input"], Key="kms/image.dcm", Body=p10_file("kms"))
    places = {"inputS3Uri": f"s3://{outputs['Input']}/kms/", "outputS3Uri": f"s3://{outputs['Output']}/kms/"}
    answers = {"with both rights": _import_with(lab, "kms/", "kms-none", outputs[ids["none"]], **places)}
    for right in _KMS_RIGHTS:
        answers[f"without {right}"] = _import_with(lab, "kms/", f"kms-{right}", outputs[ids[right]], **places)
    return answers


def _trust(lab: Lab) -> Mapping[str, str]:
    arns = _bench_arns(lab)
    lab.upload("trust/", {"image.dcm": p10_file("trust")})
    began = datetime.now(UTC) - timedelta(minutes=1)
    created = _roles(lab, "trust", {trust: templates.data_access_role(*arns, trust=trust) for trust in _TRUSTS})
    answers = {}
    for trust, arn in created.items():
        try:
            seen = _import_with(lab, "trust/", f"trust-{trust.replace(' ', '-')}", arn)
        except ClientError as error:
            seen = f"refused: {error_code(error)}"
        answers[f"trust with condition: {trust}"] = seen
    answers["what CloudTrail says of AssumeRole"] = _assume_role_events(lab, created["both"], began)
    return answers


def _assume_role_events(lab: Lab, role_arn: str, began: datetime) -> str:
    """Name what CloudTrail shows of HealthImaging's AssumeRole. Its events take up to a quarter of an hour."""

    def look() -> str | None:
        pages = lab.client("cloudtrail").get_paginator("lookup_events")
        attributes = [{"AttributeKey": "EventName", "AttributeValue": "AssumeRole"}]
        for page in pages.paginate(LookupAttributes=attributes, StartTime=began):
            for event in page["Events"]:
                text = event.get("CloudTrailEvent", "")
                if role_arn in text:
                    members = [
                        name
                        for name in ("invokedBy", "sourceIdentity", "aws:SourceArn", "SourceAccount")
                        if name in text
                    ]
                    return f"names {', '.join(members) or 'none of the condition keys'}"
        return None

    try:
        return lab.wait_for(look, "CloudTrail", _TRAIL_SECONDS if lab.pause >= 1 else lab.pause)
    except (ClientError, TimeoutError) as error:
        return f"not seen: {type(error).__name__}"


def _role_that_is_not_there(lab: Lab) -> Mapping[str, str]:
    arn = f"arn:{_partition(lab)}:iam::{lab.account}:role/healthimaging-verify-no-such-role"
    try:
        lab.start("empty/", "no-role", dataAccessRoleArn=arn)
    except ClientError as error:
        return {"a role that does not exist": f"refused: {error_code(error)}"}
    return {"a role that does not exist": "a job was started"}


def _vpc_function(lab: Lab) -> Mapping[str, str]:
    interfaces = {"Fn::Sub": "arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:network-interface/*"}
    places: dict[str, list[dict[str, Any]]] = {
        "the network interface actions on *": [{"Effect": "Allow", "Action": _ENI_ACTIONS, "Resource": "*"}],
        "deleting and addresses on network-interface/* only": [
            {"Effect": "Allow", "Action": _ENI_ACTIONS[:1] + _ENI_ACTIONS[2:4], "Resource": "*"},
            {"Effect": "Allow", "Action": [_ENI_ACTIONS[1], *_ENI_ACTIONS[4:]], "Resource": interfaces},
        ],
    }
    answers = {}
    for number, (name, statements) in enumerate(places.items()):
        stack = f"vpc-{number}"
        try:
            lab.deploy(stack, _function_in_a_vpc(statements))
            answers[f"a function with {name}"] = "created"
        except WaiterError:
            answers[f"a function with {name}"] = "refused" if lab.failures(stack) else "failed"
    return answers


def _function_in_a_vpc(statements: list[dict[str, Any]]) -> dict[str, Any]:
    policies = [{"PolicyName": "network", "PolicyDocument": templates.document(statements)}]
    network = {"SubnetIds": [{"Ref": "Subnet"}], "SecurityGroupIds": [{"Ref": "Group"}]}
    return templates.template(
        {
            "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.99.0.0/24"}},
            "Subnet": {
                "Type": "AWS::EC2::Subnet",
                "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.99.0.0/28"},
            },
            "Group": {
                "Type": "AWS::EC2::SecurityGroup",
                "Properties": {"GroupDescription": "healthimaging-cdk verify-aws", "VpcId": {"Ref": "Vpc"}},
            },
            "Role": templates.role("lambda.amazonaws.com", policies),
            "Function": {
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "Runtime": "python3.13",
                    "Handler": "index.handler",
                    "Code": {"ZipFile": "def handler(event, context):\n    return None\n"},
                    "Role": templates.get("Role", "Arn"),
                    "VpcConfig": network,
                },
            },
        }
    )


EXPERIMENTS = (
    Experiment(
        "s3-rights",
        "Which rights on S3 a job needs, each left out in turn.",
        {
            "with all four rights": "COMPLETED, 1 imported",
            "without list input": "FAILED",
            "without list output": "COMPLETED, 1 imported",
            "without get": "FAILED",
            "without put": "FAILED",
        },
        11, 0.0, _s3_rights,
    ),
    Experiment(
        "kms-rights",
        "Which rights on the buckets' KMS key a job needs, each left out in turn.",
        {
            "with both rights": "COMPLETED, 1 imported",
            "without decrypt": "FAILED",
            "without generate": "FAILED",
        },
        8, 0.05, _kms_rights,
    ),
    Experiment(
        "trust",
        "Which conditions of a trust policy HealthImaging meets.",
        {
            **{f"trust with condition: {trust}": "COMPLETED, 1 imported" for trust in _TRUSTS[:-1]},
            "trust with condition: wrong account": "refused: ValidationException",
            "what CloudTrail says of AssumeRole": NOTED,
        },
        26, 0.0, _trust,
    ),
    Experiment(
        "missing-role",
        "A job whose role does not exist.",
        {"a role that does not exist": "refused: ValidationException"},
        1, 0.0, _role_that_is_not_there,
    ),
    Experiment(
        "vpc-function",
        "Which rights a function's role needs before Lambda puts the function into a VPC.",
        {
            "a function with the network interface actions on *": "created",
            "a function with deleting and addresses on network-interface/* only": "refused",
        },
        25, 0.0, _vpc_function,
    ),
)  # fmt: skip
