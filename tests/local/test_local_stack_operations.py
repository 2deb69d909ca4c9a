"""What CloudFormation sends to a custom resource, in which order and phase, while policies of its role come and go."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from healthimaging_local import Cloud
from tests.local.test_local_cloudformation import STORE, create, delete, settled, update

pytestmark = pytest.mark.cloud

BUCKET = "requests-seen"
FUNCTION = """
import json, time, urllib.request
import boto3

def handler(event, context):
    properties = event["ResourceProperties"]
    before = seen(event, properties)
    time.sleep(float(properties.get("Seconds", 0)))
    answer = {name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")}
    failed = event["RequestType"] in properties.get("Fails", [])
    keeps_id = event["RequestType"] == "Delete" or "Stays" in properties
    told = event["PhysicalResourceId"] if keeps_id and "PhysicalResourceId" in event else properties["Id"]
    answer.update(Status="FAILED" if failed else "SUCCESS", Reason="as asked", PhysicalResourceId=told, Data={})
    before["policies_at_the_end"] = policies(properties)
    key = f"{event['StackId'].split('/')[1]}/{time.time_ns()}.json"
    boto3.client("s3").put_object(Bucket="requests-seen", Key=key, Body=json.dumps(before).encode())
    request = urllib.request.Request(event["ResponseURL"], json.dumps(answer).encode(), method="PUT")
    urllib.request.urlopen(request)

def seen(event, properties):
    stack = boto3.client("cloudformation").describe_stacks(StackName=event["StackId"])["Stacks"][0]
    return {
        "type": event["RequestType"],
        "id": event.get("PhysicalResourceId"),
        "now": properties["Id"],
        "old": event.get("OldResourceProperties", {}).get("Id"),
        "status": stack["StackStatus"],
        "updated": str(stack.get("LastUpdatedTime", "never")),
        "policies": policies(properties),
    }

def policies(properties):
    return sorted(boto3.client("iam").list_role_policies(RoleName=properties["Role"])["PolicyNames"])
"""


def document(service: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def allowing(action: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


class Recorder:
    """A function that answers custom resources as their properties say, and keeps what it saw."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.s3 = cloud.client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as content:
            content.writestr("index.py", FUNCTION)
        iam = cloud.client("iam")
        role = iam.create_role(
            RoleName="recorder", AssumeRolePolicyDocument=json.dumps(document("lambda.amazonaws.com"))
        )
        iam.put_role_policy(RoleName="recorder", PolicyName="all", PolicyDocument=json.dumps(allowing("*")))
        self.arn = cloud.client("lambda").create_function(
            FunctionName="recorder",
            Role=role["Role"]["Arn"],
            Runtime="python3.13",
            Handler="index.handler",
            Code={"ZipFile": archive.getvalue()},
            Timeout=30,
        )["FunctionArn"]

    def template(self, digest: str, **more: Any) -> dict[str, Any]:
        """A role, a policy named after ``digest``, a custom resource that depends on it, and perhaps more."""
        properties = {"ServiceToken": self.arn, "Role": {"Ref": "Role"}, "Id": f"import-{digest}", "ServiceTimeout": 20}
        role = {"AssumeRolePolicyDocument": document("medical-imaging.amazonaws.com")}
        own = [{"PolicyName": "kept", "PolicyDocument": allowing("s3:GetObject")}]
        policy = {"PolicyName": digest, "PolicyDocument": allowing(f"s3:{digest}"), "Roles": [{"Ref": "Role"}]}
        return {
            "Role": {"Type": "AWS::IAM::Role", "Properties": {**role, "Policies": own}},
            f"Policy{digest}": {"Type": "AWS::IAM::Policy", "Properties": policy},
            "Import": {
                "Type": "Custom::Import",
                "DependsOn": f"Policy{digest}",
                "Properties": {**properties, **more.pop("properties", {})},
            },
            **more,
        }

    def deploy(self, name: str, digest: str, **more: Any) -> dict[str, Any]:
        """Create the stack."""
        return create(self.cloud, name, json.dumps({"Resources": self.template(digest, **more)}))

    def redeploy(self, stack: dict[str, Any], digest: str, **more: Any) -> dict[str, Any]:
        """Update the stack."""
        return update(self.cloud, stack, json.dumps({"Resources": self.template(digest, **more)}))

    def requests(self, stack: dict[str, Any]) -> list[dict[str, Any]]:
        """What the function saw, oldest first."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{stack['StackName']}/").get("Contents", [])
        return [json.load(self.s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"]) for item in listed]

    def policies(self, stack: dict[str, Any]) -> list[str]:
        """The inline policies of the stack's role now."""
        found = self.cloud.client("cloudformation").describe_stack_resource(
            StackName=stack["StackName"], LogicalResourceId="Role"
        )
        role = found["StackResourceDetail"]["PhysicalResourceId"]
        return sorted(self.cloud.client("iam").list_role_policies(RoleName=role)["PolicyNames"])

    def events(self, stack: dict[str, Any]) -> list[tuple[str, str]]:
        """Logical id and status of every event, oldest first."""
        found = self.cloud.client("cloudformation").describe_stack_events(StackName=stack["StackId"])["StackEvents"]
        return [(item["LogicalResourceId"], item["ResourceStatus"]) for item in reversed(found)]


@pytest.fixture(scope="module")
def recorder(cloud: Cloud) -> Iterator[Recorder]:
    return Recorder(cloud)


BROKEN = {"Type": STORE, "DependsOn": "Import", "Properties": {"DatastoreName": "with space"}}
CLEAN_UP = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
ROLLBACK_CLEAN_UP = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"


def seen(requests: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(request[name] for name in names) for request in requests]


@pytest.mark.patch("updates_end_with_a_clean_up")
def test_an_update_deletes_the_old_id_in_the_clean_up_and_then_the_old_policy(recorder: Recorder) -> None:
    stack = recorder.deploy("updates", "a", properties={"Seconds": "0.3"})
    stack = recorder.redeploy(stack, "b")
    requests = recorder.requests(stack)
    assert [
        ("Create", None, "import-a", None, "CREATE_IN_PROGRESS"),
        ("Update", "import-a", "import-b", "import-a", "UPDATE_IN_PROGRESS"),
        ("Delete", "import-a", "import-a", None, CLEAN_UP),
    ] == seen(requests, "type", "id", "now", "old", "status")
    assert ["a", "b", "kept"] == requests[1]["policies"] == requests[2]["policies_at_the_end"]
    assert ("UPDATE_COMPLETE", ["b", "kept"]) == (stack["StackStatus"], recorder.policies(stack))
    assert [
        ("updates", CLEAN_UP),
        ("Import", "DELETE_IN_PROGRESS"),
        ("Import", "DELETE_COMPLETE"),
        ("Policya", "DELETE_IN_PROGRESS"),
        ("Policya", "DELETE_COMPLETE"),
        ("updates", "UPDATE_COMPLETE"),
    ] == recorder.events(stack)[-6:]


@pytest.mark.patch("new_stacks_have_no_last_updated_time")
def test_last_updated_time_is_the_start_of_the_update(recorder: Recorder) -> None:
    stack = recorder.deploy("times", "a")
    assert "LastUpdatedTime" not in stack
    stack = recorder.redeploy(stack, "b")
    first = str(stack["LastUpdatedTime"])
    stack = recorder.redeploy(stack, "c", Broken=BROKEN)
    second = str(stack["LastUpdatedTime"])
    assert ["never", first, first, second, second, second] == [
        request["updated"] for request in recorder.requests(stack)
    ]
    assert first < second


def test_a_removed_custom_resource_is_deleted_before_what_it_depended_on(recorder: Recorder) -> None:
    stack = recorder.deploy("removes", "a", properties={"Seconds": "0.3"})
    left = {"Role": recorder.template("a")["Role"]}
    stack = update(recorder.cloud, stack, json.dumps({"Resources": left}))
    last = recorder.requests(stack)[-1]
    assert ("Delete", "import-a", CLEAN_UP, ["a", "kept"]) == tuple(
        last[name] for name in ("type", "id", "status", "policies_at_the_end")
    )
    assert ["kept"] == recorder.policies(stack)


@pytest.mark.patch("clean_ups_follow_the_dependencies")
def test_what_is_removed_goes_before_the_replaced_resource_that_it_depended_on(recorder: Recorder) -> None:
    """A custom resource with another id, and a role with another name, which are replaced."""
    after = {**recorder.template("a", properties={"Id": "after"})["Import"], "DependsOn": "Import"}
    role = recorder.template("a")["Role"]
    named = {**role, "Properties": {**role["Properties"], "RoleName": "replaced-a"}}
    of_role = recorder.template("a", properties={"Id": "of-role", "Role": {"Ref": "Named"}})["Import"]
    kept = {**after, "DeletionPolicy": "Retain", "Properties": {**after["Properties"], "Id": "kept"}}
    stack = recorder.deploy("replaces", "a", After=after, Named=named, OfRole=of_role, Kept=kept)
    renamed = {**named, "Properties": {**named["Properties"], "RoleName": "replaced-b"}}
    stack = recorder.redeploy(stack, "a", properties={"Id": "import-b"}, Named=renamed)
    deletes = [it for it in recorder.requests(stack) if it["type"] == "Delete"]
    assert "UPDATE_COMPLETE" == stack["StackStatus"]
    assert {"of-role", "after", "import-a"} == {it["id"] for it in deletes}
    assert [("after", CLEAN_UP), ("import-a", CLEAN_UP)] == seen(
        [it for it in deletes if it["id"] != "of-role"], "id", "status"
    )
    roles = recorder.cloud.client("iam").list_roles()["Roles"]
    assert {"replaced-b"} == {it["RoleName"] for it in roles if it["RoleName"].startswith("replaced-")}
    assert {"Role", "Policya", "Import", "Named"} == {
        it["LogicalResourceId"]
        for it in recorder.cloud.client("cloudformation").describe_stack_resources(StackName="replaces")[
            "StackResources"
        ]
    }


def test_a_removed_resource_that_stays_keeps_the_replaced_one_that_it_depended_on(recorder: Recorder) -> None:
    after = {**recorder.template("a", properties={"Id": "after", "Fails": ["Delete"]})["Import"], "DependsOn": "Import"}
    stack = recorder.deploy("replaces-not", "a", After=after)
    stack = recorder.redeploy(stack, "a", properties={"Id": "import-b"})
    assert "UPDATE_COMPLETE" == stack["StackStatus"]
    assert ["after"] == [it["id"] for it in recorder.requests(stack) if it["type"] == "Delete"]
    assert {("After", "DELETE_FAILED"), ("Import", "DELETE_FAILED")} <= set(recorder.events(stack))


@pytest.mark.patch("rollbacks_update_custom_resources_back")
def test_a_rollback_updates_a_custom_resource_back_before_its_new_id_is_deleted(recorder: Recorder) -> None:
    stack = recorder.deploy("goes-back", "a", properties={"Seconds": "0.2"})
    stack = recorder.redeploy(stack, "b", Broken=BROKEN)
    requests = recorder.requests(stack)
    assert [
        ("Update", "import-a", "import-b", "import-a", "UPDATE_IN_PROGRESS"),
        ("Update", "import-b", "import-a", "import-b", "UPDATE_ROLLBACK_IN_PROGRESS"),
        ("Delete", "import-b", "import-b", None, ROLLBACK_CLEAN_UP),
    ] == seen(requests[1:], "type", "id", "now", "old", "status")
    assert {("a", "b", "kept")} == {tuple(request["policies_at_the_end"]) for request in requests[1:]}
    assert ("UPDATE_ROLLBACK_COMPLETE", ["a", "kept"]) == (stack["StackStatus"], recorder.policies(stack))
    stack = recorder.redeploy(stack, "c")
    assert [("Update", "import-a"), ("Delete", "import-a")] == seen(recorder.requests(stack)[-2:], "type", "id")


def test_a_custom_resource_that_tells_its_new_id_in_a_rollback_keeps_it(recorder: Recorder) -> None:
    stack = recorder.deploy("stays", "a", properties={"Id": "first"})
    stays = {"Id": "first", "Stays": "yes"}
    stack = recorder.redeploy(stack, "a", properties=stays)
    stack = recorder.redeploy(stack, "b", properties={"Id": "second"}, Broken=BROKEN)
    requests = recorder.requests(stack)
    assert [("Update", "first"), ("Update", "second")] == seen(requests[-2:], "type", "id")
    assert "UPDATE_ROLLBACK_COMPLETE" == stack["StackStatus"]
    stack = recorder.redeploy(stack, "c", properties={"Id": "second"})
    assert ("Update", "second") == seen(recorder.requests(stack), "type", "id")[-1]


def test_a_failed_update_keeps_the_old_id(recorder: Recorder) -> None:
    stack = recorder.deploy("fails", "a")
    stack = recorder.redeploy(stack, "b", properties={"Fails": ["Update"]})
    assert [
        ("Update", "import-a", "import-b", "UPDATE_IN_PROGRESS"),
        ("Update", "import-a", "import-a", "UPDATE_ROLLBACK_IN_PROGRESS"),
    ] == seen(recorder.requests(stack)[1:], "type", "id", "now", "status")
    assert ("UPDATE_ROLLBACK_COMPLETE", ["a", "kept"]) == (stack["StackStatus"], recorder.policies(stack))


def test_a_failed_delete_in_the_clean_up_leaves_the_update_complete(recorder: Recorder) -> None:
    stack = recorder.deploy("cannot-clean-up", "a", properties={"Fails": ["Delete"]})
    stack = recorder.redeploy(stack, "b")
    assert "UPDATE_COMPLETE" == stack["StackStatus"]
    assert ("Import", "DELETE_FAILED") in recorder.events(stack)


@pytest.mark.patch("failed_creates_of_custom_resources_are_deleted")
@pytest.mark.parametrize("told", ["import-a", ""])
def test_a_failed_create_is_deleted_first(recorder: Recorder, told: str) -> None:
    name = f"not-created-{bool(told)}".lower()
    properties = {"Fails": ["Create"], "Seconds": "0.2", "Id": told}
    stack = recorder.deploy(name, "a", properties=properties)
    requests = recorder.requests(stack)
    assert [("Create", "CREATE_IN_PROGRESS"), ("Delete", "ROLLBACK_IN_PROGRESS")] == seen(requests, "type", "status")
    assert requests[1]["id"].startswith(told or f"{name}-Import-")
    assert ("ROLLBACK_COMPLETE", ["a", "kept"]) == (stack["StackStatus"], requests[1]["policies_at_the_end"])


def test_a_resource_that_an_update_could_not_create_is_deleted_in_the_clean_up(recorder: Recorder) -> None:
    stack = recorder.deploy("adds", "a")
    more = recorder.template("a", properties={"Id": "added", "Fails": ["Create"]})["Import"]
    stack = recorder.redeploy(stack, "a", Added=more)
    assert [("Create", None, "UPDATE_IN_PROGRESS"), ("Delete", "added", ROLLBACK_CLEAN_UP)] == seen(
        recorder.requests(stack)[1:], "type", "id", "status"
    )
    assert "UPDATE_ROLLBACK_COMPLETE" == stack["StackStatus"]


def test_a_deleted_stack_deletes_a_custom_resource_before_its_rights(recorder: Recorder) -> None:
    stack = recorder.deploy("goes", "a", properties={"Seconds": "0.3"})
    stack = delete(recorder.cloud, stack)
    last = recorder.requests(stack)[-1]
    assert ("Delete", "DELETE_IN_PROGRESS", ["a", "kept"]) == (
        last["type"],
        last["status"],
        last["policies_at_the_end"],
    )


def test_a_change_set_updates_with_the_same_phases(recorder: Recorder) -> None:
    """The CDK CLI deploys by change sets."""
    client = recorder.cloud.client("cloudformation")

    def execute(kind: str, digest: str) -> dict[str, Any]:
        body = json.dumps({"Resources": recorder.template(digest)})
        named = {"StackName": "by-change-set", "ChangeSetName": f"to-{digest}"}
        client.create_change_set(**named, ChangeSetType=kind, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
        client.execute_change_set(**named)
        return settled(recorder.cloud, "by-change-set")

    execute("CREATE", "a")
    stack = execute("UPDATE", "b")
    requests = recorder.requests(stack)
    assert ["CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", CLEAN_UP] == [request["status"] for request in requests]
    assert "never" not in {request["updated"] for request in requests}
