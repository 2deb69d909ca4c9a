"""The report of a run: its numbers add up, and it holds nothing of a patient and no object key."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from healthimaging_cdk.cli.bulk._page import make_page
from healthimaging_import.bulk import handler
from healthimaging_import.bulk.report import make_report
from tests.handler.bulk.bulk_world import World, make_settings, run_to_end, write_plan
from tests.handler.bulk.test_bulk_limits import Context, event

PATIENT = "DOE^JANE"


class Talkative(World):
    """HealthImaging says more than it should: the object key in a job's message."""

    published: list[dict[str, Any]]

    def _GetDICOMImportJob(self, **parameters: Any) -> Any:  # noqa: N802
        found = super()._GetDICOMImportJob(**parameters)
        found["jobProperties"]["message"] = f"failed at s3://source/in/{PATIENT}/1.dcm, {PATIENT}"
        return found

    def _PutEvents(self, Entries: list[dict[str, Any]]) -> Any:  # noqa: N802, N803
        self.published = Entries
        return {"FailedEntryCount": 0}


def outcome(prefix: str, attempt: int) -> tuple[float, str, int, int, bool]:
    """Jobs that import all, some or nothing, find more or less than was listed, fail, and leave no manifest."""
    number = int(re.sub(r"\D", "", prefix)) % 7
    return [
        (10, "COMPLETED", 10, 10, True),
        (10, "COMPLETED", 10, 7, True),
        (10, "COMPLETED", 12, 12, True),
        (10, "COMPLETED", 9, 9, True),
        (10, "FAILED", 0, 0, False),
        (10, "COMPLETED", 10, 0, True),
        (10, "FAILED" if attempt == 0 else "COMPLETED", 10, 10, attempt > 0),
    ][number]  # type: ignore[return-value]


@pytest.fixture
def world() -> Talkative:
    return Talkative(outcome, rate=1, slots=3)


def run(world: World, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    options = make_settings(world, attempts=2, **changes)
    plan = write_plan(world, options, [10] * 14, prefix=f"in/{PATIENT}-{{n}}/")
    ended, _ = run_to_end(world, options, plan)
    return plan, make_report(plan, ended.state, options, world.now)


def test_the_numbers_add_up_exactly_and_are_those_of_the_jobs(world):
    _, report = run(world)
    files = report["files"]
    # Of every seven jobs: three are whole, one rejects three files and one all, one is short by a file, one is lost.
    assert {"listed": 140, "imported": 96, "rejected": 26, "not_judged": 20, "uncovered": 0, "to_do": 0} == {
        name: files[name] for name in ("listed", "imported", "rejected", "not_judged", "uncovered", "to_do")
    }
    assert (4, 2, True) == (files["appeared"], files["vanished"], files["adds_up"])
    assert 140 + 4 - 2 == 96 + 26 + 20
    jobs = report["jobs"]
    assert (14, 14) == (jobs["planned"], jobs["succeeded"] + jobs["failed"] + jobs["unknown"])
    assert 26 == sum(report["rejected"]["causes"].values())
    assert sum(report["time"]["files"]) == files["imported"]


@pytest.mark.parametrize("name", ["imported", "customer_errors", "not_judged", "appeared", "vanished"])
def test_fails_to_add_up_when_a_file_is_lost_or_counted_twice(world, name):
    options = make_settings(world, attempts=2)
    plan = write_plan(world, options, [10] * 14)
    ended, _ = run_to_end(world, options, plan)
    assert make_report(plan, ended.state, options, world.now)["files"]["adds_up"]
    ended.state.totals.numbers[name] += 1
    assert not make_report(plan, ended.state, options, world.now)["files"]["adds_up"]


def test_no_object_key_and_nothing_of_a_patient_is_in_report_page_event_or_log(world, monkeypatch, capsys):
    plan, report = run(world)
    monkeypatch.setattr(handler, "Aws", lambda *_, **__: world)
    monkeypatch.setattr(handler.time, "time", world.clock)
    step = event(world, plan, run_id="", asker="a")
    stored = f"results/out/.healthimaging-cdk/bulk/{plan['plan']}/runs"
    name = make_settings(world).run_name("")
    for key in [key for key in world.objects if key.startswith(f"{stored}/run/")]:
        world.objects[key.replace("/runs/run/", f"/runs/{name}/")] = world.objects[key]
    with pytest.raises(handler.BulkImportError) as failed:
        handler.handle_bulk({**step, "bulk": "report"}, Context())
    (written,) = [body.decode() for key, body in world.objects.items() if key.endswith("report.json")]
    rejections = [body.decode() for key, body in world.objects.items() if "/rejections/" in key]
    assert rejections
    assert report["files"] == json.loads(written)["files"]
    told = [json.dumps(report), make_page(report), written, *rejections]
    told += [json.dumps(world.published), str(failed.value), capsys.readouterr().out]
    for text in told:
        for secret in (PATIENT, "DOE", "JANE", "in/", "1.dcm"):
            assert secret not in text
