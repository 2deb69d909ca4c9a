"""The templates of a cloud assembly, or of a folder, or of one file, with what joins them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.template import Node, Template
from healthimaging_cdk.review.reading.text import Text

_ENVIRONMENT = re.compile(r"aws://(?P<account>[^/]*)/(?P<region>.*)")
_HASH = re.compile(r"([0-9a-f]{64})\.json")


class UnreadableError(ValueError):
    """What was named is no cloud assembly and no template."""


@dataclass(eq=False)
class Assembly:
    """Templates that refer to each other."""

    templates: Sequence[Template]
    _readers: dict[int, Reader] = field(default_factory=dict, repr=False)

    def reader(self, template: Template) -> Reader:
        """What reads the values of a template."""
        return self._readers.setdefault(id(template), Reader(self, template))

    def resources(self) -> Iterator[tuple[Reader, str, dict[str, Any]]]:
        """Every resource of every template, by what reads it and its logical id."""
        for template in self.templates:
            reader = self.reader(template)
            for logical_id, resource in reader.resources.items():
                yield reader, logical_id, resource

    def of_type(self, *types: str) -> Iterator[tuple[Reader, str, dict[str, Any]]]:
        """The resources of some types."""
        return (found for found in self.resources() if found[2]["Type"] in types)

    def nested(self, parent: Template, logical_id: str) -> Template | None:
        """The template of a nested stack."""
        return self._nested.get((id(parent), logical_id))

    @cached_property
    def _nested(self) -> dict[tuple[int, str], Template]:
        return {(id(item.parent), item.parent_resource): item for item in self.templates if item.parent is not None}

    def export(self, name: Text) -> tuple[Template, Node] | None:
        """The value that a stack exports under a name."""
        return self._exports.get(name)

    @cached_property
    def _exports(self) -> dict[Text, tuple[Template, Node]]:
        found = {}
        for template in self.templates:
            reader = self.reader(template)
            for output in template.section("Outputs").values():
                for node in reader.get(output, "Export", "Name").nodes:
                    for name in reader.texts(node):
                        found[name] = (template, output.get("Value"))
        return found

    def output(self, stack: str, name: str) -> tuple[Template, Node] | None:
        """The value of an output of a stack."""
        for template in self.templates:
            output = template.section("Outputs").get(name)
            if template.name == stack and isinstance(output, dict):
                return template, output.get("Value")
        return None


def load_assembly(path: Path, region: str | None = None) -> Assembly:
    """Read a cloud assembly (``cdk.out``), a folder of templates, or one template.

    Args:
        path: the folder or the file. A file may also be what ``aws cloudformation get-template`` prints.
        region: the Region of templates that do not say theirs. Default: it is unknown.

    Raises:
        UnreadableError: there is no template, or one is broken: what is not read would look as if nothing had been
            deployed.
    """
    if path.is_dir():
        if isinstance(_artifacts(path), dict):
            templates = [found for item in _manifest(path) for found in item]
        else:
            files = sorted(file for file in path.rglob("*.json") if file.is_file())
            _refuse_broken(file for file in files if file.parent == path)
            templates = [found for file in files for found in with_nested(_plain(file, region), file)]
        if not templates:
            raise UnreadableError(f"{path} holds no template: name the folder that `cdk synth` writes, or a template")
        return Assembly(_without_doubles(templates))
    document = template_document(_json(path))
    if document is None:
        raise UnreadableError(
            f"{path} is no template in JSON: name a cdk.out, a folder of templates, or a file with a template"
        )
    name = path.name.partition(".")[0]
    return Assembly(list(with_nested([Template(name, document, region=region, file=str(path))], path)))


def _without_doubles(templates: Sequence[Template]) -> list[Template]:
    nested = {item.file for item in templates if item.parent is not None}
    return [item for item in templates if item.parent is not None or item.file not in nested]


def _json(path: Path) -> Node:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UnreadableError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError):
        return None


def template_document(value: Node) -> dict[str, Any] | None:
    """The template in what a file holds, which may be the response of GetTemplate."""
    if isinstance(value, dict) and "TemplateBody" in value:
        value = value["TemplateBody"]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) and isinstance(value.get("Resources"), dict) else None


def _plain(file: Path, region: str | None) -> list[Template]:
    document = template_document(_json(file))
    return [] if document is None else [Template(file.name.partition(".")[0], document, region=region, file=str(file))]


def _refuse_broken(files: Iterable[Path]) -> None:
    broken = [str(file) for file in files if _json(file) is None]
    if broken:
        raise UnreadableError(f"{', '.join(broken)}: no JSON; write the template again, or take the file away")


def _artifacts(folder: Path) -> Node:
    """What the manifest of a cloud assembly lists; None for a manifest of something else."""
    file = folder / "manifest.json"
    manifest = _json(file) if file.is_file() else None
    return manifest.get("artifacts") if isinstance(manifest, dict) else None


def _manifest(folder: Path) -> Iterator[list[Template]]:
    artifacts = _artifacts(folder)
    for artifact_id, artifact in artifacts.items() if isinstance(artifacts, dict) else ():
        properties = artifact.get("properties") if isinstance(artifact, dict) else None
        if not isinstance(properties, dict):
            continue
        if artifact.get("type") == "cdk:cloud-assembly":
            inner = folder / str(properties.get("directoryName"))
            _refuse_broken([inner / "manifest.json"])
            yield from _manifest(inner)
        elif artifact.get("type") == "aws:cloudformation:stack":
            file = folder / str(properties.get("templateFile"))
            _refuse_broken([file])
            document = template_document(_json(file))
            if document is None:
                continue
            place = _ENVIRONMENT.fullmatch(str(artifact.get("environment")))
            region = place["region"] if place else "unknown-region"
            account = place["account"] if place else "unknown-account"
            metadata = artifact.get("metadata")
            if artifact.get("additionalMetadataFile"):
                metadata = _json(folder / str(artifact["additionalMetadataFile"]))
            stack = Template(
                str(properties.get("stackName") or artifact_id),
                document,
                region=None if region == "unknown-region" else region,
                account=None if account == "unknown-account" else account,
                file=str(file),
            )
            yield list(with_nested([stack], file, metadata if isinstance(metadata, dict) else {}))


def with_nested(
    stacks: Sequence[Template], file: Path, metadata: Mapping[str, Any] | None = None
) -> Iterator[Template]:
    """The templates of stacks and of the stacks nested in them.

    Args:
        stacks: the stacks, all of one folder.
        file: the template's file: the templates of nested stacks and the list of assets lie beside it.
        metadata: the metadata of the stack's constructs, by construct path. Default: there is none.
    """
    assets = _assets(file)
    paths, acknowledged = _from_metadata(metadata or {})
    for stack in stacks:
        stack.construct_paths = paths | _from_resources(stack)
        stack.acknowledged = acknowledged
        yield stack
        for logical_id, resource in stack.of_type("AWS::CloudFormation::Stack"):
            nested_file = _nested_file(file, resource, assets)
            document = template_document(_json(nested_file)) if nested_file and nested_file.is_file() else None
            if nested_file is None or document is None or str(nested_file) == stack.file:
                continue
            nested = Template(
                f"{stack.name}/{logical_id}",
                document,
                region=stack.region,
                account=stack.account,
                file=str(nested_file),
                parent=stack,
                parent_resource=logical_id,
            )
            if stack.name.count("/") < 8:
                yield from with_nested([nested], nested_file, metadata)


def _assets(file: Path) -> dict[str, str]:
    """The files of assets by their hash: each template of an assembly has a list beside it."""
    found: dict[str, str] = {}
    lists = [file.with_name(file.name.partition(".")[0] + ".assets.json"), *sorted(file.parent.glob("*.assets.json"))]
    for path in dict.fromkeys(lists):
        document = _json(path) if path.is_file() else None
        files = document.get("files") if isinstance(document, dict) else None
        for name, asset in files.items() if isinstance(files, dict) else ():
            source = asset.get("source") if isinstance(asset, dict) else None
            if isinstance(source, dict) and isinstance(source.get("path"), str):
                found.setdefault(str(name), source["path"])
    return found


def _nested_file(file: Path, resource: Mapping[str, Any], assets: Mapping[str, str]) -> Path | None:
    metadata = resource.get("Metadata")
    named = metadata.get("aws:asset:path") if isinstance(metadata, dict) else None
    if not isinstance(named, str):
        properties = resource.get("Properties")
        address = json.dumps(properties.get("TemplateURL")) if isinstance(properties, dict) else ""
        hashes = _HASH.findall(address)
        named = next((path for name, path in assets.items() if any(name.startswith(item) for item in hashes)), None)
    if named is None or Path(named).is_absolute() or ".." in Path(named).parts:
        return None
    return file.parent / named


def _from_resources(template: Template) -> dict[str, str]:
    found = {}
    for logical_id, resource in template.resources.items():
        metadata = resource.get("Metadata")
        path = metadata.get("aws:cdk:path") if isinstance(metadata, dict) else None
        if isinstance(path, str):
            found[logical_id] = path
    return found


def _from_metadata(metadata: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Construct paths by logical id, and reasons by acknowledged id, by construct path."""
    paths: dict[str, str] = {}
    acknowledged: dict[str, dict[str, str]] = {}
    for path, entries in metadata.items():
        for entry in entries if isinstance(entries, list) else ():
            data = entry.get("data") if isinstance(entry, dict) else None
            if data is None:
                continue
            if entry.get("type") == "aws:cdk:logicalId" and isinstance(data, str):
                paths[data] = path.removeprefix("/")
            elif entry.get("type") == "aws:cdk:acknowledged-rules" and isinstance(data, dict):
                reasons = {str(key): str(reason) for key, reason in data.items()}
                acknowledged.setdefault(path.removeprefix("/"), {}).update(reasons)
    return paths, acknowledged
