"""A pipeline that imports into a test stage first, and into production after somebody has approved."""

from aws_cdk import App, Duration, Environment, Stack, Stage, pipelines
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from healthimaging_cdk import Datastore, DicomImport, ImportSource

RUN_ID = "2026-11"  # another value imports again, in each stage


class Imaging(Stage):
    """What holds data and what imports, in two stacks."""

    def __init__(self, scope: Construct, construct_id: str, *, env: Environment) -> None:
        """Create both stacks."""
        super().__init__(scope, construct_id, env=env)
        data, imports = Stack(self, "Data"), Stack(self, "Import")
        key = kms.Key(data, "Key", enable_key_rotation=True)
        images, results = (
            s3.Bucket(
                data,
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
        DicomImport(
            imports,
            "Import",
            datastore=Datastore(data, "Store", encryption_key=key),
            source=ImportSource.bucket(images, "dicom/"),
            output_bucket=results,
            run_id=RUN_ID,
        )


app = App(
    context={  # placeholders: write yours here, since the pipeline synthesizes from the repository
        "account": "111122223333",
        "region": "us-east-1",
        "repository": "radiology/imaging",
        "connection_arn": "arn:aws:codeconnections:us-east-1:111122223333:connection/ID",
    }
)
environment = Environment(account=app.node.get_context("account"), region=app.node.get_context("region"))
stack = Stack(app, "Pipeline", env=environment)
source = pipelines.CodePipelineSource.connection(
    app.node.get_context("repository"), "main", connection_arn=app.node.get_context("connection_arn")
)
synth = pipelines.ShellStep(
    "Synth", input=source, commands=["pip install -r requirements.txt", "npx aws-cdk@2.1148.1 synth"]
)
pipeline = pipelines.CodePipeline(stack, "Pipeline", synth=synth, cross_account_keys=True, enable_key_rotation=True)
pipeline.add_stage(Imaging(app, "Test", env=environment))
pipeline.add_stage(
    Imaging(app, "Production", env=environment), pre=[pipelines.ManualApprovalStep("LookAtTheSummaryOfTest")]
)
app.synth()
