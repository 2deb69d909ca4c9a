"""Imports as this library makes them."""

from __future__ import annotations

from aws_cdk import Stack

from healthimaging_cdk import Datastore, DicomImport, ImportSource


def add_datastore(stack: Stack) -> None:
    """Add a bare data store."""
    Datastore(stack, "Datastore")


def add_imports(stack: Stack, count: int) -> None:
    """Add a whole import, and further ones into the same data store."""
    first = DicomImport(stack, "Import")
    for number in range(2, count + 1):
        DicomImport(
            stack,
            f"Import{number}",
            datastore=first.datastore,
            source=ImportSource.bucket(first.input_bucket, f"dicom{number}/"),
            output_bucket=first.output_bucket,
        )
