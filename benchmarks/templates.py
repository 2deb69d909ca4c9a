"""What a template holds: resources, functions, roles, and its bytes."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.apps import WITH_IMPORTS, AppName
from benchmarks.page import Table
from benchmarks.processes import run_module

_IMPORTS = (1, 2, 10, 50)
_BOOTSTRAP = "CDK's check of its bootstrap"
_DATA = ("AWS::KMS::", "AWS::HealthImaging::", "AWS::S3::")
_PARTS = {
    "DataAccessRole": "role that HealthImaging assumes, and its rights",
    "JobRole": "role that the function assumes, and its rights",
    "Rescue": "response after a failure: rule, permission, destination",
    "StateMachine": "state machine and its role",
    "Job": "custom resource",
}
"""By what is in the logical ids; the first that fits."""


@dataclass(frozen=True)
class _Content:
    resources: int
    functions: int
    roles: int
    size: int


def measure() -> Table:
    """Synthesize stacks with one import and with more."""
    found = {name: _read_templates(name) for name in WITH_IMPORTS}
    rows = []
    for imports in _IMPORTS:
        contents = [found[name][imports] for name in WITH_IMPORTS]
        rows += [
            [str(imports), "resources", *(str(content.resources) for content in contents)],
            [str(imports), "functions", *(str(content.functions) for content in contents)],
            [str(imports), "roles", *(str(content.roles) for content in contents)],
            [str(imports), "kB, compact", *(f"{content.size / 1000:.1f}" for content in contents)],
        ]
    return Table(
        "Template",
        "One stack; its imports share key, data store and buckets. The same on every machine.",
        ["imports", "what", *WITH_IMPORTS],
        rows,
    )


def measure_parts() -> Table:
    """Say which part of the library's template takes which bytes."""
    with tempfile.TemporaryDirectory() as folder:
        run_module("benchmarks.synth_process", AppName.LIBRARY, folder, "1", "2")
        one, two = (_bytes_by_part(Path(folder, f"Stack{imports}.template.json")) for imports in (1, 2))
    return Table(
        "Bytes of a template",
        "Of one import, and what a further one in the same stack adds. Compact. The same on every machine.",
        ["part", "first import", "a further one"],
        [
            *([part, f"{one[part]:,}", f"{two[part] - one[part]:,}"] for part in one),
            ["together", f"{one.total():,}", f"{two.total() - one.total():,}"],
        ],
    )


def _bytes_by_part(file: Path) -> Counter[str]:
    template = json.loads(file.read_text(encoding="utf-8"))
    found: Counter[str] = Counter()
    for logical_id, resource in template["Resources"].items():
        found[_part_of(logical_id, resource["Type"])] += len(f'"{logical_id}":,') + _size(resource)
    for section, part in (("Outputs", "outputs"), ("Parameters", _BOOTSTRAP), ("Rules", _BOOTSTRAP)):
        found[part] += len(f'"{section}":,') + _size(template[section])
    found["the rest"] = _size(template) - found.total()
    return found


def _part_of(logical_id: str, resource_type: str) -> str:
    if resource_type.startswith(_DATA):
        return "key, data store, buckets and their policies"
    return next((part for word, part in _PARTS.items() if word in logical_id), "function with its role and log")


def _size(document: object) -> int:
    return len(json.dumps(document, separators=(",", ":")))


def _read_templates(name: AppName) -> dict[int, _Content]:
    with tempfile.TemporaryDirectory() as folder:
        run_module("benchmarks.synth_process", name, folder, *map(str, _IMPORTS))
        return {imports: _read(Path(folder, f"Stack{imports}.template.json")) for imports in _IMPORTS}


def _read(file: Path) -> _Content:
    template = json.loads(file.read_text(encoding="utf-8"))
    types = Counter(resource["Type"] for resource in template["Resources"].values())
    return _Content(types.total(), types["AWS::Lambda::Function"], types["AWS::IAM::Role"], _size(template))
