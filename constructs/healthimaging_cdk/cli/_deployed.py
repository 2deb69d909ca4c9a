"""A deployed stack, and what the intrinsics in its template stand for now."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
import botocore.exceptions

_NESTED = "AWS::CloudFormation::Stack"
# The attributes that equal a resource's physical id.
_IDS = {
    "AWS::HealthImaging::Datastore": ("DatastoreId",),
    "Custom::HealthImagingDatastore": ("DatastoreId",),
}
_PLACEHOLDER = re.compile(r"\$\{([^!}][^}]*)\}")


class UnknownValueError(Exception):
    """What a value of a template stands for cannot be told from outside."""


class NoSuchStackError(Exception):
    """There is no such stack, or it may not be looked at."""


@dataclass(frozen=True)
class DeployedStack:
    """One stack as it is now."""

    session: boto3.Session
    description: Mapping[str, Any]
    """As DescribeStacks returns it."""

    @staticmethod
    def find(session: boto3.Session, name: str) -> DeployedStack:
        """Look a stack up by its name or ARN.

        Raises:
            NoSuchStackError: there is none.
        """
        try:
            found = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except botocore.exceptions.ClientError as error:
            raise NoSuchStackError(str(error.response["Error"]["Message"])) from None
        return DeployedStack(session, found[0])

    @property
    def stack_id(self) -> str:
        """The stack's ARN."""
        return str(self.description["StackId"])

    @property
    def name(self) -> str:
        """The stack's name."""
        return str(self.description["StackName"])

    @cached_property
    def template(self) -> Mapping[str, Any]:
        """The template that is deployed, as CloudFormation processed it."""
        answer = self.session.client("cloudformation").get_template(StackName=self.stack_id, TemplateStage="Processed")
        body = answer["TemplateBody"]
        if not isinstance(body, Mapping):
            raise UnknownValueError(f"the template of stack {self.name} is not JSON: deploy it with the CDK")
        return body

    @cached_property
    def physical_ids(self) -> Mapping[str, str]:
        """The physical ids of the resources, by logical id."""
        pages = self.session.client("cloudformation").get_paginator("list_stack_resources")
        return {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for page in pages.paginate(StackName=self.stack_id)
            for resource in page["StackResourceSummaries"]
            if resource.get("PhysicalResourceId")
        }

    def with_nested(self) -> Iterator[DeployedStack]:
        """Yield this stack and the stacks in it."""
        yield self
        for logical_id, _ in self.resources(_NESTED):
            if logical_id in self.physical_ids:
                yield from DeployedStack.find(self.session, self.physical_ids[logical_id]).with_nested()

    def resources(self, resource_type: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield logical ids and resources of a type, in the order of the template."""
        for logical_id, resource in self.template.get("Resources", {}).items():
            if resource.get("Type") == resource_type:
                yield logical_id, resource

    def resolve(self, value: object) -> str:
        """Return the text that a value of the template stands for.

        Raises:
            UnknownValueError: it cannot be told.
        """
        match value:
            case str():
                return value
            case bool():
                return str(value).lower()
            case int() | float():
                return str(value)
            case {**members} if len(members) == 1:
                ((name, argument),) = members.items()
                resolve = self._intrinsics.get(str(name))
                if resolve is not None:
                    return resolve(argument)
        raise UnknownValueError(f"cannot tell what {value!r} stands for in stack {self.name}")

    @property
    def _intrinsics(self) -> Mapping[str, Callable[[Any], str]]:
        return {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_att,
            "Fn::ImportValue": self._import_value,
            "Fn::GetStackOutput": self._stack_output,
            "Fn::Join": lambda argument: self.resolve(argument[0]).join(self._list(argument[1])),
            "Fn::Select": lambda argument: self._list(argument[1])[int(argument[0])],
            "Fn::Sub": self._sub,
        }

    def _list(self, value: object) -> Sequence[str]:
        match value:
            case {"Fn::Split": [separator, text]}:
                return self.resolve(text).split(str(separator))
            case list():
                return [self.resolve(item) for item in value]
        raise UnknownValueError(f"cannot tell what the list {value!r} holds in stack {self.name}")

    def _ref(self, name: str) -> str:
        arn = self.stack_id.split(":")
        known = {
            "AWS::AccountId": arn[4],
            "AWS::Partition": arn[1],
            "AWS::Region": arn[3],
            "AWS::StackId": self.stack_id,
            "AWS::StackName": self.name,
        }
        parameters = {
            parameter["ParameterKey"]: parameter.get("ResolvedValue", parameter.get("ParameterValue", ""))
            for parameter in self.description.get("Parameters", [])
        }
        for values in (known, parameters, self.physical_ids):
            if name in values:
                return values[name]
        raise UnknownValueError(f"stack {self.name} has no {name}")

    def _get_att(self, argument: str | list[str]) -> str:
        name, _, attribute = argument.partition(".") if isinstance(argument, str) else (argument[0], "", argument[1])
        resource_type = self.template.get("Resources", {}).get(name, {}).get("Type", "")
        physical_id = self._ref(name)
        if attribute in _IDS.get(resource_type, ()):
            return physical_id
        if resource_type == _NESTED and attribute.startswith("Outputs."):
            return DeployedStack.find(self.session, physical_id).output(attribute.removeprefix("Outputs."))
        raise UnknownValueError(f"cannot tell the attribute {attribute} of {name} in stack {self.name}")

    def output(self, name: str) -> str:
        """Return the value of an output.

        Raises:
            UnknownValueError: there is none.
        """
        for output in self.description.get("Outputs", []):
            if output["OutputKey"] == name:
                return str(output["OutputValue"])
        raise UnknownValueError(f"stack {self.name} has no output {name}")

    def _import_value(self, argument: object) -> str:
        name = self.resolve(argument)
        for page in self.session.client("cloudformation").get_paginator("list_exports").paginate():
            for export in page["Exports"]:
                if export["Name"] == name:
                    return str(export["Value"])
        raise UnknownValueError(f"there is no export {name}")

    def _stack_output(self, argument: Mapping[str, Any]) -> str:
        stack = self.resolve(argument.get("StackName", argument.get("StackId")))
        return DeployedStack.find(self.session, stack).output(self.resolve(argument["OutputName"]))

    def _sub(self, argument: str | list[Any]) -> str:
        text, values = (argument, {}) if isinstance(argument, str) else (argument[0], argument[1])

        def value_of(match: re.Match[str]) -> str:
            name = match[1].strip()
            if name in values:
                return self.resolve(values[name])
            return self._get_att(name) if "." in name else self._ref(name)

        return _PLACEHOLDER.sub(value_of, text).replace("${!", "${")
