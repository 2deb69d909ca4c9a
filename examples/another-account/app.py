"""A bucket and its key in one account, a data store that imports from it in another."""

from aws_cdk import App, CfnOutput, Duration, Environment, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import DicomImport, ImportSource

app = App(  # placeholders: cdk deploy -c imaging_account=... -c images_account=...
    context={"imaging_account": "111122223333", "images_account": "444455556666", "region": "us-east-1"}
)
region = app.node.get_context("region")

# The stack of the account that owns the images.
theirs = Stack(app, "Images", env=Environment(account=app.node.get_context("images_account"), region=region))
key = kms.Key(theirs, "Key", enable_key_rotation=True)
images = s3.Bucket(
    theirs,
    "Bucket",
    bucket_name=f"images-{theirs.account}-{region}",
    encryption=s3.BucketEncryption.KMS,
    encryption_key=key,
    block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
    enforce_ssl=True,
    versioned=True,
    lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
)
CfnOutput(theirs, "KeyArn", value=key.key_arn)

# The stack that imports: once the key exists, since policies of another account need its ARN.
if key_arn := app.node.try_get_context("images_key_arn"):
    ours = Stack(app, "Imaging", env=Environment(account=app.node.get_context("imaging_account"), region=region))
    ours.add_stack_dependency(theirs)
    named = s3.Bucket.from_bucket_attributes(
        ours,
        "Images",
        bucket_name=images.bucket_name,
        account=theirs.account,
        encryption_key=kms.Key.from_key_arn(ours, "ImagesKey", key_arn),
    )
    import_ = DicomImport(ours, "Import", source=ImportSource.bucket(named, "studies/"))

    # What the owner has to allow. The import's roles have names, so that this can be allowed before they exist.
    bucket_policy, key_policy = import_.source_bucket_policy, import_.source_key_policy
    for statement in bucket_policy.to_json()["Statement"]:
        images.add_to_resource_policy(iam.PolicyStatement.from_json(statement))
    for statement in key_policy.to_json()["Statement"]:
        key.add_to_resource_policy(iam.PolicyStatement.from_json(statement))
app.synth()
