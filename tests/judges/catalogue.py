"""Every template the repository ships or shows, for the judges: a further example is one more entry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws_cdk import App, Duration, Environment, Mixins, NestedStack, RemovalPolicy, Size, Stack, Stage, Tags
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_healthimaging as healthimaging
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from healthimaging_cdk import (
    BulkDicomImport,
    BulkPace,
    Completion,
    DataAccessRole,
    Datastore,
    DatastoreGrants,
    DicomImport,
    HealthImagingEndpoints,
    ImportAlarms,
    ImportDashboard,
    ImportNetwork,
    ImportQuotas,
    ImportSource,
    ImportTolerance,
    LosslessStorageFormat,
    MetadataMapping,
    Notify,
    OnEmpty,
    RetainDatastores,
    StorageTier,
    TrustConditions,
)
from stacks.data_stack import DataStack
from stacks.import_stack import ImportStack

_HERE = Environment(account="111122223333", region="us-east-1")
_KEY_ARN = "arn:aws:kms:us-east-1:111122223333:key/01234567-89ab-cdef-0123-456789abcdef"
_DATASTORE_ID = "0123456789abcdef0123456789abcdef"
_STUDY = "1.2.840.113619.2.176.2025.1499492.7391.1171285944.390"


def _ready_made_app(app: App, _: Path) -> None:
    """What app.py does; tests/judges/test_determinism.py compares the two."""
    data = DataStack(app, "HealthImagingData", description="Medical images: key, data store, buckets")
    ImportStack(
        app,
        "HealthImagingImport",
        datastore=data.datastore,
        input_bucket=data.input_bucket,
        output_bucket=data.output_bucket,
        description="DICOM import on deploy; import again with -c run_id=ANY_NEW_VALUE",
    )


def _one_line(app: App, _: Path) -> None:
    DicomImport(Stack(app, "OneLine"), "Import")


def _bare_datastore(app: App, _: Path) -> None:
    Datastore(Stack(app, "BareDatastore"), "Datastore", datastore_name="radiology")


def _tagged_datastore(app: App, _: Path) -> None:
    Tags.of(Datastore(Stack(app, "TaggedDatastore"), "Datastore")).add("team", "radiology")


def _tagged_app(app: App, _: Path) -> None:
    DicomImport(Stack(app, "TaggedApp"), "Import")
    Tags.of(app).add("team", "radiology")


def _bring_your_own(app: App, _: Path) -> None:
    stack = Stack(app, "BringYourOwn", env=_HERE)
    key = kms.Key.from_key_arn(stack, "Key", _KEY_ARN)
    DicomImport(
        stack,
        "Import",
        datastore=Datastore.from_datastore_id(stack, "Datastore", _DATASTORE_ID, encryption_key=key),
        source=ImportSource.bucket(_bucket(stack, "images", key), "studies/2026/", owner_account_id="444455556666"),
        output_bucket=_bucket(stack, "results", key),
        output_prefix="imports/",
        data_access_role=iam.Role.from_role_arn(stack, "Role", "arn:aws:iam::111122223333:role/healthimaging"),
        job_name="nightly/2026",
        run_id="2026-11-01",
        on_empty=OnEmpty.FAIL,
        timeout=Duration.minutes(10),
        quotas=ImportQuotas(files=10_000, total=Size.gibibytes(100), file=Size.gibibytes(20)),
    )


def _another_account(app: App, _: Path) -> None:
    stack = Stack(app, "AnotherAccount", env=_HERE)
    key = kms.Key.from_key_arn(stack, "Key", _KEY_ARN.replace("111122223333", "444455556666"))
    source = ImportSource.bucket(_bucket(stack, "images", key), "studies/2026/", owner_account_id="444455556666")
    DicomImport(stack, "Import", source=source)


def _bring_your_own_one_bucket(app: App, _: Path) -> None:
    stack = Stack(app, "OneBucket")
    key = kms.Key.from_key_arn(stack, "Key", _KEY_ARN)
    bucket = _bucket(stack, "images", key)
    store = Datastore.from_datastore_arn(
        stack, "Datastore", f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{_DATASTORE_ID}"
    )
    role = DataAccessRole(
        stack,
        "Role",
        datastore=store,
        input_bucket=bucket,
        input_prefix="",
        output_bucket=bucket,
        output_prefix="results/",
        trust_conditions=TrustConditions.ACCOUNT,
    )
    DicomImport(
        stack,
        "Import",
        datastore=store,
        source=ImportSource.bucket(bucket, "dicom/"),
        output_bucket=bucket,
        data_access_role=role,
    )


def _directory(app: App, folder: Path) -> None:
    DicomImport(Stack(app, "Directory"), "Import", source=ImportSource.directory(folder))


def _metadata_mappings(app: App, _: Path) -> None:
    mappings = [
        MetadataMapping(_STUDY, "metadata/study.json"),
        MetadataMapping(_STUDY, "metadata/series.json", series_instance_uid=f"{_STUDY}.1"),
    ]
    DicomImport(Stack(app, "MetadataMappings"), "Import", metadata_mappings=mappings)


def _tolerant_and_detached(app: App, _: Path) -> None:
    tolerance = ImportTolerance(rejected_percent=1, non_primary_image_sets=False, warnings=False)
    DicomImport(Stack(app, "Detached"), "Import", completion=Completion.DETACH, tolerance=tolerance)


def _no_customer_key(app: App, _: Path) -> None:
    DicomImport(Stack(app, "NoCustomerKey"), "Import", customer_managed_key=False)


def _results_expiration(app: App, _: Path) -> None:
    DicomImport(Stack(app, "ResultsExpiration"), "Import", results_expiration=Duration.days(30))


def _access_logs(app: App, _: Path) -> None:
    stack = Stack(app, "AccessLogs")
    DicomImport(stack, "Import", access_logs_bucket=s3.Bucket.from_bucket_name(stack, "Logs", "amzn-access-logs"))


def _removed_with_the_stack(app: App, _: Path) -> None:
    DicomImport(Stack(app, "Removed"), "Import", removal_policy=RemovalPolicy.DESTROY)


def _two_imports(app: App, folder: Path) -> None:
    stack = Stack(app, "TwoImports")
    first = DicomImport(stack, "First")
    second = DicomImport(
        stack,
        "Second",
        datastore=first.datastore,
        source=ImportSource.directory(folder, bucket=first.input_bucket, prefix="second/"),
        output_bucket=first.output_bucket,
        output_prefix="second-results/",
    )
    second.execute_after(first)


def _shared_output_bucket(app: App, _: Path) -> None:
    first = DicomImport(Stack(app, "Shared", env=_HERE), "First")
    stack = Stack(app, "Sharing", env=_HERE)
    DicomImport(
        stack,
        "Second",
        datastore=first.datastore,
        source=ImportSource.bucket(first.input_bucket, "second/"),
        output_bucket=first.output_bucket,
        output_prefix="second-results/",
    )


def _nested_stack(app: App, _: Path) -> None:
    parent = Stack(app, "Parent")
    key = kms.Key(parent, "Key", enable_key_rotation=True)
    DicomImport(NestedStack(parent, "Nested"), "Import", datastore=Datastore(parent, "Datastore", encryption_key=key))


def _stage(app: App, _: Path) -> None:
    DicomImport(Stack(Stage(app, "Production", env=_HERE), "Images"), "Import")


def _beyond_cloudformation(app: App, _: Path) -> None:
    stack = Stack(app, "BeyondCloudFormation")
    store = Datastore(
        stack,
        "Datastore",
        datastore_name="viewer",
        encryption_key=kms.Key.from_key_arn(stack, "Key", _KEY_ARN),
        lossless_storage_format=LosslessStorageFormat.JPEG_2000_LOSSLESS,
        lambda_authorizer=lambda_.Function.from_function_attributes(
            stack,
            "Authorizer",
            function_arn="arn:aws:lambda:us-east-1:111122223333:function:authorizer",
            same_environment=True,
        ),
    )
    Tags.of(store).add("team", "radiology")


def _emptied_with_the_stack(app: App, _: Path) -> None:
    stack = Stack(app, "Emptied")
    Datastore(stack, "Datastore", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY)


def _in_a_vpc(app: App, folder: Path) -> None:
    stack = Stack(app, "InVpc")
    vpc = ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-0123456789abcdef0",
        vpc_cidr_block="10.0.0.0/16",
        availability_zones=["us-east-1a", "us-east-1b"],
        isolated_subnet_ids=["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        isolated_subnet_route_table_ids=["rtb-0123456789abcdef0", "rtb-0123456789abcdef1"],
    )
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    store = Datastore(stack, "Datastore", encryption_key=key)
    bucket = _bucket(stack, "images", key)
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=[store], buckets=[bucket])
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    source = ImportSource.directory(folder, bucket=bucket)
    notified = {"notify": Notify.FAILURES, "encryption_key": key}
    DicomImport(stack, "Import", datastore=store, source=source, output_bucket=bucket, **notified)


def _stays_l1(app: App, _: Path) -> None:
    stack = Stack(app, "StaysL1")
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    healthimaging.CfnDatastore(stack, "Store", kms_key_arn=key.key_arn)
    Tags.of(stack).add("team", "radiology")
    Mixins.of(stack).apply(RetainDatastores(tags_in_place=True))


def _was_l1(app: App, _: Path) -> None:
    """A store that was deployed as a CfnDatastore, with tags, and is a Datastore from now on."""
    stack = Stack(app, "WasL1")
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    store = Datastore(stack, "Datastore", datastore_name="images", encryption_key=key)
    store.keep_deployed("Store", tags={"team": "radiology"})
    Tags.of(stack).add("owner", "imaging")
    DicomImport(stack, "Import", datastore=store, source=ImportSource.bucket(_bucket(stack, "images", key), "dicom/"))


def _grants(app: App, _: Path) -> None:
    stack = Stack(app, "Grants")
    key = kms.Key(stack, "Key", enable_key_rotation=True)
    own = Datastore(stack, "Datastore", encryption_key=key)
    reader = _runs_a_function(stack, "Reader")
    for store in (own, Datastore.from_datastore_id(stack, "Imported", _DATASTORE_ID)):
        store.grant_read(reader)
    own.grant(_runs_a_function(stack, "Tagger"), "medical-imaging:TagResource", "medical-imaging:UntagResource")
    curator = _runs_a_function(stack, "Curator")
    own.grant_write(curator)
    own.grant_delete_image_sets(curator)
    scheduler = _runs_a_function(stack, "Scheduler")
    own.grant_start_import(
        scheduler, iam.Role.from_role_arn(stack, "Role", "arn:aws:iam::111122223333:role/healthimaging")
    )
    DatastoreGrants.from_datastore(own).manage_import_jobs(scheduler)


def _runs_a_function(stack: Stack, name: str) -> iam.Role:
    return iam.Role(stack, name, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))


def _events(app: App, _: Path) -> None:
    stack = Stack(app, "Events")
    people = sns.Topic.from_topic_arn(stack, "People", "arn:aws:sns:us-east-1:111122223333:people")
    import_ = DicomImport(stack, "Import")
    import_.on_failed("Failed", target=targets.SnsTopic(people))
    rejected = import_.on_files_rejected("Rejected", description="Files that were not imported")
    rejected.add_target(targets.SnsTopic(people, message=events.RuleTargetInput.from_event_path("$.detail.counts")))
    import_.on_succeeded("Succeeded", target=targets.SnsTopic(people))
    import_.datastore.on_image_set_created("Created", target=targets.SnsTopic(people))
    elsewhere = Datastore.from_datastore_id(stack, "Imported", _DATASTORE_ID)
    nightly = events.EventPattern(detail={"jobName": [{"prefix": "nightly/"}]})
    elsewhere.on_import_job_completed("Nightly", event_pattern=nightly, target=targets.SnsTopic(people))
    elsewhere.on_event("Everything", target=targets.SnsTopic(people))


def _watched(app: App, _: Path) -> None:
    stack = Stack(app, "Watched")
    import_ = DicomImport(stack, "Import", notify=Notify.REJECTIONS)
    alarms = ImportAlarms(
        stack,
        "Alarms",
        import_,
        rejected_percent=1,
        no_success_for=Duration.days(1),
        dead_letter_queue=sqs.Queue.from_queue_arn(stack, "Queue", "arn:aws:sqs:us-east-1:111122223333:undelivered"),
        notification_topic=import_.notification_topic,
    )
    ImportDashboard(stack, "Dashboard", imports=[import_], alarms=[alarms]).dashboard.add_widgets(
        cloudwatch.GraphWidget(
            left=[
                import_.datastore.metric_storage_bytes(StorageTier.ARCHIVE_INSTANT_ACCESS),
                import_.datastore.metric_call_count("GetImageFrame"),
            ],
        )
    )


def _notified(app: App, _: Path) -> None:
    stack = Stack(app, "Notified")
    topic_arn = "arn:aws:sns:us-east-1:111122223333:people"
    people = sns.Topic.from_topic_attributes(stack, "People", topic_arn=topic_arn, key_arn=_KEY_ARN)
    DicomImport(stack, "Import", notification_topic=people)


def _notified_without_customer_key(app: App, _: Path) -> None:
    stack = Stack(app, "NotifiedWithoutCustomerKey")
    DicomImport(stack, "Import", customer_managed_key=False, notify=Notify.OUTCOMES)


def _bulk_import(app: App, _: Path) -> None:
    stack = Stack(app, "Bulk")
    archive = BulkDicomImport(stack, "Archive")
    archive.grant_start(_runs_a_function(stack, "Starter"))
    archive.grant_read_report(_runs_a_function(stack, "Reader"))


def _bulk_import_brought(app: App, _: Path) -> None:
    stack = Stack(app, "BulkBrought", env=_HERE)
    key = kms.Key.from_key_arn(stack, "Key", _KEY_ARN)
    BulkDicomImport(
        stack,
        "Archive",
        datastore=Datastore.from_datastore_id(stack, "Datastore", _DATASTORE_ID, encryption_key=key),
        source=ImportSource.bucket(_bucket(stack, "images", key), "archive/", owner_account_id="444455556666"),
        output_bucket=_bucket(stack, "results", key),
        pace=BulkPace(starts_per_second=1),
        tolerance=ImportTolerance(rejected_percent=1),
        start_on_deploy=True,
    )


def _bucket(stack: Stack, name: str, key: kms.IKey) -> s3.IBucket:
    return s3.Bucket.from_bucket_attributes(stack, f"Bucket-{name}", bucket_name=f"amzn-{name}", encryption_key=key)


CATALOGUE: dict[str, Callable[[App, Path], None]] = {
    "ready-made app": _ready_made_app,
    "one line": _one_line,
    "bare datastore": _bare_datastore,
    "tagged datastore": _tagged_datastore,
    "tagged app": _tagged_app,
    "stays L1": _stays_l1,
    "was L1": _was_l1,
    "bring your own": _bring_your_own,
    "another account": _another_account,
    "bring your own, one bucket": _bring_your_own_one_bucket,
    "directory": _directory,
    "metadata mappings": _metadata_mappings,
    "tolerant and detached": _tolerant_and_detached,
    "no customer key": _no_customer_key,
    "results expiration": _results_expiration,
    "access logs": _access_logs,
    "removed with the stack": _removed_with_the_stack,
    "two imports": _two_imports,
    "shared output bucket": _shared_output_bucket,
    "beyond CloudFormation": _beyond_cloudformation,
    "emptied with the stack": _emptied_with_the_stack,
    "in a VPC": _in_a_vpc,
    "grants": _grants,
    "events": _events,
    "watched": _watched,
    "notified": _notified,
    "notified, no customer key": _notified_without_customer_key,
    "bulk import": _bulk_import,
    "bulk import, bring your own": _bulk_import_brought,
    "nested stack": _nested_stack,
    "stage": _stage,
}
"""Each builds its stacks in the app it is given; the folder holds something to import."""


@dataclass(frozen=True)
class Template:
    """One synthesized template."""

    example: str
    path: Path
    document: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.example}/{self.path.name}"

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.document["Resources"]
        return found


def synthesize(example: str, outdir: Path, folder: Path) -> list[Template]:
    """Synthesize an example of the catalogue, nested stacks and stages included."""
    app = App(outdir=str(outdir), analytics_reporting=False)
    CATALOGUE[example](app, folder)
    app.synth()
    return read_templates(example, outdir)


def read_templates(example: str, outdir: Path) -> list[Template]:
    """All templates under a synthesized folder, by their path."""
    paths = sorted(outdir.rglob("*.template.json"))
    return [Template(example, path, json.loads(path.read_text(encoding="utf-8"))) for path in paths]
