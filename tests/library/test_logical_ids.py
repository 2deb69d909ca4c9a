"""Logical ids are API: they are what CloudFormation knows a deployed resource by."""

import json
import re
from pathlib import Path

import pytest
from aws_cdk import App, RemovalPolicy, Stack, Tags
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import (
    BulkDicomImport,
    DataAccessRole,
    Datastore,
    DicomImport,
    HealthImagingEndpoints,
    ImportNetwork,
    ImportSource,
    LosslessStorageFormat,
)

POLICY = "AWS::IAM::Policy"
SNAPSHOT = Path(__file__).parent / "logical_ids.json"
WHAT_IT_MEANS = """
The logical ids of {name} changed. On the next deploy CloudFormation makes every resource under its new id and takes
away the one under the old id: a new, empty data store and new, empty buckets (the old ones are retained, out of the
stack), and the import runs again. Give the constructs their old ids and their old place in the tree. Only where
nothing can be deployed yet, write the snapshot anew: python -m pytest tests/library/test_logical_ids.py --write
"""


def bare_store(stack: Stack) -> None:
    Datastore(stack, "Store")


def tagged_store(stack: Stack) -> None:
    Tags.of(Datastore(stack, "Store")).add("team", "radiology")


def data_access_role(stack: Stack) -> None:
    bucket = s3.Bucket(stack, "Bucket")
    store = Datastore(stack, "Store")
    DataAccessRole(
        stack,
        "Role",
        datastore=store,
        input_bucket=bucket,
        input_prefix="in/",
        output_bucket=bucket,
        output_prefix="out/",
    )


def whole_import(stack: Stack) -> None:
    DicomImport(stack, "Import")


def import_of_a_directory(stack: Stack) -> None:
    DicomImport(stack, "Import", source=ImportSource.directory(Path(__file__).parent))


def store_beyond_cloudformation(stack: Stack) -> None:
    Datastore(stack, "Store", lossless_storage_format=LosslessStorageFormat.HTJ2K)


def store_that_is_emptied(stack: Stack) -> None:
    Datastore(stack, "Store", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY)


def import_in_a_vpc(stack: Stack) -> None:
    vpc = ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-1",
        vpc_cidr_block="10.0.0.0/16",
        availability_zones=["us-east-1a"],
        isolated_subnet_ids=["subnet-1"],
        isolated_subnet_route_table_ids=["rtb-1"],
    )
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    DicomImport(stack, "Import")


def bulk_import(stack):
    BulkDicomImport(stack, "Archive", start_on_deploy=True)


CONSTRUCTS = [
    bare_store,
    tagged_store,
    store_beyond_cloudformation,
    store_that_is_emptied,
    data_access_role,
    whole_import,
    import_of_a_directory,
    import_in_a_vpc,
    bulk_import,
]


@pytest.mark.parametrize("build", CONSTRUCTS, ids=lambda build: build.__name__)
def test_ids_are_those_of_the_first_release(build, synthesize, request):
    stack = Stack(App(), "Stack")
    build(stack)
    found = synthesize(stack)
    ids = {
        # What a role may do is replaced with each change: the id of such a policy ends with a digest of its document.
        re.sub("[0-9a-f]{16}$", "{digest}", name) if resource["Type"] == POLICY else name: resource["Type"]
        for name, resource in found.resources.items()
    }
    outputs = sorted(found.document.get("Outputs", {}))
    actual = {"resources": dict(sorted(ids.items())), "outputs": outputs}
    known = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    if request.config.getoption("--write"):
        known[build.__name__] = actual
        SNAPSHOT.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    assert known[build.__name__] == actual, WHAT_IT_MEANS.format(name=build.__name__)
