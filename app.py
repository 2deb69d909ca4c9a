"""The ready-made app: ``cdk deploy --all`` makes a data store with its buckets, and imports what lies in them."""

from __future__ import annotations

from aws_cdk import App

from stacks.data_stack import DataStack
from stacks.import_stack import ImportStack

# The metadata of an analytics record names the Python version: without it a template is the same on every machine.
app = App(
    analytics_reporting=False,
    # The exports of the data stack keep it from being deleted or changed under the import's feet.
    context={"@aws-cdk/core:defaultCrossStackReferences": "strong"},
)
data = DataStack(app, "HealthImagingData", description="Medical images: key, data store, buckets")
ImportStack(
    app,
    "HealthImagingImport",
    datastore=data.datastore,
    input_bucket=data.input_bucket,
    output_bucket=data.output_bucket,
    description="DICOM import on deploy; import again with -c run_id=ANY_NEW_VALUE",
)
app.synth()
