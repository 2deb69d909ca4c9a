"""The rules that a data store and an import make for their events, as synthesized."""

import re
import subprocess
import sys

import pytest
from aws_cdk import App, NestedStack, Stack, Token, assertions
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sqs as sqs

from healthimaging_cdk import Datastore, DicomImport
from tests.conftest import ROOT
from tests.imaging_events import METHODS

RULE = "AWS::Events::Rule"
ID = "0123456789abcdef0123456789abcdef"
HERE = {"account": "111122223333", "region": "us-east-1"}
WARNING = "healthimaging-cdk:eventsOfAnotherEnvironment"
DOCUMENT = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
VERDICTS = {
    "on_judged": {},
    "on_succeeded": {"outcome": ["SUCCEEDED"]},
    "on_failed": {"outcome": ["FAILED", "UNKNOWN"]},
    "on_files_rejected": {"counts": {"rejected": [{"numeric": [">", 0]}]}},
}


def arn(account: str = HERE["account"], region: str = HERE["region"]) -> str:
    return f"arn:aws:medical-imaging:{region}:{account}:datastore/{ID}"


def properties(stack: Stack, rule: events.Rule) -> dict:
    """What the template says of a rule."""
    template = assertions.Template.from_stack(stack).to_json()
    return template["Resources"][stack.get_logical_id(rule.node.default_child)]["Properties"]


def pattern(stack: Stack, rule: events.Rule) -> dict:
    return properties(stack, rule)["EventPattern"]


@pytest.mark.parametrize(("method", "detail_type"), METHODS.items())
def test_each_method_waits_for_its_own_event_of_this_store(stack, method, detail_type):
    store = Datastore.from_datastore_id(stack, "Store", ID)
    rule = getattr(store, method)("Rule")
    expected = {
        "source": ["aws.medical-imaging"],
        "detail-type": [detail_type],
        "detail": {"datastoreId": [ID]},
    }
    assert expected == pattern(stack, rule)


def test_every_method_is_known_to_the_tests():
    offered = {name for name in dir(Datastore) if name.startswith("on_")}
    assert {*METHODS, "on_event"} == offered


def test_the_document_lists_every_method_with_its_event():
    rows = re.findall(r"^\| `(on_\w+)` \| ([^|]+) \|$", DOCUMENT, flags=re.MULTILINE)
    assert [*METHODS.items(), *((method, what) for method, what in rows if method in VERDICTS)] == rows
    assert set(VERDICTS) == {method for method, _ in rows} - set(METHODS)


def test_on_event_waits_for_every_event_of_this_store(stack):
    rule = Datastore.from_datastore_id(stack, "Store", ID).on_event("Rule")
    assert {"source": ["aws.medical-imaging"], "detail": {"datastoreId": [ID]}} == pattern(stack, rule)


def test_a_store_of_this_stack_is_named_by_its_attribute(stack):
    store = Datastore(stack, "Store")
    rule = store.on_image_set_created("Rule")
    assert [stack.resolve(store.datastore_id)] == pattern(stack, rule)["detail"]["datastoreId"]


def test_a_store_named_by_an_arn_that_is_known_at_deploy_only_has_its_id_cut_out(stack):
    store = Datastore.from_datastore_arn(stack, "Store", Token.as_string({"Ref": "Parameter"}))
    rule = store.on_image_set_created("Rule")
    assert [stack.resolve(store.datastore_id)] == pattern(stack, rule)["detail"]["datastoreId"]


def test_options_are_those_of_every_cdk_construct(stack):
    queue = sqs.Queue(stack, "Queue")
    rule = Datastore(stack, "Store").on_import_job_failed(
        "Rule",
        target=targets.SqsQueue(queue, message=events.RuleTargetInput.from_event_path("$.detail.jobId")),
        rule_name="failed-jobs",
        description="Jobs that failed",
        event_pattern=events.EventPattern(detail={"jobName": ["nightly"]}),
    )
    made = properties(stack, rule)
    assert ("failed-jobs", "Jobs that failed") == (made["Name"], made["Description"])
    assert {"jobName", "datastoreId"} == set(made["EventPattern"]["detail"])
    (target,) = made["Targets"]
    assert (stack.resolve(queue.queue_arn), "$.detail.jobId") == (target["Arn"], target["InputPath"])


def test_a_target_can_be_added_later(stack):
    rule = Datastore(stack, "Store").on_image_set_created("Rule")
    queue = sqs.Queue(stack, "Queue")
    rule.add_target(targets.SqsQueue(queue))
    assert [stack.resolve(queue.queue_arn)] == [target["Arn"] for target in properties(stack, rule)["Targets"]]


def test_further_detail_types_widen_a_rule_as_cdk_merges_patterns(stack):
    given = events.EventPattern(detail_type=["Image Set Updated"])
    rule = Datastore(stack, "Store").on_image_set_created("Rule", event_pattern=given)
    assert ["Image Set Updated", "Image Set Created"] == pattern(stack, rule)["detail-type"]


def test_either_spelling_of_an_image_sets_id_can_be_asked_for(stack):
    either = {"$or": [{"imagesetId": ["a"]}, {"imageSetId": ["a"]}]}
    rule = Datastore.from_datastore_id(stack, "Store", ID).on_image_set_deleted(
        "Rule", event_pattern=events.EventPattern(detail=either)
    )
    assert {**either, "datastoreId": [ID]} == pattern(stack, rule)["detail"]


def test_fails_an_option_that_there_is_not(stack):
    with pytest.raises(TypeError, match="targett"):
        Datastore(stack, "Store").on_event("Rule", targett=None)


def test_a_rule_can_be_made_beside_its_target(app, stack):
    other = Stack(app, "Other")
    rule = Datastore(stack, "Store").on_event(
        "Rule", target=targets.SqsQueue(sqs.Queue(other, "Queue")), cross_stack_scope=other
    )
    assert other.node.path == Stack.of(rule).node.path


@pytest.mark.parametrize(
    ("elsewhere", "where"),
    [
        ({"region": "eu-west-1"}, "Region eu-west-1, not us-east-1"),
        ({"account": "444455556666"}, "account 444455556666, not 111122223333"),
    ],
)
def test_a_rule_for_a_store_elsewhere_is_warned_of(app, elsewhere, where):
    stack = Stack(app, "Stack", env=HERE)
    Datastore.from_datastore_arn(stack, "Store", arn(**elsewhere)).on_event("Rule")
    message = assertions.Match.string_like_regexp(f"default event bus of {where}.*{WARNING}")
    assertions.Annotations.from_stack(stack).has_warning("/Stack/Store/Rule", message)


@pytest.mark.parametrize("env", [HERE, None])
def test_a_rule_for_a_store_that_is_here_or_may_be_here_is_not_warned_of(app, env):
    stack = Stack(app, "Stack", env=env)
    Datastore.from_datastore_arn(stack, "Store", arn()).on_event("Rule")
    Datastore(stack, "Own").on_event("Rule")
    found = assertions.Annotations.from_stack(stack).find_warning("*", assertions.Match.any_value())
    assert [] == [warning for warning in found if WARNING in str(warning.entry.data)]


def test_events_of_another_region_are_forwarded_from_a_stack_there(app):
    here, there = Stack(app, "Here", env=HERE), Stack(app, "There", env={**HERE, "region": "eu-west-1"})
    queue = sqs.Queue(here, "Queue")
    store = Datastore.from_datastore_arn(there, "Store", arn(region="eu-west-1"))
    rule = store.on_image_set_created("Rule", rule_name="created", target=targets.SqsQueue(queue))
    assert ":event-bus/default" in str(properties(there, rule)["Targets"])
    assertions.Template.from_stack(here).has_resource_properties(RULE, {"EventPattern": pattern(there, rule)})
    assertions.Annotations.from_stack(there).has_no_warning("*", assertions.Match.string_like_regexp(WARNING))


@pytest.mark.slow
def test_a_store_without_rules_loads_nothing_of_eventbridge():
    code = (
        "import sys; from aws_cdk import App, Stack; from healthimaging_cdk import Datastore; "
        "Datastore(Stack(App(), 'S'), 'Store'); sys.exit('aws_cdk.aws_events' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "constructs", capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()


# -- the verdict of an import ----------------------------------------------------------------------------------------


def name_of(stack: Stack, synthesize) -> object:
    """What the function calls the one import of a stack: the stack's name and CloudFormation's LogicalResourceId."""
    found = synthesize(stack)
    (logical_id,) = [name for name, r in found.resources.items() if r["Type"] == "Custom::HealthImagingImport"]
    return stack.resolve(f"{stack.stack_name}/{logical_id}")


@pytest.mark.parametrize(("method", "detail"), VERDICTS.items())
def test_each_method_waits_for_the_verdict_on_this_import(stack, synthesize, method, detail):
    rule = getattr(DicomImport(stack, "Import"), method)("Rule")
    expected = {
        "source": ["healthimaging-cdk"],
        "detail-type": ["DICOM Import Judged"],
        "detail": {"import": [name_of(stack, synthesize)], **detail},
    }
    assert expected == pattern(stack, rule)


def test_every_verdict_is_known_to_the_tests():
    assert set(VERDICTS) == {name for name in dir(DicomImport) if name.startswith("on_")}


@pytest.mark.slow
def test_an_import_in_a_nested_stack_is_named_by_that_stack(stack, synthesize):
    nested = NestedStack(stack, "Nested")
    rule = DicomImport(nested, "Import").on_judged("Rule")
    assert [name_of(nested, synthesize)] == pattern(nested, rule)["detail"]["import"]


@pytest.mark.slow
def test_a_rule_in_another_stack_names_the_stack_of_the_import(app, stack):
    other = Stack(app, "Other")
    rule = DicomImport(stack, "Import").on_failed("Rule", cross_stack_scope=other)
    (name,) = pattern(other, rule)["detail"]["import"]
    assert name.startswith("Stack/")


@pytest.mark.slow
def test_the_job_can_be_ordered_after_the_rule(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    rule = import_.on_failed("Rule")
    import_.execute_after(rule)
    job = synthesize(stack).only("Custom::HealthImagingImport")
    assert stack.get_logical_id(rule.node.default_child) in job["DependsOn"]


@pytest.mark.slow
def test_a_function_that_knows_the_import_can_be_its_target(synthesize):
    stack = Stack(App(), "Stack")
    import_ = DicomImport(stack, "Import")
    queue = sqs.Queue(stack, "Queue", queue_name=f"after-{import_.job_id}")
    import_.on_succeeded("Rule", target=targets.SqsQueue(queue))
    synthesize(stack)  # raises for a cycle between the two
