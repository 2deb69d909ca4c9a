"""Plans a source, step by step: a listing of ten million keys outlasts an invocation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from healthimaging_import import log
from healthimaging_import.aws.clients import Aws
from healthimaging_import.bulk.folder import Folder
from healthimaging_import.bulk.listing import list_files
from healthimaging_import.bulk.plan import PlanWriter, make_plan
from healthimaging_import.bulk.planner import Planner
from healthimaging_import.bulk.settings import Settings
from healthimaging_import.errors import ConflictError, TerminalError

_SAVE_SECONDS = 60.0
_PLAN_ANEW = 'start an execution with {"plan": "new"}'


def find_plan(folder: Folder, settings: Settings, wanted: str) -> str | None:
    """Return the plan that an execution means, if it is made: the one it names, else the last one of the source.

    Raises:
        TerminalError: it names a plan that is not there, or one of another source.
    """
    if wanted:
        plan = load_plan(folder, wanted)
        if plan["source"] != asdict(settings.source):
            raise TerminalError(f"plan {wanted} is of another source: {_PLAN_ANEW}")
        return wanted
    found = folder.read_json(_current(settings))
    return str(found[0]["plan"]) if found else None


def load_plan(folder: Folder, plan: str) -> dict[str, Any]:
    """Read ``plan.json``.

    Raises:
        TerminalError: there is none of that name.
    """
    name = plan if len(plan) == hashlib.sha256().digest_size * 2 and plan.isalnum() else ""
    found = folder.read_json(f"{name}/plan.json") if name else None
    if found is None:
        raise TerminalError(f"there is no plan {plan[:64]}: {_PLAN_ANEW}")
    return found[0]


def _current(settings: Settings) -> str:
    return f"current/{settings.digest}.json"


class Planning:
    """Makes one plan. What it has so far is a draft, written by condition: whoever comes next goes on from there."""

    def __init__(self, aws: Aws, folder: Folder, settings: Settings, name: str) -> None:
        """Take the AWS calls, and the name of the draft: planning anew has another one."""
        self._aws = aws
        self._folder = folder
        self._settings = settings
        self._draft = f"drafts/{settings.digest}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"

    def step(self, clock: Callable[[], float], until: float) -> str | None:
        """Go on until the time is over; returns the plan's name once it is made.

        Raises:
            RetryableError: another step is at work, or AWS is busy; what was saved is gone on from.
            TerminalError: the source cannot be listed.
        """
        source, limits = self._settings.source, self._settings.limits
        found = self._folder.read_json(f"{self._draft}/draft.json")
        draft, self._tag = found or ({}, "")
        if "plan" in draft:
            return str(draft["plan"])
        if "folders" in draft.get("planner", {}):  # a draft of another version is begun anew
            planner, writer = Planner.resume(draft["planner"]), PlanWriter(source.bucket, **draft["writer"])
        else:
            planner, writer = Planner(source.bucket, source.prefix, limits), PlanWriter(source.bucket)
        saved_at = clock()
        for files in list_files(self._aws, source, planner.last_key):
            for name, body in writer.add(planner.feed(files)):
                self._folder.write(f"{self._draft}/{name}", body)
            now = clock()
            if now >= until or now - saved_at >= _SAVE_SECONDS:
                self._save({"planner": planner.save(), "writer": writer.save()})
                log.line("listed", files=planner.listed.files, jobs=writer.jobs)
                saved_at = now
            if now >= until:
                return None
        for name, body in (*writer.add(planner.finish()), *writer.finish()):
            self._folder.write(f"{self._draft}/{name}", body)
        return self._publish(planner, writer)

    def _publish(self, planner: Planner, writer: PlanWriter) -> str:
        """Put the plan under its own name. The last file is ``plan.json``: with it the plan is whole."""
        settings = self._settings
        plan = make_plan(
            planner,
            writer,
            source=asdict(settings.source),
            limits=settings.limits,
            pace=settings.pace,
        )
        name = str(plan["plan"])
        for file in writer.files:
            found = self._folder.read(f"{self._draft}/{file['name']}")
            if found is None or hashlib.sha256(found[0]).hexdigest() != file["sha256"]:
                raise TerminalError(f"two executions have planned at once, with different listings: {_PLAN_ANEW}")
            self._folder.write(f"{name}/{file['name']}", found[0])
        try:
            self._folder.write_json(f"{name}/plan.json", plan, "")
        except ConflictError:
            log.line("planned before", plan=name)
        self._folder.write_json(_current(settings), {"plan": name})
        self._save({"plan": name})
        log.line("planned", plan=name, files=planner.listed.files, jobs=writer.jobs)
        return name

    def _save(self, draft: dict[str, Any]) -> None:
        self._tag = self._folder.write(f"{self._draft}/draft.json", json.dumps(draft).encode(), self._tag)
