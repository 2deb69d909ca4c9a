"""The planner gives the fewest jobs that prefixes allow, whatever the listing looks like."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthimaging_import.bulk.planner import Cause, Cut, File, Limits, Part, Planner, fewest_jobs

NAMES = st.text(alphabet="ab-.é0", min_size=1, max_size=2)
KEYS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
ODD_KEYS = st.text(alphabet="ab/-", min_size=1, max_size=6)


@st.composite
def listings(draw: st.DrawFn, keys: st.SearchStrategy[str] = KEYS | ODD_KEYS, most: int = 9) -> list[File]:
    found = draw(st.sets(keys, max_size=most))
    archived = st.booleans() if draw(st.booleans()) else st.just(False)
    return [File(key, draw(st.integers(0, 4)), draw(archived)) for key in sorted(found, key=lambda key: key.encode())]


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    return Limits(
        files=draw(st.integers(1, 6)),
        total_bytes=draw(st.integers(1, 14)),
        file_bytes=draw(st.sampled_from([3, 4])),
        folders=draw(st.sampled_from([1, 2, 10_000])),
        any_prefix=draw(st.booleans()),
    )


def plan(files: list[File], limits: Limits, prefix: str = "") -> tuple[list[Part], Planner]:
    planner = Planner("bucket", prefix, limits)
    return [*planner.feed(files), *planner.finish()], planner


def prefixes_of(files: list[File], limits: Limits) -> set[str]:
    """Every prefix that a job could have."""
    found = {""}
    for key, *_ in files:
        ends = range(1, len(key) + 1) if limits.any_prefix else [i + 1 for i, it in enumerate(key) if it == "/"]
        found |= {key[:end] for end in ends}
    return found


def fits(prefix: str, files: list[File], limits: Limits) -> bool:
    below = [file for file in files if file.key.startswith(prefix)]
    folders = {key[: i + 1] for key, *_ in below for i, it in enumerate(key) if it == "/" and i >= len(prefix)}
    return (
        0 < len(below) <= limits.files
        and sum(file.size for file in below) <= limits.total_bytes
        and all(file.size <= limits.file_bytes and not file.is_archived for file in below)
        and len(folders) <= limits.folders
    )


def fewest_by_brute_force(files: list[File], limits: Limits) -> tuple[int, set[str]]:
    """The smallest set of disjoint prefixes that covers what any prefix covers, among all such sets."""
    choices = {}
    for prefix in prefixes_of(files, limits):
        if fits(prefix, files, limits):
            choices[frozenset(file.key for file in files if file.key.startswith(prefix))] = prefix
    coverable = frozenset().union(*choices)
    for size in range(len(choices) + 1):
        for chosen in itertools.combinations(choices, size):
            if sum(map(len, chosen)) == len(coverable) and frozenset().union(*chosen) == coverable:
                return size, set(coverable)
    raise AssertionError


@pytest.mark.long
@settings(max_examples=1500)
@given(listings(), limits())
def test_no_set_of_prefixes_is_smaller(files, limits):
    parts, planner = plan(files, limits)
    fewest, coverable = fewest_by_brute_force(files, limits)
    assert fewest == len(parts)
    covered = [file.key for part in parts for file in files if file.key.startswith(part.prefix)]
    assert sorted(coverable) == sorted(covered)
    for part in parts:
        below = [file for file in files if file.key.startswith(part.prefix)]
        assert (len(below), sum(file.size for file in below)) == (part.files, part.bytes)
    assert planner.listed.files == len(files)
    assert sum(part.files for part in parts) + sum(it.files for it in planner.uncovered.values()) == len(files)
    assert sum(part.bytes for part in parts) + sum(it.bytes for it in planner.uncovered.values()) == sum(
        file.size for file in files
    )


@pytest.mark.slow
@settings(max_examples=500)
@given(listings(), limits(), st.integers(1, 3))
def test_a_planner_that_is_resumed_after_every_page_gives_the_same_plan(files, limits, page):
    whole, planner = plan(files, limits)
    resumed = Planner("bucket", "", limits)
    parts: list[Part] = []
    for first in range(0, len(files), page):
        parts += resumed.feed(files[first : first + page])
        resumed = Planner.resume(json.loads(json.dumps(resumed.save())))
        assert files[min(first + page, len(files)) - 1].key == resumed.last_key
    parts += resumed.finish()
    assert whole == parts
    assert planner.uncovered == resumed.uncovered
    assert planner.listed == resumed.listed
    assert planner.any_prefix == resumed.any_prefix


@pytest.mark.long
@settings(max_examples=1500)
@given(listings(most=14), limits())
def test_the_count_of_prefixes_that_end_anywhere_is_what_planning_with_them_comes_to(files, limits):
    counted = plan(files, replace(limits, any_prefix=False))[1].any_prefix
    parts, planner = plan(files, replace(limits, any_prefix=True))
    assert Cut(len(parts), sum(part.files for part in parts)) == counted
    assert planner.any_prefix is None


def test_a_source_that_fits_is_one_job_with_its_own_prefix():
    parts, _ = plan([File("in/a/1", 1), File("in/b/1", 1)], Limits(), prefix="in/")
    assert [Part("in/", 2, 2)] == parts


def test_the_outermost_folder_stands_for_a_chain_of_folders():
    parts, _ = plan([File("a/b/c/1", 1), File("d/1", 1), File("d/2", 1)], Limits(files=2))
    assert [Part("a/", 1, 1), Part("d/", 2, 2)] == parts


def test_direct_files_beside_larger_folders_are_uncovered_and_their_siblings_are_not():
    files = [File("a/1", 1), File("a/b/1", 1), File("a/b/2", 1), File("a/c/1", 1)]
    parts, planner = plan(files, Limits(files=2))
    assert [Part("a/b/", 2, 2), Part("a/c/", 1, 1)] == parts
    assert (1, 1) == (planner.uncovered[Cause.DIRECT].files, planner.uncovered[Cause.DIRECT].bytes)


def test_with_prefixes_that_end_anywhere_a_heap_is_cut():
    files = [File(f"heap/{name}", 1) for name in ("a0", "a1", "b0", "b1")]
    parts, planner = plan(files, Limits(files=2, any_prefix=True))
    assert ["heap/a", "heap/b"] == [part.prefix for part in parts]
    assert 0 == planner.uncovered[Cause.DIRECT].files
    assert [] == plan(files, Limits(files=2))[0]


@pytest.mark.parametrize(
    ("file", "cause"), [(File("a/b/2", 9), Cause.TOO_LARGE), (File("a/b/2", 1, is_archived=True), Cause.ARCHIVED)]
)
def test_what_no_job_takes_makes_every_folder_around_it_unusable(file, cause):
    parts, planner = plan([File("a/a/1", 1), File("a/b/1", 1), file, File("b/1", 1)], Limits(file_bytes=5))
    assert ["a/a/", "b/"] == [part.prefix for part in parts]
    assert 1 == planner.uncovered[cause].files
    assert 1 == planner.uncovered[Cause.DIRECT].files


def test_a_folder_whose_uri_is_too_long_is_covered_by_a_folder_around_it_or_not_at_all():
    long = "x" * 1020
    parts, planner = plan([File(f"a/{long}/1", 1), File("b/c/1", 1), File(f"b/{long}/1", 1)], Limits(files=1))
    assert ["a/", "b/c/"] == [part.prefix for part in parts]
    assert 1 == planner.uncovered[Cause.NAME].files


def test_a_folder_with_a_line_break_in_its_name_is_uncovered():
    parts, planner = plan([File("a\nb/1", 1), File("c/1", 1), File("d/1", 1)], Limits(files=1))
    assert ["c/", "d/"] == [part.prefix for part in parts]
    assert 1 == planner.uncovered[Cause.NAME].files


def test_names_that_sort_before_the_slash_belong_to_no_folder_of_that_name():
    files = [File(key, 1) for key in ("a-b/1", "a.", "a/1", "a/2", "a0/1")]
    parts, planner = plan(files, Limits(files=2))
    assert [Part("a-b/", 1, 1), Part("a/", 2, 2), Part("a0/", 1, 1)] == parts
    assert 1 == planner.uncovered[Cause.DIRECT].files


def test_more_nested_folders_than_a_job_takes_do_not_fit():
    parts, _ = plan([File(f"p/s{n}/1", 1) for n in range(4)], Limits(folders=3))
    assert 4 == len(parts)
    assert 1 == len(plan([File(f"p/s{n}/1", 1) for n in range(3)], Limits(folders=4))[0])


def test_fails_for_a_listing_out_of_order():
    with pytest.raises(ValueError, match="order"):
        plan([File("b", 1), File("a", 1)], Limits())


def test_an_empty_listing_has_no_jobs():
    assert [] == plan([], Limits())[0]


@settings(max_examples=100)
@given(st.integers(0, 10**6), limits(), st.sampled_from(["uids", "folders of one file", "both"]))
def test_many_items_at_once_are_cut_like_one_after_the_other(seed, limits, layout):
    rng = random.Random(seed)
    names = {
        f"a/{rng.randrange(10 ** rng.randint(1, 6))}{'/1' if layout == 'folders of one file' else ''}"
        for _ in range(300)
    }
    if layout == "both":
        names |= {f"a/{rng.randrange(1000)}/{rng.randrange(100)}/{rng.randrange(9)}" for _ in range(300)}
    files = [File(key, rng.choice([0, 1, 1, 9]), rng.random() < 0.01) for key in sorted(names)]
    limits = replace(limits, files=limits.files * 10, total_bytes=limits.total_bytes * 10, folders=limits.folders * 10)
    whole, planner = plan(files, limits)
    single = Planner("bucket", "", limits)
    parts = [part for file in files for part in single.feed([file])] + list(single.finish())
    assert whole == parts
    assert planner.uncovered == single.uncovered
    assert planner.any_prefix == single.any_prefix


@pytest.mark.slow
def test_the_planner_holds_no_more_than_a_job_has_files_for_each_folder():
    planner = Planner("bucket", "", Limits(files=50))
    most = 0
    for number in range(20_000):
        list(planner.feed([File(f"{number // 1000:03}/{number:06}/1", 1)]))
        most = max(most, sum(len(folder.held) for folder in planner._folders._stack))
    assert most <= 3 * 50


@given(st.integers(0, 10**7), st.integers(0, 10**14))
def test_the_bound_is_what_full_jobs_need(files, size):
    limits = Limits()
    assert max(math.ceil(files / limits.files), math.ceil(size / limits.total_bytes), int(files > 0)) == fewest_jobs(
        files, size, limits
    )


@pytest.mark.slow
@settings(max_examples=300)
@given(listings(), limits())
def test_jobs_come_in_the_order_of_the_listing(files, limits):
    prefixes = [part.prefix for part in plan(files, limits)[0]]
    assert sorted(prefixes) == prefixes
