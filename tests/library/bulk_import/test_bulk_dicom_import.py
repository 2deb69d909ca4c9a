"""The template of a bulk import: a state machine and what it needs, nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, Duration, Environment, RemovalPolicy, Size, Stack
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from healthimaging_cdk import (
    BulkDicomImport,
    BulkPace,
    DataAccessRole,
    Datastore,
    DicomImport,
    ImportQuotas,
    ImportSource,
    ImportTolerance,
)

STORE = "0" * 32
OTHERS = "444455556666"


def brought(stack: Stack) -> dict[str, Any]:
    return {
        "datastore": Datastore.from_datastore_id(stack, "Store", STORE),
        "source": ImportSource.bucket(s3.Bucket.from_bucket_name(stack, "Images", "images"), "archive/"),
        "output_bucket": s3.Bucket.from_bucket_name(stack, "Results", "results"),
    }


def definition_of(found: Any) -> dict[str, Any]:
    (machine,) = found.of_type("AWS::StepFunctions::StateMachine")
    document: dict[str, Any] = json.loads(machine["Properties"]["DefinitionString"])
    return document


def settings_of(found: Any) -> dict[str, Any]:
    settings: dict[str, Any] = definition_of(found)["States"]["Run"]["Parameters"]["Payload"]["settings"]
    return settings


def test_minimal_properties(stack, synthesize):
    BulkDicomImport(stack, "Archive")
    found = synthesize(stack)
    assert 1 == len(found.of_type("AWS::HealthImaging::Datastore"))
    assert 2 == len(found.of_type("AWS::S3::Bucket"))
    settings = settings_of(found)
    assert (0.25, 100, 3, 5000, 10_000, False) == tuple(
        settings[it] for it in ("StartsPerSecond", "ConcurrentJobs", "Attempts", "MaxFiles", "MaxFolders", "AnyPrefix")
    )


@pytest.mark.slow
def test_all_properties(stack, synthesize):
    key = kms.Key(stack, "Key")
    given = brought(stack)
    access = DataAccessRole(
        stack,
        "Access",
        datastore=given["datastore"],
        input_bucket=given["source"].input_bucket,
        input_prefix="archive/",
        output_bucket=given["output_bucket"],
        output_prefix="out/",
    )
    BulkDicomImport(
        stack,
        "Archive",
        datastore=given["datastore"],
        source=given["source"],
        output_prefix="out/",
        data_access_role=access,
        encryption_key=key,
        job_name="nightly",
        tolerance=ImportTolerance(rejected_files=3, rejected_percent=0.5, non_primary_image_sets=False, warnings=False),
        quotas=ImportQuotas(files=10, total=Size.bytes(100), file=Size.bytes(50)),
        pace=BulkPace(starts_per_second=1, concurrent_jobs=20),
        folders_per_job=7,
        attempts=1,
        prefixes_without_slash=True,
        plan_only=True,
        start_on_deploy=True,
        results_expiration=Duration.days(30),
        removal_policy=RemovalPolicy.DESTROY,
    )
    found = synthesize(stack)
    settings = settings_of(found)
    assert ("nightly", 10, 100, 50, 7, True, 1, 20, 1, True, 3, 0.5, True, True) == tuple(
        settings[it]
        for it in (
            "JobName", "MaxFiles", "MaxBytes", "MaxFileBytes", "MaxFolders", "AnyPrefix", "StartsPerSecond",
            "ConcurrentJobs", "Attempts", "PlanOnly", "MaxRejectedFiles", "MaxRejectedPercent", "FailOnNonPrimary",
            "FailOnWarnings",
        )
    )  # fmt: skip
    assert 1 == len(found.of_type("Custom::HealthImagingBulkImportStart"))
    assert not found.of_type("AWS::Events::Rule")


def test_a_deploy_starts_a_run_for_what_is_imported_and_for_nothing_else(stack, synthesize):
    BulkDicomImport(stack, "Archive", **brought(stack), start_on_deploy=True)
    start = synthesize(stack).only("Custom::HealthImagingBulkImportStart")["Properties"]
    said = {"DatastoreId", "InputBucket", "InputPrefix"}
    called = {"ServiceToken", "ServiceTimeout", "RoleArn", "BulkStateMachineArn"}
    # CloudFormation calls the function, which starts a run, for a change of any property.
    assert said | called == set(start)


def test_nothing_else_is_in_the_template(stack, synthesize):
    BulkDicomImport(stack, "Archive", **brought(stack))
    assert [
        "AWS::IAM::Policy",  # of the data access role
        "AWS::IAM::Policy",  # of the bulk import
        "AWS::IAM::Role",  # the data access role
        "AWS::IAM::Role",  # the function's
        "AWS::IAM::Role",  # the bulk import's
        "AWS::IAM::Role",  # the state machine's
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
        "AWS::StepFunctions::StateMachine",
    ] == synthesize(stack).types()


@pytest.mark.slow
def test_beside_an_import_it_shares_the_function_and_the_role_of_the_state_machines(stack, synthesize):
    first = DicomImport(stack, "Import")
    before = len(synthesize(stack).resources)
    app = App()
    stack = Stack(app, "Stack")
    first = DicomImport(stack, "Import")
    source = ImportSource.bucket(first.input_bucket, "archive/")
    BulkDicomImport(
        stack, "Archive", datastore=first.datastore, source=source, output_bucket=first.output_bucket,
        output_prefix="archive-results/",
    )  # fmt: skip
    found = synthesize(stack)
    assert 1 == len(found.of_type("AWS::Lambda::Function"))
    # State machine, its own role and rights, the data access role and its rights.
    assert before + 5 == len(found.resources)


@pytest.mark.slow
def test_only_its_role_and_those_of_imports_may_write_records(stack, synthesize):
    archive = BulkDicomImport(stack, "Archive")
    found = synthesize(stack)
    denials = [
        statement
        for policy in found.of_type("AWS::S3::BucketPolicy")
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and "ArnNotLike" in statement.get("Condition", {})
    ]
    (denial,) = denials
    assert [stack.resolve(archive.request_role.role_arn)] == denial["Condition"]["ArnNotLike"]["aws:PrincipalArn"]


def test_the_role_may_do_what_it_does_and_no_more(stack, synthesize):
    archive = BulkDicomImport(stack, "Archive", **brought(stack))
    found = synthesize(stack)
    role = stack.get_logical_id(archive.request_role.node.default_child)
    assert {
        "events:PutEvents",
        "iam:PassRole",
        "medical-imaging:GetDICOMImportJob",
        "medical-imaging:ListDICOMImportJobs",
        "medical-imaging:StartDICOMImportJob",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
        "states:StartExecution",
    } == found.actions_of(role)


def test_a_source_in_another_account_gets_its_policies_as_outputs(app, synthesize):
    stack = Stack(app, "Stack", env=Environment(account="111122223333", region="us-east-1"))
    images = s3.Bucket.from_bucket_name(stack, "Images", "images")
    archive = BulkDicomImport(stack, "Archive", source=ImportSource.bucket(images, "a/", owner_account_id=OTHERS))
    found = synthesize(stack)
    assert OTHERS == settings_of(found)["InputOwnerAccountId"]
    assert ["ArchiveSourceBucketPolicy"] == [name[:25] for name in found.document["Outputs"]]
    assert "-Bulk-" in json.dumps(stack.resolve(archive.source_bucket_policy))
    with pytest.raises(ValueError, match=r"BulkDicomImport: there is no source_key_policy.*\(at Stack/Archive\)"):
        _ = archive.source_key_policy


def test_grants_name_the_state_machine_and_the_reports(stack, synthesize):
    archive = BulkDicomImport(stack, "Archive")
    starter, reader = (
        iam.Role(stack, name, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com")) for name in ("Starter", "Reader")
    )
    archive.grant_start(starter)
    archive.grant_read_report(reader)
    found = synthesize(stack)
    started = found.actions_of(stack.get_logical_id(starter.node.default_child))
    assert {"states:StartExecution", "states:RedriveExecution", "states:StopExecution"} <= started
    assert {"s3:GetObject", "kms:Decrypt", "states:DescribeStateMachine", "states:ListExecutions"} == found.actions_of(
        stack.get_logical_id(reader.node.default_child)
    )


@pytest.mark.slow
def test_rules_and_metrics_are_of_this_import(stack, synthesize):
    archive = BulkDicomImport(stack, "Archive")
    topic = sns.Topic(stack, "Topic")
    archive.on_completed("Completed", target=targets.SnsTopic(topic))
    archive.on_failed("Failed")
    found = synthesize(stack)
    completed, failed = (it["Properties"]["EventPattern"] for it in found.of_type("AWS::Events::Rule"))
    assert ["SUCCEEDED"] == completed["detail"]["outcome"]
    assert ["aws.states"] == failed["source"]
    metric = archive.metric_executions_failed()
    assert ("AWS/States", "ExecutionsFailed", "Sum") == (metric.namespace, metric.metric_name, metric.statistic)
    assert ["FilesImported", "FilesRejected", "ImportsSucceeded", "ImportsFailed"] == [
        found.metric_name
        for found in (
            archive.metric_files_imported(),
            archive.metric_files_rejected(),
            archive.metric_jobs_succeeded(),
            archive.metric_jobs_failed(),
        )
    ]
    assert "ExecutionsStarted" == archive.metric_executions_started().metric_name


def test_fails_with_every_violation_at_once(stack):
    given = brought(stack)
    with pytest.raises(ValueError, match="BulkDicomImport") as caught:
        BulkDicomImport(
            stack,
            "Archive",
            **given,
            output_prefix="results",
            pace=BulkPace(starts_per_second=0, concurrent_jobs=0),
            attempts=11,
            folders_per_job=0,
        )
    for part in (
        "output_prefix must end with '/'",
        "pace.starts_per_second must be more than 0, got 0",
        "pace.concurrent_jobs must be at least 1, got 0",
        "attempts must be 1 to 10, got 11",
        "folders_per_job must be at least 1, got 0",
    ):
        assert part in str(caught.value)
    assert stack.node.try_find_child("Archive") is None


def test_fails_for_a_local_directory(stack, tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"x")
    with pytest.raises(ValueError, match="upload it to a bucket, or use DicomImport"):
        BulkDicomImport(stack, "Archive", source=ImportSource.directory(tmp_path))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("pace", 1), ("attempts", "3"), ("plan_only", "yes"), ("start_on_deploy", 1), ("datastore", "store")],
)
def test_fails_for_wrong_types(stack, argument, value):
    with pytest.raises(TypeError, match=f"{argument} must be"):
        BulkDicomImport(stack, "Archive", **{argument: value})


def test_every_step_of_the_state_machine_is_repeated_and_none_is_caught(stack, synthesize):
    BulkDicomImport(stack, "Archive", **brought(stack))
    states = definition_of(synthesize(stack))["States"]
    tasks = {name: state for name, state in states.items() if state["Type"] == "Task"}
    assert {"Plan", "Run", "Report"} == set(tasks)
    assert all(
        state["Retry"][0] == {"ErrorEquals": ["BulkImportError", "TerminalError"], "MaxAttempts": 0}
        for state in tasks.values()
    )
    assert not any("Catch" in state for state in tasks.values())
