"""The findings that stay, each with the reason to give an auditor.

They live here and not in the constructs: a library that silences judges silences them for its users too. A row that no
finding needs any more fails the tests. docs/judges.md shows the same table; print it with
``python -m tests.judges.acknowledged``.
"""

from __future__ import annotations

from itertools import groupby

from tests.judges.findings import Acknowledgement

_CONCURRENCY = (
    "Reserved concurrency is taken from the account's pool, which is 10 in a new account and then cannot be reserved "
    "from at all. The function is called by CloudFormation, once for a request, and by what serves the request, "
    "one step at a time; it takes no events from outside the stack."
)
_NO_QUEUE = (
    "A dead-letter queue would hold requests that nobody reads, with the secret URL that answers them. A request is "
    "not lost: Step Functions retries each step and answers CloudFormation when a step fails for good, and "
    "ServiceTimeout ends what never got that far."
)
_NO_VPC = (
    "The function calls only public AWS endpoints over TLS and CloudFormation's answering URL; it serves no port and "
    "reads nothing in a VPC. In one it would need NAT or an interface endpoint for each service, and a stack would "
    "fail where one is missing."
)
_LOG_KEY = (
    "The log holds ids, counts, statuses and AWS's reasons for refusing a call: no key of an image, no manifest line, "
    "no DICOM attribute, no ResponseURL. CloudWatch Logs encrypts it with a key of its own. A customer-managed key "
    "would need a key policy that lets CloudWatch Logs use it, also where the key is the user's and not to be edited."
)
_ACCESS_LOGS = (
    "Where access logs go, who reads them and how long they stay is decided once for an account; CloudTrail data "
    "events record the same reads. A bucket made here could only log to one more bucket that is not asked for. Whoever "
    "wants server access logs passes buckets that have them (source, output_bucket)."
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
_CREATES = (
    "CreateDatastore takes no resource: there is none yet. It is allowed only with the tag that names this stack "
    "(aws:RequestTag)."
)
_OWN_STORE = (
    "The id of a store is not known before it is made. The right is tied to the tag that names this stack "
    "(aws:ResourceTag, aws:RequestTag), which no other store carries."
)

ACKNOWLEDGED = [
    Acknowledgement("cdk-nag", "AwsSolutions-S1", "AWS::S3::Bucket", _ACCESS_LOGS),
    Acknowledgement("cdk-nag", "HIPAA.Security-S3BucketLoggingEnabled", "AWS::S3::Bucket", _ACCESS_LOGS),
    Acknowledgement("checkov", "CKV_AWS_18", "AWS::S3::Bucket", _ACCESS_LOGS),
    Acknowledgement(
        "cdk-nag",
        "HIPAA.Security-S3BucketReplicationEnabled",
        "AWS::S3::Bucket",
        "Where copies of patients' images may lie is for the user and the law to say, not for a library. The buckets "
        "are versioned and retained; HealthImaging keeps its own copy of what was imported. Whoever wants replication "
        "passes buckets that have it (source, output_bucket).",
    ),
    Acknowledgement(
        "cdk-nag",
        "HIPAA.Security-S3DefaultEncryptionKMS",
        "AWS::S3::Bucket",
        f"{_NO_CUSTOMER_KEY} The buckets are encrypted with SSE-S3.",
        _WITHOUT_KEY,
    ),
    Acknowledgement(
        "cdk-nag",
        "AwsSolutions-IAM5[Resource::BUCKET/PREFIX*]",
        "AWS::IAM::Role",
        "The wildcard stands for the objects under one prefix of one bucket, whose names are not known at deploy time. "
        "No action and no bucket is a wildcard; the IAM judge checks that of each statement.",
    ),
    Acknowledgement("cdk-nag", "AwsSolutions-IAM5[Resource::DATASTORE/imageset/*]", "AWS::IAM::Role", _IMAGE_SETS),
    Acknowledgement("cdk-nag", "AwsSolutions-IAM5[Resource::DATASTORE/imageset/*]", "AWS::IAM::Policy", _IMAGE_SETS),
    Acknowledgement(
        "cdk-nag",
        "HIPAA.Security-IAMNoInlinePolicy",
        "AWS::IAM::Policy",
        "CDK keeps what is granted to a role in one policy of that role, which nobody else can have. Whoever wants a "
        "managed policy grants to an iam.ManagedPolicy instead of a role.",
        ("grants",),
    ),
    Acknowledgement(
        "cdk-nag",
        "HIPAA.Security-IAMNoInlinePolicy",
        "AWS::IAM::Role",
        "The rule is about the access of people, to be managed in groups. These are service roles, each with one "
        "policy of its own: inline, it cannot be attached to anybody else, comes and goes with its role, and takes "
        "nothing from the account's quota of managed policies.",
    ),
    Acknowledgement(
        "cdk-nag",
        "AwsSolutions-SF1",
        "AWS::StepFunctions::StateMachine",
        "Each step is a call of one function, which logs it, and Step Functions keeps the history of a Standard "
        "execution for 90 days. Delivering the same to CloudWatch Logs takes log-delivery actions on Resource * and a "
        "share of the Region's resource policy for logs, which holds 5,120 characters for the whole account.",
    ),
    Acknowledgement(
        "cdk-nag",
        "AwsSolutions-SF2",
        "AWS::StepFunctions::StateMachine",
        "A trace would show what the execution's history shows: one function, called in turn with waits between. X-Ray "
        "takes PutTraceSegments on Resource *, which no condition narrows.",
    ),
    Acknowledgement("cdk-nag", "HIPAA.Security-CloudWatchLogGroupEncrypted", "AWS::Logs::LogGroup", _LOG_KEY),
    Acknowledgement("checkov", "CKV_AWS_158", "AWS::Logs::LogGroup", _LOG_KEY),
    Acknowledgement("cdk-nag", "HIPAA.Security-LambdaConcurrency", "AWS::Lambda::Function", _CONCURRENCY),
    Acknowledgement("checkov", "CKV_AWS_115", "AWS::Lambda::Function", _CONCURRENCY),
    Acknowledgement("cdk-nag", "HIPAA.Security-LambdaDLQ", "AWS::Lambda::Function", _NO_QUEUE),
    Acknowledgement("checkov", "CKV_AWS_116", "AWS::Lambda::Function", _NO_QUEUE),
    Acknowledgement("cdk-nag", "HIPAA.Security-LambdaInsideVPC", "AWS::Lambda::Function", _NO_VPC),
    Acknowledgement("checkov", "CKV_AWS_117", "AWS::Lambda::Function", _NO_VPC),
    Acknowledgement(
        "cfn-lint",
        "W3005",
        "AWS::Lambda::Function",
        "CDK writes this DependsOn for every function with a role. It says what the reference says anyway.",
    ),
    Acknowledgement(
        "cfn-lint",
        "W3005",
        "Custom::HealthImagingImport",
        "The job waits for everything in its data-access role's scope, policies that others attach included, and for "
        "what the user orders it after. CDK writes that out in full; some of it repeats a reference.",
    ),
    Acknowledgement(
        "IAM",
        "wildcard action kms:*",
        "AWS::KMS::Key",
        "CDK's default key policy, which is AWS's: the account's root, and through it IAM, manages the key. A key that "
        "nobody may manage is lost. The roles made here name the actions and the key.",
    ),
    Acknowledgement(
        "IAM",
        "wildcard action kms:GenerateDataKey*",
        "AWS::KMS::Key",
        "CDK's grant_publish writes it, as AWS's page on encrypted topics does: the wildcard stands for the ways of "
        "making a data key with this key. Only CloudWatch has the right, and only for alarms of this account and "
        "Region (aws:SourceAccount, aws:SourceArn).",
        ("watched",),
    ),
    Acknowledgement("cdk-nag", "AwsSolutions-IAM5[Resource::*]", "AWS::IAM::Role", _CREATES, _BEYOND),
    Acknowledgement("IAM", "medical-imaging:CreateDatastore on *", "AWS::IAM::Role", _CREATES, _BEYOND),
    Acknowledgement("IAM", "medical-imaging:DeleteDatastore on any resource", "AWS::IAM::Role", _OWN_STORE, _BEYOND),
    Acknowledgement("IAM", "medical-imaging:TagResource on any resource", "AWS::IAM::Role", _OWN_STORE, _BEYOND),
    Acknowledgement(
        "IAM",
        "medical-imaging:GetDatastore on any resource",
        "AWS::IAM::Role",
        "A store that is being deleted may have lost its tags, and its end has to be seen before its key goes. "
        "GetDatastore tells name, key and status of a store and nothing of what it holds.",
        _BEYOND,
    ),
    Acknowledgement(
        "cloudformation-validate",
        "healthimaging_datastore_has_a_customer_managed_key",
        "AWS::HealthImaging::Datastore",
        f"{_NO_CUSTOMER_KEY} HealthImaging encrypts the store with a key that AWS owns.",
        _WITHOUT_KEY,
    ),
    Acknowledgement(
        "cloudformation-validate",
        "healthimaging_datastore_has_a_customer_managed_key",
        "AWS::HealthImaging::Datastore",
        "A bare Datastore is one resource and encrypted with a key that AWS owns, as the service does by default; "
        "encryption_key takes the user's. DicomImport, which makes a data store by itself, gives it a key.",
        ("bare datastore", "tagged datastore", "emptied with the stack"),
    ),
    Acknowledgement(
        "cloudformation-validate",
        "healthimaging_datastore_is_retained",
        "AWS::HealthImaging::Datastore",
        _REMOVED,
        ("removed with the stack", "emptied with the stack"),
    ),
    Acknowledgement(
        "cloudformation-validate",
        "healthimaging_bucket_is_retained",
        "AWS::S3::Bucket",
        _REMOVED,
        ("removed with the stack",),
    ),
    Acknowledgement(
        "cloudformation-validate",
        "healthimaging_key_is_retained",
        "AWS::KMS::Key",
        _REMOVED,
        ("removed with the stack",),
    ),
]


def table() -> str:
    """The acknowledgements as docs/judges.md shows them."""
    rows = []
    for (on, examples, reason), group in groupby(ACKNOWLEDGED, lambda row: (row.on, row.examples, row.reason)):
        findings = ", ".join(f"{row.judge} `{row.rule}`" for row in group)
        rows.append(f"| {findings} | {on} | {', '.join(examples) or 'all'} | {reason} |")
    return "\n".join(["| finding | on | examples | why it stays |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(table())  # noqa: T201 - a command
