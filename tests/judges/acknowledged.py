"""The findings that stay, each with the reason to give an auditor.

They live here and not in the constructs: a library that silences judges silences them for its users too. A row that no
finding needs any more fails the tests. docs/judges.md shows the same table; print it with
``python -m tests.judges.acknowledged``.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.judges.acknowledged_examples import OF_EXAMPLES
from tests.judges.findings import Acknowledgement

_CONCURRENCY = (
    "Reserved concurrency is taken from the account's pool; from the 10 of a new account none can be. The function is "
    "called by CloudFormation, once for a request, and one step at a time by what serves the request."
)
_NO_QUEUE = (
    "A dead-letter queue would hold requests that nobody reads, with the secret URL that answers them. No request is "
    "lost: the state machine repeats each step and answers, and ServiceTimeout ends what never got that far."
)
_NO_VPC = (
    "The function calls public AWS endpoints over TLS, serves no port, and reads nothing in a VPC. In one it needs NAT "
    "or an endpoint for each service; ImportNetwork puts it there for a team that asks for it, without this finding."
)
_LOG_KEY = (
    "The log holds ids, counts, statuses and AWS's reasons for refusing a call: no key of an image, no manifest line, "
    "no DICOM attribute, no ResponseURL. In these examples there is no customer-managed key, or only one whose policy "
    "is not this app's to edit, or one that goes with its stack while the log stays. CloudWatch Logs encrypts it with "
    "a key of its own. Any other key of an import or a data store encrypts the log too."
)
_ACCESS_LOGS = (
    "Where access logs go, who reads them and how long they stay is decided once for an account; CloudTrail data "
    "events record the same reads. access_logs_bucket turns them on."
)
_NO_CUSTOMER_KEY = "The example is customer_managed_key=False: the user asks for the keys of S3 and HealthImaging."
_WITHOUT_KEY = ("no customer key", "notified, no customer key")
_REMOVED = (
    "The example is removal_policy=DESTROY: the user asks for it, for instance in a test account. Retaining is the "
    "default, which the other examples are judged by."
)
_IMAGE_SETS = (
    "The wildcard stands for the image sets of one data store, whose ids are made when files are imported. No action "
    "and no store is a wildcard; the IAM judge checks that of each statement."
)
_BEYOND = ("beyond CloudFormation",)


def _packs(rule: str, *packs: str) -> tuple[str, ...]:
    """One rule as cdk-nag's compliance packs name it."""
    return tuple(f"cdk-nag: {pack}-{rule}" for pack in packs)


_HIPAA, _NIST, _PCI = "HIPAA.Security", "NIST.800.53.R5", "PCI.DSS.321"
_IN_VPC = ("in a VPC",)
_INTERFACES = (
    "Lambda asks for it where the function is in a VPC, as its guide says: for some of the actions without naming a "
    "resource. The function's own code is denied all of them (lambda:SourceFunctionArn)."
)
_SHARED_ENDPOINT = (
    "An endpoint's policy grants nothing. This one lets one action pass, in one account, since the endpoint is there "
    "before what it is asked for and serves all stacks in the VPC."
)

ACKNOWLEDGED = [
    Acknowledgement(
        (
            "cdk-nag: AwsSolutions-S1",
            *_packs("S3BucketLoggingEnabled", _HIPAA, _NIST, _PCI),
            "Control Tower: CT.S3.PR.2",
            "checkov: CKV_AWS_18",
        ),
        "AWS::S3::Bucket",
        _ACCESS_LOGS,
        but_not=("access logs",),
    ),
    Acknowledgement(
        _packs("S3BucketReplicationEnabled", _HIPAA, _NIST, _PCI),
        "AWS::S3::Bucket",
        "Where copies of patients' images may lie is for the user and the law to say. The buckets are versioned and "
        "retained, and HealthImaging keeps its own copy. Whoever wants replication passes buckets that have it.",
    ),
    Acknowledgement(
        (*_packs("S3DefaultEncryptionKMS", _HIPAA, _NIST, _PCI), "Control Tower: CT.S3.PR.10"),
        "AWS::S3::Bucket",
        f"{_NO_CUSTOMER_KEY} The buckets are encrypted with SSE-S3.",
        _WITHOUT_KEY,
    ),
    Acknowledgement(
        ("Control Tower: CT.S3.PR.9",),
        "AWS::S3::Bucket",
        "Object Lock keeps everybody from deleting, also what the law or a patient wants deleted. Versions keep what "
        "is overwritten, and the bucket outlives its stack. Whoever wants a lock passes buckets that have it.",
    ),
    Acknowledgement(
        ("Control Tower: CT.S3.PR.4",),
        "AWS::S3::Bucket",
        "A notification tells the names of objects, which may name patients, to whoever listens, and nothing here "
        "does: an import starts on deploy. Whoever wants notifications asks the bucket for them.",
    ),
    Acknowledgement(
        ("cdk-nag: AwsSolutions-IAM5[Resource::BUCKET/PREFIX*]",),
        "AWS::IAM::Policy",
        "The wildcard stands for the objects under one prefix of one bucket, whose names are not known at deploy time. "
        "No action and no bucket is a wildcard; the IAM judge checks that of each statement.",
    ),
    Acknowledgement(("cdk-nag: AwsSolutions-IAM5[Resource::DATASTORE/imageset/*]",), "AWS::IAM::Policy", _IMAGE_SETS),
    Acknowledgement(
        ("cdk-nag: AwsSolutions-IAM5[Resource::STATE_MACHINE_EXECUTIONS:*]",),
        "AWS::IAM::Policy",
        "The wildcard stands for the executions of one state machine, which are named when they are started. "
        "grant_start lets somebody stop and redrive them. No action and no state machine is a wildcard.",
        ("bulk import",),
    ),
    Acknowledgement(
        _packs("IAMNoInlinePolicy", _HIPAA, _NIST, _PCI),
        "AWS::IAM::Policy",
        "The rule is about the access of people, to be managed in groups. These are policies of service roles, each of "
        "one role. A managed policy could be attached to others. What is granted to a role of the user is in CDK's own "
        "policy of that role; whoever wants a managed policy grants to an iam.ManagedPolicy instead.",
    ),
    Acknowledgement(
        _packs("IAMNoInlinePolicy", _HIPAA, _NIST, _PCI),
        "AWS::IAM::Role",
        "The rule is about the access of people, to be managed in groups. These are the service roles of the function "
        "and the state machine, whose policies come and go with them and cannot be attached to anybody else.",
    ),
    Acknowledgement(
        ("cdk-nag: AwsSolutions-SF1", "Control Tower: CT.STEPFUNCTIONS.PR.1"),
        "AWS::StepFunctions::StateMachine",
        "Each step is a call of one function, which logs it, and Step Functions keeps the history for 90 days. "
        "CloudWatch Logs would take log-delivery actions on Resource * and a share of the Region's one resource policy "
        "for logs (5,120 characters).",
    ),
    Acknowledgement(
        ("cdk-nag: AwsSolutions-SF2", "Control Tower: CT.STEPFUNCTIONS.PR.2"),
        "AWS::StepFunctions::StateMachine",
        "A trace would show what the execution's history shows: one function, called in turn with waits between. X-Ray "
        "takes PutTraceSegments on Resource *, which no condition narrows.",
    ),
    Acknowledgement(
        (
            *_packs("CloudWatchLogGroupEncrypted", _HIPAA, _NIST, _PCI),
            "Control Tower: CT.CLOUDWATCH.PR.3",
            "checkov: CKV_AWS_158",
        ),
        "AWS::Logs::LogGroup",
        _LOG_KEY,
        (
            "tagged datastore",
            "stays L1",
            "bring your own",
            "bring your own, one bucket",
            "bulk import, bring your own",
            "no customer key",
            "notified, no customer key",
            "removed with the stack",
            "beyond CloudFormation",
            "emptied with the stack",
        ),
    ),
    Acknowledgement(
        ("Control Tower: CT.CLOUDWATCH.PR.3",),
        "AWS::Logs::LogGroup",
        "The log is encrypted with a customer-managed key of another stack or of the parent stack. In a template the "
        "control sees only keys of the same template; as a hook on a deploy it is given the key's ARN.",
        ("ready-made app", "nested stack", "shared output bucket"),
    ),
    Acknowledgement(
        (*_packs("LambdaConcurrency", _HIPAA, _NIST), "checkov: CKV_AWS_115"), "AWS::Lambda::Function", _CONCURRENCY
    ),
    Acknowledgement((*_packs("LambdaDLQ", _HIPAA, _NIST), "checkov: CKV_AWS_116"), "AWS::Lambda::Function", _NO_QUEUE),
    Acknowledgement(
        (*_packs("LambdaInsideVPC", _HIPAA, _NIST, _PCI), "Control Tower: CT.LAMBDA.PR.3", "checkov: CKV_AWS_117"),
        "AWS::Lambda::Function",
        _NO_VPC,
    ),
    Acknowledgement(
        ("cfn-lint: W3005",),
        "AWS::Lambda::Function",
        "CDK writes this DependsOn for every function with a role. It says what the reference says anyway.",
    ),
    Acknowledgement(
        ("cfn-lint: W3005",),
        "Custom::HealthImagingImport",
        "The job waits for everything in its data-access role's scope, and for what the user orders it after. CDK "
        "writes that out in full; some of it repeats a reference.",
    ),
    Acknowledgement(
        ("IAM: wildcard action kms:*",),
        "AWS::KMS::Key",
        "CDK's default key policy, which is AWS's: the account, and through it IAM, manages the key. One that nobody "
        "may manage is lost. The roles made here name the actions and the key.",
    ),
    Acknowledgement(
        ("IAM: wildcard action kms:GenerateDataKey*",),
        "AWS::KMS::Key",
        "CDK's grant_publish writes it, as AWS's page on encrypted topics does. Only CloudWatch has the right, and "
        "only for alarms of this account and Region (aws:SourceAccount, aws:SourceArn).",
        ("watched",),
    ),
    Acknowledgement(
        (
            "cdk-nag: AwsSolutions-IAM5[Resource::*]",
            "IAM: ec2:AssignPrivateIpAddresses on *",
            "IAM: ec2:CreateNetworkInterface on *",
            "IAM: ec2:DeleteNetworkInterface on *",
            "IAM: ec2:DescribeNetworkInterfaces on *",
            "IAM: ec2:DescribeSubnets on *",
            "IAM: ec2:UnassignPrivateIpAddresses on *",
            "checkov: CKV_AWS_111",
            "cloudsplaining: infrastructure_modification ec2:AssignPrivateIpAddresses",
            "cloudsplaining: infrastructure_modification ec2:CreateNetworkInterface",
            "cloudsplaining: infrastructure_modification ec2:DeleteNetworkInterface",
            "cloudsplaining: infrastructure_modification ec2:UnassignPrivateIpAddresses",
            "cloudsplaining: write_actions_without_constraints ec2:AssignPrivateIpAddresses",
            "cloudsplaining: write_actions_without_constraints ec2:CreateNetworkInterface",
            "cloudsplaining: write_actions_without_constraints ec2:DeleteNetworkInterface",
            "cloudsplaining: write_actions_without_constraints ec2:UnassignPrivateIpAddresses",
        ),
        "AWS::IAM::Role",
        _INTERFACES,
        _IN_VPC,
    ),
    Acknowledgement(
        (
            "IAM: cloudformation:DescribeStacks on any resource",
            "IAM: sns:Publish on any resource",
            "IAM: states:StartExecution on any resource",
            "IAM: sts:AssumeRole on any resource",
        ),
        "AWS::EC2::VPCEndpoint",
        _SHARED_ENDPOINT,
        _IN_VPC,
    ),
    Acknowledgement(
        ("cloudsplaining: permissions management iam:PassRole",),
        "AWS::IAM::Policy",
        "To start a job is to hand HealthImaging a role. It is one role, named, which may be handed to HealthImaging "
        "alone (iam:PassedToService); docs/permissions.md has what must be refused.",
    ),
    Acknowledgement(
        (
            "cloudsplaining: permissions management kms:CreateGrant",
            "cloudsplaining: permissions management kms:RetireGrant",
        ),
        "AWS::IAM::Policy",
        "HealthImaging makes the grants of a data store's key in the name of whoever calls CreateDatastore. The role "
        "is for that one store, and the key is named.",
        _BEYOND,
    ),
    Acknowledgement(
        ("Control Tower: CT.KMS.PR.3",),
        "AWS::KMS::Key",
        "The control wants a Deny on kms:CreateGrant for all but AWS's own requests. HealthImaging makes grants in its "
        "caller's name, and does not say whether these carry kms:GrantIsForAWSResource; if not, no store can be made. "
        "encryption_key.add_to_resource_policy adds the Deny, best after a trial.",
    ),
    Acknowledgement(
        ("Control Tower: CT.LAMBDA.PR.2",),
        "AWS::Lambda::Permission",
        "The control sees a SourceAccount only where it is written out in digits. It is there, as a reference to the "
        "stack's account.",
        _BEYOND,
    ),
    Acknowledgement(
        ("cdk-nag: AwsSolutions-IAM5[Resource::*]", "IAM: medical-imaging:CreateDatastore on *"),
        "AWS::IAM::Policy",
        "CreateDatastore takes no resource: there is none yet. It is allowed only with the tag that names this stack "
        "(aws:RequestTag).",
        _BEYOND,
    ),
    Acknowledgement(
        (
            "IAM: medical-imaging:DeleteDatastore on any resource",
            "IAM: medical-imaging:TagResource on any resource",
        ),
        "AWS::IAM::Policy",
        "A store has no id before it is made, so a tag that names this stack stands for it: what carries it can be "
        "deleted. The role can also put it on a store that no other stack's function has made, since no condition key "
        "tells a new store from an old one. Only this stack's function has the role, its code tags what it makes and "
        "nothing else, and HealthImaging deletes no store that holds image sets.",
        _BEYOND,
    ),
    Acknowledgement(
        ("IAM: medical-imaging:GetDatastore on any resource",),
        "AWS::IAM::Policy",
        "A store that is being deleted may have lost its tags, and its end has to be seen before its key goes. "
        "GetDatastore tells of any store of the account its name, key and status, and nothing of what it holds.",
        _BEYOND,
    ),
    Acknowledgement(
        ("HealthImagingChecks: HI104",),
        "AWS::HealthImaging::Datastore",
        f"{_NO_CUSTOMER_KEY} HealthImaging encrypts the store with a key that AWS owns.",
        _WITHOUT_KEY,
    ),
    Acknowledgement(
        ("HealthImagingChecks: HI104",),
        "AWS::HealthImaging::Datastore",
        "A bare Datastore is encrypted with a key that AWS owns, as the service does by default; encryption_key takes "
        "the user's. DicomImport gives the store that it makes a key.",
        ("bare datastore", "tagged datastore", "emptied with the stack"),
    ),
    Acknowledgement(
        ("HealthImagingChecks: HI102",),
        "AWS::HealthImaging::Datastore",
        "keep_deployed keeps the tags that the store was deployed with as a CfnDatastore exactly as they were: to take "
        "them out of the template is what would replace it. Further tags change in place.",
        ("was L1",),
    ),
    Acknowledgement(
        ("HealthImagingChecks: HI101",),
        "AWS::HealthImaging::Datastore",
        _REMOVED,
        ("removed with the stack", "emptied with the stack"),
    ),
    Acknowledgement(
        ("HealthImagingChecks: HI105",),
        "AWS::KMS::Key",
        _REMOVED,
        ("removed with the stack",),
    ),
]


def table(acknowledged: Iterable[Acknowledgement] = ACKNOWLEDGED) -> str:
    """The acknowledgements as docs/judges.md shows them."""
    rows = []
    for row in acknowledged:
        named = [name.partition(": ") for name in row.findings]
        findings = ", ".join(f"{judge} `{rule}`" for judge, _, rule in named)
        examples = ", ".join(row.examples) or "all"
        if row.but_not:
            examples += f" but {', '.join(row.but_not)}"
        rows.append(f"| {findings} | {row.on} | {examples} | {row.reason} |")
    return "\n".join(["| finding | on | examples | why it stays |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(table(), table(OF_EXAMPLES), sep="\n\n")  # noqa: T201 - a command
