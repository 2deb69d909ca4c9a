"""Planning goes on where a step has died, and the plan is named by what it says."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthimaging_import.bulk.folder import Folder
from healthimaging_import.bulk.plan import Cut, Pace, advice, cost_usd, decode_jobs, file_of
from healthimaging_import.bulk.planner import Cause, Limits, Planner, Tally
from healthimaging_import.bulk.planning import Planning, find_plan, load_plan
from healthimaging_import.errors import RetryableError, TerminalError
from tests.handler.bulk.bulk_world import Crash, World, make_settings

LIMITS = Limits(files=3)


def archive(seed: int = 1) -> World:
    rng = random.Random(seed)
    world = World(lambda *_: (1, "COMPLETED", 1, 1, True))
    for _ in range(120):
        key = "/".join(rng.choice("abcd") for _ in range(rng.randint(1, 4)))
        world.objects[f"source/in/{key}/{rng.randrange(1000)}"] = b"x"
    world.objects["source/in/folder/"] = b""
    world.objects["source/other/1"] = b"x"
    return world


def plan_to_end(world: World, name: str = "", seconds: float = 1000) -> str:
    options = make_settings(world, limits=LIMITS)
    for _ in range(1000):
        try:
            planning = Planning(world, Folder(world, options), options, name)  # type: ignore[arg-type]
            found = planning.step(world.clock, world.now + seconds)
        except (Crash, RetryableError):
            continue
        if found:
            return found
    raise AssertionError


def documents(world: World, plan: str) -> dict[str, bytes]:
    place = f"results/out/.healthimaging-cdk/bulk/{plan}/"
    return {name.removeprefix(place): body for name, body in world.objects.items() if name.startswith(place)}


def test_a_plan_names_every_job_and_counts_every_file():
    world = archive()
    plan = plan_to_end(world)
    files = documents(world, plan)
    document = json.loads(files["plan.json"])
    jobs = decode_jobs(files["plan/0001.jsonl"])
    assert list(range(1, len(jobs) + 1)) == [job.n for job in jobs]
    assert document["jobs"]["count"] == len(jobs)
    listed = len([key for key in world.objects if key.startswith("source/in/") and not key.endswith("/")])
    assert listed == document["listed"]["files"]
    uncovered = sum(tally["files"] for tally in document["uncovered"].values())
    assert listed == document["jobs"]["files"] + uncovered
    assert document["bound"]["jobs"] <= len(jobs)
    assert (listed, 120 / 3 <= document["any_prefix"]["jobs"]) == (document["any_prefix"]["files"], True)
    assert plan == document["plan"]


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_planning_in_steps_that_die_gives_the_same_plan(seed):
    whole = plan_to_end(archive())
    rng = random.Random(seed)
    world = archive()

    def disturb(world: World, _operation: str, _after: bool) -> None:
        world.now += rng.choice([0, 1, 5])
        if rng.random() < 0.1:
            raise rng.choice([Crash(), RetryableError("busy")])

    world.disturb = disturb
    assert whole == plan_to_end(world, seconds=6)


@pytest.mark.parametrize("after", [False, True])
def test_planning_that_is_killed_at_any_call_gives_the_same_plan(after):
    whole, number, calls = plan_to_end(archive()), 0, 1
    while number < calls:
        count = 0

        def disturb(world: World, _operation: str, is_after: bool) -> None:
            nonlocal count
            world.now += 1
            if is_after == after:
                count += 1
                if count == number + 1:  # noqa: B023 - one planning after the other
                    raise Crash

        world = archive()
        world.disturb = disturb
        assert whole == plan_to_end(world, seconds=6)
        number, calls = number + 1, count


def test_a_later_run_has_the_same_plan_until_another_is_asked_for():
    world = archive()
    options = make_settings(world, limits=LIMITS)
    folder = Folder(world, options)  # type: ignore[arg-type]
    assert find_plan(folder, options, "") is None
    first = plan_to_end(world)
    world.objects["source/in/new/1"] = b"x"
    assert first == find_plan(folder, options, "")
    second = plan_to_end(world, name="execution")
    assert first != second
    assert second == find_plan(folder, options, "")
    assert first == find_plan(folder, options, first)


def test_fails_for_a_plan_that_is_not_there():
    world = archive()
    options = make_settings(world, limits=LIMITS)
    for name in ("0" * 64, "../x", "x"):
        with pytest.raises(TerminalError, match="there is no plan"):
            load_plan(Folder(world, options), name)  # type: ignore[arg-type]


def test_fails_for_a_plan_of_another_source():
    world = archive()
    plan = plan_to_end(world)
    options = make_settings(world, source=make_settings(world).source.__class__("source", "other/"))
    with pytest.raises(TerminalError, match="another source"):
        find_plan(Folder(world, options), options, plan)  # type: ignore[arg-type]


def test_the_advice_says_what_would_help():
    planner = Planner("bucket", "", Limits())
    planner.uncovered[Cause.ARCHIVED].add(3, 30)
    said = "\n".join(advice(planner, Tally(40_000_000, 20 * 10**12), 185_000, Pace(0.25, 100), Cut(8_100, 40_000_000)))
    assert "3 files are in GLACIER or DEEP_ARCHIVE: restore them" in said
    assert "185000 jobs take at least 205.6 h; full jobs would be 8000 and take 13.3 h" in said
    assert "prefixes that do not end in '/' it would be 8100 jobs for 40000000 files" in said
    assert "at 1 starts per second" in said
    assert [] == advice(Planner("bucket", "", Limits()), Tally(50_000, 0), 10, Pace(1, 1000), Cut(10, 50_000))


def test_the_hours_are_bound_by_the_rate_or_by_the_slots():
    assert 8_000 / 0.25 / 3600 < Pace(0.25, 1000).hours(8_000, 10) < 8_000 / 0.25 / 3600 + 0.2
    assert 80 * 10 / 60 == pytest.approx(Pace(10, 100).hours(8_000, 10))
    assert 0 == Pace(0.25, 100).hours(0, 10)


def test_a_big_archive_costs_less_than_a_dollar_to_plan_and_a_few_to_run():
    assert cost_usd(40_000_000, 8_000, 13.3) < 2


def test_a_job_is_in_the_file_of_its_thousand():
    assert ["plan/0001.jsonl", "plan/0001.jsonl", "plan/0002.jsonl"] == [file_of(n) for n in (1, 1000, 1001)]
