"""Failures that are answered where they happen, unlike in the table of calls: a row of docs/faults.md for each test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from botocore.stub import Stubber

from healthimaging_import import datastores, handler, tags
from healthimaging_import.aws import Clients
from healthimaging_import.importing import Importer
from healthimaging_import.jobs import Jobs
from healthimaging_import.problems import Refused, TryLater
from healthimaging_import.records import Record, Records
from healthimaging_import.resources import emptying
from healthimaging_import.resources import tags as tags_resource
from healthimaging_import.rules import EMPTYING, Verdict
from healthimaging_import.signals import announce
from healthimaging_import.verdict import Counts, Tolerance
from tests.handler.cloudformation_events import event
from tests.handler.fake_aws import MANIFEST, RESULTS, SOURCE, FakeAws
from tests.handler.state_machine import Clock, Context, Machine
from tests.handler.test_importing import GET, LIST, announce_warnings, run_job, source

__all__ = ["source"]

Test = TypeVar("Test", bound=Callable[..., None])
ANYTHING = "anything"
REFUSALS = ("AccessDeniedException", "ResourceNotFoundException", "ValidationException")


@dataclass(frozen=True)
class Handled:
    """A row: failures of a call that do not lead to what the table of calls says."""

    call: str
    codes: tuple[str, ...]
    what: str
    place: str
    always: bool
    """Nobody else makes this call."""

    def is_about(self, call: str, code: str) -> bool:
        return call == self.call and (code in self.codes or ANYTHING in self.codes)


HANDLED: list[Handled] = []


def handled(call: str, *codes: str, by: Any, what: str, always: bool = False) -> Callable[[Test], Test]:
    """The test proves the row."""
    place = f"{by.__module__.removeprefix('healthimaging_import.')}.{by.__qualname__}"
    HANDLED.append(Handled(call, codes, what, place, always))
    return lambda test: test


def told(call: str, code: str, decided: str) -> str:
    """What the table of calls says of a failure that is decided so unless a row says otherwise."""
    rows = [row for row in HANDLED if row.is_about(call, code)]
    if any(row.always for row in rows):
        return "see above"
    return f"{decided}; see above" if rows else decided


def section() -> str:
    lines = [
        "\n## What is handled where it happens\n",
        "Calls of the table below whose failures lead to something else, always or in one place. Each row is proven by",
        "a test in `tests/handler/test_faults_handled.py`.\n",
        "| call | failure | what happens | where |",
        "|---|---|---|---|",
    ]
    lines += [f"| {row.call} | {', '.join(row.codes)} | {row.what} | `{row.place}` |" for row in HANDLED]
    return "\n".join(lines) + "\n"


ID = "0" * 32


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(handler, "time", clock)
    return clock


# -- data stores -----------------------------------------------------------------------------------------------------


@handled(
    "medical-imaging:DeleteDatastore",
    "ConflictException",
    by=datastores.delete,
    what="stop: the store holds image sets, or runs a job",
    always=True,
)
def test_fails_at_once_to_delete_a_store_that_is_in_use(clients: Clients, aws: FakeAws) -> None:
    aws.fail("HealthImaging.DeleteDatastore", "ConflictException", 409)
    with pytest.raises(Refused, match="holds image sets or runs a job"):
        datastores.delete(clients.healthimaging, aws.datastore_id)


@handled(
    "medical-imaging:DeleteDatastore",
    "ResourceNotFoundException",
    by=datastores.delete,
    what="done: the store is gone",
    always=True,
)
def test_a_store_that_is_gone_is_deleted(clients: Clients, aws: FakeAws) -> None:
    aws.fail("HealthImaging.DeleteDatastore", "ResourceNotFoundException", 404)
    datastores.delete(clients.healthimaging, aws.datastore_id)


@handled(
    "medical-imaging:GetDatastore",
    "ResourceNotFoundException",
    by=datastores.is_gone,
    what="done, after a deletion: the store is gone",
)
def test_a_store_that_is_not_found_is_gone(clients: Clients, aws: FakeAws) -> None:
    aws.fail("HealthImaging.GetDatastore", "ResourceNotFoundException", 404)
    assert datastores.is_gone(clients.healthimaging, aws.datastore_id)


@handled(
    "medical-imaging:DeleteImageSet",
    "ResourceNotFoundException",
    by=datastores.delete_next,
    what="done: somebody else deleted it",
    always=True,
)
def test_an_image_set_that_is_gone_is_deleted(clients: Clients) -> None:
    going: list[str] = []
    with Stubber(clients.healthimaging) as stubber:
        stubber.add_response("search_image_sets", {"imageSetsMetadataSummaries": [{"imageSetId": ID}]})
        stubber.add_client_error("delete_image_set", "ResourceNotFoundException")
        assert not datastores.delete_next(clients.healthimaging, ID, going)
    assert [ID] == going


@handled(
    "medical-imaging:ListTagsForResource",
    *REFUSALS,
    by=datastores.may_be_emptied,
    what="the store is not emptied, and that is logged",
    always=True,
)
@pytest.mark.parametrize("code", REFUSALS)
def test_a_store_whose_tags_cannot_be_read_is_not_emptied(clients: Clients, aws: FakeAws, code: str) -> None:
    aws.fail("HealthImaging.ListTagsForResource", code)
    assert not datastores.may_be_emptied(clients.healthimaging, aws.datastore_arn)


@handled(
    "medical-imaging:UntagResource",
    *REFUSALS,
    by=datastores.opt_out,
    what="the mark of a store that may be emptied stays, and that is logged",
)
@pytest.mark.parametrize("code", REFUSALS)
def test_a_mark_that_cannot_be_taken_away_stays(clients: Clients, aws: FakeAws, code: str) -> None:
    aws.fail("HealthImaging.UntagResource", code)
    datastores.opt_out(clients.healthimaging, aws.datastore_arn)


AT_ONCE = "stop at once, also in the first 120 seconds"
DENIALS = ("AccessDeniedException", "ValidationException")


@handled("medical-imaging:GetDatastore", *DENIALS, by=datastores.is_gone, what=f"after a deletion: {AT_ONCE}")
@handled("medical-imaging:DeleteDatastore", *DENIALS, by=datastores.delete, what=AT_ONCE, always=True)
@pytest.mark.parametrize("code", DENIALS)
@pytest.mark.parametrize(
    ("operation", "call"), [("DeleteDatastore", datastores.delete), ("GetDatastore", datastores.is_gone)]
)
def test_fails_at_once_to_delete_a_store_without_the_right(
    clients: Clients, aws: FakeAws, operation: str, call: Any, code: str
) -> None:
    aws.fail(f"HealthImaging.{operation}", code)
    with pytest.raises(Refused, match=f"{operation} answered {code}"):
        call(clients.healthimaging, aws.datastore_id)


@handled("medical-imaging:DeleteImageSet", *DENIALS, by=datastores.delete_next, what=AT_ONCE, always=True)
@handled("medical-imaging:SearchImageSets", *DENIALS, by=datastores.delete_next, what=AT_ONCE, always=True)
@pytest.mark.parametrize("code", DENIALS)
def test_fails_at_once_to_empty_a_store_without_the_right(clients: Clients, code: str) -> None:
    with Stubber(clients.healthimaging) as stubber:
        stubber.add_client_error("search_image_sets", code)
        stubber.add_response("search_image_sets", {"imageSetsMetadataSummaries": [{"imageSetId": ID}]})
        stubber.add_client_error("delete_image_set", code)
        for operation in ("SearchImageSets", "DeleteImageSet"):
            with pytest.raises(Refused, match=f"{operation} answered {code}"):
                datastores.delete_next(clients.healthimaging, ID, [])


@handled(
    "cloudformation:DescribeStacks",
    "AccessDenied",
    "AccessDeniedException",
    by=emptying.advance,
    what=f"in the deletion of a store that may be emptied: {AT_ONCE}",
)
@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
def test_fails_at_once_to_empty_a_store_where_it_is_not_known_what_becomes_of_the_stack(
    aws: FakeAws, clock: Clock, code: str
) -> None:
    aws.fail("CloudFormation.DescribeStacks", code, 403, times=99)
    began = clock.seconds
    asked = event(aws, "tags-create", DatastoreId=aws.datastore_id)
    kind = {"RequestType": "Delete", "ResourceType": EMPTYING, "PhysicalResourceId": "x"}
    Machine(aws, clock).request({**asked, **kind})
    assert ["FAILED"] == [answer["Status"] for answer in aws.answers]
    assert began == clock.seconds


# -- tags ------------------------------------------------------------------------------------------------------------


@handled(
    "medical-imaging:UntagResource",
    *REFUSALS,
    by=tags.remove_tags,
    what="in a deletion the tags stay, and that is logged",
)
@pytest.mark.parametrize("code", REFUSALS)
def test_tags_that_cannot_be_removed_stay(clients: Clients, aws: FakeAws, code: str) -> None:
    aws.fail("HealthImaging.UntagResource", code)
    tags.remove_tags(clients.healthimaging, aws.datastore_arn, {"team": "radiology"})


@handled(
    "cloudformation:DescribeStacks",
    "AccessDenied",
    "AccessDeniedException",
    by=tags_resource.advance,
    what="in a deletion the tags stay",
)
@pytest.mark.parametrize("code", ["AccessDenied", "AccessDeniedException"])
def test_tags_stay_where_it_is_not_known_what_becomes_of_the_stack(aws: FakeAws, clock: Clock, code: str) -> None:
    machine, create = Machine(aws, clock), event(aws, "tags-create")
    machine.request(create)
    aws.fail("CloudFormation.DescribeStacks", code, 403)
    machine.request({**create, "RequestType": "Delete", "RequestId": "delete"})
    assert ("SUCCESS", {"team": "radiology"}) == (aws.answers[1]["Status"], aws.tags())


# -- imports ---------------------------------------------------------------------------------------------------------


@handled(
    "medical-imaging:GetDICOMImportJob",
    "ResourceNotFoundException",
    by=Importer._look,
    what="later for 300 seconds after the job was submitted; then stop, and the next deploy imports again",
)
def test_a_job_that_is_not_known_may_not_be_known_yet(source: FakeAws, deploy: Any) -> None:
    first = deploy()
    run_job(source, first)
    source.fail(GET, "ResourceNotFoundException", 404, times=2)
    first.clock = time.time() + 290
    with pytest.raises(TryLater):
        first.step()
    first.clock += 20
    with pytest.raises(Refused, match="is not known any more"):
        first.step()


@pytest.fixture
def parameters(request_for: Any) -> dict[str, Any]:
    return dict(request_for(run_id="1").start_parameters(1))


LOST_START = (
    "in the search for a start whose answer was lost: as **settling**, then the request is sent again with its token"
)


@handled("medical-imaging:ListDICOMImportJobs", "AccessDeniedException", by=Jobs.like, what=LOST_START, always=True)
@handled("medical-imaging:GetDICOMImportJob", "AccessDeniedException", by=Jobs.like, what=LOST_START)
@pytest.mark.parametrize("operation", [LIST, GET])
def test_jobs_that_may_not_be_looked_at_are_left_to_the_token(
    clients: Clients, aws: FakeAws, parameters: dict[str, Any], operation: str
) -> None:
    Jobs(clients, settling=False).start(parameters)
    aws.fail(operation, "AccessDeniedException", 403, times=2)
    with pytest.raises(TryLater):
        Jobs(clients, settling=True).like(parameters, 0)
    assert [] == Jobs(clients, settling=False).like(parameters, 0)


@handled("s3:GetObject", "NoSuchKey", by=Records.load, what="there is no record yet")
@handled("s3:GetObject", "NoSuchKey", by=Records.latest_run, what="no run has succeeded yet")
def test_what_nobody_has_written_is_not_there(clients: Clients) -> None:
    records = Records(clients.s3, RESULTS, "imports/")
    assert records.load("a" * 64) is None
    assert records.latest_run("a" * 64) is None


@handled(
    "s3:PutObject",
    "PreconditionFailed",
    "NoSuchKey",
    by=Records.claim,
    what="later: somebody else has changed the import's record, or removed it",
)
def test_a_record_that_somebody_else_has_changed_is_looked_at_again(clients: Clients, aws: FakeAws) -> None:
    records = Records(clients.s3, RESULTS, "imports/")
    record = Record(intent="a" * 64, attempt=1, asked_by="first", parameters={})
    stored = records.claim(record, None)
    with pytest.raises(TryLater):
        records.claim(record, None)
    aws.objects.clear()
    with pytest.raises(TryLater):
        records.save(record, stored)


@handled(
    "s3:GetObject",
    "NoSuchKey",
    by=Importer._follow,
    what="of a manifest: later for 120 seconds after the end of the job (10 where it failed); then stop",
)
@pytest.mark.parametrize(("status", "seconds"), [("COMPLETED", 120), ("FAILED", 10)])
def test_a_manifest_may_be_late(source: FakeAws, deploy: Any, status: str, seconds: float) -> None:
    first = deploy()
    run_job(source, first)
    (key,) = (key for key in source.keys(RESULTS) if key.endswith(MANIFEST))
    del source.objects[RESULTS, key]
    source.jobs()[0].status = status
    for pause in (0, seconds - 1):
        first.clock += pause
        with pytest.raises(TryLater):
            first.step()
    first.clock += 1
    with pytest.raises(Refused, match="left no manifest"):
        first.step()


@handled(
    "s3:GetObject",
    "NoSuchKey",
    by=Importer._warnings,
    what="of warnings that the manifest announces: not read, which is no failure where they are tolerated; where they "
    "are not, later for 120 seconds",
)
@pytest.mark.parametrize("tolerated", [True, False])
def test_warnings_may_be_late(source: FakeAws, deploy: Any, *, tolerated: bool) -> None:
    first = deploy(tolerance=Tolerance(warnings=tolerated))
    run_job(source, first)
    announce_warnings(source)
    if tolerated:
        assert first.step().finished
        return
    for pause in (0, 119):
        first.clock += pause
        with pytest.raises(TryLater):
            first.step()
    first.clock += 1
    with pytest.raises(Refused, match="its warnings were not read"):
        first.step()


@handled(
    "s3:GetObject",
    "AccessDenied",
    "NoSuchBucket",
    by=Importer._warnings,
    what="of warnings that are tolerated: not read, which is no failure",
)
@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket"])
def test_warnings_that_are_tolerated_need_not_be_read(source: FakeAws, deploy: Any, code: str) -> None:
    first = deploy()
    run_job(source, first)
    announce_warnings(source, b"")
    source.fail("S3.GetObject", code, 403, subject="warning.ndjson")
    assert first.step().finished


@handled(
    "s3:GetObject",
    ANYTHING,
    by=Importer._causes,
    what="of the reasons of rejected files: the verdict is told without them",
)
@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied", "SlowDown", "Surprise"])
def test_reasons_need_not_be_read(aws: FakeAws, deploy: Any, code: str) -> None:
    aws.put(SOURCE, "studies/1.dcm", b"not DICOM")
    first = deploy()
    run_job(aws, first)
    aws.fail("S3.GetObject", code, 400, subject="failure.ndjson")
    with pytest.raises(Refused, match="it imported nothing: 1 files scanned") as refused:
        first.step()
    assert "most frequent" not in str(refused.value)


# -- signals and executions ------------------------------------------------------------------------------------------


@handled("events:PutEvents", ANYTHING, by=announce, what="logged; the metrics and the outcome stay", always=True)
@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException", "ExpiredToken", "Surprise"])
def test_an_event_that_cannot_be_put_changes_no_outcome(
    clients: Clients, aws: FakeAws, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    aws.fail("Events.PutEvents", code, times=99)
    announce(
        clients,
        import_name="Imaging/Import",
        datastore_id="d",
        job_id="j",
        job_status="COMPLETED",
        verdict=Verdict.SUCCEEDED,
        counts=Counts(),
        seconds=None,
    )
    logged = capsys.readouterr().out
    assert ("_aws" in logged, "event" in logged, []) == (True, True, aws.events)


PATIENCE = (
    "in CloudFormation's own call: what is tried later is tried for 120 seconds, and a role or policy counts as new"
)


@handled("states:StartExecution", ANYTHING, by=handler._start_execution, what=PATIENCE)
@handled("sts:AssumeRole", ANYTHING, by=handler._start_execution, what=PATIENCE)
@pytest.mark.parametrize("operation", ["States.StartExecution", "STS.AssumeRole"])
@pytest.mark.parametrize("code", ["AccessDenied", "ThrottlingException"])
def test_a_request_that_cannot_be_taken_up_is_answered_in_time(
    aws: FakeAws, clock: Clock, operation: str, code: str
) -> None:
    aws.fail(operation, code, 403, times=10**6)
    began = clock.seconds
    handler.handle(event(aws, "import-create", WaitSeconds="3000"), Context())
    assert 120 < clock.seconds - began < 160
    assert ["FAILED"] == [answer["Status"] for answer in aws.answers]


@handled(
    "states:StartExecution",
    "ExecutionAlreadyExists",
    by=handler._start_execution,
    what="done: the request was taken up before",
    always=True,
)
def test_an_execution_that_runs_is_enough(aws: FakeAws) -> None:
    for _ in range(2):
        handler.handle(event(aws, "import-create"), Context())
    assert (1, []) == (len(aws.executions), aws.answers)


# -- the rows --------------------------------------------------------------------------------------------------------


def test_every_row_is_about_a_call_of_the_table() -> None:
    from tests.handler.test_faults_document import HEALTHIMAGING, OTHERS  # noqa: PLC0415 - it writes these rows

    calls = {f"medical-imaging:{name}" for name in HEALTHIMAGING}
    calls |= {f"{service}:{name}" for service, names in OTHERS.items() for name in names}
    assert set() == {row.call for row in HANDLED} - calls
