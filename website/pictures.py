"""Draws the pictures of docs/pictures: what is in a template, the life of an import, and the dashboard.

``python website/pictures.py`` writes them; the tests compare them with the code. Architecture and life are texts for
d2, which makes SVG of them with AWS's icons.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
ICONS = ROOT / "tools" / "node_modules" / "aws-icons" / "icons" / "architecture-service"

# What a reader looks for in a template: the type, its icon, and what it is called. Policies are the arrows.
DRAWN = {
    "AWS::HealthImaging::Datastore": ("AWSHealthImaging", "data store"),
    "AWS::KMS::Key": ("AWSKeyManagementService", "key"),
    "AWS::S3::Bucket": ("AmazonSimpleStorageService", "bucket"),
    "AWS::IAM::Role": ("AWSIdentityandAccessManagement", "role"),
    "AWS::Lambda::Function": ("AWSLambda", "function"),
    "AWS::StepFunctions::StateMachine": ("AWSStepFunctions", "state machine"),
    "AWS::Events::Rule": ("AmazonEventBridge", "rule"),
    "AWS::Logs::LogGroup": ("AmazonCloudWatch", "log group"),
    "Custom::HealthImagingImport": ("AWSCloudFormation", "custom resource of the import"),
}
NAMES = {
    "InputBucket": "input bucket",
    "OutputBucket": "output bucket:\nrecords, job output",
    "DataAccessRole": "data access role,\nassumed by HealthImaging",
    "JobRole": "provider role,\nassumed by the function",
    "FunctionRole": "role of the function",
    "StateMachineRole": "role of the state machine",
    "RescueLostCalls": "rule: failed calls",
    "RescueLostExecutions": "rule: failed executions",
}
# What a record may be after an action; nothing stands for what it was before. tests/site looks at the function for it.
LEADS_TO = {
    "CLAIM": ["CLAIMED"],
    "TAKE_OWNERSHIP": [""],
    "STOP": ["STOP: a later\nrequest goes on"],
    "START": ["RUNNING", "REFUSED", ""],
    "WATCH": [""],
    "WAIT": [""],
    "FIND": ["RUNNING", ""],
    "REFUSE": ["REFUSED"],
    "POLL": ["JUDGED", ""],
    "PUBLISH": ["JUDGED"],
    "RESPOND": ["response"],
}


def template_of(example: str) -> dict[str, Any]:
    """The template of an example."""
    from tests.examples_apps import build  # noqa: PLC0415 - loads CDK, which the dashboard's numbers do not need

    found: dict[str, Any] = build(example).synth().stacks[0].template
    return found


def architecture(template: dict[str, Any]) -> str:
    """What the one-line form creates, and who refers to what."""
    resources: dict[str, dict[str, Any]] = template["Resources"]
    drawn = {name: item for name, item in resources.items() if item["Type"] in DRAWN}
    lines = ["direction: down", "style.fill: transparent"]
    for name, item in drawn.items():
        icon, kind = DRAWN[item["Type"]]
        label = next((said for part, said in NAMES.items() if part in name), kind).replace("\n", "\\n")
        path = Path("..") / ".." / ICONS.relative_to(ROOT) / f"{icon}.svg"
        lines.append(f'{name}: "{label}" {{shape: image; icon: {path}; width: 56; height: 56}}')
    lines += [f"{source} -> {target}" for source, target in sorted(set(_arrows(resources, drawn)))]
    return "\n".join(lines) + "\n"


def _arrows(resources: dict[str, Any], drawn: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """From whoever holds a reference or a right, to what it is on."""
    for name, item in resources.items():
        kind, properties = item["Type"], item.get("Properties", {})
        if kind == "AWS::IAM::Policy":
            sources = [role["Ref"] for role in properties["Roles"]]
            targets = _references(properties["PolicyDocument"])
        elif name in drawn and kind not in ("AWS::KMS::Key", "AWS::IAM::Role", "AWS::Logs::LogGroup"):
            sources, targets = [name], _references(properties)
        elif kind == "AWS::IAM::Role":
            sources, targets = [name], _references(properties.get("Policies", []))
        else:
            continue
        for source in sources:
            for target in targets:
                is_key = resources.get(target, {}).get("Type") == "AWS::KMS::Key"
                if target in drawn and source != target and not (is_key and kind == "AWS::IAM::Policy"):
                    yield source, target


def _references(node: Any) -> Iterator[str]:  # noqa: ANN401 - any part of a template
    if isinstance(node, dict):
        if "Ref" in node:
            yield node["Ref"]
        elif "Fn::GetAtt" in node:
            yield node["Fn::GetAtt"][0]
        else:
            for value in node.values():
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def steps() -> dict[tuple[str, str], list[str]]:
    """The actions that lead from one state of a record to another, in every mode, as the function decides."""
    from tests.model.test_lifecycle import ALL, decide  # noqa: PLC0415 - needs the function, the dashboard does not

    decided = {
        (str(record.state) if record else "no record", str(decide(record, mode, is_current=is_current)))
        for record, mode, is_current in ALL
    }
    states, order = ["no record", "CLAIMED", "RUNNING", "JUDGED", "REFUSED"], list(LEADS_TO)
    found: dict[tuple[str, str], list[str]] = {}
    for source, action in sorted(decided, key=lambda it: (states.index(it[0]), order.index(it[1]))):
        for target in LEADS_TO[action]:
            found.setdefault((source, target or source), []).append(action)
    return found


def life() -> str:
    """The states of a record and the actions between them."""
    lines = ["direction: down", "style.fill: transparent"]
    drawn = steps()
    for state in dict.fromkeys(name for edge in drawn for name in edge):
        shape = "rectangle; style.border-radius: 6" if state.isupper() else "oval"
        inside = f"{state}\nstays so after {_label(drawn[state, state])}" if (state, state) in drawn else state
        lines.append(f'"{_line(state)}": "{_line(inside)}" {{shape: {shape}; style.bold: false}}')
    lines += [
        f'"{_line(source)}" -> "{_line(target)}": "{", ".join(actions)}"'
        for (source, target), actions in drawn.items()
        if source != target
    ]
    return "\n".join(lines) + "\n"


def _label(actions: list[str]) -> str:
    return ",\n".join(", ".join(actions[at : at + 2]) for at in range(0, len(actions), 2))


def _line(text: str) -> str:
    return text.replace("\n", "\\n")


def dashboard(template: dict[str, Any]) -> str:
    """The dashboard's widgets in their places, with lines that stand for numbers."""
    (body,) = [it for it in template["Resources"].values() if it["Type"] == "AWS::CloudWatch::Dashboard"]
    parts = body["Properties"]["DashboardBody"]["Fn::Join"][1]
    widgets = json.loads("".join(part if isinstance(part, str) else "store" for part in parts))["widgets"]
    scale = 40
    height = max(it["y"] + it["height"] for it in widgets) * scale
    shapes = [f'<rect width="{24 * scale}" height="{height}" fill="#f2f3f3"/>']
    for number, it in enumerate(widgets):
        x, y, w, h = (it[side] * scale for side in ("x", "y", "width", "height"))
        place = f'x="{x + 4}" y="{y + 4}" width="{w - 8}" height="{h - 8}"'
        shapes.append(f'<rect {place} rx="6" fill="#fff" stroke="#aab7b8"/>')
        said = it["properties"].get("title") or it["properties"]["markdown"].splitlines()[0].lstrip("# ")
        shapes.append(f'<text x="{x + 20}" y="{y + 34}" font-weight="bold">{escape(said)}</text>')
        shapes += _filling(it, number, (x, y, w, h))
    style = 'font-family="Helvetica, Arial, sans-serif" font-size="16" fill="#16191f"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * scale} {height}" {style}>'
    return "\n".join([opening, *shapes, "</svg>", ""])


def _filling(widget: dict[str, Any], number: int, box: tuple[int, int, int, int]) -> Iterator[str]:
    x, y, w, h = box
    properties = widget["properties"]
    labels = [it[-1]["label"] for it in properties.get("metrics", []) if isinstance(it[-1], dict) and "label" in it[-1]]
    if widget["type"] == "alarm":
        for place in range(len(properties["alarms"])):
            yield f'<rect x="{x + 20 + place * 240}" y="{y + 50}" width="220" height="46" rx="4" fill="#1d8102"/>'
            yield f'<text x="{x + 34 + place * 240}" y="{y + 79}" fill="#fff">OK: alarm {place + 1}</text>'
    elif properties.get("view") == "singleValue":
        for place, label in enumerate(labels):
            left = x + 20 + place * (w - 40) // max(len(labels), 1)
            yield f'<text x="{left}" y="{y + 90}" font-size="34">{(14, 2, 9, 1, 0, 0)[place % 6]}</text>'
            yield f'<text x="{left}" y="{y + 122}" font-size="13">{escape(label)}</text>'
    elif properties.get("view") == "timeSeries":
        values = [(number * 7 + step * step * 3) % 11 for step in range(13)]
        points = " ".join(
            f"{x + 30 + step * (w - 60) // 12},{y + h - 60 - value * (h - 130) // 11}"
            for step, value in enumerate(values)
        )
        yield f'<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="2"/>'
        yield f'<line x1="{x + 30}" x2="{x + w - 30}" y1="{y + h - 56}" y2="{y + h - 56}" stroke="#aab7b8"/>'
        yield f'<text x="{x + 30}" y="{y + h - 26}" font-size="12">{escape(", ".join(labels)[: w // 7])}</text>'
    else:
        links = "names of the imports, and links to manifests and consoles"
        yield f'<text x="{x + 20}" y="{y + 66}" font-size="13">{links}</text>'


def texts() -> dict[str, str]:
    """Every picture that is made by this program, by the name of its file."""
    return {
        "architecture.d2": architecture(template_of("minimal")),
        "life-of-an-import.d2": life(),
        "dashboard.svg": dashboard(template_of("notifications")),
    }


def render(d2: Path, source: Path, target: Path) -> None:
    """Let d2 make an SVG of a text."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("D2_")}
    command = [str(d2), "--layout=elk", "--theme=0", "--pad=20", "--no-xml-tag", str(source), str(target)]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)  # noqa: S603 - its own words
    target.chmod(0o644)


def main() -> None:
    """Write the texts, and the pictures of those that d2 draws."""
    PICTURES.mkdir(exist_ok=True)
    for name, text in texts().items():
        (PICTURES / name).write_text(text, encoding="utf-8")
        if name.endswith(".d2"):
            render(ROOT / ".docs" / "bin" / "d2", PICTURES / name, PICTURES / re.sub(r"\.d2$", ".svg", name))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in ("constructs", "lambda", "local"))]
    main()
