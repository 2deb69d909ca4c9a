"""What users write. mypy --strict and pyright must accept every line; nothing here is run.

`pyright: ignore` stands where pyright compares jsii's interfaces more strictly than they are meant (a parameter has
another name in the class than in the interface), as it does with every construct of aws-cdk-lib (aws/jsii#4541).
"""

from pathlib import Path
from typing import assert_type

from aws_cdk import (
    App,
    CfnOutput,
    Duration,
    Mixins,
    RemovalPolicy,
    Size,
    Stack,
    SymlinkFollowMode,
    Tags,
    Validations,
    assertions,
)
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

import healthimaging_cdk
from healthimaging_cdk import (
    BulkDicomImport,
    BulkPace,
    Completion,
    DataAccessRole,
    Datastore,
    DatastoreGrants,
    DicomImport,
    HealthImagingChecks,
    HealthImagingEndpoints,
    IDatastore,
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
from healthimaging_cdk.testing import assert_imports, assert_no_findings, assert_store_is_retained


class Images(Stack):
    """A stack with all there is."""

    def __init__(self, scope: Construct, construct_id: str, *, authorizer: lambda_.IFunction, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(self, "Bucket")
        self.store = Datastore(
            self,
            "Store",
            datastore_name="radiology",
            encryption_key=key,
            lossless_storage_format=LosslessStorageFormat.HTJ2K,
            lambda_authorizer=authorizer,
            auto_delete_image_sets=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.dicom_import = DicomImport(
            self,
            "Import",
            datastore=self.store,
            source=ImportSource.bucket(self.bucket, "studies/2026/", owner_account_id="111122223333"),
            output_bucket=self.bucket,
            output_prefix="results/",
            data_access_role=self.role(),
            job_name="nightly",
            run_id="1",
            metadata_mappings=[MetadataMapping("1.2", "study.json"), MetadataMapping("1.2", "a.json", "1.2.3")],
            on_empty=OnEmpty.FAIL,
            completion=Completion.DETACH,
            timeout=Duration.minutes(5),
            tolerance=ImportTolerance(rejected_files=1, rejected_percent=0.5, non_primary_image_sets=False),
            quotas=ImportQuotas(files=10_000, total=Size.gibibytes(20)),
        )

    def role(self) -> iam.IRole:
        """A role that is made here passes as one that is not."""
        role = DataAccessRole(
            self,
            "Role",
            datastore=self.store,
            input_bucket=self.bucket,
            input_prefix="studies/",
            output_bucket=self.bucket,
            output_prefix="results/",
            trust_conditions=TrustConditions.ACCOUNT,
        )
        role.add_to_policy(iam.PolicyStatement(actions=["s3:GetObject"], resources=["*"]))
        return role  # pyright: ignore[reportReturnType]


def import_everything(stores: list[IDatastore], scope: Construct) -> dict[str, str]:
    """A store is a store, wherever it was made."""
    stores.append(Datastore(scope, "Own"))
    stores.append(Datastore.from_datastore_id(scope, "ById", "0" * 32))
    stores.append(Datastore.from_datastore_arn(scope, "ByArn", stores[0].datastore_arn))
    imports = {str(n): DicomImport(scope, f"Import{n}", datastore=store) for n, store in enumerate(stores)}
    return {name: made.job_id for name, made in imports.items()}


def watch(scope: Construct, made: DicomImport, vpc: ec2.IVpc, topic: sns.ITopic) -> None:
    """What stands around an import."""
    alarms = ImportAlarms(scope, "Alarms", made, rejected_percent=1, notification_topic=topic)
    ImportDashboard(scope, "Dashboard", imports=[made], alarms=[alarms])
    DicomImport(scope, "Told", datastore=made.datastore, notify=Notify.REJECTIONS)
    archive = BulkDicomImport(scope, "Archive", datastore=made.datastore, pace=BulkPace(starts_per_second=1))
    assert_type(archive.state_machine_arn, str)
    assert_type(archive.metric_executions_failed(), cloudwatch.Metric)
    assert_type(archive.on_completed("Completed"), events.Rule)
    assert_type(made.datastore.metric_storage_bytes(StorageTier.ALL), cloudwatch.Metric)
    assert_type(made.on_failed("Failed"), events.Rule)
    assert_type(made.datastore.grant_read(made.data_access_role), iam.Grant)
    assert_type(DatastoreGrants.from_datastore(made.datastore).read(made.data_access_role), iam.Grant)
    endpoints = HealthImagingEndpoints(scope, "Endpoints", vpc=vpc, datastores=[made.datastore])
    endpoints.allow_bucket(made.input_bucket)
    endpoints.allow_publish(topic)
    ImportNetwork(scope, "Network", vpc=vpc)


app = App()
shared = Stack(app, "Shared")
key = kms.Key(shared, "Key")
function = lambda_.Function.from_function_name(shared, "Authorizer", "authorizer")
images = Images(app, "Images", authorizer=function, key=key)  # pyright: ignore[reportArgumentType]
Datastore(shared, "Encrypted", encryption_key=key)  # pyright: ignore[reportArgumentType]

assert_type(images.store, Datastore)
assert_type(images.store.datastore_id, str)
assert_type(images.store.encryption_key, kms.IKey | None)
assert_type(images.dicom_import.datastore, IDatastore)
assert_type(images.dicom_import.input_bucket, s3.IBucket)
assert_type(images.dicom_import.data_access_role, iam.IRole)
assert_type(images.dicom_import.job_id, str)
assert_type(images.dicom_import.encryption_key, kms.IKey | None)
assert_type(Datastore.from_datastore_id(images, "Other", "0" * 32), IDatastore)
assert_type(ImportSource.directory(Path("phantoms")), ImportSource)
ImportSource.directory("phantoms", exclude=["*.txt"], follow_symlinks=SymlinkFollowMode.ALWAYS)
Mixins.of(Stack(App(), "Mixed")).apply(RetainDatastores(tags_in_place=True, deployed_tags={"team": "radiology"}))
Datastore(Stack(App(), "Kept"), "Kept").keep_deployed("Store", tags={"team": "radiology"})
assert_type(ImportSource.directory("phantoms", prefix="local/").path, Path | None)
assert_type(ImportQuotas().total, Size)
assert_type(healthimaging_cdk.Completion, type[Completion])

images.bucket.grant_read(images.dicom_import.data_access_role)
images.dicom_import.execute_after(images.bucket)
CfnOutput(images, "Files", value=images.dicom_import.number_of_imported_files)
Tags.of(images.store).add("team", "radiology")
Validations.of(app).add_plugins(HealthImagingChecks())
assert_imports(assertions.Template.from_stack(images), source="dicom/")
assert_no_findings({"Resources": {}}, ignore={"HI104": "a key of AWS will do"})
assert_store_is_retained(images)
