"""The rules that synth and the function share: the service model, the quotas and prefixes.

The model is botocore's own ``service-2.json`` for ``medical-imaging`` (API 2023-07-19), carried along because neither
a Lambda runtime's boto3 nor a user's is sure to know every member. Standard library only: synth must not need boto3.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent / "models"
_MODEL_FILE = MODELS / "medical-imaging" / "2023-07-19" / "service-2.json.gz"

REGIONS = ("us-east-1", "us-west-2", "ap-southeast-2", "eu-west-1", "eu-west-2")
"""Regions with HealthImaging (AWS General Reference, 2026-11). botocore does not know them: its list is empty."""

# Patterns of the model that Python's re cannot use as they are, and ones that accept the same strings: the first
# backtracks for ever on a long path that it refuses, the second is not Python's syntax.
_SAME_PATTERN = {
    r"[a-zA-Z0-9!-~]+([a-zA-Z0-9!-~ ]*[a-zA-Z0-9!-~]+)*": r"[!-~]([ -~]*[!-~])?",
    r"\p{ASCII}{0,8192}": r"[\x00-\x7F]{0,8192}",
}

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
    "double": (int, float),
    "float": (int, float),
}


@dataclass(frozen=True)
class Quotas:
    """How much one import job takes, as far as it can be counted before the job starts.

    The defaults are AWS's (HealthImaging endpoints and quotas). Where the pages differ or leave GB and GiB open the
    wider reading is taken: the service refuses what is too much by itself, we must not refuse what it would take.
    """

    files: int = 5_000
    total_bytes: int = 10 * 1024**3
    file_bytes: int = 10 * 1024**3


class ServiceModel:
    """The members, lengths, patterns and enumerations of a service's shapes, and what a value breaks of them."""

    def __init__(self, model: dict[str, Any]) -> None:
        """Take a parsed ``service-2.json``."""
        self.document = model
        self.shapes: dict[str, Any] = model["shapes"]

    @staticmethod
    @cache
    def load() -> ServiceModel:
        """The packaged HealthImaging model, read once."""
        with gzip.open(_MODEL_FILE, "rt", encoding="utf-8") as file:
            return ServiceModel(json.load(file))

    def violations(self, shape_name: str, value: object, path: str = "") -> list[str]:
        """Every rule of ``shape_name`` that ``value`` breaks, one sentence each; empty when there is none."""
        shape = self.shapes[shape_name]
        type_name = shape["type"]
        name = path or shape_name
        allowed = _PYTHON_TYPES.get(type_name)
        if allowed and (not isinstance(value, allowed) or (isinstance(value, bool) and type_name != "boolean")):
            return [f"{name} must be a {type_name}, got {type(value).__name__}"]
        if isinstance(value, str):
            return _string_violations(name, shape, value)
        if isinstance(value, dict):
            is_structure = type_name == "structure"
            return self._structure_violations(shape, value, path) if is_structure else self._map(name, shape, value)
        if isinstance(value, (list, tuple)):
            problems = _size_violations(name, shape, len(value), "items")
            for index, item in enumerate(value):
                problems += self.violations(shape["member"]["shape"], item, f"{name}[{index}]")
            return problems
        if type_name != "boolean" and isinstance(value, (int, float)):
            return _size_violations(name, shape, value, "")
        return []

    def _map(self, name: str, shape: dict[str, Any], value: dict[str, object]) -> list[str]:
        problems = _size_violations(name, shape, len(value), "entries")
        for key, item in value.items():
            problems += self.violations(shape["key"]["shape"], key, f"{name} key {key!r}")
            problems += self.violations(shape["value"]["shape"], item, f"{name}[{key!r}]")
        return problems

    def _structure_violations(self, shape: dict[str, Any], value: dict[str, object], path: str) -> list[str]:
        members = shape["members"]
        prefix = f"{path}." if path else ""
        problems = [f"{prefix}{name} is required" for name in shape.get("required", ()) if value.get(name) is None]
        if shape.get("union") and len(value) != 1:
            problems.append(f"{path or 'the union'} takes exactly one of {', '.join(members)}")
        for name, item in value.items():
            if name not in members:
                problems.append(f"{prefix}{name} is unknown, allowed are {', '.join(members)}")
            elif item is not None:
                problems += self.violations(members[name]["shape"], item, f"{prefix}{name}")
        return problems


def _string_violations(name: str, shape: dict[str, Any], value: str) -> list[str]:
    pattern = shape.get("pattern")
    problems = _size_violations(name, shape, len(value), "digits" if pattern == r"\d+" else "characters")
    if pattern and not problems and not re.fullmatch(_SAME_PATTERN.get(pattern, pattern), value, re.ASCII):
        problems.append(f"{name} must match {pattern}, got {value!r}")
    if "enum" in shape and value not in shape["enum"]:
        problems.append(f"{name} must be one of {', '.join(shape['enum'])}, got {value!r}")
    return problems


def _size_violations(name: str, shape: dict[str, Any], size: float, unit: str) -> list[str]:
    low, high = shape.get("min"), shape.get("max")
    if (low is None or size >= low) and (high is None or size <= high):
        return []
    limits = f"{low if low is not None else 0} to {high}" if high is not None else f"at least {low}"
    if low == high:
        limits = f"{low}"
    return [f"{name} takes {limits} {unit}".rstrip() + f", got {size}"]


def prefix_violations(name: str, prefix: str) -> list[str]:
    """What is wrong with an S3 prefix that shall name one folder and not its siblings.

    A job imports every object whose key begins with the prefix, so ``studies/2026`` would take ``studies/2026-old/``
    as well: a prefix is empty (the whole bucket) or ends with ``/``.
    """
    if prefix.startswith("s3://"):
        bucket, _, rest = prefix.removeprefix("s3://").partition("/")
        return [
            f"{name} must be a prefix, not a URI, got {prefix!r}: give the bucket {bucket!r} and the prefix {rest!r}"
        ]
    problems = []
    if prefix and not prefix.endswith("/"):
        problems.append(f"{name} must end with '/', got {prefix!r}: append a slash")
    if prefix.startswith("/"):
        problems.append(f"{name} must not begin with '/', got {prefix!r}: S3 keys have no leading slash")
    if "//" in prefix:
        problems.append(f"{name} must not contain '//', got {prefix!r}: remove one slash")
    if any(character in prefix for character in "*?$"):
        problems.append(f"{name} must not contain '*', '?' or '$', got {prefix!r}: IAM reads them as wildcards")
    return problems


def overlap_violations(input_prefix: str, output_prefix: str) -> list[str]:
    """What is wrong when source and results share a bucket: the next import would scan its own results."""
    if output_prefix.startswith(input_prefix):
        problem = "output_prefix must lie outside the input prefix of the same bucket"
        given = f"got {output_prefix!r} inside {input_prefix!r}"
        return [f"{problem}, {given}: the next import would scan its own results, choose a prefix or a bucket outside"]
    return []
