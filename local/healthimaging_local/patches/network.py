"""Patches of ministack's EC2 and Lambda: security groups, VPCs, endpoints, and functions in them."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from xml.sax.saxutils import escape

from ministack.core import iam_evaluator, responses
from ministack.services import ec2, lambda_svc
from ministack.services.cloudformation import provisioners

from healthimaging_local.ports import Json


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
            _check_network_rights(arguments[position]["Role"])
            name, attributes = original(*arguments)
            lambda_svc._functions[name]["config"]["VpcConfig"] = lambda_svc._vpc_config_with_id(network)
            return name, attributes

        return handler

    for name, position in (("create", 1), ("update", 2)):
        handlers[name] = with_network(handlers[name], position)


_INTERFACE_ACTIONS = (
    "CreateNetworkInterface",
    "DescribeNetworkInterfaces",
    "DeleteNetworkInterface",
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
)


def _check_network_rights(role_arn: str) -> None:
    """What Lambda asks for at once, without a resource: a policy that names resources does not allow it."""
    account, region = responses.get_account_id(), responses.get_region()
    role_name = role_arn.rsplit("/", 1)[-1]
    policies = iam_evaluator._gather_role_policies(role_name, account)
    for action in _INTERFACE_ACTIONS:
        context = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:sts::{account}:assumed-role/{role_name}/lambda",
            principal_type="AssumedRole",
            principal_account=account,
            action=f"ec2:{action}",
            resource_arn="*",
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
