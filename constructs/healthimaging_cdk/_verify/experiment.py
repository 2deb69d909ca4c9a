"""What an experiment is, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from healthimaging_cdk._verify.lab import Lab

NOTED = None
"""Stands where a guess would stand: the answer is written down, and compared with nothing."""


class Agreement(StrEnum):
    """How what was seen compares with what this library assumes."""

    AS_GUESSED = "as guessed"
    DIFFERENT = "different"
    NOTED = "noted"
    NOT_SEEN = "not seen"


@dataclass(frozen=True)
class Experiment:
    """One experiment. Its questions and guesses have the same keys as the answers that ``run`` returns."""

    name: str
    about: str
    """One sentence."""
    guesses: Mapping[str, str | None]
    """What this library assumes, by question."""
    minutes: float
    """How long it takes on AWS, roughly."""
    usd: float
    """What it costs there, roughly; storage of the few sample files not counted."""
    run: Callable[[Lab], Mapping[str, str]]


@dataclass(frozen=True)
class Finding:
    """The answer to one question of an experiment."""

    experiment: str
    question: str
    guess: str | None
    seen: str
    agreement: Agreement


def perform(experiment: Experiment, lab: Lab) -> list[Finding]:
    """Run an experiment. What it raises is its answer to all its questions: the others go on."""
    try:
        answers = experiment.run(lab)
        return [
            Finding(experiment.name, question, guess, answers[question], _compare(guess, answers[question]))
            for question, guess in experiment.guesses.items()
        ]
    except Exception as error:  # noqa: BLE001 - whatever AWS or the network came up with
        failure = f"{type(error).__name__}: {error}"
        return [
            Finding(experiment.name, question, guess, failure, Agreement.NOT_SEEN)
            for question, guess in experiment.guesses.items()
        ]


def _compare(guess: str | None, seen: str) -> Agreement:
    if guess is NOTED:
        return Agreement.NOTED
    return Agreement.AS_GUESSED if guess == seen else Agreement.DIFFERENT
