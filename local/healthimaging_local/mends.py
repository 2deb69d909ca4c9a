"""Where ministack differs from AWS in a way that matters here, and the mend. docs/local-cloud.md lists them all."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from xml.sax.saxutils import escape

from ministack import app
from ministack.core import iam_actions, iam_evaluator, responses, router
from ministack.services import cloudformation as stacks_store
from ministack.services import ec2, iam, lambda_svc, s3
from ministack.services.cloudformation import provisioners, stacks

from healthimaging_local.ports import Json

_ROLE_ARN = re.compile(r"arn:[^:]+:iam::(?P<account>[0-9]{12}):role/(?:.*/)?(?P<name>[^/]+)")
_SESSION_ARN = re.compile(r"arn:[^:]+:sts::(?P<account>[0-9]{12}):assumed-role/(?P<name>[^/]+)/.+")

RUNTIME_VARIABLE = "HEALTHIMAGING_LOCAL_RUNTIME"


def mend_all() -> None:
    """Apply every mend."""
    every_request_is_secure()
    trust_alone_allows_assume_role()
    deletes_fail_as_on_aws()
    workers_use_the_runtime_sdk()
    put_events_knows_its_source()
    principal_arn_is_the_role()
    foreign_buckets_know_the_caller()
    expected_bucket_owners_count()
    security_groups_take_further_rules()
    vpcs_have_their_block()
    functions_have_their_network()
    endpoints_are_told_in_full()


def endpoints_are_told_in_full() -> None:
    """Let DescribeVpcEndpoints tell an endpoint's policy, groups and private DNS, which ministack keeps to itself."""
    original = ec2._vpce_fields_xml

    def fields(endpoint: dict[str, Json], tag: str = "item") -> str:
        xml: str = original(endpoint, tag=tag)
        policy = endpoint.get("PolicyDocument")
        groups = "".join(f"<item><groupId>{it}</groupId></item>" for it in endpoint.get("SecurityGroupIds", []))
        dns = str(endpoint.get("PrivateDnsEnabled", False)).lower()
        more = f"<privateDnsEnabled>{dns}</privateDnsEnabled><groupSet>{groups}</groupSet>"
        if policy:
            text = policy if isinstance(policy, str) else json.dumps(policy)
            more += f"<policyDocument>{escape(text)}</policyDocument>"
        return f"{xml.removesuffix(f'</{tag}>')}{more}</{tag}>"

    ec2._vpce_fields_xml = fields


def functions_have_their_network() -> None:
    """Let a function that CloudFormation makes keep its ``VpcConfig``, for which its role needs the rights.

    AWS refuses a function in a VPC whose role may not work with network interfaces (Lambda's guide, "Giving Lambda
    functions access to resources in an Amazon VPC").
    """
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]

    def with_network(original: Callable[..., Json], position: int) -> Callable[..., Json]:
        def handler(*arguments: Json) -> Json:
            network = arguments[position].get("VpcConfig")
            if not network:
                return original(*arguments)
            _check_network_rights(arguments[position]["Role"], network)
            name, attributes = original(*arguments)
            lambda_svc._functions[name]["config"]["VpcConfig"] = lambda_svc._vpc_config_with_id(network)
            return name, attributes

        return handler

    for name, position in (("create", 1), ("update", 2)):
        handlers[name] = with_network(handlers[name], position)


def _check_network_rights(role_arn: str, network: dict[str, list[str]]) -> None:
    """What Lambda asks for at once; on which resources it does is not documented, so all that the actions take."""
    account, region = responses.get_account_id(), responses.get_region()
    role_name = role_arn.rsplit("/", 1)[-1]
    policies = iam_evaluator._gather_role_policies(role_name, account)
    interfaces = ["network-interface/eni-0"]
    places = [f"subnet/{it}" for it in network["SubnetIds"]]
    places += [f"security-group/{it}" for it in network["SecurityGroupIds"]]
    for action, resources in (
        ("CreateNetworkInterface", interfaces + places),
        ("DescribeNetworkInterfaces", ["*"]),
        ("DeleteNetworkInterface", interfaces),
    ):
        for resource in resources:
            context = iam_evaluator.EvalContext(
                principal_arn=f"arn:aws:sts::{account}:assumed-role/{role_name}/lambda",
                principal_type="AssumedRole",
                principal_account=account,
                action=f"ec2:{action}",
                resource_arn="*" if resource == "*" else f"arn:aws:ec2:{region}:{account}:{resource}",
                region=region,
            )
            if iam_evaluator.evaluate(context, policies).decision != "Allow":
                raise ValueError(f"The provided execution role does not have permissions to call {action} on EC2")


def vpcs_have_their_block() -> None:
    """Give ``AWS::EC2::VPC`` the attribute ``CidrBlock``, by which security groups let the whole VPC in."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::EC2::VPC"]

    def with_block(original: Callable[..., Json]) -> Callable[..., Json]:
        def handler(*arguments: Json) -> Json:
            vpc_id, attributes = original(*arguments)
            return vpc_id, {**attributes, "CidrBlock": ec2._vpcs[vpc_id]["CidrBlock"]}

        return handler

    for name in ("create", "update"):
        handlers[name] = with_block(handlers[name])


def security_groups_take_further_rules() -> None:
    """Make ``AWS::EC2::SecurityGroupIngress``: a rule for a group of another stack, which CDK makes for some peers."""
    kind = "AWS::EC2::SecurityGroupIngress"

    def rules_of(properties: dict[str, Json]) -> tuple[list[Json], list[Json]]:
        group = ec2._security_groups.get(properties.get("GroupId"))
        if group is None:
            raise ValueError(f"The security group '{properties.get('GroupId')}' does not exist")
        return group["IpPermissions"], provisioners._ec2_sg_permissions([properties])

    def create(logical_id: str, properties: dict[str, Json], stack_name: str) -> tuple[str, dict[str, str]]:
        rules, rule = rules_of(properties)
        rules.extend(rule)
        digest = hashlib.sha256(f"{stack_name}/{logical_id}/{json.dumps(properties, sort_keys=True)}".encode())
        rule_id = f"sgr-{digest.hexdigest()[:17]}"
        return rule_id, {"Id": rule_id}

    def delete(_: str, properties: dict[str, Json]) -> None:
        if properties.get("GroupId") in ec2._security_groups:
            rules, (rule,) = rules_of(properties)
            if rule in rules:
                rules.remove(rule)

    provisioners._RESOURCE_HANDLERS[kind] = {"create": create, "delete": delete}
    provisioners._REPLACING_PROPERTIES[kind] = (
        "CidrIp",
        "CidrIpv6",
        "FromPort",
        "GroupId",
        "IpProtocol",
        "SourceSecurityGroupId",
        "ToPort",
    )


def principal_arn_is_the_role() -> None:
    """Let ``aws:PrincipalArn`` be the role's ARN for a session of it: policies of other accounts name roles so.

    AWS: "For IAM roles, the request context returns the ARN of the role, not the ARN of the user that assumed the
    role" (IAM user guide, "AWS global condition context keys").
    """
    original = iam_evaluator._resolve_condition_key

    def resolve_condition_key(key: str, context: Json) -> Json:
        session = _SESSION_ARN.fullmatch(context.principal_arn) if key.lower() == "aws:principalarn" else None
        role = iam._roles.get_scoped(session["account"], None, session["name"]) if session else None
        return role["Arn"] if role else original(key, context)

    iam_evaluator._resolve_condition_key = resolve_condition_key


def foreign_buckets_know_the_caller() -> None:
    """Let the policy of another account's bucket decide about the caller itself, not only about its account."""
    allows, evaluate = s3._foreign_bucket_allows, iam_evaluator.evaluate_resource_policy
    calling: ContextVar[Json] = ContextVar("calling", default=None)

    def foreign_bucket_allows(  # noqa: PLR0917 - ministack's signature
        owner: str, bucket: str, key: str, method: str, query: Json, caller: str, headers: Json = None
    ) -> Json:
        access_key = router.extract_access_key_id(headers or {}, query) if caller else ""
        principal = iam_evaluator.resolve_principal(access_key, caller) if access_key else None
        token = calling.set(None if isinstance(principal, iam_evaluator.AuthError) else principal)
        try:
            return allows(owner, bucket, key, method, query, caller, headers)
        finally:
            calling.reset(token)

    def evaluate_resource_policy(document: Json, context: Json, *rest: Json, **more: Json) -> Json:
        principal = calling.get()
        if principal is not None:
            context = dataclasses.replace(
                context,
                principal_arn=principal.arn,
                principal_type=principal.type,
                principal_account=principal.account,
                principal_keys=principal.keys,
            )
        return evaluate(document, context, *rest, **more)

    s3._foreign_bucket_allows = foreign_bucket_allows
    iam_evaluator.evaluate_resource_policy = evaluate_resource_policy


def expected_bucket_owners_count() -> None:
    """Refuse a request whose ``x-amz-expected-bucket-owner`` is not the bucket's."""
    original = s3._apply_bucket_scope

    def apply_bucket_scope(
        method: str, bucket: str, key: str, headers: dict[str, str], query: Json, *rest: Json
    ) -> Json:
        expected = headers.get("x-amz-expected-bucket-owner")
        if expected and s3._bucket_owner_account(bucket) not in (None, expected):
            return s3._error("AccessDenied", "Access Denied", 403, f"/{bucket}")
        return original(method, bucket, key, headers, query, *rest)

    s3._apply_bucket_scope = apply_bucket_scope


def put_events_knows_its_source() -> None:
    """Give ``events:PutEvents`` the condition key ``events:source``, which policies limit it by."""
    original = iam_actions.request_tag_context

    def request_tag_context(service: str, iam_action: str, body: bytes, params: Json) -> Json:
        context = original(service, iam_action, body, params)
        if iam_action == "events:PutEvents":
            sources = {str(entry.get("Source")) for entry in json.loads(body or b"{}").get("Entries") or []}
            if len(sources) == 1:
                context = {**context, "events:source": sources.pop()}
        return context

    iam_actions.request_tag_context = request_tag_context


def every_request_is_secure() -> None:
    """Let ``aws:SecureTransport`` be true: on loopback plain HTTP stands for TLS.

    Bucket policies that refuse plain HTTP are a must on AWS and would refuse everything here.
    """
    original = app.pin_request_origin

    def pin_request_origin(source_ip: str, _: object) -> None:
        original(source_ip, True)

    app.pin_request_origin = pin_request_origin


def trust_alone_allows_assume_role() -> None:
    """Let a role be assumed by a principal of its account that its trust policy names, without an identity policy.

    AWS: "add the user as a principal directly in the role's trust policy" (IAM user guide, "Granting a user
    permissions to switch roles"). A trust policy that names only the account still needs an identity policy.
    """

    def role_trust_policy_for_arn(role_arn: str) -> tuple[Json, str] | None:
        match = _ROLE_ARN.fullmatch(role_arn)
        role = iam._roles.get_scoped(match["account"], None, match["name"]) if match else None
        return (role.get("AssumeRolePolicyDocument"), match["account"]) if match and role else None

    iam.role_trust_policy_for_arn = role_trust_policy_for_arn
    iam_evaluator._RESOURCE_POLICY_LOOKUPS["sts"] = ("iam", "role_trust_policy_for_arn")


def deletes_fail_as_on_aws() -> None:
    """Let a delete fail where CloudFormation's would: a bucket that is not empty, and what a kept resource needs.

    CloudFormation deletes a resource only after everything that depends on it is gone. Here what is kept for that
    reason is reported as DELETE_FAILED too; on AWS it simply stays.
    """
    original = stacks._delete_resource
    failed = FailedDeletes()

    def delete_resource(
        resource_type: str, physical_id: str, props: dict[str, Json], stack_name: str = "", logical_id: str = ""
    ) -> None:
        stack = stacks_store._stacks.get(stack_name) or {}
        dependents = failed.dependents(stack, logical_id)
        try:
            if dependents:
                raise ValueError(f"kept: {', '.join(dependents)} depends on it and was not deleted")  # noqa: TRY301
            if resource_type == "AWS::S3::Bucket" and _holds_objects(physical_id):
                message = "The bucket you tried to delete is not empty (Service: S3, Status Code: 409)"
                raise ValueError(message)  # noqa: TRY301
            original(resource_type, physical_id, props, stack_name, logical_id)
        except Exception:
            failed.note(stack, logical_id)
            raise

    stacks._delete_resource = delete_resource


def _holds_objects(bucket: str) -> bool:
    record = s3._buckets.get(bucket) or {}
    return bool(record.get("objects")) or s3._bucket_has_versions(bucket)


class FailedDeletes:
    """Which resources of a stack could not be deleted, while one phase of one operation lasts."""

    def __init__(self) -> None:
        """Begin with none."""
        self._failed: dict[str, set[str]] = {}

    def note(self, stack: dict[str, Json], logical_id: str) -> None:
        """Remember one failed delete."""
        self._of(stack).add(logical_id)

    def dependents(self, stack: dict[str, Json], logical_id: str) -> list[str]:
        """The resources that depend on ``logical_id`` and could not be deleted."""
        definitions = (stack.get("_template") or {}).get("Resources", {})
        return sorted(
            name
            for name in self._of(stack) - {logical_id}
            if logical_id in stacks._with_dependencies([name], definitions, set(definitions))
        )

    def _of(self, stack: dict[str, Json]) -> set[str]:
        """The failed ones of the phase that the stack's own last event began."""
        events = stacks_store._stack_events.get(stack.get("StackId")) or []
        phases = [event["EventId"] for event in events if event["PhysicalResourceId"] == event["StackId"]]
        return self._failed.setdefault(phases[-1] if phases else "", set())


def workers_use_the_runtime_sdk() -> None:
    """Let Lambda workers import the SDK of a Lambda runtime, not the emulator's own newer one.

    For child processes only: this process has its modules already. The checkout leaves the path with it, so that a
    function sees its own asset and the runtime, as on AWS.
    """
    runtime = os.environ.get(RUNTIME_VARIABLE, "")
    if runtime:
        os.environ["PYTHONPATH"] = runtime
    else:
        os.environ.pop("PYTHONPATH", None)
