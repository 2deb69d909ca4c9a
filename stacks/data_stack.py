"""What holds data: the key, the data store and the buckets. A failed import rolls back none of it."""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from healthimaging_cdk import Datastore


class DataStack(Stack):
    """A data store with an input and an output bucket, all under one key and all retained."""

    def __init__(self, scope: Construct, construct_id: str, *, description: str | None = None) -> None:
        """Make the stack."""
        super().__init__(scope, construct_id, description=description)
        self.key = kms.Key(
            self,
            "Key",
            description="Encrypts medical images and the results of their import",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.RETAIN,
        )
        self.datastore = Datastore(self, "Datastore", encryption_key=self.key)
        self.input_bucket = self._bucket("InputBucket")
        self.output_bucket = self._bucket("OutputBucket")
        CfnOutput(self, "InputBucketName", value=self.input_bucket.bucket_name, description="Upload P10 files here")
        CfnOutput(self, "DatastoreArn", value=self.datastore.datastore_arn, description="The HealthImaging data store")

    def _bucket(self, construct_id: str) -> s3.Bucket:
        return s3.Bucket(
            self,
            construct_id,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self.key,
            bucket_key_enabled=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=True,
            lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
            removal_policy=RemovalPolicy.RETAIN,
        )
