"""Rewrites a template so that it means the same: other functions, lists for single values, separate policies."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from typing import Any

Document = dict[str, Any]

_PLACEHOLDER = re.compile(r"\$\{([^!}][^}]*)\}")


def rewrite(document: Document, seed: int) -> Document:
    """The template written otherwise: which rewrites are done where is chosen by the seed."""
    chooser = random.Random(seed)
    found = copy.deepcopy(document)
    for change in (_separate_policies, _conditions_that_hold, _statements, _reorder):
        if chooser.random() < 0.7:
            change(found, chooser)
    return _values(found, chooser, ())


def _values(node: Any, chooser: random.Random, path: tuple[str, ...]) -> Any:
    if isinstance(node, dict):
        if set(node) == {"Fn::Sub"} and isinstance(node["Fn::Sub"], str):
            return chooser.choice((_as_join, _as_sub_with_variables, lambda text: {"Fn::Sub": text}))(node["Fn::Sub"])
        if set(node) == {"Fn::GetAtt"} and isinstance(node["Fn::GetAtt"], list):
            name = ".".join(node["Fn::GetAtt"])
            return chooser.choice((node, {"Fn::GetAtt": name}, {"Fn::Sub": f"${{{name}}}"}, _as_join(f"${{{name}}}")))
        if set(node) == {"Fn::Join"}:
            return node if chooser.random() < 0.5 else _nested_join(node)
        if set(node) == {"Ref"} and path[:1] == ("Resources",) and not node["Ref"].startswith("AWS::NoValue"):
            in_properties = "Properties" in path and "Roles" not in path
            return {"Fn::Sub": f"${{{node['Ref']}}}"} if in_properties and chooser.random() < 0.4 else node
        return {key: _values(item, chooser, (*path, key)) for key, item in node.items()}
    if isinstance(node, list):
        return [_values(item, chooser, path) for item in node]
    return node


def _as_join(text: str) -> Document:
    pieces: list[Any] = []
    for index, piece in enumerate(_PLACEHOLDER.split(text)):
        if index % 2:
            pieces.append({"Fn::GetAtt": piece.split(".", 1)} if "." in piece else {"Ref": piece})
        elif piece:
            pieces.append(piece)
    return {"Fn::Join": ["", pieces]}


def _as_sub_with_variables(text: str) -> Document:
    variables: Document = {}

    def replace(found: re.Match[str]) -> str:
        name = f"V{len(variables)}"
        piece = found[1]
        variables[name] = {"Fn::GetAtt": piece.split(".", 1)} if "." in piece else {"Ref": piece}
        return f"${{{name}}}"

    shown = _PLACEHOLDER.sub(replace, text)
    return {"Fn::Sub": [shown, variables]}


def _nested_join(node: Document) -> Document:
    separator, pieces = node["Fn::Join"]
    if separator or not isinstance(pieces, list) or len(pieces) < 2:
        return node
    return {"Fn::Join": ["", [pieces[0], {"Fn::Join": ["", pieces[1:]]}]]}


def _each_statement(document: Document, change: Callable[[Document], None]) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            statements = node.get("Statement")
            for statement in statements if isinstance(statements, list) else [statements]:
                if isinstance(statement, dict):
                    change(statement)
            for item in node.values():
                walk(item)
        elif isinstance(node, list):
            for item in node:
                walk(item)

    walk(document["Resources"])


def _statements(document: Document, chooser: random.Random) -> None:
    """One value as a list, a list of one as a value; condition keys and actions in another letter case."""

    def change(statement: Document) -> None:
        for key in ("Action", "Resource"):
            value = statement.get(key)
            if isinstance(value, list) and len(value) == 1 and chooser.random() < 0.5:
                statement[key] = value[0]
            elif value is not None and not isinstance(value, list) and chooser.random() < 0.5:
                statement[key] = [value]
        if isinstance(statement.get("Action"), str) and chooser.random() < 0.3:
            service, colon, name = statement["Action"].partition(":")
            statement["Action"] = f"{service}{colon}{name.lower()}"
        conditions = statement.get("Condition")
        for operator, keys in list(conditions.items()) if isinstance(conditions, dict) else ():
            conditions[operator] = {
                (key.lower() if chooser.random() < 0.3 else key): (
                    [value] if not isinstance(value, list) and chooser.random() < 0.3 else value
                )
                for key, value in keys.items()
            }
        principal = statement.get("Principal")
        if isinstance(principal, dict) and isinstance(principal.get("Service"), str) and chooser.random() < 0.4:
            principal["Service"] = [principal["Service"]]

    _each_statement(document, change)

    def single(node: Any) -> None:
        if isinstance(node, dict):
            statements = node.get("Statement")
            if isinstance(statements, list) and len(statements) == 1 and chooser.random() < 0.5:
                node["Statement"] = statements[0]
            for item in node.values():
                single(item)
        elif isinstance(node, list):
            for item in node:
                single(item)

    single(document["Resources"])


def _separate_policies(document: Document, chooser: random.Random) -> None:
    """Inline policies of a role as policies of their own."""
    for logical_id, resource in list(document["Resources"].items()):
        properties = resource.get("Properties", {})
        if resource["Type"] != "AWS::IAM::Role" or not properties.get("Policies") or chooser.random() < 0.3:
            continue
        for index, policy in enumerate(properties.pop("Policies")):
            kind = chooser.choice(("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy"))
            holder: Document = {"Roles": [{"Ref": logical_id}]}
            if kind == "AWS::IAM::RolePolicy":
                holder = {"RoleName": {"Ref": logical_id}}
            document["Resources"][f"{logical_id}Policy{index}"] = {"Type": kind, "Properties": {**policy, **holder}}


def _conditions_that_hold(document: Document, chooser: random.Random) -> None:
    """A condition that always holds, on resources and values."""
    document.setdefault("Conditions", {})["Always"] = {"Fn::Equals": ["a", "a"]}
    for resource in document["Resources"].values():
        if "Condition" not in resource and chooser.random() < 0.2:
            resource["Condition"] = "Always"
        for key, value in list(resource.get("Properties", {}).items()):
            if chooser.random() < 0.15:
                resource["Properties"][key] = {"Fn::If": ["Always", value, {"Ref": "AWS::NoValue"}]}


def _reorder(document: Document, chooser: random.Random) -> None:
    names = list(document["Resources"])
    chooser.shuffle(names)
    document["Resources"] = {name: document["Resources"][name] for name in names}


_READABLE = {
    "Action",
    "Effect",
    "InputS3Uri",
    "MetricName",
    "Namespace",
    "Resource",
    "Service",
    "ServiceName",
    "source",
}


def _literals(node: Any, change: Callable[[str], Any], key: str = "") -> Any:
    """A node with each literal of the keys above changed, but for arguments of functions."""
    if isinstance(node, dict):
        if any(name == "Ref" or name.startswith("Fn::") for name in node):
            return node
        return {name: _literals(item, change, name) for name, item in node.items()}
    if isinstance(node, list):
        return [_literals(item, change, key) for item in node]
    return change(node) if isinstance(node, str) and key in _READABLE else node


def with_mappings(document: Document) -> Document:
    """The template with its literals in a mapping."""
    found = copy.deepcopy(document)
    values: Document = {}

    def change(text: str) -> Document:
        values[f"V{len(values)}"] = text
        return {"Fn::FindInMap": ["Literals", "All", f"V{len(values) - 1}"]}

    for resource in found["Resources"].values():
        resource["Properties"] = _literals(resource.get("Properties", {}), change)
    found["Mappings"] = {"Literals": {"All": values}}
    return found


def with_split(document: Document) -> Document:
    """The template with its literals selected from a split text."""
    found = copy.deepcopy(document)
    for resource in found["Resources"].values():
        resource["Properties"] = _literals(
            resource.get("Properties", {}), lambda text: {"Fn::Select": [1, {"Fn::Split": ["|", f"x|{text}"]}]}
        )
    return found


def with_conditions(document: Document) -> Document:
    """The template under a condition that a parameter decides."""
    found = copy.deepcopy(document)
    found.setdefault("Parameters", {})["Environment"] = {"Type": "String"}
    found.setdefault("Conditions", {})["Maybe"] = {"Fn::Equals": [{"Ref": "Environment"}, "prod"]}
    for resource in found["Resources"].values():
        resource["Condition"] = "Maybe"
    return found


def with_same_branches(document: Document) -> Document:
    """The template with each property chosen by a condition whose branches are the same."""
    found = with_conditions(document)
    for resource in found["Resources"].values():
        del resource["Condition"]
        for key, value in resource.get("Properties", {}).items():
            resource["Properties"][key] = {"Fn::If": ["Maybe", value, copy.deepcopy(value)]}
    return found
