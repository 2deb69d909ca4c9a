"""HealthImaging inside the emulator: real requests, real IAM, real S3."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from healthimaging_local import Cloud
from tests.deployment import eventually

pytestmark = pytest.mark.cloud

TRUST = {"Effect": "Allow", "Principal": {"Service": "medical-imaging.amazonaws.com"}, "Action": "sts:AssumeRole"}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any, **condition: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {**statement, **({"Condition": condition} if condition else {})}


class Scene:
    """A store, two buckets and a data-access role, named after the test."""

    def __init__(self, cloud: Cloud, name: str, sample: Any) -> None:
        self.cloud = cloud
        self.name = name
        self.s3 = cloud.client("s3")
        self.iam = cloud.client("iam")
        self.imaging = cloud.client("medical-imaging")
        self.source, self.results = f"{name}-source", f"{name}-results"
        for bucket in (self.source, self.results):
            self.s3.create_bucket(Bucket=bucket)
        self.s3.put_object(Bucket=self.source, Key="in/ct.dcm", Body=sample("CT_small.dcm"))
        self.s3.put_object(Bucket=self.source, Key="in/bad.dcm", Body=b"not DICOM")
        self.store = self.imaging.create_datastore(datastoreName=name)["datastoreId"]
        self.arn = f"arn:aws:medical-imaging:{cloud.region}:{cloud.account}:datastore/{self.store}"
        condition = {"StringEquals": {"aws:SourceAccount": cloud.account}, "ArnLike": {"aws:SourceArn": self.arn}}
        self.role = self.make_role(f"{name}-role", {**TRUST, "Condition": condition})
        self.grant(
            allow("s3:ListBucket", [f"arn:aws:s3:::{self.source}", f"arn:aws:s3:::{self.results}"]),
            allow("s3:GetObject", f"arn:aws:s3:::{self.source}/in/*"),
            allow("s3:PutObject", f"arn:aws:s3:::{self.results}/out/*"),
        )
        while self.imaging.get_datastore(datastoreId=self.store)["datastoreProperties"]["datastoreStatus"] != "ACTIVE":
            time.sleep(0.05)

    def make_role(self, name: str, *trust: dict[str, Any]) -> str:
        role = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(*trust))
        return str(role["Role"]["Arn"])

    def grant(self, *statements: dict[str, Any]) -> None:
        self.iam.put_role_policy(RoleName=f"{self.name}-role", PolicyName="s3", PolicyDocument=document(*statements))

    def user(self, name: str, *statements: dict[str, Any]) -> dict[str, str]:
        self.iam.create_user(UserName=name)
        if statements:
            self.iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}

    def start(self, client: Any = None, **more: Any) -> str:
        answer = (client or self.imaging).start_dicom_import_job(
            **{
                "jobName": "job",
                "datastoreId": self.store,
                "dataAccessRoleArn": self.role,
                "inputS3Uri": f"s3://{self.source}/in/",
                "outputS3Uri": f"s3://{self.results}/out/",
                **more,
            }
        )
        return str(answer["jobId"])

    def run(self, **more: Any) -> dict[str, Any]:
        job_id = self.start(**more)
        assert eventually(lambda: self.job(job_id)["jobStatus"] in ("COMPLETED", "FAILED"))
        return self.job(job_id)

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.imaging.get_dicom_import_job(datastoreId=self.store, jobId=job_id)["jobProperties"])

    def manifest(self, job: dict[str, Any]) -> dict[str, Any]:
        bucket, _, folder = job["outputS3Uri"].removeprefix("s3://").partition("/")
        answer = self.s3.get_object(Bucket=bucket, Key=f"{folder}job-output-manifest.json")
        return dict(json.loads(answer["Body"].read())["jobSummary"])


@pytest.fixture
def scene(cloud: Cloud, request: pytest.FixtureRequest, sample: Any) -> Iterator[Scene]:
    cloud.clear()
    yield Scene(cloud, f"n{abs(int.from_bytes(request.node.name.encode()) % 10**12)}", sample)
    cloud.clear()


def refusal(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_job_imports_what_is_good_and_reports_the_rest(scene: Scene) -> None:
    job = scene.run()
    summary = scene.manifest(job)
    assert ("COMPLETED", 2, 1, 1) == (
        job["jobStatus"],
        summary["numberOfScannedFiles"],
        summary["numberOfImportedFiles"],
        summary["numberOfFilesWithCustomerError"],
    )
    (found,) = scene.imaging.search_image_sets(datastoreId=scene.store)["imageSetsMetadataSummaries"]
    scene.run()
    versions = scene.imaging.list_image_set_versions(datastoreId=scene.store, imageSetId=found["imageSetId"])
    assert ["2", "1"] == [item["versionId"] for item in versions["imageSetPropertiesList"]]


@pytest.mark.parametrize(
    ("missing", "action"),
    [("list", "s3:ListBucket"), ("get", "s3:GetObject"), ("put", "s3:PutObject")],
)
def test_fails_when_the_data_access_role_lacks_a_grant(scene: Scene, missing: str, action: str) -> None:
    grants = {
        "list": allow("s3:ListBucket", f"arn:aws:s3:::{scene.source}"),
        "get": allow("s3:GetObject", f"arn:aws:s3:::{scene.source}/in/*"),
        "put": allow("s3:PutObject", f"arn:aws:s3:::{scene.results}/out/*"),
    }
    scene.grant(*(statement for name, statement in grants.items() if name != missing))
    job = scene.run()
    assert ("FAILED", True) == (job["jobStatus"], action in job["message"])


def test_fails_to_pass_a_role_without_pass_role(scene: Scene) -> None:
    start = allow("medical-imaging:StartDICOMImportJob", scene.arn)
    without = scene.cloud.client("medical-imaging", **scene.user(f"{scene.name}-a", start))
    with pytest.raises(ClientError) as caught:
        scene.start(without)
    code, message = refusal(caught)
    assert ("AccessDeniedException", True) == (
        code,
        f"is not authorized to perform: iam:PassRole on resource: {scene.role}" in message,
    )
    for service, passes in (("lambda.amazonaws.com", False), ("medical-imaging.amazonaws.com", True)):
        pass_role = allow("iam:PassRole", scene.role, StringEquals={"iam:PassedToService": service})
        user = scene.user(f"{scene.name}-{passes}", start, pass_role)
        client = scene.cloud.client("medical-imaging", **user)
        if passes:
            assert scene.start(client)
        else:
            with pytest.raises(ClientError, match="iam:PassRole"):
                scene.start(client)


def test_fails_without_the_action_on_this_store(scene: Scene) -> None:
    other = scene.arn[:-1] + ("0" if scene.arn[-1] != "0" else "1")
    user = scene.user(f"{scene.name}-u", allow("medical-imaging:*", other))
    client = scene.cloud.client("medical-imaging", **user)
    for call in (lambda: scene.start(client), lambda: client.get_datastore(datastoreId=scene.store)):
        with pytest.raises(ClientError, match="because no identity-based policy allows the medical-imaging:"):
            call()
    assert [403] == [item["status"] for item in scene.cloud.calls("StartDICOMImportJob")]


def test_what_iam_decides_is_told_with_who_asked_for_what(scene: Scene) -> None:
    user = scene.user(f"{scene.name}-u", allow("s3:ListBucket", f"arn:aws:s3:::{scene.source}"))
    client = scene.cloud.client("s3", **user)
    client.list_objects_v2(Bucket=scene.source)
    with pytest.raises(ClientError):
        client.list_objects_v2(Bucket=scene.results)
    found = [item for item in scene.cloud.decisions() if item["principal"].endswith(f":user/{scene.name}-u")]
    assert [
        ("s3:ListBucket", f"arn:aws:s3:::{scene.source}", "Allow"),
        ("s3:ListBucket", f"arn:aws:s3:::{scene.results}", "ImplicitDeny"),
    ] == [(item["action"], item["resource"], item["decision"]) for item in found]
    scene.cloud.clear()
    assert [] == scene.cloud.decisions()


def test_actions_on_image_sets_and_tags_name_their_resource(scene: Scene) -> None:
    scene.run()
    (found,) = scene.imaging.search_image_sets(datastoreId=scene.store)["imageSetsMetadataSummaries"]
    image_set = found["imageSetId"]
    user = scene.user(
        f"{scene.name}-u",
        allow("medical-imaging:GetImageSet", f"{scene.arn}/imageset/{image_set}"),
        allow("medical-imaging:TagResource", scene.arn, StringEquals={"aws:RequestTag/team": "a"}),
        allow("medical-imaging:ListTagsForResource", "*", StringEquals={"aws:ResourceTag/team": "a"}),
    )
    client = scene.cloud.client("medical-imaging", **user)
    assert image_set == client.get_image_set(datastoreId=scene.store, imageSetId=image_set)["imageSetId"]
    with pytest.raises(ClientError, match="ListTagsForResource"):
        client.list_tags_for_resource(resourceArn=scene.arn)
    with pytest.raises(ClientError, match="TagResource"):
        client.tag_resource(resourceArn=scene.arn, tags={"team": "b"})
    client.tag_resource(resourceArn=scene.arn, tags={"team": "a"})
    assert {"team": "a"} == client.list_tags_for_resource(resourceArn=scene.arn)["tags"]


@pytest.mark.parametrize(
    "change",
    [
        {"Principal": {"Service": "lambda.amazonaws.com"}},
        {"Condition": {"StringEquals": {"aws:SourceAccount": "444455556666"}}},
        {"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:medical-imaging:us-east-1:111122223333:datastore/x"}}},
        {"Principal": {"AWS": "arn:aws:iam::111122223333:root"}},
    ],
)
def test_fails_when_the_trust_policy_does_not_let_the_service_in(scene: Scene, change: dict[str, Any]) -> None:
    role = scene.make_role(f"{scene.name}-closed", {**TRUST, **change})
    with pytest.raises(ClientError, match="trust policy") as caught:
        scene.start(dataAccessRoleArn=role)
    assert "ValidationException" == refusal(caught)[0]


def test_fails_when_the_role_does_not_exist(scene: Scene) -> None:
    with pytest.raises(ClientError, match="does not exist"):
        scene.start(dataAccessRoleArn=f"arn:aws:iam::{scene.cloud.account}:role/nobody")


def test_injected_errors_are_used_up_and_counted(scene: Scene) -> None:
    scene.cloud.inject("StartDICOMImportJob", "ThrottlingException", times=2)
    scene.run(clientToken="one")
    calls = [
        (item["status"], item["clientToken"], item["injected"]) for item in scene.cloud.calls("StartDICOMImportJob")
    ]
    assert [(429, "one", True), (429, "one", True), (200, "one", False)] == calls


def test_errors_can_be_injected_into_other_services(scene: Scene) -> None:
    scene.cloud.inject("PutObject", "AccessDenied", service="s3", message="not today")
    job = scene.run()
    assert ("FAILED", "AccessDenied: not today") == (job["jobStatus"], job["message"])
    scene.cloud.inject("ListRoles", "InternalFailure", service="iam", status=500, times=9)
    with pytest.raises(ClientError) as caught:
        scene.iam.list_roles()
    assert "InternalFailure" == refusal(caught)[0]


def test_quotas_can_be_changed_while_the_cloud_runs(scene: Scene) -> None:
    scene.cloud.settings(files_per_job=1)
    job = scene.run()
    assert ("FAILED", True) == (job["jobStatus"], job["message"].startswith("FILE_COUNTS_LIMIT"))
    scene.cloud.clear()
    assert "COMPLETED" == scene.run()["jobStatus"]


@pytest.mark.patch("every_request_is_secure")
def test_a_bucket_policy_that_demands_tls_lets_loopback_in(scene: Scene) -> None:
    resources = [f"arn:aws:s3:::{scene.source}", f"arn:aws:s3:::{scene.source}/*"]
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": resources,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    scene.s3.put_bucket_policy(Bucket=scene.source, Policy=document(statement))
    assert "COMPLETED" == scene.run()["jobStatus"]


def test_a_bucket_policy_can_refuse_the_data_access_role(scene: Scene) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": {"AWS": scene.role},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{scene.source}/*",
    }
    scene.s3.put_bucket_policy(Bucket=scene.source, Policy=document(statement))
    assert "FAILED" == scene.run()["jobStatus"]


def test_a_bucket_of_another_account_needs_its_policy_and_the_owners_id(scene: Scene, sample: Any) -> None:
    bucket, owner = f"{scene.name}-foreign", "444455556666"
    other = scene.cloud.client("s3", aws_access_key_id=owner)
    other.create_bucket(Bucket=bucket)
    other.put_object(Bucket=bucket, Key="in/ct.dcm", Body=sample("CT_small.dcm"))
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    scene.grant(
        allow(["s3:ListBucket", "s3:GetObject"], resources), allow("s3:PutObject", f"arn:aws:s3:::{scene.results}/*")
    )
    where = {"inputS3Uri": f"s3://{bucket}/in/", "inputOwnerAccountId": owner}
    assert "FAILED" == scene.run(**where)["jobStatus"]
    grant = {
        "Principal": {"AWS": f"arn:aws:iam::{scene.cloud.account}:root"},
        **allow(["s3:ListBucket", "s3:GetObject"], resources),
    }
    other.put_bucket_policy(Bucket=bucket, Policy=document(grant))
    assert "COMPLETED" == scene.run(**where)["jobStatus"]
    job = scene.run(inputS3Uri=f"s3://{bucket}/in/")
    assert ("FAILED", "AccessDenied: Access Denied") == (job["jobStatus"], job["message"])


@pytest.mark.patch("foreign_buckets_know_the_caller")
@pytest.mark.patch("principal_arn_is_the_role")
@pytest.mark.parametrize(
    ("principal", "condition", "let_in"),
    [
        ("{role}", {}, True),
        ("arn:aws:iam::111122223333:root", {"ArnEquals": {"aws:PrincipalArn": "{role}"}}, True),
        ("arn:aws:iam::111122223333:role/another", {}, False),
        ("arn:aws:iam::111122223333:root", {"ArnEquals": {"aws:PrincipalArn": "{role}-2"}}, False),
    ],
)
def test_the_policy_of_another_accounts_bucket_decides_about_the_role(
    scene: Scene, principal: str, condition: dict[str, Any], *, let_in: bool
) -> None:
    bucket = f"{scene.name}-foreign"
    other = scene.cloud.client("s3", aws_access_key_id="444455556666")
    other.create_bucket(Bucket=bucket)
    lists = allow("s3:ListBucket", f"arn:aws:s3:::{bucket}")
    scene.grant(lists, allow("s3:PutObject", f"arn:aws:s3:::{scene.results}/*"))
    named = {key: {name: value.format(role=scene.role) for name, value in of.items()} for key, of in condition.items()}
    statement = {**lists, "Principal": {"AWS": principal.format(role=scene.role)}, "Condition": named}
    other.put_bucket_policy(Bucket=bucket, Policy=document(statement))
    job = scene.run(inputS3Uri=f"s3://{bucket}/in/", inputOwnerAccountId="444455556666")
    assert ("COMPLETED" if let_in else "FAILED") == job["jobStatus"]


@pytest.mark.patch("expected_bucket_owners_count")
def test_fails_a_request_that_expects_another_owner_of_the_bucket(scene: Scene) -> None:
    scene.s3.list_objects_v2(Bucket=scene.source, ExpectedBucketOwner=scene.cloud.account)
    with pytest.raises(ClientError, match="AccessDenied"):
        scene.s3.list_objects_v2(Bucket=scene.source, ExpectedBucketOwner="444455556666")


@pytest.mark.patch("trust_alone_allows_assume_role")
def test_a_role_that_trusts_the_caller_itself_needs_no_identity_policy(scene: Scene) -> None:
    name = f"{scene.name}-u"
    user = scene.cloud.client("sts", **scene.user(name))
    principal = f"arn:aws:iam::{scene.cloud.account}:user/{name}"
    trusting = scene.make_role(f"{name}-direct", {**TRUST, "Principal": {"AWS": principal}})
    answer = user.assume_role(RoleArn=trusting, RoleSessionName="session")
    assert answer["AssumedRoleUser"]["Arn"].endswith(f"assumed-role/{name}-direct/session")


@pytest.mark.parametrize("principal", ["arn:aws:iam::111122223333:root", "arn:aws:iam::111122223333:user/other"])
def test_fails_to_assume_a_role_that_does_not_name_the_caller(scene: Scene, principal: str) -> None:
    user = scene.cloud.client("sts", **scene.user(f"{scene.name}-u"))
    role = scene.make_role(f"{scene.name}-r", {**TRUST, "Principal": {"AWS": principal}})
    with pytest.raises(ClientError, match="sts:AssumeRole"):
        user.assume_role(RoleArn=role, RoleSessionName="session")


def test_events_reach_a_queue(scene: Scene) -> None:
    sqs, events = scene.cloud.client("sqs"), scene.cloud.client("events")
    url = sqs.create_queue(QueueName=scene.name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.medical-imaging"], "detail-type": [{"prefix": "Import Job"}], "resources": [scene.arn]}
    events.put_rule(Name=scene.name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=scene.name, Targets=[{"Id": "queue", "Arn": arn}])
    job = scene.run()
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return len(found) >= 3

    eventually(are_there)
    assert {"Import Job Submitted", "Import Job In Progress", "Import Job Completed"} == {
        item["detail-type"] for item in found
    }
    assert {job["jobId"]} == {item["detail"]["jobId"] for item in found}


def test_the_log_holds_no_keys_of_objects(scene: Scene) -> None:
    key = f"in/{scene.name}-patient-name.dcm"
    scene.s3.put_object(Bucket=scene.source, Key=key, Body=b"bad")
    scene.run()
    service_lines = [
        line for line in scene.cloud.log.read_text(encoding="utf-8").splitlines() if "healthimaging" in line.lower()
    ]
    assert [] == [line for line in service_lines if key in line]
