"""The reading of a template's intrinsic functions. Nothing here raises, whatever the template holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from healthimaging_cdk.review.reading.template import (
    MAX_DEPTH,
    PLACEHOLDER,
    Found,
    Node,
    Template,
    all_references,
    call_of,
    is_custom,
    normalized,
)
from healthimaging_cdk.review.reading.text import Hole, HoleKind, Text, combinations

NAME_PROPERTIES = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
    "AWS::IAM::Group": "GroupName",
    "AWS::KMS::Alias": "AliasName",
    "AWS::Logs::LogGroup": "LogGroupName",
}
"""The property that ``Ref`` returns where it is given."""

_PARTITION = Hole(HoleKind.PSEUDO, "", "AWS::Partition")
_REGION = Hole(HoleKind.PSEUDO, "", "AWS::Region")
_ACCOUNT = Hole(HoleKind.PSEUDO, "", "AWS::AccountId")


def store_arn(store_id: Text) -> Text:
    """The ARN of a data store."""
    return Text.of("arn:", _PARTITION, ":medical-imaging:", _REGION, ":", _ACCOUNT, ":datastore/", store_id)


class Siblings(Protocol):
    """The templates that a template may refer to."""

    @property
    def templates(self) -> Sequence[Template]:
        """All of them."""

    def reader(self, template: Template) -> Reader:
        """What reads one of them."""

    def nested(self, parent: Template, logical_id: str) -> Template | None:
        """The template of a nested stack."""

    def export(self, name: Text) -> tuple[Template, Node] | None:
        """The value that a stack exports under a name."""

    def output(self, stack: str, name: str) -> tuple[Template, Node] | None:
        """The value of an output of a stack."""


class Reader:
    """Reads the values of one template of an assembly."""

    def __init__(self, assembly: Siblings, template: Template) -> None:
        """Read a template of an assembly, whose exports and nested stacks it may refer to."""
        self._assembly = assembly
        self.template = template

    @property
    def siblings(self) -> list[Reader]:
        """The readers of all templates of the assembly."""
        return [self._assembly.reader(template) for template in self._assembly.templates]

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """Resources by logical id, without those that a condition is known to leave out."""
        return {
            logical_id: resource
            for logical_id, resource in self.template.resources.items()
            if not isinstance(resource.get("Condition"), str) or self.condition(resource["Condition"]) is not False
        }

    def may_be_absent(self, resource: Mapping[str, Any]) -> bool:
        """Whether a condition that cannot be decided here says whether a resource is there."""
        return "Condition" in resource and self.condition(resource["Condition"]) is None

    def options(self, node: Node, depth: int = 0) -> list[Node]:
        """A node without ``Fn::If`` and ``AWS::NoValue``: one for each branch that may hold."""
        name = call_of(node)
        if name is None or depth > MAX_DEPTH:
            return [node]
        argument = node[name]
        if name == "Ref" and argument == "AWS::NoValue":
            return []
        if name == "Fn::If" and isinstance(argument, list) and len(argument) == 3:
            holds = self.condition(argument[0])
            branches = argument[1:] if holds is None else [argument[1 if holds else 2]]
            return [option for branch in branches for option in self.options(branch, depth + 1)]
        if name == "Fn::FindInMap":
            mapped = self._mapped(argument)
            return [node] if mapped is None else self.options(mapped, depth + 1)
        return [node]

    def get(self, node: Node, *path: str) -> Found:
        """What stands at a path of keys below a node."""
        nodes, is_certain = self._certain_options(node)
        for key in path:
            below: list[Node] = []
            for item in nodes:
                if isinstance(item, dict) and key in item and call_of(item) is None:
                    options, certain = self._certain_options(item[key])
                    below += options
                    is_certain = is_certain and certain
                elif not isinstance(item, dict) or call_of(item) or "Fn::Transform" in item:
                    is_certain = False
            is_certain = is_certain and len(nodes) <= 1
            nodes = below
        return Found(nodes, is_certain)

    def _certain_options(self, node: Node) -> tuple[list[Node], bool]:
        options = self.options(node)
        known = call_of(node) not in {"Fn::If", "Fn::Transform"} or len(options) == 1
        return options, known

    def items(self, node: Node) -> Found:
        """The items of a list; one value stands for a list of one."""
        found: list[Node] = []
        is_certain = True
        for option in self.options(node):
            if isinstance(option, list):
                for item in option:
                    found += self.options(item)
            elif self._may_be_a_list(option):
                pieces = self._split(option)
                found += [option] if pieces is None else pieces
                is_certain = is_certain and pieces is not None
            else:
                found.append(option)
        return Found(found, is_certain)

    def _may_be_a_list(self, node: Node) -> bool:
        name = call_of(node)
        if name == "Ref":
            parameter = self.template.section("Parameters").get(str(node[name]))
            return isinstance(parameter, dict) and "List" in str(parameter.get("Type"))
        return name in {"Fn::Split", "Fn::Transform", "Fn::GetAZs", "Fn::Cidr", "Fn::FindInMap"}

    def texts(self, node: Node, depth: int = 0) -> list[Text]:
        """The alternatives of a value as text; none for ``AWS::NoValue`` and for what is no scalar."""
        found: list[Text] = []
        for option in self.options(node):
            found += self._texts(option, depth)
        return list(dict.fromkeys(found))

    def text(self, node: Node) -> Text | None:
        """A value as text if it has one alternative only."""
        found = self.texts(node)
        return found[0] if len(found) == 1 else None

    def _texts(self, node: Node, depth: int) -> list[Text]:
        if isinstance(node, Text):
            return [node]
        if isinstance(node, bool):
            return [Text.of(str(node).lower())]
        if isinstance(node, (str, int, float)):
            return [Text.of(str(node))]
        name = call_of(node)
        if name is None:
            return []
        if depth > MAX_DEPTH:
            return [self._unknown(node)]
        readers: dict[str, Callable[[Node, int], list[Text] | None]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_att,
            "Fn::Sub": self._sub,
            "Fn::Join": self._join,
            "Fn::Select": self._select,
            "Fn::ImportValue": self._import_value,
            "Fn::GetStackOutput": self._stack_output,
        }
        read = readers.get(name)
        found = read(node[name], depth + 1) if read else None
        return [self._unknown(node)] if found is None else found

    def _unknown(self, node: Node) -> Text:
        expression = json.dumps(node, sort_keys=True, default=str)
        return Text.of(Hole(HoleKind.UNKNOWN, self.template.name, expression))

    def _ref(self, argument: Node, depth: int) -> list[Text] | None:
        if not isinstance(argument, str):
            return None
        if argument == "AWS::URLSuffix":
            return [Text.of("amazonaws.com")]
        if argument.startswith("AWS::"):
            scope = self.template.name if argument in {"AWS::StackName", "AWS::StackId"} else ""
            return [Text.of(Hole(HoleKind.PSEUDO, scope, argument))]
        if argument in self.template.section("Parameters"):
            return self._parameter(argument, depth)
        resource = self.template.resources.get(argument)
        if resource is None:
            return None
        name = self.get(resource, "Properties", NAME_PROPERTIES.get(resource["Type"], ""))
        if name.nodes and name.is_certain and call_of(name.nodes[0]) != "Ref":
            return self.texts(name.nodes[0], depth)
        return [self._hole(argument)]

    def _hole(self, logical_id: str, attribute: str = "") -> Text:
        return Text.of(Hole(HoleKind.RESOURCE, self.template.name, logical_id, attribute))

    def _parameter(self, name: str, depth: int) -> list[Text]:
        parent = self.template.parent
        if parent is not None:
            reader = self._assembly.reader(parent)
            given = reader.get(parent.resources.get(self.template.parent_resource), "Properties", "Parameters", name)
            if given.nodes:
                return [text for node in given.nodes for text in reader.texts(node, depth)]
        return [Text.of(Hole(HoleKind.PARAMETER, self.template.name, name))]

    def _get_att(self, argument: Node, depth: int) -> list[Text] | None:
        if isinstance(argument, str):
            argument = argument.split(".", 1)
        if not isinstance(argument, list) or len(argument) < 2 or not all(isinstance(item, str) for item in argument):
            return None
        logical_id, attribute = argument[0], ".".join(argument[1:])
        resource = self.template.resources.get(logical_id)
        if resource is None:
            return None
        kind = resource["Type"]
        own = self._ref(logical_id, depth) or [self._hole(logical_id)]
        match kind, attribute:
            case "AWS::S3::Bucket", "Arn":
                return [Text.of("arn:", _PARTITION, ":s3:::", name) for name in own]
            case (("AWS::KMS::Key" | "AWS::KMS::ReplicaKey"), ("Arn" | "KeyId")):
                arn = Text.of("arn:", _PARTITION, ":kms:", _REGION, ":", _ACCOUNT, ":key/")
                return [Text.of(arn, name) if attribute == "Arn" else name for name in own]
            case "AWS::IAM::Role", "Arn":
                arn = Text.of("arn:", _PARTITION, ":iam::", _ACCOUNT, ":role")
                folders = self.texts(self.get(resource, "Properties", "Path").nodes[:1] or "/") or [Text.of("/")]
                folders = [Text.of(folder if folder.ends_with("/") else "/") for folder in folders[:1]]
                return [Text.of(arn, folder, name) for folder in folders for name in own]
            case "AWS::CloudFormation::Stack", _:
                return self._nested_output(logical_id, attribute, depth)
        if kind == "AWS::HealthImaging::Datastore" or is_custom(kind):
            match normalized(attribute):
                case "datastorearn":
                    return [Text.of(store_arn(name)) for name in own]
                case "datastoreid":
                    return own
        return [self._hole(logical_id, attribute)]

    def _nested_output(self, logical_id: str, attribute: str, depth: int) -> list[Text] | None:
        nested = self._assembly.nested(self.template, logical_id)
        if nested is None:
            return [self._hole(logical_id, attribute)]
        reader = self._assembly.reader(nested)
        value = reader.get(nested.document, "Outputs", attribute.removeprefix("Outputs."), "Value")
        return [text for node in value.nodes for text in reader.texts(node, depth)] or None

    def _sub(self, argument: Node, depth: int) -> list[Text] | None:
        variables: Mapping[str, Any] = {}
        if isinstance(argument, list):
            given = argument[1] if len(argument) > 1 else {}
            variables, argument = given if isinstance(given, dict) else {}, argument[0] if argument else None
        if not isinstance(argument, str):
            return None
        pieces: list[list[Text]] = []
        end = 0
        for found in PLACEHOLDER.finditer(argument):
            pieces.append([Text.of(argument[end : found.start()])])
            pieces.append(self._substituted(found, variables, depth))
            end = found.end()
        pieces.append([Text.of(argument[end:])])
        return combinations(pieces)

    def _substituted(self, found: re.Match[str], variables: Mapping[str, Any], depth: int) -> list[Text]:
        if found[1]:
            return [Text.of(f"${{{found[2]}}}")]
        name = found[2].strip()
        if name in variables:
            return self.texts(variables[name], depth) or [self._unknown({"Fn::Sub": name})]
        logical_id, _, attribute = name.partition(".")
        node = {"Fn::GetAtt": [logical_id, attribute]} if attribute else {"Ref": logical_id}
        return self.texts(node, depth) or [self._unknown(node)]

    def _join(self, argument: Node, depth: int) -> list[Text] | None:
        if not isinstance(argument, list) or len(argument) != 2 or not isinstance(argument[0], str):
            return None
        separator, items = argument[0], self.items(argument[1])
        if not items.is_certain:
            return None
        pieces: list[list[Text]] = []
        for item in items.nodes:
            texts = self.texts(item, depth)
            if not texts:
                return None
            pieces += [[Text.of(separator)], texts] if pieces else [texts]
        return combinations(pieces)

    def _split(self, node: Node) -> list[Text] | None:
        """The pieces of a ``Fn::Split`` that can be read."""
        argument = node.get("Fn::Split") if isinstance(node, dict) else None
        if not isinstance(argument, list) or len(argument) != 2 or not isinstance(argument[0], str):
            return None
        texts = self.texts(argument[1])
        if len(texts) != 1 or texts[0].is_open or not argument[0]:
            return None
        return texts[0].split(argument[0])

    def _select(self, argument: Node, depth: int) -> list[Text] | None:
        if not isinstance(argument, list) or len(argument) != 2:
            return None
        index = str(argument[0])
        items = self.items(argument[1])
        if not index.isdecimal() or not items.is_certain or int(index) >= len(items.nodes):
            return None
        return self.texts(items.nodes[int(index)], depth) or None

    def _import_value(self, argument: Node, depth: int) -> list[Text] | None:
        for name in self.texts(argument, depth):
            found = self._assembly.export(name)
            if found is not None:
                template, node = found
                return self._assembly.reader(template).texts(node, depth) or None
        return None

    def _stack_output(self, argument: Node, depth: int) -> list[Text] | None:
        names = {}
        for key, node in argument.items() if isinstance(argument, dict) else ():
            text = self.text(node)
            names[normalized(key)] = (text.literal or "") if text else ""
        found = self._assembly.output(names.get("stackname", ""), names.get("outputname", ""))
        if found is None:
            return None
        template, node = found
        return self._assembly.reader(template).texts(node, depth) or None

    def _mapped(self, argument: Node) -> Node:
        if not isinstance(argument, list) or len(argument) < 3:
            return None
        node: Node = self.template.section("Mappings")
        for key in argument[:3]:
            text = self.text(key) if not isinstance(key, str) else Text.of(key)
            literal = text.literal if text else None
            if text == Text.of(_REGION):
                literal = self.template.region
            if literal is None or not isinstance(node, dict) or literal not in node:
                return None
            node = node[literal]
        return node

    def condition(self, node: Node, depth: int = 0) -> bool | None:
        """Whether a condition holds; None where it depends on what a template does not show."""
        if depth > MAX_DEPTH:
            return None
        if isinstance(node, str):
            return self.condition(self.template.section("Conditions").get(node), depth + 1)
        name = call_of(node)
        argument = node[name] if name else None
        if name == "Condition":
            return self.condition(argument, depth + 1) if isinstance(argument, str) else None
        if not isinstance(argument, list):
            return None
        if name == "Fn::Equals" and len(argument) == 2:
            left, right = (self.text(item) for item in argument)
            if left is None or right is None:
                return None
            if left == right:
                return True
            return None if left.holes or right.holes else False
        answers = [self.condition(item, depth + 1) for item in argument]
        if name == "Fn::Not" and len(answers) == 1:
            return None if answers[0] is None else not answers[0]
        if name in {"Fn::And", "Fn::Or"}:
            decisive = name == "Fn::Or"
            if decisive in answers:
                return decisive
            return None if None in answers else not decisive
        return None

    def parameters_of(self, node: Node, depth: int = 0) -> set[str]:
        """The parameters that a value hangs on, also through conditions; a dynamic reference is one."""
        found: set[str] = set()
        if depth > MAX_DEPTH:
            return found
        known = self.texts(node)
        if len(known) == 1 and not known[0].is_open and "{{resolve:" not in str(known[0]):
            return found  # whatever is chosen, it is the same
        for kind, name in all_references(node):
            if kind == "condition":
                found |= self.parameters_of(self.template.section("Conditions").get(name), depth + 1)
            elif kind == "dynamic" or name in self.template.section("Parameters"):
                texts = [] if kind == "dynamic" else self.texts({"Ref": name})
                if not texts or any(hole.kind is HoleKind.PARAMETER for text in texts for hole in text.holes):
                    found.add(name)
        return found
