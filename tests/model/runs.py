"""What stands around the function: Lambda's calls, Step Functions and CloudFormation, in virtual time.

The function is the real one. Executions interpret the state machine's own definition, with its retries and catches, and
every step's input and output pass through JSON, as they do in AWS.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from healthimaging_cdk._provider.state_machine import DEFINITION
from healthimaging_import import cfn, handler, receiving
from healthimaging_import.aws import clients
from healthimaging_import.contract import ImportAttribute, ResourceType
from healthimaging_import.errors import RetryableError
from healthimaging_import.importing import publish, record
from healthimaging_import.importing.request import ImportRequest
from tests.model.fakes import (
    ASSETS,
    PATIENT,
    RESULTS,
    SOURCE,
    AnsweringUrls,
    Crash,
    ExecutionAlreadyExists,
    Job,
    Plans,
    World,
    client_of,
)

Properties = dict[str, Any]
ANSWERS = "https://cloudformation-custom-resource-response-useast1.s3.us-east-1.amazonaws.com"


STATES: dict[str, Any] = DEFINITION["States"]
DATASTORE_ID = "0123456789abcdef0123456789abcdef"
NUMBERS = {
    "NumberOfScannedFiles": lambda job: job.scanned,
    "NumberOfImportedFiles": lambda job: job.imported,
    "NumberOfFilesWithCustomerError": lambda job: job.scanned - job.imported,
    "NumberOfGeneratedImageSets": lambda job: job.imported,
    "NumberOfNonPrimaryImageSets": lambda job: min(job.others, job.imported),
}
FORGED = re.compile(r"FORGED|987654")
"""Stands in what somebody makes up."""
_BOTH_PROPERTIES = ("ResourceProperties", "OldResourceProperties")
_ASYNC_TRIES = 3
_RESPOND_TRIES = 5
_LONGEST_INVOCATION = 900


def properties(**changes: Any) -> Properties:
    """An import's properties, as CloudFormation sends them: numbers are strings; None takes one away."""
    made = {
        "RoleArn": "arn:aws:iam::111122223333:role/Import",
        "StateMachineArn": "arn:aws:states:us-east-1:111122223333:stateMachine:Engine",
        "DataAccessRoleArn": "arn:aws:iam::111122223333:role/DataAccess",
        "DatastoreId": DATASTORE_ID,
        "InputBucket": SOURCE,
        "InputPrefix": f"in/{PATIENT}/",
        "OutputBucket": RESULTS,
        "OutputPrefix": "out/",
        "WaitSeconds": "300",
        "RunId": "",  # given always: which run a deploy without one means is tested in tests/handler
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


@dataclass
class Request:
    """A request of CloudFormation, and what became of it."""

    kind: str
    event: dict[str, Any]
    at: float
    answers: list[dict[str, Any]] = field(default_factory=list)
    puts: int = 0
    first_call_died: bool = False
    rescue_died: bool = False
    stopped: bool = False
    answered_by_first_call: bool = False
    died_answering: bool = False
    failed_to_respond: int = 0
    came_late: bool = False
    """KNOWN: its first call died; the next one, up to five minutes later, is taken for the deploy of that time."""
    was_not_noted: bool = False
    was_not_closed: bool = False
    """KNOWN: stopped by hand, and its record could not be written at just that moment, by the last that looks."""

    @property
    def id(self) -> str:
        """Its id, which begins with its kind."""
        return str(self.event["RequestId"])

    @property
    def properties(self) -> Properties:
        """What is wanted."""
        return dict(self.event["ResourceProperties"])

    @property
    def scope(self) -> str:
        """Who asks."""
        return f"{self.event['StackId']}/{self.event['LogicalResourceId']}"

    @property
    def wanted(self) -> ImportRequest:
        """What it asks for."""
        return ImportRequest.read(self.scope, self.properties, self.properties.get("RunId") or "")

    @property
    def intent(self) -> str:
        """What is to be imported."""
        return self.wanted.intent

    @property
    def series(self) -> str:
        """What is to be imported, whatever the run."""
        return self.wanted.series

    @property
    def all_series(self) -> set[str]:
        """What it asks for, and what it undoes."""
        both = (self.properties, self.event.get("OldResourceProperties"))
        return {ImportRequest.read(self.scope, one).series for one in both if one}

    @property
    def forgiving(self) -> bool:
        """Whether it must end well whatever happens."""
        return self.kind in ("Delete", "Rollback", "Cleanup")

    @property
    def status(self) -> str:
        """What CloudFormation was told."""
        return str(self.answers[0]["Status"]) if self.answers else "none"


@dataclass
class Execution:
    """One execution of the state machine."""

    name: str
    input: str
    at: str
    data: dict[str, Any]
    due: float
    status: str = "RUNNING"
    error: str = ""
    tried: Counter[int] = field(default_factory=Counter)
    busy: bool = False
    lost_a_step: bool = False

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status != "RUNNING"


@dataclass
class Invocation:
    """An asynchronous call of the function, which Lambda repeats when it dies."""

    payload: dict[str, Any]
    due: float
    tries: int = 0
    over: bool = False
    busy: bool = False


@dataclass
class Stage:
    """One stack with one import, in one world."""

    world: World
    requests: dict[str, Request] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)
    invocations: list[Invocation] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    at_first_call: list[bool] = field(default_factory=list)
    gave_up_answering: set[str] = field(default_factory=set)
    answered: Callable[[Request], None] = lambda _: None
    knows_all_jobs: bool = True
    """Whether every job was started, and is polled, by a request of this stage."""
    excused: str = ""
    """What nobody can keep, where others write records or call the function."""

    def __post_init__(self) -> None:
        """Connect the two."""
        self.world.start_execution = self._start_execution
        self.world.put_answer = self._put_answer
        self.world.meanwhile = self._meanwhile
        self.world.may_be_repeated = self._may_be_repeated
        self.world.was_answered = self._started_unasked
        self.world.was_undone = self._was_undone

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Put the fakes where the function makes its clients, tells the time and answers."""
        self.install()
        try:
            yield
        finally:
            self.uninstall()

    def install(self) -> None:
        """Put the fakes in place."""
        self._create_client = clients._create_client
        clients._create_client = lambda service, *_, **__: client_of(self.world, service)
        self._replaced = [(module, module.time) for module in (handler, receiving, cfn, publish, record)]
        for module, _ in self._replaced:
            module.time = self.world.clock()  # type: ignore[attr-defined]
        self._environment = patch.dict(os.environ, {"AWS_REGION": "us-east-1"})
        self._environment.start()
        self._urllib = cfn.urllib
        cfn.urllib = AnsweringUrls(self.world)  # type: ignore[attr-defined]

    def uninstall(self) -> None:
        """Take them away again."""
        self._environment.stop()
        cfn.urllib = self._urllib  # type: ignore[attr-defined]
        for module, real in self._replaced:
            module.time = real  # type: ignore[attr-defined]
        clients._create_client = self._create_client
        clients._sessions.clear()

    # -- CloudFormation ------------------------------------------------------------------------------------------------

    def request(
        self, kind: str, new: Properties, old: Properties | None = None, *, stack: int = 1, physical_id: str = "",
        deliver: bool = True, status: str = "",
    ) -> Request:  # fmt: skip
        """Send a request: its event is delivered as soon as time passes.

        With a ``status`` the stack is not the one that ``World.stack_status`` is about.
        """
        self.world.now += 3  # between two requests CloudFormation has to hear an answer, and somebody to deploy
        name, sent_at = f"{kind}-{len(self.requests)}", datetime.fromtimestamp(self.world.now, UTC)
        stack_id = f"arn:aws:cloudformation:us-east-1:111122223333:stack/Imaging/{stack}"
        if status:
            self.world.other_stacks[stack_id] = status, sent_at
        elif kind in ("Create", "Update"):
            self.world.stack_updated = sent_at  # a deploy of its own
        event = {
            "RequestType": {"Rollback": "Update", "Cleanup": "Delete"}.get(kind, kind),
            "RequestId": name,
            "StackId": stack_id,
            "LogicalResourceId": "Import",
            "ResourceType": ResourceType.IMPORT.value,
            "ResponseURL": f"{ANSWERS}/{name}?X-Amz-Date={sent_at:%Y%m%dT%H%M%SZ}&Signature=secret",
            "ResourceProperties": json.loads(json.dumps(new)),
        }
        if old is not None:
            event["OldResourceProperties"] = json.loads(json.dumps(old))
        if physical_id:
            event["PhysicalResourceId"] = physical_id
        request = self.requests[name] = Request(kind, event, self.world.now)
        if deliver:
            self.deliver(request)
        return request

    def deliver(self, request: Request) -> None:
        """Call the function with the request's event, once more perhaps."""
        request.came_late |= self.world.now > request.at and request.id not in self.executions
        self.invocations.append(Invocation(request.event, self.world.now))

    def deploy_a_clean_run(self) -> None:
        """After anything at all, an update with a run of its own imports good files."""
        self.world.plans = Plans()
        self.world.stack_status = "UPDATE_IN_PROGRESS"
        update = self.request("Update", properties(RunId="clean"), properties())
        self.settle()
        self.check()
        assert "SUCCESS" == update.status, update.answers

    def _put_answer(self, url: str, body: bytes) -> None:
        if not url.startswith(f"{ANSWERS}/"):
            self.world.violation(f"a response went to {url}")
            return
        request = self.requests[url.rpartition("/")[2].partition("?")[0]]
        request.puts += 1
        request.answered_by_first_call |= self.at_first_call[-1]
        document = json.loads(body)
        if len(body) > 4096:
            self.world.violation("an answer was longer than CloudFormation takes")
        if PATIENT in body.decode() or PATIENT in json.dumps(document, ensure_ascii=False):
            self.world.violation(f"an answer named the patient: {document['Reason']}")
        if document in request.answers:
            return
        request.answers.append(document)
        self._check_answer(request, document)
        if len(request.answers) == 1:
            self.answered(request)

    # -- what an answer must say ---------------------------------------------------------------------------------------

    def _check_answer(self, request: Request, document: dict[str, Any]) -> None:  # noqa: PLR0912 - one list
        event, world = request.event, self.world
        if any(document[name] != event[name] for name in ("StackId", "RequestId", "LogicalResourceId")):
            world.violation("an answer was for another request")
        same = event["RequestType"] == "Delete" or document["Status"] == "FAILED"
        if same and document["PhysicalResourceId"] != event.get("PhysicalResourceId", document["PhysicalResourceId"]):
            world.violation("the physical id changed")
        if document["Status"] == "FAILED":
            if not document["Reason"]:
                world.violation("a failure had no reason")
            return
        if self.excused and event["RequestType"] == "Delete":
            return  # what it says of a job nobody reads, so it is not compared with anything
        data = document["Data"]
        if set(ImportAttribute) != set(data) and event["RequestType"] != "Delete":
            world.violation(f"attributes are missing: {sorted(set(ImportAttribute) - set(data))}")
        bucket, _, key = data.get("ManifestUri", "none").removeprefix("s3://").partition("/")
        if key and (bucket, key) not in world.objects:
            world.violation("a manifest was named that does not exist")
        status = data.get("JobStatus")
        job = world.jobs.get(data.get("JobId", ""))
        if status is None or status == "NOT_STARTED":
            # An update that CloudFormation waits for no more, since it rolls back, starts nothing either.
            # Where a record seems to be gone, an update of the same meaning takes the import for done.
            is_last = "GetObject: error NoSuchKey" not in world.struck
            is_last &= not self._is_replaced(request)
            if is_last and not request.forgiving and not self._is_undone(request):
                world.violation("an import that must not be skipped was skipped")
        elif status == "UNKNOWN":
            # Only what must not fail may end well without knowing anything; a doubled event may come in a rollback,
            # and be answered when the next deploy has begun and nobody hears it.
            if not (request.forgiving or self._is_undone(request) or self._is_replaced(request)):
                world.violation("a deploy of which nothing is known was answered as a success")
        elif status == "NOTHING_TO_IMPORT":
            started = any(started_by == request.id for started_by, _ in world.starts)
            # Where a later request owns the import, this one answers nobody.
            is_heard = not self._is_replaced(request) and not self._saw_its_attempt_fail_by_another(request)
            if started and is_heard:
                world.violation("a job was started and the answer said that there was nothing to import")
        elif job is None or not self._asks_for(request, job):
            world.violation(f"the answer named a job that is not this import's: {data}")
        elif status in ("SUBMITTED", "IN_PROGRESS"):
            waits = event["ResourceProperties"].get("Completion", "wait") == "wait"
            # A rollback must not fail: where the job outlasts it as well, it says so. So does a request whose first
            # call came late enough to be taken for a rollback's.
            is_rollback = request.kind == "Rollback" or request.came_late
            outlasted = is_rollback and world.now - request.at >= float(request.properties["WaitSeconds"])
            if event["RequestType"] == "Delete" or (waits and not outlasted):
                world.violation("a job that runs was answered as a success")
        else:
            self._check_counts(job, data)

    def _check_counts(self, job: Job, data: dict[str, str]) -> None:
        world = self.world
        if not job.over or job.status != data["JobStatus"]:
            world.violation(f"the answer said {data['JobStatus']}, the job is {job.status}")
        if any(str(count(job)) != data[name] for name, count in NUMBERS.items()):
            world.violation(f"the answer's numbers are not the job's: {data}")
        if not world.image_sets.get(job.job_id):
            world.violation("a success without an image set")
        if not self._was_good(job):
            world.violation(f"a job was a success that nobody tolerates: {data['Summary']}")

    def _asks_for(self, request: Request, job: Job) -> bool:
        """Whether the job is the request's: without a run_id it means the run that succeeded last."""
        if request.properties.get("RunId") is None:
            return request.series == self.requests[job.submitted_by].series
        return request.intent == job.intent

    def _was_good(self, job: Job) -> bool:
        """Whether the job succeeded by the tolerance of anybody who asked for it."""
        if not job.imported or not job.has_manifest or job.outcome == "garbage":
            return False
        asked = [one.properties for one in self.requests.values() if self._asks_for(one, job)]
        return any(_tolerates(wanted, job) for wanted in asked)

    def _may_be_repeated(self, job: Job) -> bool:
        """Whether the next attempt may begin: the job failed, or something else went into the store after it."""
        record = self.world.written.get(job.token, {})
        if record.get("verdict") == "FAILED":
            return True
        now, old = (self.requests[self.world.at_work[-1]].event.get(name) or {} for name in _BOTH_PROPERTIES)
        if old and any(now[name] != old[name] for name in ("OutputBucket", "OutputPrefix")):
            return True  # what was started meanwhile is noted in the other output
        later = [one for one in self.world.jobs.values() if one.submitted_at > job.submitted_at]
        return any(one.intent != job.intent for one in later)

    def _started_unasked(self, request_id: str) -> bool:
        """Whether a request that was answered starts a job."""
        request = self.requests[request_id]
        # KNOWN: nothing remembers that the first call answered for itself; the event's next delivery begins anew.
        return bool(request.answers) and not request.answered_by_first_call

    def _is_undone(self, request: Request) -> bool:
        """Whether CloudFormation takes the stack back, or away."""
        status, _ = self.world.other_stacks.get(request.event["StackId"], (self.world.stack_status, None))
        return bool(re.search("ROLLBACK|DELETE", status))

    def _is_replaced(self, request: Request) -> bool:
        return any(one.at > request.at and one.scope == request.scope for one in self.requests.values())

    def _was_undone(self, request_id: str) -> bool:
        """Whether a later deletion or rollback of the same resource has its answer."""
        request = self.requests[request_id]
        return any(
            one.forgiving and one.answers and one.at > request.at and one.scope == request.scope
            for one in self.requests.values()
        )

    def _saw_its_attempt_fail_by_another(self, request: Request) -> bool:
        """KNOWN: a request loses the step that started its job, a deletion judges the job, the request starts anew."""
        mine = {token for token, record in self.world.written.items() if record["owner"] == request.id}
        return any(self.world.failed_by.get(token, request.id) != request.id for token in mine)

    def _failed_at_once(self, request: Request, token: str) -> bool:
        """Whether a job failed as one does whose role IAM does not know yet: it is started once more."""
        job = next((one for one in self.world.jobs.values() if one.token == token), None)
        is_new = {**request.event.get("OldResourceProperties", {}), **request.properties} != request.event.get(
            "OldResourceProperties"
        )
        is_silent = job is not None and (job.manifest_at is None or job.manifest_at > job.ends_at)
        execution = self.executions.get(request.id)
        # The first call that could begin may be minutes later than the request.
        began_at = json.loads(execution.input)["began_at"] if execution else request.at
        return job is not None and is_new and job.status == "FAILED" and is_silent and job.ends_at < began_at + 300

    # -- Lambda --------------------------------------------------------------------------------------------------------

    def invoke(self, payload: dict[str, Any]) -> Any:
        """Call the function, through JSON."""
        clients._sessions.clear()
        began, output = self.world.now, io.StringIO()
        left = lambda: int((began + _LONGEST_INVOCATION - self.world.now) * 1000)  # noqa: E731
        request_id = _request_id(payload)
        request = self.requests[request_id]
        puts = request.puts
        self.world.at_work.append(request_id)
        self.at_first_call.append("step" not in payload and payload.get("source") != "aws.states")
        try:
            with contextlib.redirect_stdout(output):
                answer = handler.handle(
                    json.loads(json.dumps(payload)), SimpleNamespace(get_remaining_time_in_millis=left)
                )
        except (Crash, OSError):
            request.died_answering |= request.puts > puts
            raise
        finally:
            self.at_first_call.pop()
            self._check_log(output.getvalue(), self.world.at_work.pop())
        return json.loads(json.dumps(answer))

    def _check_log(self, output: str, request_id: str) -> None:
        if PATIENT in output:
            line = next(line for line in output.splitlines() if PATIENT in line)
            self.world.violation(f"the log named the patient: {line}")
        if "Signature" in output:
            self.world.violation("the log held the address for the answer")
        if '"step": "unexpected"' in output:
            self.unexpected.append(output)
        if '"step": "not closed"' in output and self.requests[request_id].stopped:
            self.requests[request_id].was_not_closed = True
        if '"step": "not noted"' in output or '"what": "has_responded"' in output:
            self.requests[request_id].was_not_noted = True
        if '"step": "not responded"' in output:
            self.requests[request_id].failed_to_respond += 1
        if '"step": "not rescued"' in output or self.requests[request_id].failed_to_respond >= _RESPOND_TRIES:
            self.gave_up_answering.add(request_id)

    def _run_invocation(self, call: Invocation) -> None:
        try:
            self.invoke(call.payload)
            call.over = True
        except (Crash, Exception) as failure:
            # A first call that cannot begin leaves its slot to others, and is made again.
            may_come_again = isinstance(failure, RetryableError) and "RequestType" in call.payload
            if not isinstance(failure, (Crash, OSError)) and not may_come_again:
                self.world.violation(f"a call ended with {failure!r}")
            call.tries += 1
            if "RequestType" in call.payload:
                self.requests[_request_id(call.payload)].came_late = True
            call.due = self.world.now + 60 * call.tries
            if call.tries < _ASYNC_TRIES:
                return
            call.over = True
            request = self.requests[_request_id(call.payload)]
            if "RequestType" not in call.payload:
                # KNOWN: a notice of a notice matches no rule, so that nothing goes round in circles.
                request.rescue_died = True
                return
            request.first_call_died = True
            context = {"condition": "RetriesExhausted"}
            told = {"errorType": type(failure).__name__, "errorMessage": str(failure)}
            detail = {"requestContext": context, "requestPayload": call.payload, "responsePayload": told}
            self.invocations.append(Invocation({"source": "lambda", "detail": detail}, self.world.now))

    # -- Step Functions ------------------------------------------------------------------------------------------------

    def _start_execution(self, name: str, text: str) -> None:
        there = self.executions.get(name)
        if there is None:
            self.executions[name] = Execution(name, text, DEFINITION["StartAt"], json.loads(text), self.world.now)
        elif there.over or there.input != text:
            failure = {"Error": {"Code": "ExecutionAlreadyExists", "Message": name}}
            raise ExecutionAlreadyExists(failure, "StartExecution")

    def stop(self, execution: Execution) -> None:
        """Stop an execution by hand."""
        self.requests[_asker(execution.name)].stopped = True
        self._finish(execution, "ABORTED")

    def _finish(self, execution: Execution, status: str, error: str = "") -> None:
        execution.status, execution.error = status, error
        if status in ("ABORTED", "FAILED", "TIMED_OUT"):
            detail = {"status": status, "input": execution.input, "error": error or None, "name": execution.name}
            event = {"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": detail}
            self.invocations.append(Invocation(event, self.world.now))

    def _run_task(self, execution: Execution) -> None:
        state = STATES[execution.at]
        payload = {"step": state["Parameters"]["Payload"]["step"], "state": execution.data}
        try:
            result = self.invoke(payload)
        except (Crash, Exception) as failure:
            name = "Sandbox.Timedout" if isinstance(failure, Crash) else type(failure).__name__
            if not isinstance(failure, (Crash, OSError)):
                self.world.violation(f"a step ended with {failure!r}")
            if not execution.over:
                self._failed(execution, state, name)
            return
        if execution.over:  # stopped meanwhile
            return
        execution.data = result
        self._go_to(execution, state["Next"])

    def _failed(self, execution: Execution, state: dict[str, Any], name: str) -> None:
        for number, retrier in enumerate(state["Retry"]):
            if name in retrier["ErrorEquals"] or "States.ALL" in retrier["ErrorEquals"]:
                if execution.tried[number] < retrier["MaxAttempts"]:
                    wait = retrier["IntervalSeconds"] * retrier.get("BackoffRate", 2) ** execution.tried[number]
                    execution.tried[number] += 1
                    execution.due = self.world.now + wait
                    return
                break
        execution.lost_a_step = True
        for catcher in state.get("Catch", ()):
            assert ["States.ALL"] == catcher["ErrorEquals"]
            assert "$.error" == catcher["ResultPath"]
            execution.data = {**execution.data, "error": {"Error": name, "Cause": "{}"}}
            self._go_to(execution, catcher["Next"])
            return
        self._finish(execution, "FAILED", name)

    def _go_to(self, execution: Execution, name: str) -> None:
        execution.tried.clear()
        execution.due = self.world.now
        while not execution.over:
            execution.at, state = name, STATES[name]
            kind = state["Type"]
            if kind == "Task":
                return
            if kind == "Wait":
                execution.due += execution.data[state["SecondsPath"].removeprefix("$.")]
                name = state["Next"]
            elif kind == "Choice":
                name = next((c["Next"] for c in state["Choices"] if _chosen(c, execution.data)), state["Default"])
            else:
                self._finish(execution, "SUCCEEDED" if kind == "Succeed" else "FAILED", state.get("Error", ""))

    # -- time ----------------------------------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that is due within some seconds."""
        until = self.world.now + seconds
        while self._run_next(until):
            pass
        self.world.now = max(self.world.now, until)

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return any(not item.over for item in [*self.invocations, *self.executions.values()])

    def settle(self) -> None:
        """Let everything happen until nothing is left to do."""
        for _ in range(5000):
            if not self._run_next(float("inf")):
                return
        self.world.violation("it does not end")

    def _run_next(self, until: float) -> bool:
        self.invocations = [call for call in self.invocations if not call.over]
        waiting: list[Execution | Invocation] = [*self.invocations]
        waiting += [execution for execution in self.executions.values() if not execution.over]
        ready = [item for item in waiting if not item.busy and item.due <= until]
        if not ready:
            return False
        item = min(ready, key=lambda one: one.due)
        self.world.now = max(self.world.now, item.due)
        item.busy = True
        try:
            if isinstance(item, Invocation):
                self._run_invocation(item)
            else:
                self._run_task(item)
        finally:
            item.busy = False
        return True

    def _meanwhile(self, longest: float) -> None:
        """Somebody else takes a step while a call of this one is on its way."""
        began = self.world.now
        for _ in range(2):
            self._run_next(began + longest)

    # -- the end -------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What holds at any time."""
        assert [] == self.check_only(), (self.world.violations, self.world.struck)

    def check_only(self) -> list[str]:
        """What does not hold."""
        world = self.world
        for request in self.requests.values():
            tokens = {token for started_by, token in world.starts if started_by == request.id}
            may_start = 1 + any(self._failed_at_once(request, token) for token in tokens)
            if len(tokens) > may_start and not self._saw_its_attempt_fail_by_another(request):
                world.violation(f"{request.id} started more than one attempt")
            if len(request.answers) > 1 and not _answered_blindly(request):
                said = [(answer["Status"], answer["Reason"]) for answer in request.answers]
                world.violation(f"{request.id} was answered twice: {said}")
            execution = self.executions.get(request.id)
            silent = not (request.answers or request.rescue_died or request.id in self.gave_up_answering)
            is_lost = request.stopped or (execution is not None and execution.lost_a_step)
            silent &= not (is_lost and self._is_replaced(request))  # nobody waits for it
            if (
                execution
                and execution.over
                and silent
                and not any(_request_id(call.payload) == request.id for call in self.invocations if not call.over)
            ):
                world.violation(f"{request.id} was never answered")
            if request.forgiving and "FAILED" == request.status:
                self._check_forgiving(request, execution)
        if self.unexpected:
            world.violation(f"an error that nobody foresaw: {self.unexpected}")
        if self.knows_all_jobs:
            self._check_verdicts()
        # What a deletion says of a job nobody reads.
        heard = (request for request in self.requests.values() if request.event["RequestType"] != "Delete")
        answers = [answer for request in heard for answer in request.answers]
        if any(FORGED.search(json.dumps(it)) for it in [*answers, *world.events, *world.notifications]):
            world.violation("what somebody made up was told")
        if any(PATIENT in json.dumps(event, ensure_ascii=False) for event in [*world.events, *world.notifications]):
            world.violation("an event named the patient")
        return [text for text in world.violations if not (self.excused and re.search(self.excused, text))]

    def _check_verdicts(self) -> None:
        """Every job has a verdict in the end, unless it could not be told, or a deletion took all that could."""
        world = self.world
        said: dict[str, set[str]] = {}
        for event in world.events:
            said.setdefault(json.loads(event["Detail"])["jobId"], set()).add(event["Detail"])
        if any(job_id and len(details) > 1 for job_id, details in said.items()):
            world.violation(f"a job had two verdicts: {said}")
        self._check_records()
        hindered = any(what.startswith(("PutEvents", "AssumeRole", "*")) for what in world.struck)
        # KNOWN: a deletion that may write no record in all its time takes the rights of whoever polls the job.
        is_deleted = any(one.kind in ("Delete", "Cleanup") for one in self.requests.values())
        hindered |= is_deleted and any(what.startswith("PutObject") for what in world.struck)
        hindered |= any(one.rescue_died or one.was_not_closed for one in self.requests.values())
        if self.busy or hindered:
            return
        for job in world.jobs.values():
            if job.job_id not in said and not self._was_told_blindly(job):
                world.violation(f"nobody was told how job {job.job_id} ended")

    def _was_told_blindly(self, job: Job) -> bool:
        """Whether people were told of it without its id: nobody could read its record, or its id never got there."""
        is_known = bool(self.world.written[job.token]["job"])
        may_be_read = not any(what.startswith("GetObject") for what in self.world.struck)
        series = self.requests[job.submitted_by].series
        told = (self.requests[request_id] for request_id, _ in self.world.told_blindly)
        return not (is_known and may_be_read) and any(series in one.all_series for one in told)

    def _check_records(self) -> None:
        """No job is in the records of two intents."""
        found: dict[str, str] = {}
        for (bucket, key), body in self.world.objects.items():
            if bucket == RESULTS and re.search(r"\.healthimaging-cdk/[0-9a-f]{64}\.json$", key):
                record = json.loads(body)
                job_id = record["job"].get("jobId", "")
                if job_id and found.setdefault(job_id, record["intent"]) != record["intent"]:
                    self.world.violation(f"two records have job {job_id}")

    def _check_forgiving(self, request: Request, execution: Execution | None) -> None:
        # What never came to a step, lost one for good or may not ask cannot know that it is a rollback.
        lost = request.stopped or request.answered_by_first_call or execution is None or execution.lost_a_step
        lost = lost or request.id in self.world.status_unknown
        if not (request.kind == "Rollback" and lost):
            self.world.violation(f"{request.id} failed: {request.answers[0]['Reason']}")


def _answered_blindly(request: Request) -> bool:
    """KNOWN: where nobody can tell, or nobody asks, whether an answer went out before.

    - The first call answers for itself (it may not start an execution, or died three times): nothing remembers that.
    - That it went out is written down nowhere, since the request owns no record or could not write it, or it cannot be
      read at just that moment, and the execution was stopped or failed after that.
    - The function dies in the very call in which the answer went out, until Step Functions and Lambda give up.
    """
    return request.answered_by_first_call or request.died_answering or request.was_not_noted or request.stopped


def _asker(execution: str) -> str:
    """The request that an execution is named after."""
    return execution.removesuffix("-detached")


def _request_id(payload: dict[str, Any]) -> str:
    if payload.get("source") == "lambda":
        payload = payload["detail"]["requestPayload"]
    if payload.get("source") == "aws.states":
        payload = json.loads(payload["detail"]["input"])["event"]
    if "state" in payload:
        payload = payload["state"]["event"]
    return str(payload["RequestId"])


def _chosen(choice: dict[str, Any], data: dict[str, Any]) -> bool:
    value = data[choice["Variable"].removeprefix("$.")]
    return bool(value == choice["StringEquals"] if "StringEquals" in choice else value == choice["BooleanEquals"])


def _tolerates(wanted: Properties, job: Job) -> bool:
    rejected = job.scanned - job.imported
    return (
        rejected <= int(wanted.get("MaxRejectedFiles", rejected))
        and rejected * 100 <= float(wanted.get("MaxRejectedPercent", 100)) * job.scanned
        and not (wanted.get("FailOnWarnings") == "true" and job.warnings)
        and not (wanted.get("FailOnNonPrimary") == "true" and job.others)
    )


def verdicts(world: World) -> list[str]:
    """The verdicts that were put on the bus, in order."""
    return [json.loads(event["Detail"])["outcome"] for event in world.events]


def filled(world: World, *, prefix: str = f"in/{PATIENT}/", files: int = 3) -> None:
    """Put files of a patient into the source."""
    for number in range(files):
        world.objects[SOURCE, f"{prefix}{PATIENT}-{number}.dcm"] = f"DICM {PATIENT}".encode()


def zipped(world: World) -> dict[str, str]:
    """Put a zip of local files where assets lie; answers the properties that name it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in range(4):
            archive.writestr(f"{PATIENT}/{number}.dcm", f"DICM {PATIENT}")
    world.objects[ASSETS, "hash.zip"] = content.getvalue()
    return {"AssetBucket": ASSETS, "AssetKey": "hash.zip", "InputPrefix": "unpacked/hash/"}
