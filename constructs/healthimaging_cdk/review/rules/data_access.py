"""Rules about the role that HealthImaging assumes: what its buckets and their keys ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from healthimaging_cdk.review.finding import Hit, Rule, Severity, Subject
from healthimaging_cdk.review.reading.imports import Place
from healthimaging_cdk.review.reading.policies import Principal
from healthimaging_cdk.review.reading.statements import HEALTHIMAGING
from healthimaging_cdk.review.reading.template import Template
from healthimaging_cdk.review.reading.text import Covers, Hole, HoleKind, Text, arn_parts
from healthimaging_cdk.review.rules.stores import keys_named

_S3 = Text.of("arn:", Hole(HoleKind.PSEUDO, "", "AWS::Partition"), ":s3:::")


@dataclass(eq=False)
class _Access:
    """A data access role, with the buckets that it reads and writes."""

    subject: Subject
    role: Principal

    @property
    def path(self) -> str:
        return f"Resources/{self.role.logical_id}/Properties"

    @cached_property
    def uses(self) -> list[tuple[Place | None, Place | None]]:
        """Sources and outputs of the imports that name the role."""
        return [
            (use.source, use.output)
            for use in self.subject.uses.imports
            if use.role is not None and self.subject.policies.role_of(use.role) is self.role
        ]

    def buckets(self, action: str, index: int) -> list[Text]:
        """The names of the buckets that the role reads or writes."""
        found: list[Text] = []
        for statement in self.role.allowing(action):
            for text in statement.resources:
                parts = arn_parts(text)
                # The ARN of an access point has a Region and an account; that of a bucket has neither.
                is_bucket = parts is not None and parts[2].literal == "s3" and not parts[3].parts and not parts[4].parts
                name = parts[5].split("/")[0] if parts is not None and is_bucket else None
                if name is not None and name.parts and "*" not in str(name):
                    found.append(name)
        found += [use[index].bucket for use in self.uses if use[index] is not None]  # type: ignore[union-attr]
        return list(dict.fromkeys(found))

    def may(self, action: str, arn: Text) -> bool:
        """Whether the role may do something, or may be allowed to by what is not shown."""
        if self.role.may(action, arn) is not Covers.NO:
            return True
        for statement in self.subject.policies.granted_by_resources:
            if statement.may(action) and statement.resource_type in {"AWS::S3::BucketPolicy", "AWS::KMS::Key"}:
                for kind, name in statement.principals:
                    is_everybody = str(name) == "*" or kind == "*"
                    is_role = self.subject.policies.role_of(name) is self.role
                    if is_role or (is_everybody and statement.conditions) or str(name).endswith(HEALTHIMAGING):
                        return True
        return False

    def may_mean(self, action: str, owner: Template) -> bool:
        """Whether the role may use a key by its ARN that may be one of another account's template.

        No reference leads from one account to another, so the ARN is written out once the key exists.
        """
        if owner.account is None or owner.account == self.role.template.account:
            return False
        arns = [arn_parts(text) for statement in self.role.allowing(action) for text in statement.resources]
        return any(
            parts is not None
            and (parts[2].literal, parts[4].literal) == ("kms", owner.account)
            and (parts[5].literal or "").startswith("key/")
            for parts in arns
        )


def _accesses(subject: Subject) -> Iterator[_Access]:
    named = {
        id(role)
        for use in subject.uses.imports
        if use.role is not None and (role := subject.policies.role_of(use.role)) is not None
    }
    for principal in subject.policies.principals.values():
        if principal.resource_type != "AWS::IAM::Role":
            continue
        if id(principal) in named or any(
            item.allows and item.is_for_service(HEALTHIMAGING) for item in principal.trust
        ):
            yield _Access(subject, principal)


def _rights(subject: Subject) -> Iterator[Hit]:
    for access in _accesses(subject):
        role = access.role
        sources, outputs = access.buckets("s3:GetObject", 0), access.buckets("s3:PutObject", 1)
        for name in dict.fromkeys((*sources, *outputs)):
            bucket = Text.of(_S3, name)
            if not access.may("s3:ListBucket", bucket):
                text = f"the data access role may not list {name}: every job fails"
                yield Hit(role.template, role.logical_id, access.path, text, fix=f"allow s3:ListBucket on {bucket}")
        for index, (action, verb) in enumerate((("s3:GetObject", "read"), ("s3:PutObject", "write"))):
            for use in access.uses:
                place = use[index]
                if place is None or place.bucket.is_open or place.prefix.is_open:
                    continue
                folder = (
                    place.prefix
                    if place.prefix.ends_with("/") or not place.prefix.parts
                    else Text.of(place.prefix, "/")
                )
                if not access.may(action, Text.of(_S3, place.bucket, "/", folder, "x")):
                    text = f"the data access role may not {verb} {place.bucket}/{place.prefix}: every job fails"
                    fix = f"allow {action} on arn:aws:s3:::{place.bucket}/{place.prefix}*"
                    yield Hit(role.template, role.logical_id, access.path, text, fix=fix)
        yield from _key_rights(access, sources, ("kms:Decrypt",))
        yield from _key_rights(access, outputs, ("kms:GenerateDataKey", "kms:Decrypt"))


def _key_rights(access: _Access, buckets: list[Text], actions: tuple[str, ...]) -> Iterator[Hit]:
    role = access.role
    for name in buckets:
        for owner, key in _keys_of_bucket(access.subject, name):
            lacking = [
                action for action in actions if not access.may(action, key) and not access.may_mean(action, owner)
            ]
            if lacking:
                text = f"the data access role lacks {', '.join(lacking)} on the key of {name}: every file fails"
                fix = f"allow {', '.join(lacking)} on {key}"
                yield Hit(role.template, role.logical_id, access.path, text, fix=fix)


def _keys_of_bucket(subject: Subject, name: Text) -> Iterator[tuple[Template, Text]]:
    """The template and the ARN of the key in the templates that encrypts a bucket in the templates."""
    for reader, logical_id, resource in subject.assembly.of_type("AWS::S3::Bucket"):
        if name not in reader.texts({"Ref": logical_id}):
            continue
        rules = reader.get(resource, "Properties", "BucketEncryption", "ServerSideEncryptionConfiguration")
        for node in rules.nodes:
            for item in reader.items(node).nodes:
                # A right that only a condition gives counts as given, so that a key that only a condition names counts.
                master = reader.get(item, "ServerSideEncryptionByDefault", "KMSMasterKeyID")
                texts = [text for found in master.nodes for text in reader.texts(found)]
                for owner, key_id, _ in keys_named(subject, texts):
                    for arn in owner.texts({"Fn::GetAtt": [key_id, "Arn"]}):
                        yield owner.template, arn


def _whole_bucket(subject: Subject) -> Iterator[Hit]:
    for access in _accesses(subject):
        for statement in access.role.allowing("s3:PutObject"):
            broad = [str(text) for text in statement.resources if _is_whole(text)]
            if broad and statement.actions:
                text = f"HealthImaging may overwrite everything in the bucket ({', '.join(broad)})"
                yield Hit(statement.template, statement.logical_id, f"{statement.path}/Resource", text)


def _is_whole(text: Text) -> bool:
    if text.literal == "*":
        return True
    parts = arn_parts(text)
    if parts is None:
        before, *after = text.split("/", 1)
        return bool(before.holes) and len(after) == 1 and after[0].literal == "*"
    if parts[2].literal not in {"s3", "*"}:
        return False
    name, *key = parts[5].split("/", 1)
    return name.literal == "*" or (bool(key) and key[0].literal in {"*", "**"}) or str(name).endswith("*")


RULES = (
    Rule(
        "HI401",
        Severity.ERROR,
        "The data access role has what its buckets and their keys ask for",
        "allow s3:ListBucket on both buckets, kms:Decrypt on both keys, kms:GenerateDataKey on the output's",
        _rights,
    ),
    Rule(
        "HI402",
        Severity.WARNING,
        "The data access role writes under one prefix",
        "name the prefix: arn:aws:s3:::BUCKET/PREFIX/*",
        _whole_bucket,
    ),
)
