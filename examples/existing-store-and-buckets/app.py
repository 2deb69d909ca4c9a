"""An import between a data store, buckets and a key that exist already."""

from aws_cdk import App, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Datastore, DicomImport, ImportSource

app = App(
    context={  # placeholders: cdk deploy -c images=my-bucket ...
        "datastore_id": "0123456789abcdef0123456789abcdef",
        "images": "amzn-images",
        "results": "amzn-results",
        "key_arn": "arn:aws:kms:us-east-1:111122223333:key/01234567-89ab-cdef-0123-456789abcdef",
    }
)
stack = Stack(app, "ExistingStore")
key = kms.Key.from_key_arn(stack, "Key", app.node.get_context("key_arn"))
store = Datastore.from_datastore_id(stack, "Store", app.node.get_context("datastore_id"), encryption_key=key)
# Buckets with their key: without it the roles may not decrypt.
images, results = (
    s3.Bucket.from_bucket_attributes(stack, name, bucket_name=app.node.get_context(name), encryption_key=key)
    for name in ("images", "results")
)
DicomImport(stack, "Import", datastore=store, source=ImportSource.bucket(images, "studies/"), output_bucket=results)
app.synth()
