"""The state machine of a record, every combination: what must hold of the decision, whatever was decided before."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from healthimaging_import.contract import Verdict
from healthimaging_import.importing.lifecycle import Action, next_action
from healthimaging_import.importing.mode import DEPLOYS, Mode
from healthimaging_import.importing.record import Owner, Record, Retry, State

NOW = 1000.0
ME = Owner("me", 500.0)
OWNERS = {"me": ME, "an earlier request": Owner("other", 400.0), "a later request": Owner("other", 600.0)}
LEASES = {"none": 0.0, "running": NOW + 1, "over": NOW - 1}
PAGE = Path(__file__).parents[2] / "docs" / "life-of-an-import.md"


def record_of(state: State, owner: Owner = ME, **changes: Any) -> Record:
    return Record("intent", 1, state, owner, {}, **changes)


def records() -> dict[str, Record | None]:
    """Every record that there can be."""
    found: dict[str, Record | None] = {"no record": None}
    for name, owner in OWNERS.items():
        for lease, until in LEASES.items():
            found[f"CLAIMED, lease {lease}, owner {name}"] = record_of(State.CLAIMED, owner, lease_until=until)
        found[f"RUNNING, owner {name}"] = record_of(State.RUNNING, owner)
        found[f"REFUSED, owner {name}"] = record_of(State.REFUSED, owner)
        for verdict, published in itertools.product(Verdict, (False, True)):
            text = f"JUDGED {verdict}, {'published' if published else 'not published'}, owner {name}"
            found[text] = record_of(State.JUDGED, owner, verdict=verdict, published=published)
        text = f"JUDGED FAILED at once, published, owner {name}"
        found[text] = record_of(State.JUDGED, owner, verdict=Verdict.FAILED, published=True, retry=Retry.DUE)
    return found


ALL = list(itertools.product(records().values(), Mode, (False, True)))


def decide(record: Record | None, mode: Mode, *, is_current: bool) -> Action:
    return next_action(record, mode, ME, NOW, is_current=is_current)


def test_every_combination_has_an_action():
    assert 444 == len(ALL)
    assert set(Action) == {decide(record, mode, is_current=current) for record, mode, current in ALL}


@pytest.mark.parametrize("action", [Action.CLAIM, Action.START])
def test_only_a_deploy_claims_and_starts(action):
    modes = {mode for record, mode, current in ALL if decide(record, mode, is_current=current) is action}
    assert {Mode.DEPLOY, Mode.SUBMIT} == modes


def test_nothing_is_started_while_a_start_may_be_on_its_way():
    for record, mode, current in ALL:
        if decide(record, mode, is_current=current) is Action.START:
            assert record is not None
            assert (State.CLAIMED, 0.0, ME) == (record.state, record.lease_until, record.owner)


def test_only_the_owner_starts_finds_refuses_and_polls():
    for record, mode, current in ALL:
        if decide(record, mode, is_current=current) in (Action.START, Action.FIND, Action.REFUSE, Action.POLL):
            assert record is not None
            assert ME == record.owner


def test_a_later_request_takes_ownership_and_an_earlier_one_never_gets_it_back():
    for record, mode, current in ALL:
        action = decide(record, mode, is_current=current)
        if record and not record.has_ended and record.owner != ME:
            is_later = record.owner.sent_at < ME.sent_at and mode not in (Mode.DETACHED, Mode.CLEANUP)
            waits = mode in (Mode.DELETE, Mode.CLEANUP)
            assert (Action.TAKE_OWNERSHIP if is_later else Action.WATCH if waits else Action.STOP) == action
        else:
            assert action not in (Action.TAKE_OWNERSHIP, Action.STOP, Action.WATCH)


def test_a_verdict_is_published_before_anything_else_is_done():
    for record, mode, current in ALL:
        is_unpublished = record is not None and record.state is State.JUDGED and not record.published
        assert is_unpublished == (decide(record, mode, is_current=current) is Action.PUBLISH)


def test_a_success_that_is_current_is_final():
    for record, mode, _ in ALL:
        if record and record.verdict in (Verdict.SUCCEEDED, Verdict.UNKNOWN) and record.published:
            assert Action.RESPOND == decide(record, mode, is_current=True)


def test_a_success_that_is_not_current_is_imported_again_by_a_later_deploy_only():
    for record, mode, _ in ALL:
        if record and record.verdict is Verdict.SUCCEEDED and record.published:
            is_later = record.owner.sent_at < ME.sent_at
            claims = mode in DEPLOYS and is_later
            assert (Action.CLAIM if claims else Action.RESPOND) == decide(record, mode, is_current=False)


def test_a_lost_record_of_what_is_current_starts_nothing():
    for mode in Mode:
        assert Action.RESPOND == decide(None, mode, is_current=True)


def test_a_submitted_job_is_never_judged_by_its_deploy():
    for record, mode, current in ALL:
        if mode is Mode.SUBMIT:
            assert Action.POLL != decide(record, mode, is_current=current)


def test_whoever_may_not_start_ends_an_attempt_that_was_not_sent():
    for mode in (Mode.ROLLBACK, Mode.DELETE, Mode.CLEANUP, Mode.DETACHED):
        assert Action.REFUSE == decide(record_of(State.CLAIMED), mode, is_current=False)


def test_only_the_deploy_whose_job_failed_at_once_repeats_its_own_attempt():
    for record, mode, current in ALL:
        if record and record.owner == ME and decide(record, mode, is_current=current) is Action.CLAIM:
            assert (Mode.DEPLOY, Retry.DUE, True) == (mode, record.retry, record.published)


def table() -> str:
    """The table of docs/life-of-an-import.md: rows are records, columns are modes."""
    lines = [f"| record | {' | '.join(Mode)} |", "|---|" + "---|" * len(Mode)]
    for name, record in records().items():
        cells = []
        for mode in Mode:
            current, other = (decide(record, mode, is_current=flag) for flag in (True, False))
            cells.append(current if current is other else f"{current}; not current: {other}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_page_shows_the_table_that_the_code_decides_by(pytestconfig: pytest.Config) -> None:
    text = PAGE.read_text()
    head, _, rest = text.partition("<!-- table -->\n")
    _, _, tail = rest.partition("<!-- end of table -->")
    wanted = f"{head}<!-- table -->\n{table()}\n<!-- end of table -->{tail}"
    if pytestconfig.getoption("write"):
        PAGE.write_text(wanted)
    assert wanted == PAGE.read_text()
