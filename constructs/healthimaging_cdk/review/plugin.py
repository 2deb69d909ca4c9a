"""The rules as a plugin of CDK's validation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

import jsii
from aws_cdk import (
    IPolicyValidationContext,
    IPolicyValidationPlugin,
    PolicyValidationPluginReport,
    PolicyViolatingResource,
    PolicyViolation,
)

from healthimaging_cdk.review.checks import PLUGIN, find
from healthimaging_cdk.review.finding import Finding, Severity
from healthimaging_cdk.review.reading.assembly import (
    Assembly,
    UnreadableError,
    load_assembly,
    template_document,
    with_nested,
)
from healthimaging_cdk.review.reading.template import Template
from healthimaging_cdk.review.rules import RULES


@jsii.implements(IPolicyValidationPlugin)
class HealthImagingChecks:
    """Rules for any stack that touches HealthImaging, whatever made it: they run in each synth.

    An error ends the synth, a warning is shown. Acknowledge a finding on its construct or on one above it, with the
    plugin's name in front of the rule's id. docs/rules.md has the reason and the fix for each rule.

    https://docs.aws.amazon.com/cdk/v2/guide/policy-validation-synthesis.html

    Example:
        >>> Validations.of(app).add_plugins(HealthImagingChecks())
    """

    @property
    def name(self) -> str:
        """The name that stands before a rule's id where a finding is acknowledged."""
        return PLUGIN

    @property
    def version(self) -> str:
        """The version of this library."""
        try:
            return version_of("healthimaging-cdk")
        except PackageNotFoundError:
            return "0.0.0"

    @property
    def rule_ids(self) -> list[str]:
        """The ids of the rules."""
        return [rule.id for rule in RULES]

    def validate(self, context: IPolicyValidationContext) -> PolicyValidationPluginReport:
        """Report what the rules find in the templates of a synth, nested stacks included.

        Args:
            context: which templates there are.
        """
        try:
            found = list(_findings(context))
        except Exception as error:  # noqa: BLE001 - a plugin's error would end the synth
            return PolicyValidationPluginReport(success=True, violations=[], metadata={"error": type(error).__name__})
        return PolicyValidationPluginReport(
            success=not any(item.severity is Severity.ERROR for item in found),
            violations=[_violation(item) for item in found],
            plugin_version=self.version,
        )


def _findings(context: IPolicyValidationContext) -> Iterable[Finding]:
    # CDK calls a plugin once for each environment of an app (aws-cdk#38483): what belongs to another is not told twice.
    asked = {Path(stack.template_path).resolve(): stack for stack in context.stack_templates}
    templates: list[Template] = []
    for folder in _roots(asked):
        try:
            templates += load_assembly(folder).templates
        except UnreadableError:
            continue
    read = {Path(item.file).resolve() for item in templates}
    for path, stack in asked.items():
        if path not in read:
            document = template_document(json.loads(path.read_text(encoding="utf-8")))
            if document is not None:
                one = Template(stack.stack_construct_path, document, region=stack.region, file=str(path))
                templates += with_nested([one], path)
    for item in find(Assembly(templates)):
        if item.template is not None and _root(item.template) in asked:
            yield item


def _root(template: Template) -> Path:
    """The file of the stack that a template is nested in."""
    while template.parent is not None:
        template = template.parent
    return Path(template.file).resolve()


def _roots(files: Iterable[Path]) -> list[Path]:
    """The folders of the assemblies, without those in others."""
    folders = {file.parent for file in files if (file.parent / "manifest.json").is_file()}
    return sorted(folder for folder in folders if not any(other in folder.parents for other in folders))


def _violation(finding: Finding) -> PolicyViolation:
    below = finding.path.removeprefix(f"Resources/{finding.resource}").removeprefix("/")
    place = PolicyViolatingResource(
        resource_logical_id=finding.resource,
        template_path=finding.template.file if finding.template else "",
        locations=[below],
    )
    return PolicyViolation(
        rule_name=finding.id,
        description=finding.text,
        severity=finding.severity.value,
        fix=finding.fix,
        violating_resources=[place],
        rule_metadata={"page": f"docs/rules.md#{finding.id.lower()}"},
    )


__all__ = ["HealthImagingChecks"]
