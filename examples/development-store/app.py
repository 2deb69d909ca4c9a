"""A data store for development: filled from a local folder, and gone without a trace after `cdk destroy`."""

from pathlib import Path

from aws_cdk import Acknowledgment, App, Duration, RemovalPolicies, RemovalPolicy, Stack, Validations
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Datastore, DicomImport, ImportSource

app = App()
stack = Stack(app, "DevelopmentStore")
key = kms.Key(stack, "Key", enable_key_rotation=True, removal_policy=RemovalPolicy.DESTROY)
bucket = s3.Bucket(
    stack,
    "Bucket",
    encryption=s3.BucketEncryption.KMS,
    encryption_key=key,
    block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
    enforce_ssl=True,
    lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
    auto_delete_objects=True,
    removal_policy=RemovalPolicy.DESTROY,
)
store = Datastore(stack, "Store", encryption_key=key, auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY)
DicomImport(
    stack,
    "Import",
    datastore=store,
    source=ImportSource.directory(Path(__file__).parent / "phantoms", bucket=bucket),
    output_bucket=bucket,
)
RemovalPolicies.of(stack).destroy()  # the function's log group as well
# What HealthImagingChecks would say about it (docs/rules.md).
reason = "A store for development: it holds phantoms alone, and nothing of it has to be kept."
for rule in ("HI101", "HI105"):
    Validations.of(stack).acknowledge(Acknowledgment(id=f"HealthImagingChecks::{rule}", reason=reason))
app.synth()
