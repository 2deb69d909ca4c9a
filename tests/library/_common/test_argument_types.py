"""Arguments of a wrong type: the message names the argument, what came, what to do, and the construct."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import jsii
import pytest
from aws_cdk import App, CfnParameter, Duration, RemovalPolicy, Stack, Token
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

import healthimaging_cdk
from healthimaging_cdk import (
    DataAccessRole,
    Datastore,
    DicomImport,
    HealthImagingEndpoints,
    IDatastore,
    ImportAlarms,
    ImportDashboard,
    ImportNetwork,
    ImportQuotas,
    ImportSource,
    ImportTolerance,
    MetadataMapping,
)
from healthimaging_cdk._common.argument_types import type_violations

ID = "0123456789abcdef0123456789abcdef"
STORE_ARN = f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{ID}"
ROLE_ARN = "arn:aws:iam::111122223333:role/import"
KEY_ARN = "arn:aws:kms:us-east-1:111122223333:key/01234567-89ab-cdef-0123-456789abcdef"
TOPIC_ARN = "arn:aws:sns:us-east-1:111122223333:on-call"


@pytest.fixture(scope="module")
def made() -> SimpleNamespace:
    """One of each; nothing that is refused leaves a trace, so all tests may share them."""
    stack = Stack(App(analytics_reporting=False), "Stack", env={"account": "111122223333", "region": "us-east-1"})
    bucket = s3.Bucket(stack, "Bucket")
    store = Datastore(stack, "Store")
    return SimpleNamespace(
        stack=stack,
        bucket=bucket,
        store=store,
        role=iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com")),
        key=kms.Key(stack, "Key"),
        topic=sns.Topic(stack, "Topic"),
        queue=sqs.Queue(stack, "Queue"),
        vpc=ec2.Vpc(stack, "Vpc"),
        import_=DicomImport(stack, "Import", datastore=store),
    )


def data_access_role(made: SimpleNamespace, **wrong: Any) -> DataAccessRole:
    given = {"datastore": made.store, "input_bucket": made.bucket, "output_bucket": made.bucket}
    return DataAccessRole(made.stack, "New", **{**given, "input_prefix": "in/", "output_prefix": "out/", **wrong})


MAKERS: dict[str, Callable[..., Any]] = {
    "DicomImport": lambda made, **wrong: DicomImport(made.stack, "New", **wrong),
    "Datastore": lambda made, **wrong: Datastore(made.stack, "New", **wrong),
    "Datastore.from_datastore_id": lambda made, **wrong: Datastore.from_datastore_id(
        made.stack, "New", **{"datastore_id": ID, **wrong}
    ),
    "Datastore.from_datastore_arn": lambda made, **wrong: Datastore.from_datastore_arn(
        made.stack, "New", **{"datastore_arn": STORE_ARN, **wrong}
    ),
    "Datastore.apply_removal_policy": lambda made, **wrong: made.store.apply_removal_policy(**wrong),
    "Datastore.grant_read": lambda made, **wrong: made.store.grant_read(**wrong),
    "Datastore.grant_write": lambda made, **wrong: made.store.grant_write(**wrong),
    "Datastore.grant_delete_image_sets": lambda made, **wrong: made.store.grant_delete_image_sets(**wrong),
    "Datastore.grant_manage_import_jobs": lambda made, **wrong: made.store.grant_manage_import_jobs(**wrong),
    "Datastore.grant_start_import": lambda made, **wrong: made.store.grant_start_import(
        **{"grantee": made.role, "data_access_role": made.role, **wrong}
    ),
    "Datastore.grant": lambda made, grantee=None, actions=(): made.store.grant(grantee or made.role, *actions),
    "Datastore.metric_storage_bytes": lambda made, **wrong: made.store.metric_storage_bytes(**wrong),
    "metric CallCount": lambda made, **wrong: made.store.metric_call_count("GetImageFrame", **wrong),
    "metric ImportsFailed": lambda made, **wrong: made.import_.metric_imports_failed(**wrong),
    "metric RejectedRate": lambda made, **wrong: made.import_.metric_rejected_rate(**wrong),
    "rule New": lambda made, **wrong: made.store.on_image_set_created("New", **wrong),
    "DataAccessRole": data_access_role,
    "ImportSource.bucket": lambda made, **wrong: ImportSource.bucket(**{"bucket": made.bucket, **wrong}),
    "ImportSource.directory": lambda _, **wrong: ImportSource.directory(**{"path": Path(__file__).parent, **wrong}),
    "ImportAlarms": lambda made, **wrong: ImportAlarms(made.stack, "New", **{"import_": made.import_, **wrong}),
    "ImportDashboard": lambda made, **wrong: ImportDashboard(made.stack, "New", **wrong),
    "ImportNetwork": lambda made, **wrong: ImportNetwork(made.stack, "New", **{"vpc": made.vpc, **wrong}),
    "HealthImagingEndpoints": lambda made, **wrong: HealthImagingEndpoints(
        made.stack, "New", **{"vpc": made.vpc, **wrong}
    ),
    "HealthImagingEndpoints.allow_bucket": lambda _, **wrong: HealthImagingEndpoints.allow_bucket(
        HealthImagingEndpoints.__new__(HealthImagingEndpoints), **wrong
    ),
}

DATASTORE = "must be a Datastore or IDatastore, got str 'id': use Datastore.from_datastore_id"
BUCKET = (
    "must be an IBucket, got str 'images': use s3.Bucket.from_bucket_attributes(bucket_name=..., encryption_key=...)"
)
KEY = "must be an IKey, got str 'alias/x': use kms.Key.from_key_arn or kms.Alias.from_alias_name"
TOPIC = f"must be an ITopic, got str '{TOPIC_ARN[:36]}...: use sns.Topic.from_topic_arn"
DURATION = "use for example Duration.minutes(50) or Duration.days(90)"
ROLE = f"must be an IRole, got str '{ROLE_ARN}': use iam.Role.from_role_arn"
GRANTEE = f"must be an IGrantable, for example a role, got str '{ROLE_ARN}': use iam.Role.from_role_arn"

NO_SNAPSHOT = (
    "must be one of RemovalPolicy.DESTROY, RemovalPolicy.RETAIN, RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE, got "
    "RemovalPolicy.SNAPSHOT"
)

# Each wrong argument, its value (or the name of one of those made), and what is said of it.
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("DicomImport", {"datastore": "id"}, f"datastore {DATASTORE}"),
    ("DicomImport", {"data_access_role": ROLE_ARN}, f"data_access_role {ROLE}"),
    ("DicomImport", {"encryption_key": "alias/x"}, f"encryption_key {KEY}"),
    (
        "DicomImport",
        {"source": "s3://images/studies/"},
        (
            "source must be an ImportSource, got str 's3://images/studies/': use ImportSource.bucket or "
            "ImportSource.directory"
        ),
    ),
    (
        "DicomImport",
        {"source": "=bucket"},
        "source must be an ImportSource, got Bucket: use ImportSource.bucket or ImportSource.directory",
    ),
    ("DicomImport", {"output_bucket": "images"}, f"output_bucket {BUCKET}"),
    ("DicomImport", {"access_logs_bucket": "images"}, f"access_logs_bucket {BUCKET}"),
    ("DicomImport", {"notification_topic": TOPIC_ARN}, f"notification_topic {TOPIC}"),
    (
        "DicomImport",
        {"timeout": 3600},
        f"timeout must be a Duration, got int 3600: {DURATION}",
    ),
    ("DicomImport", {"timeout": None}, f"timeout must be a Duration, got None: {DURATION}"),
    (
        "DicomImport",
        {"results_expiration": 30},
        f"results_expiration must be a Duration, got int 30: {DURATION}",
    ),
    (
        "DicomImport",
        {"tolerance": {"rejected_files": 3}},
        "tolerance must be an ImportTolerance, got dict: use for example ImportTolerance(rejected_files=0)",
    ),
    (
        "DicomImport",
        {"tolerance": ImportTolerance(rejected_files="3")},
        "tolerance.rejected_files must be an int, got str '3'",
    ),
    (
        "DicomImport",
        {"quotas": {"files": 9}},
        "quotas must be an ImportQuotas, got dict: use for example ImportQuotas(files=20_000)",
    ),
    (
        "DicomImport",
        {"quotas": ImportQuotas(total=5)},
        "quotas.total must be a Size, got int 5: use for example Size.gibibytes(20)",
    ),
    ("DicomImport", {"quotas": ImportQuotas(files=1.5)}, "quotas.files must be an int, got float 1.5"),
    (
        "DicomImport",
        {"metadata_mappings": [{"study_instance_uid": "1.2"}]},
        (
            "metadata_mappings[0] must be a MetadataMapping, got dict: use "
            "MetadataMapping(study_instance_uid, metadata_file_path)"
        ),
    ),
    (
        "DicomImport",
        {"metadata_mappings": [MetadataMapping("1.2", Path("a.json"))]},
        "metadata_mappings[0].metadata_file_path must be a str, got PosixPath: pass str(...)",
    ),
    (
        "DicomImport",
        {"metadata_mappings": MetadataMapping("1.2", "a.json")},
        "metadata_mappings must be a list, each item a MetadataMapping, got MetadataMapping: put it in a list",
    ),
    ("DicomImport", {"on_empty": "fail"}, "on_empty must be one of OnEmpty.SKIP, OnEmpty.FAIL, got str 'fail'"),
    (
        "DicomImport",
        {"completion": None},
        "completion must be one of Completion.WAIT, Completion.DETACH, Completion.SUBMIT, got None",
    ),
    ("DicomImport", {"run_id": 3}, "run_id must be a str, got int 3: pass str(3)"),
    ("DicomImport", {"job_name": 3}, "job_name must be a str, got int 3: pass str(3)"),
    ("DicomImport", {"outputs": "no"}, "outputs must be True or False, got str 'no'"),
    ("DicomImport", {"customer_managed_key": None}, "customer_managed_key must be True or False, got None"),
    ("DicomImport", {"removal_policy": "destroy"}, "removal_policy must be one of RemovalPolicy.DESTROY, "),
    ("DicomImport", {"removal_policy": RemovalPolicy.SNAPSHOT}, f"removal_policy {NO_SNAPSHOT}"),
    ("Datastore", {"removal_policy": RemovalPolicy.SNAPSHOT}, f"removal_policy {NO_SNAPSHOT}"),
    ("Datastore.apply_removal_policy", {"policy": RemovalPolicy.SNAPSHOT}, f"policy {NO_SNAPSHOT}"),
    ("Datastore", {"datastore_name": 3}, "datastore_name must be a str, got int 3: pass str(3)"),
    ("Datastore", {"encryption_key": "alias/x"}, f"encryption_key {KEY}"),
    (
        "Datastore",
        {"lossless_storage_format": "HTJ2K"},
        (
            "lossless_storage_format must be one of LosslessStorageFormat.HTJ2K, "
            "LosslessStorageFormat.JPEG_2000_LOSSLESS, got str 'HTJ2K'"
        ),
    ),
    (
        "Datastore",
        {"lambda_authorizer": "authorizer"},
        "lambda_authorizer must be an IFunction, got str 'authorizer': use lambda_.Function.from_function_arn",
    ),
    ("Datastore.from_datastore_id", {"datastore_id": 7}, "datastore_id must be a str, got int 7: pass str(7)"),
    ("Datastore.from_datastore_id", {"encryption_key": "alias/x"}, f"encryption_key {KEY}"),
    ("Datastore.from_datastore_arn", {"datastore_arn": None}, "datastore_arn must be a str, got None: pass str(...)"),
    ("Datastore.from_datastore_arn", {"encryption_key": "alias/x"}, f"encryption_key {KEY}"),
    ("Datastore.apply_removal_policy", {"policy": "retain"}, "policy must be one of RemovalPolicy.DESTROY, "),
    ("Datastore.grant_read", {"grantee": ROLE_ARN}, f"grantee {GRANTEE}"),
    ("Datastore.grant_write", {"grantee": ROLE_ARN}, f"grantee {GRANTEE}"),
    ("Datastore.grant_delete_image_sets", {"grantee": ROLE_ARN}, f"grantee {GRANTEE}"),
    ("Datastore.grant_manage_import_jobs", {"grantee": ROLE_ARN}, f"grantee {GRANTEE}"),
    ("Datastore.grant_start_import", {"grantee": ROLE_ARN}, f"grantee {GRANTEE}"),
    ("Datastore.grant_start_import", {"data_access_role": ROLE_ARN}, f"data_access_role {ROLE}"),
    ("Datastore.grant", {"grantee": ROLE_ARN}, f"grantee {GRANTEE}"),
    ("Datastore.grant", {"actions": [["a", "b"]]}, "actions[0] must be a str, got list: pass str(...)"),
    (
        "Datastore.metric_storage_bytes",
        {"storage_tier": "AllStorage"},
        (
            "storage_tier must be one of StorageTier.ALL, StorageTier.FREQUENT_ACCESS, "
            "StorageTier.ARCHIVE_INSTANT_ACCESS, got str 'AllStorage'"
        ),
    ),
    ("metric CallCount", {"period": 60}, f"period must be a Duration, got int 60: {DURATION}"),
    (
        "metric ImportsFailed",
        {"period": 60},
        f"period must be a Duration, got int 60: {DURATION}",
    ),
    (
        "metric RejectedRate",
        {"period": 60},
        f"period must be a Duration, got int 60: {DURATION}",
    ),
    (
        "rule New",
        {"target": "=topic"},
        (
            "target must be an IRuleTarget, got Topic: use a class of aws_events_targets, for example "
            "targets.LambdaFunction"
        ),
    ),
    ("DataAccessRole", {"datastore": "id"}, f"datastore {DATASTORE}"),
    ("DataAccessRole", {"input_bucket": "images"}, f"input_bucket {BUCKET}"),
    ("DataAccessRole", {"output_bucket": "images"}, f"output_bucket {BUCKET}"),
    ("DataAccessRole", {"input_prefix": None}, "input_prefix must be a str, got None: pass str(...)"),
    ("ImportSource.bucket", {"bucket": "images"}, f"bucket {BUCKET}"),
    (
        "ImportSource.bucket",
        {"bucket": "=store"},
        "bucket " + BUCKET.replace("str 'images'", "Datastore"),
    ),
    ("ImportSource.bucket", {"owner_account_id": 444455556666}, "owner_account_id must be a str, got int 444455556666"),
    ("ImportSource.bucket", {"bucket": 5}, "bucket " + BUCKET.replace("str 'images'", "int 5")),
    ("ImportSource.directory", {"path": None}, "path must be a str or a Path, got None"),
    ("ImportSource.directory", {"bucket": "images"}, f"bucket {BUCKET}"),
    ("ImportAlarms", {"import_": "=store"}, "import_ must be a DicomImport, got Datastore"),
    ("ImportAlarms", {"notification_topic": TOPIC_ARN}, f"notification_topic {TOPIC}"),
    (
        "ImportAlarms",
        {"no_success_for": 24},
        f"no_success_for must be a Duration, got int 24: {DURATION}",
    ),
    ("ImportAlarms", {"rejected_percent": None}, "rejected_percent must be a number, got None"),
    ("ImportAlarms", {"rejected_percent": "1"}, "rejected_percent must be a number, got str '1'"),
    (
        "ImportAlarms",
        {"dead_letter_queue": "=topic"},
        "dead_letter_queue must be an IQueue, got Topic: use sqs.Queue.from_queue_arn",
    ),
    (
        "ImportDashboard",
        {"imports": "=import_"},
        "imports must be a list, each item a DicomImport, got DicomImport: put it in a list",
    ),
    (
        "ImportDashboard",
        {"datastores": "=store"},
        "datastores must be a list, each item a Datastore or IDatastore, got Datastore: put it in a list",
    ),
    ("ImportDashboard", {"datastores": ["id"]}, f"datastores[0] {DATASTORE}"),
    ("ImportDashboard", {"alarms": [3]}, "alarms[0] must be an ImportAlarms, got int 3"),
    (
        "ImportNetwork",
        {"vpc": "vpc-1"},
        "vpc must be an IVpc, got str 'vpc-1': use ec2.Vpc.from_lookup or ec2.Vpc.from_vpc_attributes",
    ),
    (
        "ImportNetwork",
        {"security_groups": ["sg-1"]},
        "security_groups[0] must be an ISecurityGroup, got str 'sg-1': use ec2.SecurityGroup.from_security_group_id",
    ),
    ("ImportNetwork", {"endpoints": "=vpc"}, "endpoints must be a HealthImagingEndpoints, got Vpc"),
    ("ImportNetwork", {"vpc_subnets": ["subnet-1"]}, "vpc_subnets must be a SubnetSelection, got list"),
    (
        "HealthImagingEndpoints",
        {"vpc": "vpc-1"},
        "vpc must be an IVpc, got str 'vpc-1': use ec2.Vpc.from_lookup or ec2.Vpc.from_vpc_attributes",
    ),
    (
        "HealthImagingEndpoints",
        {"leave_out": "s3"},
        "leave_out must be a list, each item a str, got str 's3': put it in a list",
    ),
    ("HealthImagingEndpoints", {"buckets": ["images"]}, f"buckets[0] {BUCKET}"),
    ("HealthImagingEndpoints", {"datastores": ["id"]}, f"datastores[0] {DATASTORE}"),
    (
        "HealthImagingEndpoints",
        {"clients": ["sg-1"]},
        "clients[0] must be an IConnectable, for example a security group, got str 'sg-1'",
    ),
    ("HealthImagingEndpoints.allow_bucket", {"bucket": "images"}, f"bucket {BUCKET}"),
]


@pytest.mark.parametrize(("where", "wrong", "expected"), WRONG)
def test_fails_an_argument_of_a_wrong_type(made, where, wrong, expected):
    given = {
        name: getattr(made, value[1:]) if isinstance(value, str) and value.startswith("=") else value
        for name, value in wrong.items()
    }
    before = len(made.stack.node.find_all())
    # Of the right type, and not allowed here.
    error = ValueError if RemovalPolicy.SNAPSHOT in wrong.values() else TypeError
    with pytest.raises(error, match=f"^{re.escape(f'{where}: {expected}')}"):
        MAKERS[where](made, **given)
    assert before == len(made.stack.node.find_all())


def test_fails_with_all_wrong_types_in_one_message(made):
    expected = f"DicomImport: datastore {DATASTORE}; timeout must be a Duration, got int 50: {DURATION} (at Stack/New)"
    with pytest.raises(TypeError, match=f"^{re.escape(expected)}$"):
        DicomImport(made.stack, "New", datastore="id", timeout=50)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DicomImport("Stack", "New"),
        lambda: Datastore("Stack", "New"),
        lambda: Datastore.from_datastore_id("Stack", "New", ID),
        lambda: Datastore.from_datastore_arn("Stack", "New", STORE_ARN),
    ],
)
def test_fails_a_scope_that_is_none(make):
    with pytest.raises(TypeError, match="scope must be a construct, got str 'Stack': pass the stack, or self"):
        make()


def test_a_message_shows_little_of_what_was_passed(made):
    secret = "-----BEGIN PRIVATE KEY-----" + "0123456789" * 9
    with pytest.raises(TypeError, match="DicomImport") as raised:
        DicomImport(made.stack, "New", encryption_key=secret, quotas={"files": secret}, source=[secret])
    message = str(raised.value)
    assert secret[:36] in message
    assert secret[:37] not in message


def public_functions() -> dict[str, Callable[..., object]]:
    """All public classes' methods, those that they inherit of this library included."""
    found = {}
    for name in healthimaging_cdk.__all__:
        public = getattr(healthimaging_cdk, name)
        for part in public.__mro__:
            if part.__module__.startswith("healthimaging_cdk"):
                for member, value in vars(part).items():
                    function = getattr(value, "fget", None) or getattr(value, "__func__", value)
                    if inspect.isfunction(function) and (member == "__init__" or member[0] != "_"):
                        found[f"{name}.{member}"] = function
    return found


FUNCTIONS = public_functions()
DATACLASSES = [name for name in healthimaging_cdk.__all__ if dataclasses.is_dataclass(getattr(healthimaging_cdk, name))]
CONSTRUCTORS = [f"{name}.__init__" for name in healthimaging_cdk.__all__ if name not in DATACLASSES]
CONSTRUCTORS = [name for name in CONSTRUCTORS if name in FUNCTIONS]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_annotations_can_be_resolved_at_run_time(name):
    hints = get_type_hints(FUNCTIONS[name])
    assert set(inspect.signature(FUNCTIONS[name]).parameters) - {"self"} <= set(hints)


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_the_defaults_of_constructs_are_of_their_types(name):
    hints = get_type_hints(FUNCTIONS[name])
    for argument, parameter in inspect.signature(FUNCTIONS[name]).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert [] == type_violations(argument, hints[argument], parameter.default)


@pytest.mark.parametrize("name", DATACLASSES)
def test_annotations_of_fields_can_be_resolved_at_run_time(name):
    public = getattr(healthimaging_cdk, name)
    assert {field.name for field in dataclasses.fields(public)} <= set(get_type_hints(public))


class OwnBucket(s3.Bucket):
    """A subclass of somebody's own."""


class OwnStore(IDatastore):
    """A data store of somebody's own."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id, environment_from_arn=STORE_ARN)

    @property
    def datastore_id(self) -> str:
        return ID

    @property
    def datastore_arn(self) -> str:
        return STORE_ARN

    @property
    def encryption_key(self) -> kms.IKey | None:
        return None


@jsii.implements(iam.IGrantable)
class OwnGrantee:
    """A grantee of somebody's own."""

    def __init__(self, role: iam.IRole) -> None:
        self._role = role

    @property
    def grant_principal(self) -> iam.IPrincipal:
        return self._role.grant_principal


def test_what_cdk_and_users_pass_is_of_its_type(made):
    scope = Construct(made.stack, "Lookalikes")
    group = ec2.SecurityGroup(scope, "Group", vpc=made.vpc)
    code = lambda_.Code.from_inline("def handle(event, context): pass")
    function = lambda_.Function(scope, "F", code=code, handler="index.handle", runtime=lambda_.Runtime.PYTHON_3_14)
    imported_role = iam.Role.from_role_arn(scope, "R", ROLE_ARN)
    lookalikes = {
        Construct: [made.stack, scope, made.import_],
        str: ["", Token.as_string({"Ref": "X"})],
        IDatastore: [
            made.store,
            Datastore.from_datastore_id(scope, "S1", ID),
            Datastore.from_datastore_arn(scope, "S2", STORE_ARN),
            OwnStore(scope, "S3"),
        ],
        s3.IBucket: [
            made.bucket,
            OwnBucket(scope, "B1"),
            s3.Bucket.from_bucket_name(scope, "B2", "images"),
            s3.Bucket.from_bucket_attributes(scope, "B3", bucket_name="images"),
            s3.Bucket.from_cfn_bucket(s3.CfnBucket(scope, "B4")),
            jsii.unsafe_cast(made.bucket, s3.IBucket),
            made.import_.input_bucket,
        ],
        kms.IKey: [
            made.key,
            kms.Key.from_key_arn(scope, "K1", KEY_ARN),
            kms.Alias.from_alias_name(scope, "K2", "alias/x"),
            kms.Alias(scope, "K3", alias_name="alias/y", target_key=made.key),
            made.import_.encryption_key,
        ],
        iam.IRole: [
            made.role,
            imported_role,
            iam.Role.from_role_name(scope, "R2", "import"),
            made.role.without_policy_updates(),
            iam.LazyRole(scope, "R3", assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com")),
            made.import_.data_access_role,
            function.role,
        ],
        iam.IGrantable: [
            made.role,
            imported_role,
            iam.User(scope, "U1"),
            iam.User.from_user_name(scope, "U2", "viewer"),
            iam.Group(scope, "U3"),
            iam.AccountPrincipal("444455556666"),
            function,
            OwnGrantee(made.role),
        ],
        sns.ITopic: [
            made.topic,
            sns.Topic.from_topic_arn(scope, "T1", TOPIC_ARN),
            jsii.unsafe_cast(made.topic, sns.ITopic),
        ],
        sqs.IQueue: [made.queue, sqs.Queue.from_queue_arn(scope, "Q1", "arn:aws:sqs:us-east-1:111122223333:q")],
        lambda_.IFunction: [
            function,
            function.current_version,
            lambda_.Alias(scope, "F1", alias_name="live", version=function.current_version),
            lambda_.Function.from_function_arn(scope, "F2", "arn:aws:lambda:us-east-1:111122223333:function:f"),
            lambda_.Function.from_function_name(scope, "F3", "f"),
        ],
        ec2.IVpc: [
            made.vpc,
            ec2.Vpc.from_vpc_attributes(scope, "V1", vpc_id="vpc-1", availability_zones=["us-east-1a"]),
            jsii.unsafe_cast(made.vpc, ec2.IVpc),
        ],
        ec2.ISecurityGroup: [group, ec2.SecurityGroup.from_security_group_id(scope, "G1", "sg-1")],
        # A function outside of any VPC has connections that raise when they are read.
        ec2.IConnectable: [group, ec2.Connections(security_groups=[group]), function],
        float: [0, 0.5, Token.as_number({"Ref": "X"})],
        int: [0, Token.as_number({"Ref": "X"})],
        str | Path: ["a", Path("a")],
        bool: [True, False],
    }
    wrong = {
        f"{hint} {type(value).__name__}": found
        for hint, values in lookalikes.items()
        for value in values
        if (found := type_violations("it", hint, value))
    }
    assert {} == wrong


def test_a_list_may_be_whatever_has_items_and_a_length(made):
    by_name = {"store": made.store}
    for value in ([made.store], (made.store,), by_name.values(), []):
        assert [] == type_violations("datastores", Sequence[IDatastore], value)


@pytest.mark.slow
def test_a_store_of_somebodys_own_is_imported_into(stack, synthesize):
    DicomImport(stack, "Import", datastore=OwnStore(stack, "Own"))
    assert ID == synthesize(stack).only("Custom::HealthImagingImport")["Properties"]["DatastoreId"]


def test_a_grantee_of_somebodys_own_is_granted(made):
    assert made.store.grant_read(OwnGrantee(made.role)).success


def test_the_checks_ask_the_kernel_of_jsii_nothing(made, monkeypatch):
    """A call takes a fifth of a millisecond, and properties may raise: those of a VPC without addresses do."""
    given = {ec2.IVpc: made.vpc, s3.IBucket: made.bucket, IDatastore: made.store, Duration: Duration.minutes(5)}
    for call in ("get", "invoke", "sget", "sinvoke"):
        monkeypatch.setattr(jsii, call, None)
    assert [] == [it for hint, value in given.items() for it in type_violations("it", hint, value)]


def test_a_set_is_no_list(stack):
    mappings = {MetadataMapping("1.2.3", "a.json"), MetadataMapping("1.2.4", "b.json")}
    with pytest.raises(TypeError, match="metadata_mappings must be a list, each item a MetadataMapping, got set"):
        DicomImport(stack, "Import", metadata_mappings=mappings)
    DicomImport(stack, "Import", metadata_mappings={"a": MetadataMapping("1.2.3", "a.json")}.values())


def test_a_class_is_no_instance(stack):
    with pytest.raises(TypeError, match="datastore must be a Datastore or IDatastore, got Datastore"):
        DicomImport(stack, "Import", datastore=Datastore)


def test_a_parameter_is_no_text(stack):
    with pytest.raises(TypeError, match=r"run_id must be a str, got CfnParameter: pass .* value_as_string"):
        DicomImport(stack, "Import", run_id=CfnParameter(stack, "Run"))
