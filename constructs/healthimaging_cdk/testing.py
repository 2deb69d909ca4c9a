"""Assertions for the tests of your own stacks. They need no AWS and no plugin of a test framework.

Each takes what you have: ``aws_cdk.assertions.Template``, a template as a dictionary, a stack, or a synthesized folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from healthimaging_cdk.review.checks import find
from healthimaging_cdk.review.finding import Finding, Severity, Subject
from healthimaging_cdk.review.reading.assembly import Assembly, load_assembly
from healthimaging_cdk.review.reading.template import Template
from healthimaging_cdk.review.rules.stores import keys_of, lacking_policies

if TYPE_CHECKING:
    from aws_cdk import Stack, assertions

    Synthesized = assertions.Template | Stack | Mapping[str, Any] | PathLike[str]
    """What the assertions take."""

_KINDS = "an aws_cdk.assertions.Template, a Stack, a template as a dictionary, or the path of a cdk.out"


def assert_store_is_retained(template: Synthesized) -> None:
    """Check that each data store stays when it leaves the stack or is replaced, and so does its key.

    Args:
        template: what is to be looked at, with one data store at least.

    Raises:
        AssertionError: a store or its key is not retained, or there is no store.
        TypeError: the template is of another type.

    Example:
        >>> from healthimaging_cdk.testing import assert_store_is_retained
        >>> assert_store_is_retained({"Resources": {"Store": {
        ...     "Type": "AWS::HealthImaging::Datastore", "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}}})
    """
    subject = Subject(_assembly(template))
    problems = []
    for store in subject.uses.stores:
        lacking = lacking_policies(store.resource)
        if lacking:
            problems.append(f"data store {store.logical_id}: {' and '.join(lacking)} must be Retain")
        for _, logical_id, resource in keys_of(subject, store):
            missing = " and ".join(lacking_policies(resource))
            if missing:
                problems.append(f"key {logical_id} of data store {store.logical_id}: {missing} must be Retain")
    if not subject.uses.stores:
        problems.append("there is no data store: give the template that has it")
    _raise(problems)


def assert_imports(template: Synthesized, source: str | None = None, *, output: str | None = None) -> None:
    """Check that there is an import, from a source and to an output if they are given.

    Args:
        template: what is to be looked at.
        source: the source, as ``s3://bucket/prefix/``; a bucket of the template is ``${LogicalId}``. A prefix alone
            is compared with the prefix. Default: any source will do.
        output: the output, written as the source is. Default: any output will do.

    Raises:
        AssertionError: there is no such import; the message lists those that there are.
        TypeError: the template is of another type.

    Example:
        >>> from healthimaging_cdk.testing import assert_imports
        >>> from aws_cdk import assertions
        >>> DicomImport(stack, "Studies", source=ImportSource.bucket(images, "studies/2026/"))
        >>> assert_imports(assertions.Template.from_stack(stack), source="studies/2026/")
    """
    found = []
    for use in Subject(_assembly(template)).uses.imports:
        places = [
            ("", "") if place is None else (f"s3://{place.bucket}/{place.prefix}", str(place.prefix))
            for place in (use.source, use.output)
        ]
        if all(wanted is None or wanted in place for wanted, place in zip((source, output), places, strict=True)):
            return
        found.append(f"{use.logical_id} imports {places[0][0] or 'a source that is not shown'} to {places[1][0]}")
    wanted = f" of {source}" if source is not None else ""
    wanted += f" to {output}" if output is not None else ""
    _raise([f"there is no import{wanted}", *found])


def assert_no_findings(template: Synthesized, *, ignore: Mapping[str, str] | None = None) -> None:
    """Check that the rules of ``HealthImagingChecks`` find nothing that is not acknowledged.

    Args:
        template: what is to be looked at. Only a ``cdk.out`` and a stack say what is acknowledged in them.
        ignore: reasons by the id of the rule that is not to count. Default: every rule counts.

    Raises:
        AssertionError: something is found; the message has each finding with its fix.
        TypeError: the template is of another type.

    Example:
        >>> from healthimaging_cdk.testing import assert_no_findings
        >>> Datastore(stack, "Archive", encryption_key=key)
        >>> assert_no_findings(stack)
    """
    ignored = set(ignore or {})
    _raise([_line(item) for item in find(_assembly(template)) if not item.acknowledged and item.id not in ignored])


def _line(item: Finding) -> str:
    kind = "error" if item.severity is Severity.ERROR else "warning"
    return f"{item.id} {kind} at {item.construct or item.resource}: {item.text}. Fix: {item.fix} (docs/rules.md)"


def _raise(problems: list[str]) -> None:
    if problems:
        raise AssertionError("\n".join(problems))


def _assembly(template: Synthesized) -> Assembly:
    if isinstance(template, Mapping):
        return Assembly([Template("template", dict(template))])
    if isinstance(template, PathLike):
        return load_assembly(Path(template))
    from aws_cdk import App, Stack, Stage, assertions  # noqa: PLC0415 - slow, and a dictionary needs none

    if isinstance(template, assertions.Template):
        return Assembly([Template("template", dict(template.to_json()))])
    if isinstance(template, Stack):
        stage = Stage.of(template) or App.of(template)
        folder = Path(stage.synth().directory) if isinstance(stage, Stage) else None
        if folder is not None:
            file = (folder / template.template_file).resolve()
            everything = load_assembly(folder)
            names = [item.name for item in everything.templates if Path(item.file).resolve() == file]
            within = [item for item in everything.templates for name in names if f"{item.name}/".startswith(f"{name}/")]
            return Assembly(within)
    raise TypeError(f"template must be {_KINDS}, got {type(template).__name__}")


__all__ = ["assert_imports", "assert_no_findings", "assert_store_is_retained"]
