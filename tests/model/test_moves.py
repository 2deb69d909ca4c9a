"""A reader follows one create from the request to the response: how often that leads to another module."""

from __future__ import annotations

from tests.model.moves import moves_of_one_create


def test_one_create_moves_between_modules_less_often_than_before() -> None:
    """It was 354 once. A step that polls makes twelve of them, the claim, the start and the verdict the rest."""
    moves_of_one_create()  # which imports what is imported when it is needed
    assert moves_of_one_create().total() < 120
