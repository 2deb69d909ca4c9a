"""The report of a run: pure, from its plan and its state. Numbers only: no object key, nothing of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from healthimaging_import.bulk.plan import Pace
from healthimaging_import.bulk.settings import Settings
from healthimaging_import.bulk.state import RunState
from healthimaging_import.contract import Verdict
from healthimaging_import.importing.verdict import Counts, Tolerance

SCHEMA = 1


def make_report(plan: Mapping[str, Any], state: RunState, settings: Settings, now: float) -> dict[str, Any]:
    """Write the report, of a run that is over or of one that is not."""
    numbers = state.totals.numbers
    uncovered = {cause: tally for cause, tally in plan["uncovered"].items() if tally["files"]}
    uncovered_files = sum(tally["files"] for tally in uncovered.values())
    rejected = numbers["customer_errors"] + numbers["server_errors"] + numbers["without_reason"]
    to_do = plan["jobs"]["files"] - numbers["planned"]
    files = {
        "listed": plan["listed"]["files"],
        "imported": numbers["imported"],
        "rejected": rejected,
        "not_judged": numbers["not_judged"],
        "uncovered": uncovered_files,
        "to_do": to_do,
        "appeared": numbers["appeared"],
        "vanished": numbers["vanished"],
    }
    left = files["listed"] + files["appeared"] - files["vanished"]
    right = files["imported"] + rejected + files["not_judged"] + uncovered_files + to_do
    verdict, problems = judge_run(state, settings.tolerance, files)
    ended = state.ended_at or now
    pace = Pace(**plan["pace"])
    return {
        "schema": SCHEMA,
        "verdict": verdict,
        "problems": problems,
        "reason": state.reason,
        "plan": state.plan,
        "run": state.run,
        "import": settings.import_name,
        "datastore_id": settings.datastore_id,
        "is_over": state.is_over,
        "began_at": state.began_at,
        "ended_at": state.ended_at,
        "files": {**files, "scanned": numbers["scanned"], "adds_up": left == right},
        "rejected": {
            "customer_errors": numbers["customer_errors"],
            "server_errors": numbers["server_errors"],
            "without_reason": numbers["without_reason"],
            "causes": state.totals.causes,
        },
        "warnings": state.totals.warnings,
        "uncovered": uncovered,
        "image_sets": {
            "generated": numbers["image_sets"],
            "primary": max(0, numbers["image_sets"] - numbers["non_primary_image_sets"]),
            "non_primary": numbers["non_primary_image_sets"],
        },
        "jobs": {
            "planned": state.jobs,
            "succeeded": state.totals.verdicts.get(Verdict.SUCCEEDED, 0),
            "failed": state.totals.verdicts.get(Verdict.FAILED, 0),
            "unknown": state.totals.verdicts.get(Verdict.UNKNOWN, 0),
            "running": len(state.running),
            "to_do": state.to_do - len(state.running),
            "started": state.starts,
            "repeated": state.repeated,
            "throttled_starts": state.throttled,
            "reasons": state.totals.reasons,
            "mean_seconds": state.times.mean,
            "longest_seconds": state.times.longest,
            "by_minutes": state.times.minutes,
        },
        "time": {
            "hours": (ended - state.began_at) / 3600,
            "bound_hours": pace.hours(state.jobs, (state.times.mean or 600.0) / 60),
            "bin_seconds": state.times.width,
            "files": state.times.files,
            "jobs": state.times.ended,
        },
        "pace": plan["pace"],
    }


def judge_run(state: RunState, tolerance: Tolerance, files: Mapping[str, int]) -> tuple[Verdict, list[str]]:
    """Judge the whole run by its tolerance. Files that no job has imported count as rejected, whatever kept them."""
    numbers = state.totals.numbers
    not_imported = files["rejected"] + files["not_judged"] + files["uncovered"] + files["to_do"]
    counts = Counts(
        scanned=files["imported"] + not_imported,
        imported=files["imported"],
        image_sets=numbers["image_sets"],
        non_primary_image_sets=numbers["non_primary_image_sets"],
        warnings=state.totals.warnings,
    )
    problems = tolerance.problems("COMPLETED", counts)
    if state.reason:
        problems.append(state.reason)
    elif not state.is_over:
        problems.append(f"{state.to_do} jobs are to do")
    is_limited = tolerance.rejected_files is not None or tolerance.rejected_percent is not None
    if state.bad and not is_limited:
        problems.append(f"{len(state.bad)} of {state.jobs} jobs have failed or could not be judged")
    if files["listed"] == 0 and not state.reason:
        problems = []
    return Verdict.FAILED if problems else Verdict.SUCCEEDED, problems
