"""Rules and events on the local cloud: whether the patterns match, and whether a verdict reaches its queue."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, Stack, assertions
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs

from healthimaging_cdk import Completion, Datastore, DicomImport, ImportSource
from tests.deployment import Account, eventually
from tests.imaging_events import METHODS, OTHERS, SPELLINGS, sample, verdict

pytestmark = pytest.mark.cloud

MINE, OTHER = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
IMAGE_SET = "f" * 32
EITHER = events.EventPattern(detail={"$or": [{spelling: [IMAGE_SET]} for spelling in SPELLINGS]})


def patterns(stack: Stack, rules: dict[str, events.Rule]) -> dict[str, dict[str, Any]]:
    """The patterns of rules, as the template has them."""
    resources = assertions.Template.from_stack(stack).to_json()["Resources"]
    return {
        name: resources[stack.get_logical_id(rule.node.default_child)]["Properties"]["EventPattern"]
        for name, rule in rules.items()
    }


def matching(account: Account, rules: dict[str, dict[str, Any]], event: dict[str, Any]) -> set[str]:
    """The rules that EventBridge's TestEventPattern finds to match."""
    client = account.cloud.client("events")
    text = json.dumps(event)
    return {
        name
        for name, pattern in rules.items()
        if client.test_event_pattern(EventPattern=json.dumps(pattern), Event=text)["Result"]
    }


@pytest.fixture
def rules_of_a_store(stack: Stack) -> dict[str, dict[str, Any]]:
    store = Datastore.from_datastore_id(stack, "Store", MINE)
    names = [*METHODS, "on_event"]
    return patterns(stack, {name: getattr(store, name)(name) for name in names})


@pytest.mark.parametrize(("method", "detail_type"), METHODS.items())
def test_an_event_of_the_store_matches_its_own_rule_and_the_one_for_all(account, rules_of_a_store, method, detail_type):
    for spelling in SPELLINGS:
        event = sample(detail_type, MINE, spelling=spelling)
        assert {method, "on_event"} == matching(account, rules_of_a_store, event)


@pytest.mark.parametrize("detail_type", OTHERS)
def test_an_event_without_a_method_matches_the_rule_for_all(account, rules_of_a_store, detail_type):
    assert {"on_event"} == matching(account, rules_of_a_store, sample(detail_type, MINE))


@pytest.mark.parametrize("detail_type", [*METHODS.values(), *OTHERS])
def test_an_event_of_another_store_matches_no_rule(account, rules_of_a_store, detail_type):
    assert set() == matching(account, rules_of_a_store, sample(detail_type, OTHER))


def test_one_image_set_can_be_asked_for_by_its_arn_or_by_both_spellings(account, stack):
    store = Datastore.from_datastore_id(stack, "Store", MINE)
    (arn,) = sample("Image Set Deleted", MINE)["resources"]
    asked = {"by arn": events.EventPattern(resources=[arn]), "by id": EITHER}
    made = {name: store.on_image_set_deleted(name, event_pattern=pattern) for name, pattern in asked.items()}
    rules = patterns(stack, made)
    for spelling in SPELLINGS:
        event = sample("Image Set Deleted", MINE, spelling=spelling)
        assert {"by arn", "by id"} == matching(account, rules, event)
        event["resources"] = [event["resources"][0].replace(IMAGE_SET, "0" * 32)]
        event["detail"][spelling] = "0" * 32
        assert set() == matching(account, rules, event)


@pytest.mark.parametrize(
    ("outcome", "rejected", "expected"),
    [
        ("SUCCEEDED", 0, {"on_judged", "on_succeeded"}),
        ("SUCCEEDED", 40, {"on_judged", "on_succeeded", "on_files_rejected"}),
        ("FAILED", 0, {"on_judged", "on_failed"}),
        ("FAILED", 1, {"on_judged", "on_failed", "on_files_rejected"}),
    ],
)
def test_a_verdict_matches_by_its_outcome_and_its_number_of_rejected_files(account, stack, outcome, rejected, expected):
    import_ = DicomImport(stack, "Import")
    names = ["on_judged", "on_succeeded", "on_failed", "on_files_rejected"]
    rules = patterns(stack, {name: getattr(import_, name)(name) for name in names})
    for pattern in rules.values():
        pattern["detail"]["import"] = ["stack/one"]  # what the deploy makes of the stack's id is seen below
    assert expected == matching(account, rules, verdict("stack/one", outcome=outcome, rejected=rejected))
    assert set() == matching(account, rules, verdict("stack/two", outcome=outcome, rejected=rejected))


def received(account: Account, stack: str, queue: str, count: int) -> list[Any]:
    """What lies in a queue, once it holds as much as it should; what came too much is there as well."""
    sqs_client = account.cloud.client("sqs")
    url = account.resource_id(stack, "AWS::SQS::Queue", queue)
    found: list[Any] = []

    def are_there() -> bool:
        messages = sqs_client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        found.extend(json.loads(message["Body"]) for message in messages)
        return len(found) >= count

    eventually(are_there)
    found += sqs_client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return found


def test_verdicts_and_events_reach_the_queues_of_their_rules(account):
    """Two imports into one store: one that is waited for, one that nobody waits for and that imports nothing."""

    def app(run_id: str) -> App:
        app = App(analytics_reporting=False)
        stack = Stack(app, "Routed")

        def queue(name: str, path: str) -> dict[str, Any]:
            message = events.RuleTargetInput.from_event_path(path)
            return {"target": targets.SqsQueue(sqs.Queue(stack, name), message=message)}

        store = Datastore(stack, "Store")
        images = s3.Bucket.from_bucket_name(stack, "Bucket", "routed-images")
        for name, completion in (("First", Completion.WAIT), ("Second", Completion.SUBMIT)):
            source = ImportSource.bucket(images, f"{name}/")
            import_ = DicomImport(stack, name, datastore=store, source=source, completion=completion, run_id=run_id)
            for method in ("on_succeeded", "on_failed", "on_files_rejected"):
                getattr(import_, method)(method, **queue(f"{name}{method.replace('_', '')}", "$.detail"))
        store.on_import_job_completed("Completed", **queue("Completed", "$.detail.jobId"))
        store.on_image_set_created("Created", target=targets.SqsQueue(sqs.Queue(stack, "Created")))
        return app

    account.s3.create_bucket(Bucket="routed-images")
    assert "CREATE_COMPLETE" == account.deploy_one(app("nothing")).status
    account.upload("routed-images", "First/", "CT_small.dcm", "notes.txt")
    account.upload("routed-images", "Second/", "notes.txt")
    deployed = account.deploy_one(app("files"))
    assert "UPDATE_COMPLETE" == deployed.status, deployed.reason

    jobs = {name: deployed.output(f"{name}JobId") for name in ("First", "Second")}
    expected = {
        "Firstonsucceeded": ["First"],
        "Firstonfailed": [],
        "Firstonfilesrejected": ["First"],
        "Secondonsucceeded": [],
        "Secondonfailed": ["Second"],
        "Secondonfilesrejected": ["Second"],
    }
    # Those that stay empty are looked into last, when a misled verdict would have arrived.
    in_order = sorted(expected.items(), key=lambda item: -len(item[1]))
    verdicts = {name: received(account, "Routed", name, len(who)) for name, who in in_order}
    assert {name: [jobs[who] for who in whose] for name, whose in expected.items()} == {
        name: [detail["jobId"] for detail in details] for name, details in verdicts.items()
    }
    (partly,), (nothing,) = verdicts["Firstonsucceeded"], verdicts["Secondonfailed"]
    assert (2, 1, 1) == tuple(partly["counts"][name] for name in ("scanned", "imported", "rejected"))
    assert (1, 0, 1) == tuple(nothing["counts"][name] for name in ("scanned", "imported", "rejected"))

    assert set(jobs.values()) == set(received(account, "Routed", "Completed", 2))
    (image_set,) = account.image_sets(deployed.output("FirstDatastoreId"))
    (created,) = received(account, "Routed", "Created", 1)
    (arn,) = created["resources"]
    assert arn.endswith(f":datastore/{deployed.output('FirstDatastoreId')}/imageset/{image_set['imageSetId']}")
