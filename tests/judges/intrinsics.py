"""Reads CloudFormation's intrinsic functions: what a value depends on, and what it would be when deployed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any

from tests.judges.catalogue import Template

_PLACEHOLDER = re.compile(r"\$\{([^!}][^}]*)\}")
_ACCOUNT = "111122223333"
_REGION = "us-east-1"

PSEUDO_PARAMETERS = {
    "AWS::Partition": "aws",
    "AWS::AccountId": _ACCOUNT,
    "AWS::Region": _REGION,
    "AWS::StackName": "Stack",
    "AWS::StackId": f"arn:aws:cloudformation:{_REGION}:{_ACCOUNT}:stack/Stack/01234567-89ab-cdef-0123-456789abcdef",
    "AWS::URLSuffix": "amazonaws.com",
}

_ARNS = {
    ("AWS::CloudWatch::Alarm", "Arn"): f"arn:aws:cloudwatch:{_REGION}:{_ACCOUNT}:alarm:{{}}",
    ("AWS::Events::Rule", "Arn"): f"arn:aws:events:{_REGION}:{_ACCOUNT}:rule/{{}}",
    ("AWS::HealthImaging::Datastore", "DatastoreArn"): f"arn:aws:medical-imaging:{_REGION}:{_ACCOUNT}:datastore/{{}}",
    ("AWS::HealthImaging::Datastore", "DatastoreId"): "{}",
    ("AWS::IAM::Role", "Arn"): f"arn:aws:iam::{_ACCOUNT}:role/{{}}",
    ("AWS::KMS::Key", "Arn"): f"arn:aws:kms:{_REGION}:{_ACCOUNT}:key/{{}}",
    ("AWS::Lambda::Function", "Arn"): f"arn:aws:lambda:{_REGION}:{_ACCOUNT}:function:{{}}",
    ("AWS::Logs::LogGroup", "Arn"): f"arn:aws:logs:{_REGION}:{_ACCOUNT}:log-group:{{}}:*",
    (
        "Custom::HealthImagingDatastore",
        "DatastoreArn",
    ): f"arn:aws:medical-imaging:{_REGION}:{_ACCOUNT}:datastore/{{}}",
    ("Custom::HealthImagingDatastore", "DatastoreId"): "{}",
    ("AWS::S3::Bucket", "Arn"): "arn:aws:s3:::{}",
    ("AWS::SNS::Topic", "Ref"): f"arn:aws:sns:{_REGION}:{_ACCOUNT}:{{}}",
    ("AWS::StepFunctions::StateMachine", "Arn"): f"arn:aws:states:{_REGION}:{_ACCOUNT}:stateMachine:{{}}",
    ("AWS::StepFunctions::StateMachine", "Ref"): f"arn:aws:states:{_REGION}:{_ACCOUNT}:stateMachine:{{}}",
}
"""What attributes look like; an Arn that is not here cannot be judged and raises."""


def references(value: Any) -> Iterator[str]:
    """The logical ids (and pseudo parameters) that a part of a template refers to."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    if not isinstance(value, dict):
        return
    for name, argument in value.items():
        if name == "Ref":
            yield argument
        elif name == "Fn::GetAtt":
            yield (argument if isinstance(argument, list) else argument.split("."))[0]
        elif name == "Fn::Sub":
            text, variables = argument if isinstance(argument, list) else (argument, {})
            yield from references(variables)
            yield from (found.split(".")[0] for found in _PLACEHOLDER.findall(text) if found not in variables)
        else:
            yield from references(argument)


def dependencies(document: Mapping[str, Any]) -> dict[str, set[str]]:
    """What each resource of a template needs before it can be made: its references and its DependsOn."""
    resources: Mapping[str, Any] = document["Resources"]
    known_otherwise = {*PSEUDO_PARAMETERS, "AWS::NoValue", "AWS::NotificationARNs", *document.get("Parameters", {})}
    found: dict[str, set[str]] = {}
    for logical_id, resource in resources.items():
        explicit = resource.get("DependsOn", [])
        named = {explicit} if isinstance(explicit, str) else set(explicit)
        found[logical_id] = named | (set(references(resource)) - known_otherwise)
        missing = found[logical_id] - set(resources)
        if missing:
            raise ValueError(f"{logical_id} refers to {sorted(missing)}, which the template does not hold")
    return found


def creation_order(document: Mapping[str, Any]) -> list[str]:
    """An order in which CloudFormation can make the resources.

    Raises:
        graphlib.CycleError: there is none.
    """
    return list(TopologicalSorter(dependencies(document)).static_order())


class Resolver:
    """Fills a template's intrinsic functions in, with the exports and nested parameters of its siblings."""

    def __init__(self, template: Template, siblings: Iterable[Template]) -> None:
        self._template = template
        self._siblings = list(siblings)

    def resolve(self, value: Any) -> Any:
        """The value as CloudFormation would see it, with made-up names."""
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name, argument)
        return {key: self.resolve(item) for key, item in value.items()}

    def arn(self, logical_id: str) -> str:
        """The ARN of a resource; the empty string where its type has none that is known here."""
        kind = self._template.resources[logical_id]["Type"]
        found = [made for (owner, _), made in _ARNS.items() if owner == kind and made.startswith("arn:")]
        return found[0].format(self._physical_name(logical_id)) if found else ""

    def _physical_name(self, logical_id: str) -> str:
        """What a resource is called: its logical id stands for the name that CloudFormation would make up."""
        properties = self._template.resources[logical_id].get("Properties", {})
        return str(self.resolve(properties.get("RoleName", logical_id)))

    def _call(self, name: str, argument: Any) -> Any:
        readers: dict[str, Callable[[], Any]] = {
            "Ref": lambda: self._named(argument, "Ref"),
            "Fn::GetAtt": lambda: self._named(*(argument if isinstance(argument, list) else argument.split(".", 1))),
            "Fn::Join": lambda: argument[0].join(str(item) for item in self.resolve(argument[1])),
            "Fn::Sub": lambda: self._sub(*(argument if isinstance(argument, list) else (argument, {}))),
            "Fn::Select": lambda: self.resolve(argument[1])[int(argument[0])],
            "Fn::Split": lambda: str(self.resolve(argument[1])).split(argument[0]),
            "Fn::ImportValue": lambda: self._import(self.resolve(argument)),
        }
        if name not in readers:
            raise ValueError(f"{self._template.name}: the judges cannot read {name}: teach tests/judges/intrinsics.py")
        return readers[name]()

    def _sub(self, text: str, variables: Mapping[str, Any]) -> str:
        return _PLACEHOLDER.sub(lambda found: self._substitute(found[1], variables), text)

    def _substitute(self, name: str, variables: Mapping[str, Any]) -> str:
        if name in variables:
            return str(self.resolve(variables[name]))
        logical_id, _, attribute = name.partition(".")
        return str(self._named(logical_id, attribute or "Ref"))

    def _named(self, name: str, attribute: str) -> Any:
        if name in PSEUDO_PARAMETERS:
            return PSEUDO_PARAMETERS[name]
        if name in self._template.document.get("Parameters", {}):
            return self._parameter(name)
        kind = self._template.resources[name]["Type"]
        if (kind, attribute) in _ARNS:
            return _ARNS[kind, attribute].format(self._physical_name(name))
        if kind == "AWS::CloudFormation::Stack" and attribute.startswith("Outputs."):
            return self._output(attribute.removeprefix("Outputs."))
        if attribute.endswith("Arn"):
            raise ValueError(f"{self._template.name}: unknown {kind}.{attribute}: teach tests/judges/intrinsics.py")
        return self._physical_name(name) if attribute == "Ref" else f"{name}-{attribute}"

    def _parameter(self, name: str) -> Any:
        """What a parent passes to its nested stack (CDK makes such names unique), else the default."""
        for parent in self._siblings:
            for resource in parent.resources.values():
                given = resource.get("Properties", {}).get("Parameters", {})
                if resource["Type"] == "AWS::CloudFormation::Stack" and name in given:
                    return Resolver(parent, self._siblings).resolve(given[name])
        return self._template.document["Parameters"][name]["Default"]

    def _output(self, name: str) -> Any:
        (nested,) = [sibling for sibling in self._siblings if name in sibling.document.get("Outputs", {})]
        return Resolver(nested, self._siblings).resolve(nested.document["Outputs"][name]["Value"])

    def _import(self, name: str) -> Any:
        for sibling in self._siblings:
            for output in sibling.document.get("Outputs", {}).values():
                if output.get("Export", {}).get("Name") == name:
                    return Resolver(sibling, self._siblings).resolve(output["Value"])
        raise ValueError(f"{self._template.name} imports {name}, which no other stack exports")
