"""Resources of CloudFormation without the Python modules of their classes, which are slow to import."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import jsii
from aws_cdk import CfnResource
from constructs import Construct


def create_resource(scope: Construct, construct_id: str, class_name: str, properties: Mapping[str, Any]) -> CfnResource:
    """Create a resource as its class in aws-cdk-lib does, and import nothing for it.

    ``aws_lambda`` imports ``aws_ec2``: with it the modules of the provider's resources take a third of a synth to
    import. To CDK the resource is what its class says: tags and cdk-nag find it. An aspect in Python sees an instance
    of the class if the app has imported the module, as one that asks for the class has, else a ``CfnResource``
    (docs/decisions/0009).

    Args:
        scope: the parent construct.
        construct_id: the id in the scope.
        class_name: the class with its module, for example ``aws_lambda.CfnFunction``.
        properties: the arguments of the class, spelled as in TypeScript.
    """
    module, _, name = class_name.partition(".")
    python_class: type[CfnResource] = getattr(sys.modules.get(f"aws_cdk.{module}"), name, CfnResource)
    resource = python_class.__new__(python_class)
    created_class = type(name, (), {"__jsii_type__": f"aws-cdk-lib.{class_name}"})
    jsii.create(created_class, resource, [scope, construct_id, properties])
    return resource


def set_property(resource: CfnResource, name: str, value: str) -> None:
    """Set a property of a resource that was created here, spelled as in TypeScript, where cdk-nag sees it."""
    jsii.set(resource, name, value)


__all__ = ["create_resource", "set_property"]
