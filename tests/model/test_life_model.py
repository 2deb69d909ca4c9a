"""A model of an import's whole life: random sequences of requests, faults and crashes, and what holds after each.

``HYPOTHESIS_PROFILE=thorough`` runs thousands of sequences with a new seed each time.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model.fakes import PATIENT, SOURCE, Misfortune, Plans, World
from tests.model.runs import DATASTORE_ID, Properties, Request, Stage, filled, properties, zipped

pytestmark = pytest.mark.slow

FOREVER = -1
NEIGHBOUR = 1000
"""The number of a stack that has an import of its own."""
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"

S3_ERRORS = [
    "AccessDenied", "403", "NoSuchBucket", "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout",
    "ConditionalRequestConflict", "InvalidAccessKeyId", "ExpiredToken", "KMS.DisabledException",
]  # fmt: skip
COMMON_ERRORS = ["ThrottlingException", "AccessDeniedException", "ExpiredTokenException"]
IMAGING_ERRORS = ["ConflictException", "ValidationException", "InternalServerException", "ResourceNotFoundException"]
GATEWAY_ERRORS = ["503", "504", "InternalFailure"]
# fmt: off
ERRORS = {
    "AssumeRole": ["AccessDenied", "Throttling", "RegionDisabledException", "ExpiredTokenException"],
    "StartExecution": [
        *COMMON_ERRORS, "ExecutionLimitExceeded", "InvalidArn", "InvalidExecutionInput", "InvalidName",
        "StateMachineDoesNotExist", "StateMachineDeleting", "ValidationException", "KmsAccessDeniedException",
        "KmsInvalidStateException", "KmsThrottlingException",
    ],
    "DescribeStacks": ["Throttling", "AccessDenied", "ValidationError"],
    "GetObject": [*S3_ERRORS, "NoSuchKey"],
    "GetObject.Body": [],
    "HeadObject": S3_ERRORS,
    "ListObjectsV2": S3_ERRORS,
    "PutObject": S3_ERRORS,
    "UploadFileobj": S3_ERRORS,
    "StartDICOMImportJob": [*COMMON_ERRORS, *IMAGING_ERRORS, "ServiceQuotaExceededException"],
    "GetDICOMImportJob": [*COMMON_ERRORS, *IMAGING_ERRORS],
    "ListDICOMImportJobs": [*COMMON_ERRORS, *IMAGING_ERRORS],
    "PutEvents": [*COMMON_ERRORS, "InternalException"],
    "Publish": [*COMMON_ERRORS, "NotFound", "KMSDisabled", "InternalError"],
    "Answer": [],
}
# fmt: on
AWS_CALLS = [operation for operation in ERRORS if operation not in ("Answer", "GetObject.Body")]
KINDS = [
    "crash before", "crash after", "unreachable", "answer lost", "meanwhile", "meanwhile after", "impatient",
    "impatient after",
]  # fmt: skip
MALFORMED = {
    "AssumeRole",
    "DescribeStacks",
    "HeadObject",
    "ListObjectsV2",
    "StartDICOMImportJob",
    "GetDICOMImportJob",
    "ListDICOMImportJobs",
}
CRASHES = [("*", kind, "") for kind in KINDS]
FAULTS = (
    [(operation, kind, "") for operation in ERRORS for kind in KINDS]
    + [(operation, "error", code) for operation, codes in ERRORS.items() for code in codes]
    + [(operation, "malformed", code) for operation in sorted(MALFORMED) for code in ("", "nulls")]
    + [
        (operation, kind, code)
        for operation in AWS_CALLS
        for kind in ("error", "error after")
        for code in GATEWAY_ERRORS
    ]
)


def misfortunes(faults: list[tuple[str, str, str]], skips: int, times: list[int]) -> st.SearchStrategy[Misfortune]:
    return st.builds(
        lambda fault, skip, times: Misfortune(*fault, skip, times),
        st.sampled_from(faults), st.sampled_from(range(skips)), st.sampled_from(times),
    )  # fmt: skip


LATER = [fault for fault in FAULTS if fault[0] not in ("AssumeRole", "StartExecution")]
LUCK = st.lists(
    st.one_of(
        misfortunes(LATER, 3, [1, 1, 2, 3, 40]),
        misfortunes(CRASHES, 40, [1, 1, 1, 2, 3]),
        misfortunes(FAULTS, 4, [1, 2]),
    ),
    max_size=3,
)
"""What strikes a request's calls: those of one operation, or any."""
THEN = st.sampled_from([0, 10, 40, 200, FOREVER, FOREVER])
"""How long it is left alone, in seconds."""
MAPPINGS = [{"studyInstanceUID": PATIENT, "metadataFilePath": "metadata.json"}]
CHANGES: list[dict[str, Any]] = [
    {"RunId": "1"}, {"RunId": "2"}, {"RunId": None},
    {"MaxRejectedFiles": "0"}, {"MaxRejectedFiles": None}, {"MaxRejectedPercent": "50"}, {"FailOnWarnings": "true"},
    {"JobName": "another"}, {"JobName": None}, {"DataAccessRoleArn": "arn:aws:iam::111122223333:role/Another"},
    {"Completion": "submit"}, {"Completion": "detach"}, {"Completion": None}, {"WaitSeconds": "60"},
    {"InputPrefix": f"other/{PATIENT}/"}, {"InputPrefix": f"in/{PATIENT}/"}, {"InputPrefix": "empty/"},
    {"OnEmpty": "fail"}, {"OnEmpty": None}, {"MaxFiles": "2"}, {"MaxFiles": None}, {"asset": True}, {"asset": False},
    {"tag": "x"}, {"Grants": "other"}, {"OutputPrefix": "out2/"}, {"OutputPrefix": "out/"},
    {"DatastoreId": "f" * 32}, {"DatastoreId": DATASTORE_ID},
    {"MetadataMappings": MAPPINGS}, {"MetadataMappings": None},
    {"FailOnNonPrimary": "true"}, {"FailOnNonPrimary": None}, {"Notify": "outcomes"}, {"Notify": "rejections"},
    {"NotificationTopicArn": None},
]  # fmt: skip
WISHES = st.lists(st.sampled_from(CHANGES), min_size=1, max_size=2)
CHOICES = [*["update"] * 5, "roll back", "delete", "stay"]
PLANS = st.builds(
    Plans,
    outcome=st.sampled_from(["all", "all", "some", "none", "failed", "garbage"]),
    seconds=st.sampled_from([0.0, 20.0, 90.0, 400.0]),
    manifest_delay=st.sampled_from([0.0, 0.0, 50.0, 200.0, None]),
    warnings=st.sampled_from([0, 0, 2]),
    others=st.sampled_from([0, 0, 1]),
)


class Life(RuleBasedStateMachine):
    """One stack with one import, and CloudFormation, which sends one request after the other and may lose patience."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.stage = Stage(self.world, answered=self.answered)
        self.asset = zipped(self.world)
        self.stage.install()
        self.wanted = properties(NotificationTopicArn="arn:aws:sns:us-east-1:111122223333:people")
        self.stack = 1
        self.physical_id = ""
        self.good: Properties | None = None  # what CloudFormation holds for deployed
        self.tried: Properties | None = None  # what a rollback has to undo
        self.pending: Request | None = None
        self.must_delete = False
        self.neighbour: Request | None = None
        self.cleanup: list[tuple[str, Properties]] = []  # the old ids that CloudFormation has to delete
        self.world.impatient = self.impatient

    def teardown(self) -> None:
        try:
            self.recover()
        finally:
            self.stage.uninstall()

    @initialize(memory=st.sampled_from([None, None, 0, 1, 3]), plans=PLANS, luck=LUCK, then=THEN)
    def begins(self, memory: int | None, plans: Plans, luck: list[Misfortune], then: float) -> None:
        self.world.token_memory, self.world.plans = memory, plans
        filled(self.world)
        filled(self.world, prefix=f"other/{PATIENT}/", files=2)
        self.world.objects[SOURCE, "empty/"] = b""
        self.create()
        self.let(luck, then)

    # -- CloudFormation ------------------------------------------------------------------------------------------------

    def send(self, kind: str, new: Properties, old: Properties | None = None) -> None:
        status = {
            "Create": "CREATE_IN_PROGRESS",
            "Update": "UPDATE_IN_PROGRESS",
            "Rollback": "UPDATE_ROLLBACK_IN_PROGRESS",
            "Delete": "ROLLBACK_IN_PROGRESS" if self.must_delete else "DELETE_IN_PROGRESS",
            "Cleanup": "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        }
        self.world.stack_status = status[kind]
        self.pending = self.stage.request(kind, new, old, stack=self.stack, physical_id=self.physical_id)

    def answered(self, request: Request) -> None:
        """CloudFormation hears an answer; of a request that it waits for no more it takes no notice."""
        if request is not self.pending:
            return
        if request.kind == "Cleanup":
            self.pending = None
            return
        old, self.physical_id = self.physical_id, request.answers[0]["PhysicalResourceId"]
        if request.kind in ("Update", "Rollback") and request.status == "SUCCESS" and old != self.physical_id:
            self.cleanup.append((old, dict(request.event["OldResourceProperties"])))
        self.ended(request, good=request.status == "SUCCESS")

    def ended(self, request: Request, *, good: bool) -> None:
        self.pending = None
        if request.kind == "Create":
            self.good, self.must_delete = (request.properties, False) if good else (None, True)
        elif request.kind == "Update":
            self.tried = request.properties
            self.unfinished = not good
        elif request.kind == "Rollback":
            self.tried = self.tried if not good else None
            self.unfinished = not good
        elif request.kind == "Delete" and good:
            self.cleanup.clear()
            self.good = self.tried = None
            self.must_delete = self.unfinished = False
            self.physical_id = ""

    unfinished = False

    def create(self, *, again: bool = False) -> None:
        self.stack += again  # a stack made again under its old name is another one
        self.send("Create", self.wanted)

    def update(self, changes: list[dict[str, Any]]) -> None:
        if self.tried:  # the update before this one was never undone
            self.good, self.tried = self.tried, None
        wanted = dict(self.good or {})
        for change in changes:
            if "asset" in change:
                where = {"InputPrefix": f"in/{PATIENT}/", "AssetBucket": None, "AssetKey": None}
                wanted.update({**self.asset, "WaitSeconds": "3000"} if change["asset"] else where)
            else:
                wanted.update(change)
        self.wanted = {name: value for name, value in wanted.items() if value is not None}
        self.send("Update", self.wanted, self.good)

    def roll_back(self) -> None:
        self.send("Rollback", self.good or {}, self.tried)

    def clean_up(self) -> None:
        """Delete what an update has replaced; nothing depends on how that ends."""
        kept = self.physical_id
        self.physical_id, properties = self.cleanup.pop()
        self.send("Cleanup", properties)
        self.physical_id = kept

    def impatient(self, longest: float) -> None:
        """CloudFormation waits no longer for its request, or a person cancels the update, in the middle of a call."""
        if not self.pending or self.pending.kind not in ("Create", "Update"):
            return
        self.ended(self.pending, good=False)
        self.delete() if self.must_delete else self.roll_back()
        began = self.world.now
        for _ in range(3):
            self.stage._run_next(began + longest)

    def delete(self) -> None:
        self.send("Delete", self.tried or self.good or self.wanted)

    @rule(choice=st.sampled_from(CHOICES), changes=WISHES, luck=LUCK, then=THEN)
    def cloudformation_goes_on(
        self, choice: str, changes: list[dict[str, Any]], luck: list[Misfortune], then: float
    ) -> None:
        """The next request, as far as CloudFormation allows; it loses patience with one that it waits for."""
        if self.pending and choice != "stay":
            self.ended(self.pending, good=False)
        if self.pending:
            pass
        elif self.cleanup and not self.unfinished:
            self.clean_up()
        elif self.must_delete or (self.good and choice == "delete" and not self.unfinished):
            self.delete()
        elif self.tried and (self.unfinished or choice == "roll back"):
            self.roll_back()
        elif self.good:
            self.update(changes)
        else:
            self.create(again=choice == "delete")
        self.let(luck, then)

    @rule(run_id=st.sampled_from(["1", "2", None]), luck=LUCK, then=THEN)
    def an_import_of_another_stack_goes_on(self, run_id: str | None, luck: list[Misfortune], then: float) -> None:
        """It has the same source, output, data store and role."""
        last, new = self.neighbour, {**self.wanted, "RunId": run_id}
        new = {name: value for name, value in new.items() if value is not None}  # never "" once one was given
        if last is None or (last.kind == "Delete" and last.answers):
            self.neighbour = self.stage.request("Create", new, stack=NEIGHBOUR, status="CREATE_IN_PROGRESS")
        elif last.answers:
            physical_id, is_good = last.answers[0]["PhysicalResourceId"], last.status == "SUCCESS"
            kind, status = ("Update", "UPDATE_IN_PROGRESS") if is_good else ("Delete", "DELETE_IN_PROGRESS")
            old = last.properties if is_good else None
            self.neighbour = self.stage.request(
                kind, new if is_good else last.properties, old, stack=NEIGHBOUR, status=status, physical_id=physical_id
            )
        self.let(luck, then)

    @rule(data=st.data(), luck=LUCK, then=THEN)
    def an_event_is_delivered_again(self, data: st.DataObject, luck: list[Misfortune], then: float) -> None:
        request = data.draw(st.sampled_from(sorted(self.stage.requests)))
        self.stage.deliver(self.stage.requests[request])
        self.let(luck, then)

    # -- time, users and bad luck --------------------------------------------------------------------------------------

    def let(self, luck: list[Misfortune], then: float) -> None:
        """Let time pass, with that luck."""
        self.world.misfortunes = [dataclasses.replace(one) for one in luck]
        if then == FOREVER:
            self.stage.settle()
        else:
            self.stage.pass_time(then)

    @precondition(lambda self: self.stage.busy)
    @rule(luck=LUCK, then=THEN)
    def time_passes(self, luck: list[Misfortune], then: float) -> None:
        self.let(luck, then)

    @rule(plans=PLANS)
    def the_next_jobs_go(self, plans: Plans) -> None:
        self.world.plans = plans

    @rule(name=st.sampled_from(["1.dcm", "2.dcm", "marker/", ""]))
    def a_user_changes_the_files(self, name: str) -> None:
        """Uploads one, or removes all."""
        self.world.objects[SOURCE, f"in/{PATIENT}/{PATIENT}-{name}"] = b""
        if not name:
            for key in [key for key in self.world.objects if key[0] == SOURCE and key[1].startswith("in/")]:
                del self.world.objects[key]

    @precondition(lambda self: any(not execution.over for execution in self.stage.executions.values()))
    @rule()
    def somebody_stops_an_execution(self) -> None:
        self.stage.stop(next(one for one in self.stage.executions.values() if not one.over))

    # -- what always holds ---------------------------------------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        self.stage.check()

    def recover(self) -> None:
        """After anything at all, one clean deploy with a new run_id and good files succeeds."""
        for what in self.world.struck:
            event(what)
        self.world.misfortunes.clear()
        self.stage.settle()
        self.stage.check()
        if self.pending:
            self.ended(self.pending, good=False)
        if self.unfinished:
            self.send("Rollback", self.good or {}, self.tried)
        elif self.must_delete:
            self.send("Delete", self.wanted)
        self.stage.settle()
        self.stage.check()
        assert self.pending is None
        assert not self.unfinished
        self.world.plans = Plans()
        filled(self.world)
        clean = properties(RunId="clean")
        if self.good:
            self.send("Update", clean, self.tried or self.good)
        else:
            self.send("Create", clean)
        last = self.pending
        assert last
        self.stage.settle()
        self.stage.check()
        assert "SUCCESS" == last.status, (last.answers, self.world.struck)
        assert "COMPLETED" == last.answers[0]["Data"]["JobStatus"]


SETTINGS = settings(
    max_examples=10_000 if THOROUGH else 150,
    stateful_step_count=12,
    derandomize=not THOROUGH,
    database=None,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
TestLife = Life.TestCase
TestLife.settings = SETTINGS
