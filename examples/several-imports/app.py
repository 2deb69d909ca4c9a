"""Three imports of one stack: one store, one pair of buckets, a prefix for each, one after the other."""

from aws_cdk import App, Duration, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Datastore, DicomImport, ImportSource

app = App()
stack = Stack(app, "SeveralImports")
key = kms.Key(stack, "Key", enable_key_rotation=True)


def bucket(name: str) -> s3.Bucket:
    """Create a bucket that takes TLS only, under the key."""
    return s3.Bucket(
        stack,
        name,
        encryption=s3.BucketEncryption.KMS,
        encryption_key=key,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        versioned=True,
        lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
    )


images, results = bucket("Images"), bucket("Results")
store = Datastore(stack, "Store", encryption_key=key)
previous: DicomImport | None = None
for modality in ("CT", "MR", "US"):
    import_ = DicomImport(
        stack,
        modality,
        datastore=store,
        source=ImportSource.bucket(images, f"{modality.lower()}/"),
        output_bucket=results,
        output_prefix=f"{modality.lower()}/",
    )
    if previous:
        import_.execute_after(previous)
    previous = import_
app.synth()
