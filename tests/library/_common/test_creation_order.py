"""What an import waits for, and circles through what it creates."""

import re
from typing import Any

import pytest
from aws_cdk import CfnResource, Fn, NestedStack, Stack
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import DependencyGroup

from healthimaging_cdk import DicomImport

pytestmark = pytest.mark.slow

IMPORT = "Custom::HealthImagingImport"


def filler_of(import_: DicomImport, **properties: str) -> CfnResource:
    """What fills the import's input bucket, and so is created after it."""
    given = {"Bucket": import_.input_bucket.bucket_name, **properties}
    return CfnResource(Stack.of(import_), "Filler", type="Test::Fill", properties=given)


def waiting_for_filler(stack: Stack, synthesize: Any) -> list[str]:
    resources = synthesize(stack).resources
    return [name for name, resource in resources.items() if "Filler" in resource.get("DependsOn", [])]


def test_the_job_alone_is_executed_after_something(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    import_.execute_after(filler_of(import_))
    assert ["ImportJob8DEEC202"] == waiting_for_filler(stack, synthesize)


def test_the_job_is_executed_after_several_constructs_and_a_group(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    group = DependencyGroup(sqs.Queue(stack, "InGroup"))
    import_.execute_after(filler_of(import_), s3.Bucket(stack, "Bucket"), group)
    waits_for = synthesize(stack).only(IMPORT)["DependsOn"]
    assert ["Bucket", "Filler", "InGrou"] == [
        name[:6] for name in waits_for if name[:6] in {"Bucket", "Filler", "InGrou"}
    ]


def test_everything_waits_for_a_dependency_of_the_imports_node(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    import_.node.add_dependency(CfnResource(stack, "Filler", type="Test::Fill"))
    inside = [it for it in import_.node.find_all() if CfnResource.is_cfn_resource(it)]
    waiting = waiting_for_filler(stack, synthesize)
    assert {stack.resolve(it.logical_id) for it in inside} == set(waiting)


def test_fails_when_the_job_is_executed_after_what_needs_its_results(stack):
    import_ = DicomImport(stack, "Import")
    import_.execute_after(filler_of(import_, Job=f"after {import_.job_id}"))
    job = "Stack/Import/Job/Resource/Default"
    expected = (
        f"DicomImport Stack/Import: {job} and Stack/Filler wait for each other ({job} > Stack/Filler > {job}): leave"
    )
    with pytest.raises(RuntimeError, match=re.escape(expected)):
        stack.node.root.synth()


def test_fails_when_the_job_is_executed_after_what_waits_for_the_import(stack):
    import_ = DicomImport(stack, "Import")
    queue = sqs.Queue(stack, "Queue")
    queue.node.add_dependency(import_)
    import_.execute_after(queue)
    with pytest.raises(RuntimeError, match="Stack/Import/Job/Resource/Default and Stack/Queue/Resource wait for each"):
        stack.node.root.synth()


def test_fails_when_a_bucket_created_here_waits_for_what_fills_it(stack):
    import_ = DicomImport(stack, "Import")
    import_.node.add_dependency(filler_of(import_))
    bucket = "Stack/Import/InputBucket/Resource"
    with pytest.raises(RuntimeError, match=f"{bucket} and Stack/Filler wait for each other .*: use execute_after"):
        stack.node.root.synth()


@pytest.mark.parametrize("link", ["${%s}/*", "${%s.Arn}/*"])
def test_fails_when_a_substitution_closes_the_circle(stack, link):
    import_ = DicomImport(stack, "Import")
    bucket = stack.get_logical_id(import_.input_bucket.node.default_child)
    import_.node.add_dependency(CfnResource(stack, "Sub", type="Test::Fill", properties={"Uri": Fn.sub(link % bucket)}))
    with pytest.raises(RuntimeError, match="InputBucket/Resource and Stack/Sub wait for each other"):
        stack.node.root.synth()


def test_fails_to_execute_after_what_is_no_construct(stack):
    import_ = DicomImport(stack, "Import")
    with pytest.raises(TypeError, match=r"^DicomImport.execute_after: dependencies\[0\] must be a construct or a Dep"):
        import_.execute_after("Filler")


def test_what_a_nested_stack_holds_is_in_no_circle_of_its_parent(stack, synthesize):
    import_ = DicomImport(stack, "Import")
    sqs.Queue(NestedStack(import_, "Nested"), "Queue")
    import_.node.add_dependency(CfnResource(stack, "Filler", type="Test::Fill"))
    assert "ImportJob8DEEC202" in waiting_for_filler(stack, synthesize)


def test_an_import_is_executed_after_another(stack, synthesize):
    first = DicomImport(stack, "First")
    second = DicomImport(stack, "Second", datastore=first.datastore)
    second.execute_after(first)
    jobs = {job["Properties"]["OutputBucket"]["Ref"][:5]: job for job in synthesize(stack).of_type(IMPORT)}
    assert any(name.startswith("FirstJob") and "Role" not in name for name in jobs["Secon"]["DependsOn"])
    assert not any(name.startswith("SecondJob") and "Role" not in name for name in jobs["First"]["DependsOn"])
