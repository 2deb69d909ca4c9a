"""An import from a VPC without internet egress, through endpoints that let the data store and the bucket pass."""

from aws_cdk import App, Duration, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Datastore, DicomImport, HealthImagingEndpoints, ImportNetwork, ImportSource

app = App()
stack = Stack(app, "PrivateNetwork")
isolated = ec2.SubnetConfiguration(name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
vpc = ec2.Vpc(stack, "Vpc", nat_gateways=0, subnet_configuration=[isolated])  # stands for the one you have
key = kms.Key(stack, "Key", enable_key_rotation=True)
store = Datastore(stack, "Store", encryption_key=key)
images = s3.Bucket(
    stack,
    "Images",
    encryption=s3.BucketEncryption.KMS,
    encryption_key=key,
    block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
    enforce_ssl=True,
    versioned=True,
    lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
)
endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=[store], buckets=[images])
ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)  # before the first import of the stack
DicomImport(stack, "Import", datastore=store, source=ImportSource.bucket(images, "dicom/"), output_bucket=images)
app.synth()
