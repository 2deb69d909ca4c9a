"""The Python of README and docs as modules that type checkers read: with the names that the examples find prepared."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

import aws_cdk

import healthimaging_cdk
from tests.judges.judging import ROOT
from tests.library.examples import MODULES, PREPARED, Namespace
from tests.library.test_readme import PLACEHOLDERS, examples

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
]
_HEAD = """# mypy: allow-untyped-defs, allow-untyped-calls
import typing
import aws_cdk
import constructs
import healthimaging_cdk
def _any() -> typing.Any: ...
app: aws_cdk.App = _any()
stack: aws_cdk.Stack = _any()
self: aws_cdk.Stack = stack
"""


def write_modules(folder: Path) -> dict[str, str]:
    """Write a module for each page with Python in it; returns the pages by the names of their modules."""
    names, found = Namespace(), {}
    for page in PAGES:
        blocks = examples(page.read_text(encoding="utf-8"))
        if not blocks:
            continue
        text = "\n".join(blocks)
        for placeholder, value in PLACEHOLDERS.items():
            text = text.replace(placeholder, value)
        for name in re.findall(r"^# file: (\w+)\.py$", text, flags=re.MULTILINE):
            # All files of a page are one module.
            text = re.sub(rf"^from {name} import .*\n", "", text, flags=re.MULTILINE)
        path = page.relative_to(ROOT).as_posix()
        module = "page_" + re.sub(r"\W", "_", path.removesuffix(".md"))
        (folder / f"{module}.py").write_text(as_module(text, names), encoding="utf-8")
        found[module] = path
    return found


def as_module(text: str, names: Namespace | None = None) -> str:
    """An example with what it finds prepared before it."""
    return _HEAD + _preparation(text, names or Namespace()) + text


def _preparation(text: str, names: Namespace) -> str:
    """The names that an example uses and does not define, as the namespace of the examples has them."""
    nodes = list(ast.walk(ast.parse(text)))
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return "".join(_definition(name, names) for name in sorted(used - _defined(nodes)))


def _defined(nodes: list[ast.AST]) -> set[str]:
    found = {"app", "stack", "self", *vars(builtins)}
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            # What is bound on a page is its own, unless the page takes it from the prepared names first.
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
    return found


def _definition(name: str, names: Namespace) -> str:
    if name in PREPARED:
        kind = type(names[name])
        # What CDK knows by its interface alone is a proxy of that.
        known_as = re.sub(r"^_(I.*)Proxy$", r"\1", kind.__name__)
        return f"import {kind.__module__}\n{name}: {kind.__module__}.{known_as} = _any()\n"
    if name in healthimaging_cdk.__all__:
        return f"from healthimaging_cdk import {name}\n"
    if name in MODULES:
        return f"import {MODULES[name].__name__} as {name}\n"
    if name in aws_cdk.__all__:
        return f"from aws_cdk import {name}\n"
    return ""  # which the type checkers report
