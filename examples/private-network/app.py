"""An import from a VPC without internet egress, through endpoints that let the data store and the buckets pass."""

from aws_cdk import App, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms

from healthimaging_cdk import Datastore, DicomImport, HealthImagingEndpoints, ImportNetwork

app = App()
stack = Stack(app, "PrivateNetwork")
isolated = ec2.SubnetConfiguration(name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
vpc = ec2.Vpc(stack, "Vpc", nat_gateways=0, subnet_configuration=[isolated])
key = kms.Key(stack, "Key", enable_key_rotation=True)
store = Datastore(stack, "Store", encryption_key=key)
endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=[store])
ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)  # before the first import of the stack
DicomImport(stack, "Import", datastore=store, encryption_key=key)
app.synth()
