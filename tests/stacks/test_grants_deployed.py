"""What a grant lets somebody do and what it does not: each role is assumed and calls everything, IAM enforced."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

import pytest
from aws_cdk import App, CfnOutput, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from botocore.exceptions import ClientError

from healthimaging_cdk import DataAccessRole, Datastore
from tests.deployment import Account, eventually

pytestmark = pytest.mark.cloud

FILES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")

# Written out, not taken from the library's table: that is what is judged here.
READ = {
    "GetDatastore",
    "GetImageFrame",
    "GetImageSet",
    "GetImageSetMetadata",
    "ListImageSetVersions",
    "ListTagsForResource",
    "SearchImageSets",
}
BY_METHOD = {
    "Read": READ,
    "Write": {"CopyImageSet", "UpdateImageSetMetadata"},
    "DeleteImageSets": {"DeleteImageSet"},
    "StartImport": {"StartDICOMImportJob"},
    "ManageImportJobs": {"GetDICOMImportJob", "ListDICOMImportJobs"},
}
NOT_ON_A_STORE = {"CreateDatastore", "ListDatastores"}

# What IAM lets through ends like this, where it does not succeed.
ENDS = {
    "DeleteDatastore": "ConflictException",  # it holds image sets
    "DeleteImageSet": "ResourceNotFoundException",  # so that there is something to read
    # Versions and frames that are not there, so that every client finds the same.
    "CopyImageSet": "ConflictException",
    "GetImageFrame": "ResourceNotFoundException",
    "UpdateImageSetMetadata": "ConflictException",
}

Call = Callable[[Any, "Target"], Any]


class Target:
    """A store with something in it."""

    def __init__(self, datastore_id: str, image_set: str, job: str, start: dict[str, str]) -> None:
        self.store = {"datastoreId": datastore_id}
        self.image_set = {**self.store, "imageSetId": image_set}
        self.job = {**self.store, "jobId": job}
        self.start = {**self.store, **start}
        self.arn = f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{datastore_id}"


CALLS: dict[str, Call] = {
    "CopyImageSet": lambda client, it: client.copy_image_set(
        datastoreId=it.store["datastoreId"],
        sourceImageSetId=it.image_set["imageSetId"],
        copyImageSetInformation={"sourceImageSet": {"latestVersionId": "9"}},
    ),
    "CreateDatastore": lambda client, _: client.create_datastore(datastoreName="granted-to-nobody"),
    "DeleteDatastore": lambda client, it: client.delete_datastore(**it.store),
    "DeleteImageSet": lambda client, it: client.delete_image_set(**it.store, imageSetId="0" * 32),
    "GetDICOMImportJob": lambda client, it: client.get_dicom_import_job(**it.job),
    "GetDatastore": lambda client, it: client.get_datastore(**it.store),
    "GetImageFrame": lambda client, it: client.get_image_frame(
        **it.image_set, imageFrameInformation={"imageFrameId": "0" * 32}
    ),
    "GetImageSet": lambda client, it: client.get_image_set(**it.image_set),
    "GetImageSetMetadata": lambda client, it: client.get_image_set_metadata(**it.image_set),
    "ListDICOMImportJobs": lambda client, it: client.list_dicom_import_jobs(**it.store),
    "ListDatastores": lambda client, _: client.list_datastores(),
    "ListImageSetVersions": lambda client, it: client.list_image_set_versions(**it.image_set),
    "ListTagsForResource": lambda client, it: client.list_tags_for_resource(resourceArn=it.arn),
    "SearchImageSets": lambda client, it: client.search_image_sets(**it.store),
    "StartDICOMImportJob": lambda client, it: client.start_dicom_import_job(**it.start),
    "TagResource": lambda client, it: client.tag_resource(resourceArn=it.arn, tags={"granted": "yes"}),
    "UntagResource": lambda client, it: client.untag_resource(resourceArn=it.arn, tagKeys=["granted"]),
    "UpdateImageSetMetadata": lambda client, it: client.update_image_set_metadata(
        **it.image_set, latestVersionId="9", updateImageSetMetadataUpdates={"revertToVersionId": "1"}
    ),
}
BY_ACTION = {name: {name} for name in CALLS if name not in NOT_ON_A_STORE}

OWN = {**BY_METHOD, **{f"Only{name}": actions for name, actions in BY_ACTION.items()}}
NAMED = {**BY_METHOD, "Two": {"GetDatastore", "GetImageSet"}}


def make_roles(stack: Stack, store: Any, data_access_role: iam.IRole, wanted: dict[str, set[str]]) -> None:
    """One role for each grant, which somebody of the account can assume."""
    grants: dict[str, Callable[[iam.Role], iam.Grant]] = {
        "Read": store.grant_read,
        "Write": store.grant_write,
        "DeleteImageSets": store.grant_delete_image_sets,
        "StartImport": lambda role: store.grant_start_import(role, data_access_role),
        "ManageImportJobs": store.grant_manage_import_jobs,
    }
    for name, actions in wanted.items():
        role = iam.Role(stack, f"{name}Role", assumed_by=iam.AccountPrincipal("111122223333"))
        if name in grants:
            grants[name](role).assert_success()
        else:
            store.grant(role, *(f"medical-imaging:{action}" for action in sorted(actions)))
        if name == "OnlyStartDICOMImportJob":  # ``grant`` grants what it says; to pass a role is another thing
            data_access_role.grant_pass_role(role)
        CfnOutput(stack, f"{name}RoleArn", value=role.role_arn)


def code_of(call: Call, client: Any, target: Target) -> str:
    """How a call ended."""
    try:
        call(client, target)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


class Scene:
    """A store and the roles of both stacks: the one that made the store, and one that only names it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        app = App(analytics_reporting=False)
        stack = Stack(app, "Grants")
        store, other = Datastore(stack, "Store"), Datastore(stack, "Other")
        source, results = s3.Bucket(stack, "Source"), s3.Bucket(stack, "Results")
        places = {"input_bucket": source, "input_prefix": "in/", "output_bucket": results, "output_prefix": "out/"}
        role, second = (DataAccessRole(stack, name, datastore=store, **places) for name in ("Passed", "NotPassed"))
        make_roles(stack, store, role, OWN)
        outputs = {"Store": store.datastore_id, "Other": other.datastore_id, "Source": source.bucket_name}
        outputs |= {"Results": results.bucket_name, "Passed": role.role_arn, "NotPassed": second.role_arn}
        for name, value in outputs.items():
            CfnOutput(stack, f"{name}Is", value=value)
        deployed = account.deploy_one(app)
        assert "CREATE_COMPLETE" == deployed.status, deployed.reason
        found = self.outputs = {name: deployed.outputs[f"{name}Is"] for name in outputs}

        app = App(analytics_reporting=False)
        stack = Stack(app, "GrantsOnNamed")
        named = Datastore.from_datastore_id(stack, "Store", found["Store"])
        make_roles(stack, named, iam.Role.from_role_arn(stack, "Passed", found["Passed"]), NAMED)
        by_name = account.deploy_one(app)
        assert "CREATE_COMPLETE" == by_name.status, by_name.reason
        self.roles = {"own": deployed.outputs, "named": by_name.outputs}

        account.upload(found["Source"], "in/", *FILES)
        job = self.imported("own")
        self.image_sets = [it["imageSetId"] for it in account.image_sets(found["Store"])]
        self.target = Target(found["Store"], self.image_sets[0], job["jobId"], self.start("empty/"))
        elsewhere = {**self.start("empty/"), "datastoreId": found["Other"]}
        self.other = Target(found["Other"], "1" * 32, "1" * 32, elsewhere)

    @cached_property
    def sts(self) -> Any:
        return self.account.cloud.client("sts")

    def start(self, prefix: str, role: str = "Passed") -> dict[str, str]:
        return {
            "dataAccessRoleArn": self.outputs[role],
            "inputS3Uri": f"s3://{self.outputs['Source']}/in/{prefix}",
            "outputS3Uri": f"s3://{self.outputs['Results']}/out/",
        }

    def as_role(self, stack: str, name: str) -> Any:
        """A client of HealthImaging with a session of a role."""
        answer = self.sts.assume_role(RoleArn=self.roles[stack][f"{name}RoleArn"], RoleSessionName="test")
        session = answer["Credentials"]
        return self.account.cloud.client(
            "medical-imaging",
            aws_access_key_id=session["AccessKeyId"],
            aws_secret_access_key=session["SecretAccessKey"],
            aws_session_token=session["SessionToken"],
        )

    def imported(self, stack: str) -> dict[str, Any]:
        """An import by those who may: one starts it, another looks how it goes."""
        starter, watcher = self.as_role(stack, "StartImport"), self.as_role(stack, "ManageImportJobs")
        store = {"datastoreId": self.outputs["Store"]}
        started = starter.start_dicom_import_job(**store, **self.start(""))

        def job() -> dict[str, Any]:
            return dict(watcher.get_dicom_import_job(**store, jobId=started["jobId"])["jobProperties"])

        assert eventually(lambda: job()["jobStatus"] in ("COMPLETED", "FAILED"))
        assert "COMPLETED" == job()["jobStatus"], job()
        return job()


@pytest.fixture(scope="module")
def scene(shared_account: Account) -> Scene:
    shared_account.cloud.clear()
    shared_account.cloud.settings(job_seconds=0.1)
    return Scene(shared_account)


@pytest.mark.parametrize(
    ("stack", "role", "allowed"),
    [(stack, role, allowed) for stack, of in (("own", OWN), ("named", NAMED)) for role, allowed in of.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_grant_allows_what_it_says_on_its_store_and_nothing_else(scene, stack, role, allowed):
    client = scene.as_role(stack, role)
    expected = {name: ENDS.get(name, "") if name in allowed else "AccessDeniedException" for name in CALLS}
    assert expected == {name: code_of(call, client, scene.target) for name, call in CALLS.items()}
    elsewhere = {code_of(CALLS[name], client, scene.other) for name in allowed}
    assert {"AccessDeniedException"} == elsewhere


@pytest.mark.parametrize("stack", ["own", "named"])
def test_who_may_read_finds_reads_and_sees_the_tags_of_image_sets(scene, stack):
    client, store = scene.as_role(stack, "Read"), scene.target.store
    found = client.search_image_sets(**store)["imageSetsMetadataSummaries"]
    assert set(scene.image_sets) >= {it["imageSetId"] for it in found} > set()
    image_set = {**store, "imageSetId": found[0]["imageSetId"]}
    body = client.get_image_set_metadata(**image_set)["imageSetMetadataBlob"].read()
    assert image_set["imageSetId"] == json.loads(gzip.decompress(body))["ImageSetID"]
    arn = client.get_image_set(**image_set)["imageSetArn"]
    assert {} == client.list_tags_for_resource(resourceArn=arn)["tags"]


def test_who_may_tag_tags_image_sets_too(scene):
    arn = f"{scene.target.arn}/imageset/{scene.image_sets[0]}"
    scene.as_role("own", "OnlyTagResource").tag_resource(resourceArn=arn, tags={"by": "grant"})
    assert {"by": "grant"} == scene.account.tags(arn)
    scene.as_role("own", "OnlyUntagResource").untag_resource(resourceArn=arn, tagKeys=["by"])
    assert {} == scene.account.tags(arn)


@pytest.mark.parametrize("stack", ["own", "named"])
def test_an_image_set_goes_for_who_may_delete_it(scene, stack):
    victim = scene.image_sets.pop()
    deleted = scene.as_role(stack, "DeleteImageSets").delete_image_set(**scene.target.store, imageSetId=victim)
    assert "DELETED" == deleted["imageSetState"]
    assert set(scene.image_sets) == {it["imageSetId"] for it in scene.account.image_sets(scene.outputs["Store"])}


def test_files_are_imported_by_who_may_start_jobs_on_a_store_that_is_only_named(scene):
    assert "COMPLETED" == scene.imported("named")["jobStatus"]


@pytest.mark.parametrize("stack", ["own", "named"])
def test_fails_to_start_a_job_with_a_role_that_was_not_granted(scene, stack):
    client = scene.as_role(stack, "StartImport")
    with pytest.raises(ClientError) as caught:
        client.start_dicom_import_job(**scene.target.store, **scene.start("", role="NotPassed"))
    error = caught.value.response["Error"]
    assert "AccessDeniedException" == error["Code"]
    assert f"iam:PassRole on resource: {scene.outputs['NotPassed']}" in error["Message"]
    scene.as_role(stack, "StartImport").start_dicom_import_job(**scene.target.store, **scene.start("empty/"))
