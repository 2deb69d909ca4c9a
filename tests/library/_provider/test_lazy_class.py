"""The provider's resources are of their classes in aws-cdk-lib, though no module of these is imported for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import App, CfnResource, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from healthimaging_cdk._provider._lazy_class import create_resource
from healthimaging_cdk._provider.provider import Provider

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
BUILD = "from healthimaging_cdk import DicomImport; DicomImport(stack, 'Import')"
LOOK = "print(type(next(it for it in stack.node.find_all() if it.node.path.endswith('/Function/Resource'))).__name__)"


def run(*lines: str) -> list[str]:
    """What an app of its own prints."""
    app = "import sys; from aws_cdk import App, Stack; stack = Stack(App(), 'Stack')"
    result = subprocess.run(
        [sys.executable, "-c", "\n".join([app, *lines])],
        env={**os.environ, "PYTHONPATH": str(ROOT / "constructs")},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


def test_an_import_loads_no_module_that_is_slow_to_load():
    slow = {"aws_ec2", "aws_lambda", "aws_logs", "aws_stepfunctions", "aws_cloudwatch", "aws_sns"}
    loaded = run(BUILD, "print(*sys.modules, sep='\\n')")
    assert set() == slow & {name.removeprefix("aws_cdk.") for name in loaded}


def test_an_app_that_has_imported_the_module_finds_the_class():
    assert ["CfnFunction"] == run("import aws_cdk.aws_lambda", BUILD, LOOK)


def test_an_app_that_has_not_imported_the_module_finds_a_resource():
    assert ["CfnResource"] == run(BUILD, LOOK)


def test_a_property_can_be_set_as_on_any_resource_of_the_class(stack, synthesize):
    function = Provider.of(stack).function
    assert isinstance(function, lambda_.CfnFunction)
    function.timeout = 60
    assert 60 == synthesize(stack).only("AWS::Lambda::Function")["Properties"]["Timeout"]


def test_fails_for_a_property_that_the_class_needs():
    stack = Stack(App(), "Stack")
    with pytest.raises(RuntimeError, match="code"):
        create_resource(Construct(stack, "Scope"), "Resource", "aws_lambda.CfnFunction", {"role": "arn"})


def test_the_resource_is_found_by_its_cloudformation_type(stack):
    function = Provider.of(stack).function
    assert CfnResource.is_cfn_resource(function)
    assert "AWS::Lambda::Function" == function.cfn_resource_type
