"""Rules about data stores and their keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk.review.facts import ENDPOINT_SERVICES, REGIONS
from healthimaging_cdk.review.finding import Hit, Rule, Severity, Subject
from healthimaging_cdk.review.reading.imports import STORE_TYPE, Store
from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.template import call_of
from healthimaging_cdk.review.reading.text import Text, arn_parts

_RETAINED = {"DeletionPolicy": {"Retain", "RetainExceptOnCreate"}, "UpdateReplacePolicy": {"Retain"}}
_KEYS = ("AWS::KMS::Key", "AWS::KMS::ReplicaKey")
_REGION_IN_ARN = re.compile(r"^[a-z]{2}(-[a-z]+)+-\d$")


def lacking_policies(resource: dict[str, object]) -> list[str]:
    """The policies by which a resource is not retained; one that a function decides is left out."""
    found = []
    for name, retaining in _RETAINED.items():
        value = resource.get(name)
        if value is None or (isinstance(value, str) and value not in retaining):
            found.append(name)
    return found


def _retained(subject: Subject) -> Iterator[Hit]:
    for store in subject.uses.stores:
        lacking = lacking_policies(store.resource)
        if lacking:
            made = "" if store.is_native else ", which a custom resource creates,"
            when = {"DeletionPolicy": "leaves the stack", "UpdateReplacePolicy": "is replaced"}
            text = f"the data store{made} is deleted when it {' or '.join(when[name] for name in lacking)}"
            fix = f"set {' and '.join(f'{name}: Retain' for name in lacking)}"
            yield Hit(store.template, store.logical_id, lacking[0], text, fix=fix)


def _tags(subject: Subject) -> Iterator[Hit]:
    for store in subject.uses.stores:
        tags = store.reader.get(store.resource, "Properties", "Tags").nodes
        if store.is_native and any(isinstance(item, (dict, list)) and item and call_of(item) is None for item in tags):
            text = "the data store has Tags in the template: a change of one replaces the store with a new, empty one"
            yield Hit(store.template, store.logical_id, "Properties/Tags", text)


def _name(subject: Subject) -> Iterator[Hit]:
    for store in subject.uses.stores:
        properties = store.resource.get("Properties")
        if not store.is_native or not isinstance(properties, dict) or "DatastoreName" not in properties:
            continue
        parameters = sorted(store.reader.parameters_of(properties["DatastoreName"]))
        if parameters:
            text = f"DatastoreName hangs on {', '.join(parameters)}: another value replaces the store with an empty one"
            yield Hit(store.template, store.logical_id, "Properties/DatastoreName", text)


def _key_of_aws(subject: Subject) -> Iterator[Hit]:
    for store in subject.uses.stores:
        if not (store.is_native or store.is_own):
            continue
        found = store.reader.get(store.resource, "Properties", "KmsKeyArn")
        is_of_aws = any("alias/aws/" in str(text) for node in found.nodes for text in store.reader.texts(node))
        if found.is_absent or is_of_aws:
            text = "the data store is encrypted with a key of AWS, which no policy of yours can withhold"
            yield Hit(store.template, store.logical_id, "Properties", text)


def keys_of(subject: Subject, store: Store) -> Iterator[tuple[Reader, str, dict[str, object]]]:
    """The keys of a data store that stand in the templates, also behind an alias."""
    return keys_named(subject, store.keys)


def keys_named(subject: Subject, names: list[Text]) -> Iterator[tuple[Reader, str, dict[str, object]]]:
    """The keys in the templates that ids, ARNs or aliases name."""
    for text in names:
        holes = {(hole.scope, hole.name) for hole in text.holes}
        shown = str(text)
        for reader, logical_id, resource in subject.assembly.of_type("AWS::KMS::Alias"):
            target = reader.get(resource, "Properties", "TargetKeyId").nodes
            given = reader.text({"Ref": logical_id})
            alias = (given.literal or "") if given else ""
            is_named = bool(alias) and (shown == alias or shown.endswith(f":{alias}"))
            if (reader.template.name, logical_id) in holes or is_named:
                holes |= {
                    (hole.scope, hole.name) for node in target for key in reader.texts(node) for hole in key.holes
                }
        for reader, logical_id, resource in subject.assembly.of_type(*_KEYS):
            if (reader.template.name, logical_id) in holes:
                yield reader, logical_id, resource


def _key_retained(subject: Subject) -> Iterator[Hit]:
    seen = set()
    for store in subject.uses.stores:
        for reader, logical_id, resource in keys_of(subject, store):
            lacking = lacking_policies(resource)
            if lacking and (reader.template.name, logical_id) not in seen:
                seen.add((reader.template.name, logical_id))
                text = (
                    f"the key of data store {store.logical_id} is not retained: without it no image can be read again"
                )
                fix = f"set {' and '.join(f'{name}: Retain' for name in lacking)} on the key"
                yield Hit(reader.template, logical_id, lacking[0], text, fix=fix)


def _region(subject: Subject) -> Iterator[Hit]:
    types = {STORE_TYPE, contract.ResourceType.DATASTORE, contract.ResourceType.IMPORT}
    stores = {(store.template.name, store.logical_id) for store in subject.uses.stores}
    for reader, logical_id, resource in subject.assembly.resources():
        region = reader.template.region
        is_there = resource["Type"] in types or (reader.template.name, logical_id) in stores
        is_there = is_there or bool(_endpoint_of(reader, resource))
        if region and _REGION_IN_ARN.match(region) and region not in REGIONS and is_there:
            text = f"HealthImaging is not in {region}"
            yield Hit(reader.template, logical_id, "Type", text)
        elif named := _endpoint_region(reader, resource):
            text = f"the endpoint is for {named}, where HealthImaging is not"
            yield Hit(reader.template, logical_id, "Properties/ServiceName", text)
    for statement in subject.policies.statements:
        for resource_arn in (*statement.resources, *statement.not_resources):
            parts = arn_parts(resource_arn)
            if parts is None or parts[2].literal != "medical-imaging":
                continue
            named = parts[3].literal or ""
            if _REGION_IN_ARN.match(named) and named not in REGIONS:
                text = f"{resource_arn} names {named}, where HealthImaging is not"
                yield Hit(statement.template, statement.logical_id, f"{statement.path}/Resource", text)


def _endpoint_of(reader: Reader, resource: dict[str, object]) -> str:
    if resource["Type"] != "AWS::EC2::VPCEndpoint":
        return ""
    for node in reader.get(resource, "Properties", "ServiceName").nodes:
        for text in reader.texts(node):
            last = text.split(".")[-1].literal
            if last in ENDPOINT_SERVICES:
                return str(last)
    return ""


def _endpoint_region(reader: Reader, resource: dict[str, object]) -> str:
    """The Region that the name of an endpoint's service spells out, where HealthImaging is not."""
    if _endpoint_of(reader, resource):
        for node in reader.get(resource, "Properties", "ServiceName").nodes:
            for text in reader.texts(node):
                named = text.split(".")[-2:][0].literal or ""
                if _REGION_IN_ARN.match(named) and named not in REGIONS:
                    return named
    return ""


RULES = (
    Rule(
        "HI101",
        Severity.ERROR,
        "A data store is retained when it leaves the stack and when it is replaced",
        "set DeletionPolicy: Retain and UpdateReplacePolicy: Retain",
        _retained,
    ),
    Rule(
        "HI102",
        Severity.ERROR,
        "A data store has no tags in the template",
        "tag the store through TagResource: healthimaging_cdk.Datastore does so with Tags.of(store)",
        _tags,
    ),
    Rule(
        "HI103",
        Severity.WARNING,
        "The name of a data store does not hang on a parameter",
        "write the name out, or leave it out",
        _name,
    ),
    Rule(
        "HI104",
        Severity.WARNING,
        "A data store is encrypted with a customer-managed key",
        "set KmsKeyArn to a key of yours; it can only be set when the store is created",
        _key_of_aws,
    ),
    Rule(
        "HI105",
        Severity.ERROR,
        "The key of a data store is retained",
        "set DeletionPolicy: Retain and UpdateReplacePolicy: Retain on the key",
        _key_retained,
    ),
    Rule(
        "HI106",
        Severity.ERROR,
        "HealthImaging is used in a Region that has it",
        f"use one of {', '.join(REGIONS)}",
        _region,
    ),
)
