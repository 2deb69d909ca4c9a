"""Customer-managed keys: key policies, identity policies and grants decide, with KMS's own condition keys."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.deployment import eventually
from tests.local.test_local_cloud import Scene, allow, document, refusal
from tests.local.test_local_cloud import scene as scene  # noqa: PLC0414 - a fixture
from tests.local.test_local_machines import function
from tests.local.test_local_rights import session

pytestmark = pytest.mark.cloud

ROOT = "arn:aws:iam::111122223333:root"


def lets(principal: Any, action: Any, **condition: Any) -> dict[str, Any]:
    """A statement of a key policy."""
    return {**allow(action, "*", **condition), "Principal": principal}


ACCOUNT = lets({"AWS": ROOT}, "kms:*")


def make_key(scene: Scene, *statements: dict[str, Any]) -> str:
    policy = document(*(statements or (ACCOUNT,)))
    return str(scene.cloud.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"])


def encrypt(scene: Scene, bucket: str, key: str, *, bucket_key: bool = False) -> None:
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bucket_key}
    scene.s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


def as_role(scene: Scene, name: str, service: str, *statements: dict[str, Any]) -> Any:
    return scene.cloud.client(service, **session(scene, f"{scene.name}-{name}", *statements))


def objects(scene: Scene) -> dict[str, Any]:
    return allow(["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::{scene.results}/*")


@pytest.mark.patch("objects_need_their_key")
@pytest.mark.parametrize("right", ["kms:GenerateDataKey", "kms:Decrypt"])
def test_fails_to_use_an_object_without_its_key(scene: Scene, right: str) -> None:
    key = make_key(scene)
    encrypt(scene, scene.results, key)
    given = ["kms:GenerateDataKey", "kms:Decrypt"]
    full = as_role(scene, "full", "s3", objects(scene), allow(given, key))
    full.put_object(Bucket=scene.results, Key="one", Body=b"1")
    assert b"1" == full.get_object(Bucket=scene.results, Key="one")["Body"].read()
    given.remove(right)
    client = as_role(scene, "less", "s3", objects(scene), allow(given, key))
    client.head_object(Bucket=scene.results, Key="one")  # takes no key
    calls = {
        "kms:Decrypt": lambda: client.get_object(Bucket=scene.results, Key="one"),
        "kms:GenerateDataKey": lambda: client.put_object(Bucket=scene.results, Key="two", Body=b"2"),
    }
    with pytest.raises(ClientError) as caught:
        calls[right]()
    code, message = refusal(caught)
    assert ("AccessDenied", True) == (code, f"not authorized to perform: {right} on resource: {key}" in message)


@pytest.mark.patch("objects_need_their_key")
@pytest.mark.parametrize("bucket_key", [False, True])
def test_the_encryption_context_is_the_object_or_with_a_bucket_key_the_bucket(
    scene: Scene, *, bucket_key: bool
) -> None:
    key = make_key(scene)
    encrypt(scene, scene.results, key, bucket_key=bucket_key)
    bucket = f"arn:aws:s3:::{scene.results}"
    context = "kms:EncryptionContext:aws:s3:arn"
    of_objects = allow("kms:*", key, StringLike={context: f"{bucket}/*"})
    of_bucket = allow("kms:*", key, StringEquals={context: bucket})
    right, wrong = (of_bucket, of_objects) if bucket_key else (of_objects, of_bucket)
    as_role(scene, "right", "s3", objects(scene), right).put_object(Bucket=scene.results, Key="a", Body=b"1")
    with pytest.raises(ClientError) as caught:
        as_role(scene, "wrong", "s3", objects(scene), wrong).put_object(Bucket=scene.results, Key="a", Body=b"1")
    assert "AccessDenied" == refusal(caught)[0]


@pytest.mark.patch("objects_need_their_key")
@pytest.mark.parametrize(("service", "allowed"), [("s3", True), ("sqs", False)])
def test_a_key_may_be_used_through_the_service_that_the_condition_names(
    scene: Scene, service: str, *, allowed: bool
) -> None:
    key = make_key(scene)
    encrypt(scene, scene.results, key)
    via = {"kms:ViaService": f"{service}.us-east-1.amazonaws.com"}
    client = as_role(scene, "via", "s3", objects(scene), allow("kms:*", key, StringEquals=via))
    if allowed:
        client.put_object(Bucket=scene.results, Key="a", Body=b"1")
        return
    with pytest.raises(ClientError):
        client.put_object(Bucket=scene.results, Key="a", Body=b"1")


@pytest.mark.patch("objects_need_their_key")
def test_fails_where_the_key_policy_delegates_to_nobody(scene: Scene) -> None:
    """Not even the root of the account may use such a key, and a role only if the policy names it."""
    role = scene.make_role(
        f"{scene.name}-named", {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "sts:AssumeRole"}
    )
    key = make_key(scene, lets({"AWS": role}, ["kms:GenerateDataKey", "kms:Decrypt"]))
    encrypt(scene, scene.results, key)
    with pytest.raises(ClientError) as caught:
        scene.s3.put_object(Bucket=scene.results, Key="a", Body=b"1")
    assert "kms:GenerateDataKey" in refusal(caught)[1]
    keys = scene.cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    scene.iam.put_role_policy(RoleName=f"{scene.name}-named", PolicyName="own", PolicyDocument=document(objects(scene)))
    client = scene.cloud.client(
        "s3",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    client.put_object(Bucket=scene.results, Key="a", Body=b"1")


@pytest.mark.patch("objects_need_their_key")
def test_a_grant_is_enough_until_it_is_revoked(scene: Scene) -> None:
    key = make_key(scene)
    encrypt(scene, scene.results, key)
    client = as_role(scene, "granted", "s3", objects(scene))
    kms = scene.cloud.client("kms")
    role = f"arn:aws:iam::{scene.cloud.account}:role/{scene.name}-granted"
    grant = kms.create_grant(KeyId=key, GranteePrincipal=role, Operations=["GenerateDataKey"])["GrantId"]
    client.put_object(Bucket=scene.results, Key="a", Body=b"1")
    kms.revoke_grant(KeyId=key, GrantId=grant)
    with pytest.raises(ClientError):
        client.put_object(Bucket=scene.results, Key="a", Body=b"1")


@pytest.mark.patch("objects_need_their_key")
def test_fails_with_a_disabled_key(scene: Scene) -> None:
    key = make_key(scene)
    encrypt(scene, scene.results, key)
    scene.cloud.client("kms").disable_key(KeyId=key)
    with pytest.raises(ClientError) as caught:
        scene.s3.put_object(Bucket=scene.results, Key="a", Body=b"1")
    assert f"{key} is disabled." == refusal(caught)[1]


@pytest.mark.patch("objects_need_their_key")
@pytest.mark.parametrize("missing", ["kms:Decrypt on the source", "kms:GenerateDataKey on the results"])
def test_fails_a_job_whose_role_may_not_use_the_keys_of_its_buckets(scene: Scene, missing: str) -> None:
    source, results = make_key(scene), make_key(scene)
    for bucket, key in ((scene.source, source), (scene.results, results)):
        encrypt(scene, bucket, key)
    scene.s3.put_object(
        Bucket=scene.source,
        Key="in/ct.dcm",
        Body=scene.s3.get_object(Bucket=scene.source, Key="in/ct.dcm")["Body"].read(),
    )
    rights = {
        "kms:Decrypt on the source": allow("kms:Decrypt", source),
        "kms:GenerateDataKey on the results": allow("kms:GenerateDataKey", results),
    }
    s3 = [
        allow("s3:ListBucket", [f"arn:aws:s3:::{scene.source}", f"arn:aws:s3:::{scene.results}"]),
        allow("s3:GetObject", f"arn:aws:s3:::{scene.source}/in/*"),
        allow("s3:PutObject", f"arn:aws:s3:::{scene.results}/out/*"),
    ]
    scene.grant(*s3, *(statement for name, statement in rights.items() if name != missing))
    job = scene.run()
    assert ("FAILED", True) == (job["jobStatus"], missing.partition(" ")[0] in job["message"])
    scene.grant(*s3, *rights.values())
    assert "COMPLETED" == scene.run()["jobStatus"]


def stores(*actions: str) -> dict[str, Any]:
    return allow([f"medical-imaging:{action}" for action in actions], "*")


@pytest.mark.parametrize("missing", ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"])
def test_fails_to_create_a_store_without_the_rights_on_its_key(scene: Scene, missing: str) -> None:
    key = make_key(scene)
    rights = {"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"}
    client = as_role(
        scene, "less", "medical-imaging", stores("CreateDatastore"), allow(sorted(rights - {missing}), key)
    )
    with pytest.raises(ClientError) as caught:
        client.create_datastore(kmsKeyArn=key)
    code, message = refusal(caught)
    assert ("AccessDeniedException", True) == (code, missing in message)
    full = as_role(scene, "full", "medical-imaging", stores("CreateDatastore"), allow(sorted(rights), key))
    made = full.create_datastore(kmsKeyArn=key)["datastoreId"]
    (grant,) = scene.cloud.client("kms").list_grants(KeyId=key)["Grants"]
    assert ("medical-imaging.amazonaws.com", made) == (grant["GranteePrincipal"], grant["Name"])


@pytest.mark.parametrize(
    ("operation", "needed"),
    [
        ("GetDatastore", ["kms:Decrypt", "kms:DescribeKey"]),
        ("SearchImageSets", ["kms:Decrypt", "kms:DescribeKey"]),
        ("TagResource", ["kms:DescribeKey", "kms:GenerateDataKey"]),
    ],
)
def test_fails_to_use_a_store_without_the_rights_on_its_key(scene: Scene, operation: str, needed: list[str]) -> None:
    key = make_key(scene)
    store = scene.imaging.create_datastore(kmsKeyArn=key)["datastoreId"]
    arn = scene.imaging.get_datastore(datastoreId=store)["datastoreProperties"]["datastoreArn"]

    def call(name: str, rights: list[str]) -> None:
        client = as_role(scene, name, "medical-imaging", stores(operation), allow(rights, key))
        if operation == "TagResource":
            client.tag_resource(resourceArn=arn, tags={"a": "b"})
        elif operation == "GetDatastore":
            client.get_datastore(datastoreId=store)
        else:
            client.search_image_sets(datastoreId=store)

    call("full", needed)
    for number, missing in enumerate(needed):
        with pytest.raises(ClientError) as caught:
            call(f"less{number}", [right for right in needed if right != missing])
        assert missing in refusal(caught)[1]


def test_fails_a_job_when_the_key_of_its_store_is_disabled(scene: Scene) -> None:
    key = make_key(scene)
    scene.store = scene.imaging.create_datastore(kmsKeyArn=key)["datastoreId"]
    arn = f"arn:aws:medical-imaging:{scene.cloud.region}:{scene.cloud.account}:datastore/{scene.store}"
    trust = {"Effect": "Allow", "Principal": {"Service": "medical-imaging.amazonaws.com"}, "Action": "sts:AssumeRole"}
    scene.iam.update_assume_role_policy(
        RoleName=f"{scene.name}-role",
        PolicyDocument=document({**trust, "Condition": {"ArnLike": {"aws:SourceArn": arn}}}),
    )
    time.sleep(0.3)
    scene.cloud.settings(job_seconds=4)  # the key is looked at after a quarter
    job_id = scene.start()
    kms = scene.cloud.client("kms")
    kms.disable_key(KeyId=key)
    time.sleep(4)
    kms.enable_key(KeyId=key)

    def ended() -> dict[str, Any] | None:
        job: dict[str, Any] = scene.imaging.get_dicom_import_job(datastoreId=scene.store, jobId=job_id)["jobProperties"]
        return job if job["jobStatus"] in ("COMPLETED", "FAILED") else None

    job = eventually(ended)
    assert ("FAILED", True) == (job["jobStatus"], "disabled" in job["message"])


@pytest.mark.patch("topics_need_their_key")
def test_fails_to_publish_to_a_topic_without_its_key(scene: Scene) -> None:
    key = make_key(scene)
    topic = scene.cloud.client("sns").create_topic(Name=scene.name, Attributes={"KmsMasterKeyId": key})["TopicArn"]
    publish = allow("sns:Publish", topic)
    both = ["kms:Decrypt", "kms:GenerateDataKey"]
    as_role(scene, "full", "sns", publish, allow(both, key)).publish(TopicArn=topic, Message="m")
    for number, right in enumerate(both):
        with pytest.raises(ClientError) as caught:
            as_role(scene, f"less{number}", "sns", publish, allow(right, key)).publish(TopicArn=topic, Message="m")
        assert "KMSAccessDenied" == refusal(caught)[0].removesuffix("Exception")


@pytest.mark.patch("queues_need_their_key")
def test_fails_to_use_a_queue_without_its_key(scene: Scene) -> None:
    key = make_key(scene)
    url = scene.cloud.client("sqs").create_queue(QueueName=scene.name, Attributes={"KmsMasterKeyId": key})["QueueUrl"]
    use = allow(["sqs:SendMessage", "sqs:ReceiveMessage"], f"arn:aws:sqs:us-east-1:{scene.cloud.account}:{scene.name}")
    full = as_role(scene, "full", "sqs", use, allow(["kms:Decrypt", "kms:GenerateDataKey"], key))
    full.send_message(QueueUrl=url, MessageBody="m")
    assert 1 == len(full.receive_message(QueueUrl=url)["Messages"])
    without = as_role(scene, "none", "sqs", use)
    for call in (
        lambda: without.send_message(QueueUrl=url, MessageBody="m"),
        lambda: without.receive_message(QueueUrl=url),
    ):
        with pytest.raises(ClientError) as caught:
            call()
        assert "KMS.AccessDeniedException" in str(caught.value)


@pytest.mark.patch("queues_need_their_key")
def test_a_topic_reaches_an_encrypted_queue_only_if_the_key_lets_it_in(scene: Scene) -> None:
    sns, sqs = scene.cloud.client("sns"), scene.cloud.client("sqs")
    topic = sns.create_topic(Name=scene.name)["TopicArn"]
    service = {"Service": "sns.amazonaws.com"}
    received = {}
    for name, more in (("in", [lets(service, ["kms:GenerateDataKey", "kms:Decrypt"])]), ("out", [])):
        arn = f"arn:aws:sqs:us-east-1:{scene.cloud.account}:{scene.name}-{name}"
        policy = document({**allow("sqs:SendMessage", arn), "Principal": service})
        key = make_key(scene, ACCOUNT, *more)
        url = sqs.create_queue(QueueName=f"{scene.name}-{name}", Attributes={"KmsMasterKeyId": key, "Policy": policy})[
            "QueueUrl"
        ]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        received[name] = url
    sns.publish(TopicArn=topic, Message="m")
    assert [1, 0] == [len(sqs.receive_message(QueueUrl=received[name]).get("Messages", [])) for name in ("in", "out")]


@pytest.mark.patch("topics_of_templates_are_encrypted")
def test_a_topic_of_a_template_has_the_key_of_the_template(scene: Scene) -> None:
    topic = {"Type": "AWS::SNS::Topic", "Properties": {"KmsMasterKeyId": make_key(scene, ACCOUNT)}}
    outputs = {"Topic": {"Value": {"Ref": "Topic"}}}
    cloudformation, sns = scene.cloud.client("cloudformation"), scene.cloud.client("sns")
    body = json.dumps({"Resources": {"Topic": topic}, "Outputs": outputs})
    cloudformation.create_stack(StackName=f"{scene.name}-topic", TemplateBody=body)
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=f"{scene.name}-topic", WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
    )
    (stack,) = cloudformation.describe_stacks(StackName=f"{scene.name}-topic")["Stacks"]
    attributes = sns.get_topic_attributes(TopicArn=stack["Outputs"][0]["OutputValue"])["Attributes"]
    assert topic["Properties"]["KmsMasterKeyId"] == attributes["KmsMasterKeyId"]


@pytest.mark.patch("rules_need_the_key_of_their_topic")
def test_an_event_reaches_an_encrypted_topic_whose_key_lets_eventbridge_in(scene: Scene) -> None:
    sns, sqs, events = (scene.cloud.client(name) for name in ("sns", "sqs", "events"))
    service, received = {"Service": "events.amazonaws.com"}, {}
    for name, more in (("in", [lets(service, ["kms:GenerateDataKey", "kms:Decrypt"])]), ("out", [])):
        queue = f"arn:aws:sqs:us-east-1:{scene.cloud.account}:{scene.name}-{name}"
        from_topics = document({**allow("sqs:SendMessage", queue), "Principal": {"Service": "sns.amazonaws.com"}})
        received[name] = sqs.create_queue(QueueName=f"{scene.name}-{name}", Attributes={"Policy": from_topics})[
            "QueueUrl"
        ]
        topic = f"arn:aws:sns:us-east-1:{scene.cloud.account}:{scene.name}-{name}"
        from_rules = document({**allow("sns:Publish", topic), "Principal": service})
        attributes = {"KmsMasterKeyId": make_key(scene, ACCOUNT, *more), "Policy": from_rules}
        sns.create_topic(Name=f"{scene.name}-{name}", Attributes=attributes)
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
        events.put_rule(Name=f"{scene.name}-{name}", EventPattern=json.dumps({"source": [scene.name]}))
        events.put_targets(Rule=f"{scene.name}-{name}", Targets=[{"Id": "topic", "Arn": topic}])
    events.put_events(Entries=[{"Source": scene.name, "DetailType": "d", "Detail": "{}"}])
    assert [1, 0] == [len(sqs.receive_message(QueueUrl=received[name]).get("Messages", [])) for name in ("in", "out")]


@pytest.mark.patch("log_groups_need_a_key_that_lets_logs_in")
def test_fails_to_make_a_log_group_with_a_key_that_does_not_let_logs_in(scene: Scene) -> None:
    logs = scene.cloud.client("logs")
    group = f"arn:aws:logs:us-east-1:{scene.cloud.account}:log-group:*"
    actions = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    uses = lets(
        {"Service": "logs.us-east-1.amazonaws.com"}, actions, ArnLike={"kms:EncryptionContext:aws:logs:arn": group}
    )
    logs.create_log_group(logGroupName=f"{scene.name}-in", kmsKeyId=make_key(scene, ACCOUNT, uses))
    with pytest.raises(ClientError) as caught:
        logs.create_log_group(logGroupName=f"{scene.name}-out", kmsKeyId=make_key(scene))
    assert "InvalidParameterException" == refusal(caught)[0]


def lines(scene: Scene, group: str) -> int:
    try:
        return len(scene.cloud.client("logs").filter_log_events(logGroupName=group)["events"])
    except ClientError:
        return 0


@pytest.mark.patch("functions_log_as_their_role")
def test_a_function_logs_what_its_role_may(scene: Scene) -> None:
    arn = function(scene, "def handler(event, context):\n    print('said')\n")
    group = f"/aws/lambda/{scene.name}"
    scene.cloud.client("lambda").invoke(FunctionName=arn)
    assert 0 == lines(scene, group)
    where = f"arn:aws:logs:us-east-1:{scene.cloud.account}:log-group:{group}"
    rights = allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], [where, f"{where}:*"])
    scene.iam.put_role_policy(RoleName=f"{scene.name}-function", PolicyName="log", PolicyDocument=document(rights))
    scene.cloud.client("lambda").invoke(FunctionName=arn)
    assert 0 < lines(scene, group)


@pytest.mark.patch("calls_of_kms_know_contexts_and_grants")
def test_a_call_of_kms_has_its_encryption_context(scene: Scene) -> None:
    key = make_key(scene)
    only = allow("kms:Encrypt", key, StringEquals={"kms:EncryptionContext:project": "one"})
    kms = as_role(scene, "one", "kms", only)
    kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"project": "one"})
    with pytest.raises(ClientError) as caught:
        kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"project": "two"})
    assert "AccessDeniedException" == refusal(caught)[0]
    granted = as_role(scene, "granted", "kms")
    role = f"arn:aws:iam::{scene.cloud.account}:role/{scene.name}-granted"
    scene.cloud.client("kms").create_grant(KeyId=key, GranteePrincipal=role, Operations=["Encrypt"])
    granted.encrypt(KeyId=key, Plaintext=b"x")


@pytest.mark.patch("environments_need_their_key")
def test_fails_to_make_a_function_with_a_key_that_is_not_ones_own(scene: Scene) -> None:
    key = make_key(scene)
    role = scene.make_role(
        f"{scene.name}-runs",
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    )
    rights = [allow("lambda:CreateFunction", "*"), allow("iam:PassRole", role)]
    client = as_role(scene, "maker", "lambda", *rights)
    with pytest.raises(ClientError) as caught:
        client.create_function(
            FunctionName=scene.name,
            Runtime="python3.13",
            Handler="index.handler",
            Role=role,
            Code={"ZipFile": b"PK\x05\x06" + b"\0" * 18},
            KMSKeyArn=key,
        )
    assert "kms:CreateGrant" in refusal(caught)[1]


@pytest.mark.patch("buckets_of_templates_are_encrypted")
def test_a_bucket_of_a_template_has_the_encryption_it_names(scene: Scene) -> None:
    key = make_key(scene)
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    rule = {"ServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    bucket = {
        "Type": "AWS::S3::Bucket",
        "Properties": {
            "BucketName": f"{scene.name}-made",
            "BucketEncryption": {"ServerSideEncryptionConfiguration": [rule]},
        },
    }
    client = scene.cloud.client("cloudformation")
    client.create_stack(StackName=scene.name, TemplateBody=json.dumps({"Resources": {"B": bucket}}))
    client.get_waiter("stack_create_complete").wait(StackName=scene.name, WaiterConfig={"Delay": 1})
    found = scene.s3.get_bucket_encryption(Bucket=f"{scene.name}-made")["ServerSideEncryptionConfiguration"]
    assert [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}] == found["Rules"]
