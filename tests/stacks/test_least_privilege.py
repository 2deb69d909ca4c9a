"""No role may do what it never does: a stack's whole life, and what IAM was asked meanwhile, against every policy."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, RemovalPolicy, Stack, Tags

from healthimaging_cdk import Datastore, DicomImport, ImportSource, ImportTolerance, LosslessStorageFormat, Notify
from tests.deployment import P10_FILES, Account

pytestmark = pytest.mark.cloud

NAME = "LeastPrivilege"

_ITSELF = "does this with the role; the local cloud does it without"


@dataclass(frozen=True)
class Reason:
    """Why a role has a right that no flow uses."""

    role: str
    """What the role's logical id begins with."""
    action: str
    on: str
    """A pattern for the resource's ARN, in lower case."""
    why: str

    def explains(self, role: str, action: str, resource: str) -> bool:
        return role.startswith(self.role) and action == self.action and fnmatchcase(resource.lower(), self.on)


REASONS = [
    Reason(
        "HealthImagingImportEngineFunctionRole",
        "events:PutEvents",
        "*:event-bus/*",
        f"for lost calls, Lambda {_ITSELF}",
    ),
    Reason(
        "ImportDataAccessRole", "s3:ListBucket", "*outputbucket*", "HealthImaging's guide asks for it on both buckets"
    ),
    Reason(
        "ImportJobRole",
        "medical-imaging:ListDICOMImportJobs",
        "*:datastore/*",
        "finds the job of a start whose answer was lost (tests/handler)",
    ),
    Reason(
        "ImportJobRole",
        "s3:ListBucket",
        "*outputbucket*",
        "lets S3 answer 404, not 403, for a record that is not there",
    ),
    Reason("ImportJobRole", "s3:AbortMultipartUpload", "*inputbucket*", "for a large file whose upload breaks off"),
    Reason(
        "StoreImageSetDeletionRole",
        "medical-imaging:DeleteImageSet",
        f"*:datastore/{'?' * 32}",
        "IAM asks about the image set and its store (service authorization reference); the local cloud about the first",
    ),
    Reason(
        "StoreImageSetDeletionRole",
        "medical-imaging:GetImageSet",
        f"*:datastore/{'?' * 32}",
        "IAM asks about the image set and its store (service authorization reference); the local cloud about the first",
    ),
    Reason(
        "StoreStoreRole",
        "medical-imaging:TagResource",
        "*:datastore/[*]",
        "CreateDatastore with tags takes it (service authorization reference); the local cloud does not ask",
    ),
]


Rights = dict[str, set[tuple[str, str]]]
"""Actions with their resources, by the logical id of a role."""


@dataclass
class Life:
    """What became of a stack's operations, and the rights its roles had and used."""

    statuses: list[str] = field(default_factory=list)
    roles: set[str] = field(default_factory=set)
    """The roles of the templates."""
    allowed: Rights = field(default_factory=dict)
    used: Rights = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """The logical ids of the roles by their names."""

    def look_at_roles(self, account: Account, app: App) -> None:
        resources = app.synth().get_stack_by_name(NAME).template["Resources"]
        self.roles |= {name for name, resource in resources.items() if resource["Type"] == "AWS::IAM::Role"}
        iam = account.cloud.client("iam")
        for resource in account.cloudformation.describe_stack_resources(StackName=NAME)["StackResources"]:
            if resource["ResourceType"] != "AWS::IAM::Role":
                continue
            role, name = resource["LogicalResourceId"], resource["PhysicalResourceId"]
            self.names[name] = role
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                self.allowed.setdefault(role, set()).update(rights(document))

    def look_at_decisions(self, account: Account) -> None:
        for decision in account.cloud.decisions():
            _, _, session = decision["principal"].partition(":assumed-role/")
            role = self.names.get(session.partition("/")[0])
            if role is not None and decision["decision"] == "Allow":
                self.used.setdefault(role, set()).add((decision["action"], decision["resource"]))


def rights(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Each action that a policy document allows, with each of its resources."""
    return {
        (action, resource)
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def unexplained(allowed: Rights, used: Rights, reasons: Iterable[Reason]) -> list[tuple[str, str, str]]:
    """The rights that were neither used nor have a reason."""
    known = list(reasons)
    return sorted(
        (role, action, resource)
        for role, pairs in allowed.items()
        for action, resource in pairs
        if not any(action == done and fnmatchcase(on, resource) for done, on in used.get(role, ()))
        and not any(reason.explains(role, action, resource) for reason in known)
    )


def make_app(folder: Path, run_id: str, *, tags: dict[str, str], emptied: bool = True, **options: Any) -> App:
    app = App(analytics_reporting=False)
    stack = Stack(app, NAME)
    store = Datastore(
        stack,
        "Store",
        lossless_storage_format=LosslessStorageFormat.JPEG_2000_LOSSLESS,
        auto_delete_image_sets=emptied,
        removal_policy=RemovalPolicy.DESTROY,
    )
    for key, value in tags.items():
        Tags.of(store).add(key, value)
    source = ImportSource.directory(folder)
    DicomImport(stack, "Import", datastore=store, source=source, run_id=run_id, notify=Notify.OUTCOMES, **options)
    return app


@pytest.fixture(scope="module")
def life(shared_account: Account, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """First deploy, import again and other tags, rollback, one option away and back, deletion."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(P10_FILES / name, folder / name)
    bad = folder / "notes.txt"
    life = Life()

    def deploy(app: App) -> None:
        life.statuses.append(shared_account.deploy_one(app).status)
        life.look_at_roles(shared_account, app)

    shared_account.cloud.clear()
    tags = {"team": "a"}
    deploy(make_app(folder, "1", tags={**tags, "site": "b"}))
    deploy(make_app(folder, "2", tags=tags))
    bad.write_text("not a DICOM file")
    deploy(make_app(folder, "3", tags=tags, tolerance=ImportTolerance(rejected_files=0)))
    bad.unlink()
    deploy(make_app(folder, "2", tags=tags, emptied=False))
    deploy(make_app(folder, "2", tags=tags))
    life.statuses.append(shared_account.destroy(NAME).status)
    life.look_at_decisions(shared_account)
    return life


def test_the_life_goes_as_it_should(life):
    updated = "UPDATE_COMPLETE"
    expected = ["CREATE_COMPLETE", updated, "UPDATE_ROLLBACK_COMPLETE", updated, updated, "DELETE_COMPLETE"]
    assert expected == life.statuses


def test_every_role_of_the_templates_is_looked_at(life):
    assert life.roles == set(life.allowed)
    assert 7 == len(life.roles)


def test_no_role_may_do_what_it_never_does(life):
    assert [] == unexplained(life.allowed, life.used, REASONS)


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: f"{reason.role} {reason.action}")
def test_every_reason_is_still_needed(life, reason):
    others = [other for other in REASONS if other is not reason]
    assert [] != unexplained(life.allowed, life.used, others)


@pytest.mark.parametrize(
    "right",
    [("medical-imaging:GetImageSet", "arn:store/imageset/*"), ("medical-imaging:GetDatastore", "arn:other")],
)
def test_fails_a_right_that_no_flow_uses(right):
    used = {"Role": {("medical-imaging:GetDatastore", "arn:store"), ("medical-imaging:GetImageSet", "arn:store")}}
    allowed = {"Role": {("medical-imaging:GetDatastore", "arn:store")}}
    assert [] == unexplained(allowed, used, [])
    assert [("Role", *right)] == unexplained({"Role": {*allowed["Role"], right}}, used, [])
    assert [] == unexplained({"Role": {right}}, used, [Reason("Ro", *right, "it is a test")])


def test_fails_a_right_that_only_another_role_uses():
    right = ("medical-imaging:GetDatastore", "arn:store")
    assert [("One", *right)] == unexplained({"One": {right}}, {"Other": {right}}, [])
