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


def _read_templates(name: AppName) -> dict[int, _Content]:
    with tempfile.TemporaryDirectory() as folder:
        run_module("benchmarks.synth_process", name, folder, *map(str, _IMPORTS))
        return {imports: _read(Path(folder, f"Stack{imports}.template.json")) for imports in _IMPORTS}


def _read(file: Path) -> _Content:
    template = json.loads(file.read_text(encoding="utf-8"))
    types = Counter(resource["Type"] for resource in template["Resources"].values())
    size = len(json.dumps(template, separators=(",", ":")))
    return _Content(types.total(), types["AWS::Lambda::Function"], types["AWS::IAM::Role"], size)
