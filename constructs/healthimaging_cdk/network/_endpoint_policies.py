"""What passes through the endpoints: the statements of their policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import ArnFormat, Fn, Stack, Token
from aws_cdk import aws_iam as iam

from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.validation import Violations
from healthimaging_cdk.datastore.datastore import IDatastore

_MOST_CHARACTERS = 20_480
"""Of an endpoint policy (https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-limits-endpoints.html)."""


def through(
    action: str, resources: list[str], conditions: Mapping[str, Mapping[str, str]] | None = None
) -> iam.PolicyStatement:
    """Let one action of anybody pass: callers need their own rights as before."""
    return iam.PolicyStatement(
        principals=[iam.StarPrincipal()], actions=[action], resources=resources, conditions=conditions
    )


def healthimaging_statements(stack: Stack, datastores: Sequence[IDatastore] | None) -> list[iam.PolicyStatement]:
    """What passes to HealthImaging: calls about the given data stores, or about all of the account and Region."""
    if datastores is not None:
        arns = [arn for store in datastores for arn in (store.datastore_arn, f"{store.datastore_arn}/imageset/*")]
        return [through("medical-imaging:*", arns)]
    stores = stack.format_arn(service="medical-imaging", resource="datastore", resource_name="*")
    return [
        through("medical-imaging:*", [stores]),
        # They take no resource.
        iam.PolicyStatement(
            principals=[iam.StarPrincipal()],
            actions=["medical-imaging:CreateDatastore", "medical-imaging:ListDatastores"],
            resources=["*"],
        ),
    ]


def import_statements(stack: Stack) -> dict[str, iam.PolicyStatement]:
    """What the function asks of other services. Not of ``events``: AWS does not say that it takes a policy."""
    return {
        "cloudformation": through(
            "cloudformation:DescribeStacks",
            [stack.format_arn(service="cloudformation", resource="stack", resource_name="*")],
        ),
        "states": through(
            "states:StartExecution",
            [
                stack.format_arn(
                    service="states",
                    resource="stateMachine",
                    resource_name="*",
                    arn_format=ArnFormat.COLON_RESOURCE_NAME,
                )
            ],
        ),
        "sts": through(
            "sts:AssumeRole", [stack.format_arn(service="iam", region="", resource="role", resource_name="*")]
        ),
    }


def response_statement(stack: Stack) -> iam.PolicyStatement:
    """Let responses to CloudFormation pass.

    They are written by a presigned URL, in the name of CloudFormation and not of a caller.
    """
    bucket = _response_bucket(stack.region)
    responses = stack.format_arn(service="s3", region="", account="", resource=bucket, resource_name="*")
    return through("s3:PutObject", [responses])


def _response_bucket(region: str) -> str:
    """Where CloudFormation takes the responses of custom resources; its name has the Region without dashes.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/vpc-interface-endpoints.html
    """
    bare = Fn.join("", Fn.split("-", region)) if Token.is_unresolved(region) else region.replace("-", "")
    return f"{contract.RESPONSE_BUCKET}{bare}"


def check_datastores(violations: Violations, datastores: Sequence[IDatastore], stack: Stack) -> None:
    """Check that data stores are in the environment of a stack, and that their names fit into an endpoint policy."""
    elsewhere = "make endpoints there, an endpoint reaches its own account's stores in its own Region"
    for index, store in enumerate(datastores):
        violations.check_place(f"datastores[{index}]", store, stack, account=elsewhere, region=elsewhere)
    # What synth does not know is taken to be as short as it can be.
    shortest = f"arn:aws:medical-imaging:us-east-1:{'0' * 12}:datastore/{'0' * 32}"
    arns = (shortest if Token.is_unresolved(store.datastore_arn) else store.datastore_arn for store in datastores)
    size = sum(len(f'"{arn}","{arn}/imageset/*",') for arn in arns)
    if size > _MOST_CHARACTERS:
        violations.add(
            f"datastores are {len(datastores)}, whose names take {size} characters of an endpoint policy, which takes "
            f"{_MOST_CHARACTERS}: omit datastores"
        )
