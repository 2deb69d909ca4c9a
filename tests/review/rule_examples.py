"""A passing and a failing template for each rule: docs/rules.md shows them, and tests run them."""

from __future__ import annotations

import copy
from typing import Any

Document = dict[str, Any]

RETAINED = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
KEY_ARN = {"Fn::GetAtt": ["Key", "Arn"]}
STORE_ARN = {"Fn::GetAtt": ["Store", "DatastoreArn"]}
IMAGE_SETS = {"Fn::Sub": "${Store.DatastoreArn}/imageset/*"}
STORE = {
    "Type": "AWS::HealthImaging::Datastore",
    **RETAINED,
    "Properties": {"DatastoreName": "radiology", "KmsKeyArn": KEY_ARN},
}
KEY = {"Type": "AWS::KMS::Key", **RETAINED, "Properties": {"KeyPolicy": {"Statement": []}}}
TRUST = {
    "Effect": "Allow",
    "Principal": {"Service": "medical-imaging.amazonaws.com"},
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
}


def template(**resources: Document) -> Document:
    """A template of some resources."""
    return {"Resources": resources}


def role(*statements: Document, trust: Document = TRUST) -> Document:
    """A role with statements."""
    properties: Document = {"AssumeRolePolicyDocument": {"Statement": [trust]}}
    if statements:
        properties["Policies"] = [{"PolicyName": "Access", "PolicyDocument": {"Statement": list(statements)}}]
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def viewer(*statements: Document) -> Document:
    """A role that a function assumes."""
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    return role(*statements, trust=trust)


def allow(action: str | list[str], resource: Any, **more: Any) -> Document:
    """A statement."""
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def changed(document: Document, *path: str, value: Any = None) -> Document:
    """A template with one member changed; without a value it is taken away."""
    found = copy.deepcopy(document)
    node = found["Resources"]
    for key in path[:-1]:
        node = node[key]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return found


def trusting(**changes: Any) -> Document:
    """A template with a role that HealthImaging assumes."""
    return template(Role=role(trust={**TRUST, **changes}))


def importing(**properties: Any) -> Document:
    """A template with an import."""
    given = {
        "ServiceToken": "arn:aws:lambda:us-east-1:111122223333:function:import",
        "ServiceTimeout": 900,
        "DatastoreId": "0123456789abcdef0123456789abcdef",
        "InputS3Uri": "s3://images/studies/2026/",
        "OutputS3Uri": "s3://results/imports/",
        **properties,
    }
    return template(
        Import={"Type": "Custom::DicomImport", "Properties": {k: v for k, v in given.items() if v is not None}}
    )


def imports(count: int, *, ordered: bool) -> Document:
    """A template with several imports."""
    found = {}
    for index in range(count):
        found[f"Import{index}"] = importing()["Resources"]["Import"]
        if ordered and index:
            found[f"Import{index}"]["DependsOn"] = f"Import{index - 1}"
    return template(**found)


def data_access(*statements: Document) -> Document:
    """A template with a bucket, its key, and a data access role."""
    encryption = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY_ARN}}
    bucket = {
        "Type": "AWS::S3::Bucket",
        "Properties": {"BucketEncryption": {"ServerSideEncryptionConfiguration": [encryption]}},
    }
    return template(Key=KEY, Images=bucket, Role=role(*statements))


BUCKET_ARN = {"Fn::GetAtt": ["Images", "Arn"]}
LIST = allow("s3:ListBucket", BUCKET_ARN)
READ = allow("s3:GetObject", {"Fn::Sub": "${Images.Arn}/studies/*"})
WRITE = allow("s3:PutObject", {"Fn::Sub": "${Images.Arn}/results/*"})
USE_KEY = allow(["kms:Decrypt", "kms:GenerateDataKey"], KEY_ARN)

PASS = allow(
    "iam:PassRole",
    {"Fn::GetAtt": ["Role", "Arn"]},
    Condition={"StringEquals": {"iam:PassedToService": "medical-imaging.amazonaws.com"}},
)
START = allow("medical-imaging:StartDICOMImportJob", STORE_ARN)


def passing(statement: Document, passed: Document) -> Document:
    """A template in which somebody passes a role to HealthImaging."""
    return template(Store=STORE, Key=KEY, Role=passed, Starter=viewer(START, statement))


def event_rule(**pattern: Any) -> Document:
    """A template with an event rule."""
    return template(Rule={"Type": "AWS::Events::Rule", "Properties": {"EventPattern": pattern}})


def alarm(**changes: Any) -> Document:
    """A template with an alarm."""
    properties = {
        "Namespace": "AWS/HealthImaging",
        "MetricName": "StorageBytes",
        "Dimensions": [{"Name": "DatastoreId", "Value": "0123456789abcdef0123456789abcdef"}],
    }
    return template(Alarm={"Type": "AWS::CloudWatch::Alarm", "Properties": {**properties, **changes}})


_STORE = template(Store=STORE, Key=KEY)
_EVENT = {
    "source": ["aws.medical-imaging"],
    "detail-type": ["Import Job Failed"],
    "detail": {"datastoreId": ["0123456789abcdef0123456789abcdef"]},
}


def _machine(call: str) -> Document:
    task = {"Type": "Task", "Resource": f"arn:aws:states:::aws-sdk:{call}", "End": True}
    definition = {"StartAt": "Start", "States": {"Start": task}}
    return template(Machine={"Type": "AWS::StepFunctions::StateMachine", "Properties": {"Definition": definition}})


EXAMPLES: dict[str, tuple[Document, Document]] = {
    "HI101": (_STORE, changed(_STORE, "Store", "UpdateReplacePolicy")),
    "HI102": (_STORE, changed(_STORE, "Store", "Properties", "Tags", value={"team": "radiology"})),
    "HI103": (
        _STORE,
        {
            "Parameters": {"Name": {"Type": "String"}},
            **changed(_STORE, "Store", "Properties", "DatastoreName", value={"Ref": "Name"}),
        },
    ),
    "HI104": (_STORE, changed(_STORE, "Store", "Properties", "KmsKeyArn")),
    "HI105": (_STORE, changed(_STORE, "Key", "DeletionPolicy")),
    "HI106": (
        template(
            Viewer=viewer(allow("medical-imaging:GetDatastore", "arn:aws:medical-imaging:eu-west-1:*:datastore/a"))
        ),
        template(
            Viewer=viewer(allow("medical-imaging:GetDatastore", "arn:aws:medical-imaging:eu-north-1:*:datastore/a"))
        ),
    ),
    "HI201": (
        trusting(),
        trusting(Condition={"ArnLike": {"aws:SourceArn": "arn:aws:medical-imaging:*:*:datastore/*"}}),
    ),
    "HI202": (
        trusting(),
        trusting(Condition={"ForAllValues:StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}),
    ),
    "HI203": (trusting(), trusting(Principal={"Service": "healthimaging.amazonaws.com"})),
    "HI204": (
        trusting(),
        trusting(
            Condition={
                "StringEquals": {
                    "aws:SourceAccount": {"Ref": "AWS::AccountId"},
                    "aws:SourceAcount": {"Ref": "AWS::AccountId"},
                }
            }
        ),
    ),
    "HI301": (
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:GetDatastore", STORE_ARN))),
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:*", [STORE_ARN, IMAGE_SETS]))),
    ),
    "HI302": (
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:GetDatastore", STORE_ARN))),
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:DescribeDatastore", STORE_ARN))),
    ),
    "HI303": (
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:GetImageFrame", [STORE_ARN, IMAGE_SETS]))),
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:GetImageFrame", IMAGE_SETS))),
    ),
    "HI304": (
        template(Store=STORE, Key=KEY, Viewer=viewer(allow("medical-imaging:GetImageFrame", [STORE_ARN, IMAGE_SETS]))),
        template(Viewer=viewer(allow("medical-imaging:GetImageFrame", "arn:aws:medical-imaging:*:*:datastore/*"))),
    ),
    "HI305": (passing(PASS, role()), passing({**PASS, "Resource": "*"}, role())),
    "HI307": (passing(PASS, role()), passing(PASS, viewer())),
    "HI401": (data_access(LIST, READ, WRITE, USE_KEY), data_access(LIST, READ, WRITE)),
    "HI402": (
        data_access(LIST, READ, WRITE, USE_KEY),
        data_access(LIST, READ, allow("s3:PutObject", {"Fn::Sub": "${Images.Arn}/*"}), USE_KEY),
    ),
    "HI501": (importing(), importing(ServiceTimeout=None)),
    "HI502": (importing(RunId="second-try"), importing(DeployedAt="2026-11-28T16:43:09Z")),
    "HI503": (importing(), importing(InputS3Uri="s3://images/studies/2026")),
    "HI504": (importing(), importing(OutputS3Uri="s3://images/studies/2026/results/")),
    "HI506": (imports(3, ordered=True), imports(3, ordered=False)),
    "HI507": (_machine("medicalimaging:startDICOMImportJob"), _machine("medicalimaging:startDicomImportJob")),
    "HI701": (event_rule(**_EVENT), event_rule(**{**_EVENT, "detail-type": ["DICOM Import Job Failed"]})),
    "HI801": (alarm(), alarm(MetricName="BytesStored")),
}
"""Passing and failing, by the id of the rule."""
