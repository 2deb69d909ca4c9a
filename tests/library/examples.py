"""What examples in docstrings and documents find prepared: the names they use without saying where they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aws_cdk
from aws_cdk import App, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_healthimaging as healthimaging
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

import healthimaging_cdk

MODULES = {
    "cloudwatch": cloudwatch,
    "cloudwatch_actions": cloudwatch_actions,
    "ec2": ec2,
    "events": events,
    "healthimaging": healthimaging,
    "iam": iam,
    "kms": kms,
    "lambda_": lambda_,
    "s3": s3,
    "sns": sns,
    "sqs": sqs,
    "ssm": ssm,
    "subscriptions": subscriptions,
    "targets": targets,
}


def _function(scope: Construct, name: str) -> lambda_.Function:
    code = lambda_.Code.from_inline("def handle(event, context): pass")
    return lambda_.Function(scope, name, code=code, handler="index.handle", runtime=lambda_.Runtime.PYTHON_3_14)


def _role(name: str) -> Callable[[Construct], iam.Role]:
    return lambda scope: iam.Role(scope, name, assumed_by=iam.ServicePrincipal("ecs-tasks.amazonaws.com"))


def _theirs(scope: Construct) -> Stack:
    app = scope.node.root
    found = app.node.try_find_child("Theirs")
    return found if isinstance(found, Stack) else Stack(app, "Theirs")


PREPARED: dict[str, Callable[[Construct], Any]] = {
    "action": lambda scope: cloudwatch_actions.SnsAction(sns.Topic(scope, "Pager")),
    "alarms": lambda scope: healthimaging_cdk.ImportAlarms(
        scope, "Alarms", healthimaging_cdk.DicomImport(scope, "Watched")
    ),
    "archive": lambda scope: healthimaging_cdk.BulkDicomImport(scope, "Archive"),
    "audit": lambda scope: sqs.Queue(scope, "Audit"),
    "auditor": _role("Auditor"),
    "authorizer": lambda scope: _function(scope, "Authorizer"),
    "curator": _role("Curator"),
    "data_access_role": _role("DataAccessRole"),
    "datastore_arn": lambda _: f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{'0' * 32}",
    "images": lambda scope: s3.Bucket(scope, "Images"),
    "import_": lambda scope: healthimaging_cdk.DicomImport(scope, "Import"),
    "images_key": lambda scope: kms.Key.from_key_arn(scope, "ImagesKey", "arn:aws:kms:us-east-1:444455556666:key/1"),
    "index": lambda scope: _function(scope, "Index"),
    "key": lambda scope: kms.Key(scope, "Key"),
    "on_call": lambda scope: sns.Topic(scope, "OnCall"),
    "results": lambda scope: s3.Bucket(scope, "Results"),
    "scheduler": _role("Scheduler"),
    "store": lambda scope: healthimaging_cdk.Datastore(scope, "Store"),
    "their_bucket": lambda scope: s3.Bucket(_theirs(scope), "Images"),
    "their_key": lambda scope: kms.Key(_theirs(scope), "Key"),
    "their_stack": _theirs,
    "topic": lambda scope: sns.Topic(scope, "Topic"),
    "viewer": _role("Viewer"),
    "viewers": lambda scope: ec2.SecurityGroup(scope, "Viewers", vpc=ec2.Vpc(scope, "ViewersVpc")),
    "vpc": lambda scope: ec2.Vpc(scope, "Vpc"),
}
"""What an example finds made, when it asks for it."""


class Namespace(dict[str, Any]):
    """The names an example may use without saying where they come from."""

    def __init__(self) -> None:
        self.app = App(analytics_reporting=False, context={"day": "2026-11-25"})  # as cdk -c day=2026-11-25
        self.stack = Stack(self.app, "Stack")
        self.scope = Construct(self.stack, "Prepared")
        super().__init__(app=self.app, stack=self.stack, self=self.stack)

    def __missing__(self, name: str) -> Any:
        if name in PREPARED:
            made = PREPARED[name](self.scope)
        elif name in healthimaging_cdk.__all__:
            made = getattr(healthimaging_cdk, name)
        elif name in MODULES:
            made = MODULES[name]
        elif name in aws_cdk.__all__:
            made = getattr(aws_cdk, name)
        else:
            raise KeyError(name)
        self[name] = made
        return made

    def copy(self) -> Namespace:
        return self  # doctest works on a copy, which would be an ordinary dictionary
