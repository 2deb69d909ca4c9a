"""A job keeps the rights it was started with until it has ended, whatever becomes of the stack. IAM enforced."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import App, CfnOutput, Stack
from aws_cdk import aws_s3 as s3

from healthimaging_cdk import Completion, Datastore, DicomImport, ImportSource
from tests.deployment import Account, eventually

pytestmark = [pytest.mark.cloud, pytest.mark.long]

POLICY, ROLE = "AWS::IAM::Policy", "AWS::IAM::Role"
DAYS = {"d1/": "CT_small.dcm", "d2/": "MR_small.dcm"}


class Scene:
    """Images of two days, a store that no stack has created, and a stack that imports one of the days."""

    def __init__(self, account: Account, name: str) -> None:
        self.account, self.name = account, name
        for part in ("images", "results", "other"):
            account.s3.create_bucket(Bucket=self._bucket(part))
        for day, file in DAYS.items():
            account.upload(self._bucket("images"), day, file)
        self.store = account.healthimaging.create_datastore(datastoreName=name)["datastoreId"]

    def app(self, day: str | None, *, wait_seconds: int | None = None, output: str = "results", **options: Any) -> App:
        """The stack with its import of a day, or without it."""
        app = App(analytics_reporting=False)
        stack = Stack(app, self.name)
        CfnOutput(stack, "Day", value=str(day))
        if day is None:
            return app
        images, results = (s3.Bucket.from_bucket_name(stack, it, self._bucket(it)) for it in ("images", output))
        import_ = DicomImport(
            stack,
            "Import",
            datastore=Datastore.from_datastore_id(stack, "Store", self.store),
            source=ImportSource.bucket(images, day),
            output_bucket=results,
            **options,
        )
        if wait_seconds is not None:  # a user's shortest is a minute
            job = import_.node.find_child("Job")
            job.resource.node.default_child.add_property_override("WaitSeconds", wait_seconds)
        return app

    @property
    def stack_id(self) -> str:
        return str(self.account.stacks.describe(self.name)["StackId"])

    @property
    def policies(self) -> set[str]:
        return self.account.role_policies(self.name, "DataAccessRole")

    def ended(self) -> list[dict[str, Any]]:
        """The jobs, oldest first, when all have ended and have their verdicts."""
        ids = [job["jobId"] for job in self.account.jobs(self.store)]
        assert eventually(lambda: all(self.verdict(job_id) for job_id in ids))
        jobs = [self.account.job(self.store, job_id) for job_id in ids]
        return sorted(jobs, key=lambda job: job["submittedAt"])

    def verdict(self, job_id: str) -> str | None:
        """What the records say; the log of a function that goes with its stack can lose its last lines."""
        places = [(self._bucket(part), prefix) for part in ("results", "other") for prefix in ("results/", "others/")]
        documents = [it for place in places for it in self.account.records(*place).values() if "job" in it]
        (verdict,) = [it["verdict"] for it in documents if it["job"].get("jobId") == job_id]
        return verdict

    def assert_good(self, *jobs: dict[str, Any]) -> None:
        """Each has run to its end, and has one verdict."""
        assert [("COMPLETED", "SUCCEEDED")] * len(jobs) == [(it["jobStatus"], self.verdict(it["jobId"])) for it in jobs]
        assert all(self.account.verdicts(it["jobId"]) in ([], ["SUCCEEDED"]) for it in jobs)

    def _bucket(self, part: str) -> str:
        return f"{self.name.lower()}-{part}"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("PrefixADay", {"day": "d2/"}),
        ("OtherOutputPrefix", {"output_prefix": "others/"}),
        ("OtherOutputBucket", {"output": "other"}),
    ],
)
def test_the_next_deploy_leaves_a_running_job_the_rights_it_was_started_with(account, name, change):
    scene = Scene(account, name)
    account.cloud.settings(job_seconds=6)
    assert "CREATE_COMPLETE" == account.deploy_one(scene.app("d1/", completion=Completion.SUBMIT)).status
    before = scene.policies
    account.cloud.settings(job_seconds=0.5)
    deployed = account.deploy_one(scene.app(**{"day": "d1/", "completion": Completion.SUBMIT, **change}))
    assert "UPDATE_COMPLETE" == deployed.status, deployed.reason

    first, second = scene.ended()
    scene.assert_good(first, second)
    (deleted,) = account.times_of(scene.stack_id, POLICY, "DELETE_IN_PROGRESS", "DataAccessRole")
    assert first["endedAt"] <= deleted
    assert (1, 1, set()) == (len(before), len(scene.policies), before & scene.policies)


def test_a_job_that_outlasts_its_deploy_keeps_its_rights_through_the_rollback(account):
    scene = Scene(account, "Outlasting")
    assert "CREATE_COMPLETE" == account.deploy_one(scene.app("d1/")).status
    before = scene.policies
    account.cloud.settings(job_seconds=6)
    deployed = account.deploy_one(scene.app("d2/", wait_seconds=1))
    assert "UPDATE_ROLLBACK_COMPLETE" == deployed.status
    assert "had not ended after" in deployed.reason
    assert "may still be running: a deploy waits for it while it runs, and imports again only" in deployed.reason

    first, undone = scene.ended()
    scene.assert_good(first, undone)
    (deleted,) = account.times_of(scene.stack_id, POLICY, "DELETE_IN_PROGRESS", "DataAccessRole")
    assert undone["endedAt"] <= deleted
    assert before == scene.policies
    assert 2 == account.jobs_started()


def test_a_failed_first_deploy_leaves_role_and_policy_until_the_job_has_ended(account):
    scene = Scene(account, "FailedFirst")
    # The deletion waits as long as the deploy did, and has the same properties.
    account.cloud.settings(job_seconds=14)
    deployed = account.deploy_one(scene.app("d1/", wait_seconds=10))
    assert "ROLLBACK_COMPLETE" == deployed.status
    assert "had not ended after" in deployed.reason

    (job,) = scene.ended()
    scene.assert_good(job)
    (policy,) = account.times_of(scene.stack_id, POLICY, "DELETE_IN_PROGRESS", "DataAccessRole")
    (role,) = account.times_of(scene.stack_id, ROLE, "DELETE_IN_PROGRESS", "DataAccessRole")
    assert job["endedAt"] <= policy <= role


def test_an_import_that_leaves_a_living_stack_leaves_its_job_the_rights(account):
    scene = Scene(account, "Removed")
    account.cloud.settings(job_seconds=6)
    assert "CREATE_COMPLETE" == account.deploy_one(scene.app("d1/", completion=Completion.SUBMIT)).status
    assert "UPDATE_COMPLETE" == account.deploy_one(scene.app(None)).status

    (job,) = scene.ended()
    scene.assert_good(job)
    (policy,) = account.times_of(scene.stack_id, POLICY, "DELETE_IN_PROGRESS", "DataAccessRole")
    (role,) = account.times_of(scene.stack_id, ROLE, "DELETE_IN_PROGRESS", "DataAccessRole")
    assert job["endedAt"] <= policy <= role


def test_a_deploy_without_a_run_id_means_the_run_that_is_going_on(account):
    scene = Scene(account, "PlainDeploy")
    account.cloud.settings(job_seconds=6)
    submitted = account.deploy_one(scene.app("d1/", run_id="1", completion=Completion.SUBMIT))
    assert "CREATE_COMPLETE" == submitted.status
    plain = account.deploy_one(scene.app("d1/"))
    assert "UPDATE_COMPLETE" == plain.status, plain.reason
    assert submitted.output("JobId") == plain.output("JobId")
    assert "COMPLETED: 1 files scanned, 1 imported" in plain.output("Summary")
    assert 1 == account.jobs_started()
    scene.assert_good(*scene.ended())


@pytest.mark.parametrize("value", ["", " "])
def test_fails_an_empty_run_id_of_the_command_line_at_synth(value):
    app = App(analytics_reporting=False, context={"run_id": value})
    with pytest.raises(ValueError, match="run_id"):
        DicomImport(Stack(app, "EmptyRun"), "Import")
