"""The entry point of a bulk import's state machine: plan, run and report, each step by step.

A step's answer is the state machine's next input: ``next`` says where to go, ``wait_seconds`` how long to wait before.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.bulk.folder import Folder
from healthimaging_import.bulk.planning import Planning, find_plan, load_plan
from healthimaging_import.bulk.report import make_report
from healthimaging_import.bulk.run import Run
from healthimaging_import.bulk.settings import Settings
from healthimaging_import.contract import BULK_DETAIL_TYPE, EVENT_IMPORT, EVENT_OUTCOME, Verdict
from healthimaging_import.errors import RetryableError, TerminalError
from healthimaging_import.importing.publish import put_event

_RESERVE_SECONDS = 60.0
_MOST_LOOPS = 2000
"""A loop has some nine events, and an execution 25,000 at most."""
_REJECTIONS_PER_FILE = 1000
_ANEW = "new"
_ID = re.compile(r"[A-Za-z0-9._-]{0,64}")


class BulkImportError(Exception):
    """The bulk import has ended, and is not good. The state machine fails with this, and a redrive goes on."""


def handle_bulk(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's context
    """Do a step: ``event`` has ``bulk`` (its name), ``settings``, ``execution`` and ``state``."""
    steps: dict[str, Callable[[_Step], dict[str, Any]]] = {"plan": _plan, "run": _run, "report": _report}
    settings = Settings.parse(event["settings"])
    left = context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS
    step = _Step(settings, event, min(left, settings.step_seconds))
    try:
        return steps[event["bulk"]](step)
    except RetryableError as error:
        log.line("later", reason=str(error))
        return {**step.carried(), "next": "wait", "wait_seconds": max(30, round(error.after))}


class _Step:
    """What a step knows."""

    def __init__(self, settings: Settings, event: Mapping[str, Any], seconds: float) -> None:
        execution = event["execution"]
        self.settings = settings
        self.state: dict[str, Any] = dict(event.get("state") or {})
        self.state_machine_arn = str(event["state_machine"])
        self.execution_name = str(execution["Name"])
        self.asker = f"{self.execution_name}#{execution.get('RedriveCount', 0)}"
        self.was_redriven = bool(execution.get("RedriveCount", 0))
        self.until = time.time() + seconds
        self.aws = Aws(settings.role_arn, iam_propagating=True)
        self.folder = Folder(self.aws, settings)
        self.run_id = str(self.state.get("run_id") or "")
        if not _ID.fullmatch(self.run_id):
            raise TerminalError("run_id must be up to 64 characters of A-Z a-z 0-9 . _ -")

    @property
    def asked_by(self) -> str:
        """Who asked first: an execution that goes on for another keeps that one's name."""
        return str(self.state.get("asked_by") or self.execution_name)

    @property
    def plan(self) -> str:
        """The plan, once it is made."""
        return str(self.state["planned"])

    def carried(self) -> dict[str, Any]:
        """Return what the next step needs."""
        names = ("plan", "plan_only", "planned", "run_id", "retry", "asked_by", "asker", "loops", "folder")
        kept = {name: self.state[name] for name in names if name in self.state}
        return {**kept, "loops": int(self.state.get("loops", 0)) + 1}

    def place(self) -> str:
        """The folder of the run."""
        return f"{self.plan}/runs/{self.settings.run_name(self.run_id)}"


def _plan(step: _Step) -> dict[str, Any]:
    wanted = str(step.state.get("plan") or "")
    plan = find_plan(step.folder, step.settings, "" if wanted == _ANEW else wanted) if wanted != _ANEW else None
    if plan is None:
        planning = Planning(step.aws, step.folder, step.settings, step.asked_by if wanted == _ANEW else "")
        plan = planning.step(time.time, step.until)
    if plan is None:
        return {**step.carried(), "next": "wait", "wait_seconds": 1}
    step.state["planned"] = plan
    is_plan_only = step.settings.plan_only or step.state.get("plan_only") is True
    return {**step.carried(), "folder": step.folder.uri(f"{plan}/"), "next": "end" if is_plan_only else "run"}


def _run(step: _Step) -> dict[str, Any]:
    jobs = int(load_plan(step.folder, step.plan)["jobs"]["count"])
    run = Run(
        step.aws,
        step.folder,
        step.settings,
        plan=step.plan,
        run=step.settings.run_name(step.run_id),
        jobs=jobs,
        clock=time.time,
        sleep=time.sleep,
    )
    is_first = step.was_redriven or step.asked_by == step.execution_name
    asker = step.asker if is_first else str(step.state.get("asker") or step.asker)
    run.begin(asker, retry=step.state.get("retry") is True or step.was_redriven)
    step.state["asker"] = asker
    pause = run.step(step.until)
    if pause is None:
        return {**step.carried(), "next": "report"}
    if int(step.state.get("loops", 0)) >= _MOST_LOOPS:
        _continue(step)
        return {**step.carried(), "next": "end"}
    return {**step.carried(), "next": "wait", "wait_seconds": max(1, round(pause))}


def _continue(step: _Step) -> None:
    """Start the execution that goes on; its name is made of this one's, so that there is one."""
    state = {**step.carried(), "plan": step.plan, "asked_by": step.asked_by, "loops": 0}
    base, _, number = step.execution_name.rpartition("-part")
    name = f"{base}-part{int(number) + 1}" if base and number.isdecimal() else f"{step.execution_name[:70]}-part2"
    step.aws.start_execution(step.state_machine_arn, name, state)
    log.line("continued", execution=name)


def _report(step: _Step) -> dict[str, Any]:
    if step.was_redriven and step.asker != step.state.get("asker"):
        return {**step.carried(), "next": "run"}  # redriven after it had failed
    plan = load_plan(step.folder, step.plan)
    run = Run(
        step.aws,
        step.folder,
        step.settings,
        plan=step.plan,
        run=step.settings.run_name(step.run_id),
        jobs=int(plan["jobs"]["count"]),
        clock=time.time,
        sleep=time.sleep,
    )
    position = _write_rejections(step, run)
    if position is not None:
        step.state["rejections"] = position
        return {**step.carried(), "rejections": position, "next": "wait", "wait_seconds": 1}
    report = make_report(plan, run.state, step.settings, time.time())
    step.folder.write_json(f"{step.place()}/report.json", report)
    _publish(step, report)
    log.line(
        "reported", verdict=report["verdict"], imported=report["files"]["imported"], listed=report["files"]["listed"]
    )
    if report["verdict"] != Verdict.SUCCEEDED:
        raise BulkImportError(f"{'; '.join(report['problems'])}; report: {step.folder.uri(step.place())}/report.json")
    return {"next": "end", "report": step.folder.uri(f"{step.place()}/report.json"), "files": report["files"]}


def _write_rejections(step: _Step, run: Run) -> int | None:
    """List the jobs that rejected files, with where to read which; returns where to go on, or None."""
    rejecting = list(run.state.rejecting)
    first = int(step.state.get("rejections", 0))
    for at in range(first, len(rejecting), _REJECTIONS_PER_FILE):
        if time.time() >= step.until:
            return at
        lines = []
        for n, attempt in rejecting[at : at + _REJECTIONS_PER_FILE]:
            found = step.folder.read_json(f"{step.place()}/results/{n:06}-{attempt}.json")
            result: dict[str, Any] = found[0] if found else {"job_id": "", "failures_uri": "", "numbers": {}}
            counted = result["numbers"]
            lines.append({
                "n": n,
                "job_id": result["job_id"],
                "rejected": counted.get("scanned", 0) - counted.get("imported", 0),
                "failure_ndjson": f"{result['failures_uri'].rstrip('/')}/failure.ndjson",
            })  # fmt: skip
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        step.folder.write(f"{step.place()}/rejections/{at // _REJECTIONS_PER_FILE + 1:04}.jsonl", body)
    return None


def _publish(step: _Step, report: Mapping[str, Any]) -> None:
    """Put one event: ids and numbers."""
    files = {name: report["files"][name] for name in ("listed", "imported", "rejected", "uncovered", "to_do")}
    detail = {
        EVENT_IMPORT: report["import"],
        "datastoreId": report["datastore_id"],
        EVENT_OUTCOME: report["verdict"],
        "plan": report["plan"],
        "run": report["run"],
        "files": files,
        "jobs": {name: report["jobs"][name] for name in ("planned", "succeeded", "failed", "unknown")},
    }
    put_event(step.aws, BULK_DETAIL_TYPE, detail)
