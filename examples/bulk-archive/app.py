"""An archive that is larger than one job: planned, run at the account's pace, and accounted for file by file."""

from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import BulkDicomImport, Datastore, ImportSource

app = App()
stack = Stack(app, "BulkArchive")
key = kms.Key(stack, "Key", enable_key_rotation=True)
images, results = (
    s3.Bucket(
        stack,
        name,
        encryption=s3.BucketEncryption.KMS,
        encryption_key=key,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        versioned=True,
        lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
    )
    for name in ("Images", "Results")
)
archive = BulkDicomImport(
    stack,
    "Archive",
    datastore=Datastore(stack, "Store", encryption_key=key),
    source=ImportSource.bucket(images, "archive/"),
    output_bucket=results,
)
CfnOutput(stack, "StateMachineArn", value=archive.state_machine_arn)
app.synth()
