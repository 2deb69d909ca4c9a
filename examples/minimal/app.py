"""One line: a data store, its buckets and roles, and an import on deploy."""

from aws_cdk import App, Stack

from healthimaging_cdk import DicomImport

app = App()
stack = Stack(app, "Minimal")
DicomImport(stack, "Import")
app.synth()
