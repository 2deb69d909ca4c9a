"""The state machine as Step Functions gets it, by asl-validator."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.judging import asl_validator, state_machines

pytestmark = pytest.mark.judges


@pytest.mark.parametrize("example", CATALOGUE)
def test_every_state_machine_is_valid_once_its_substitutions_are_filled_in(
    example: str, templates: dict[str, list[Template]]
) -> None:
    for template in templates[example]:
        for definition in state_machines(template, templates[example]):
            assert "" == asl_validator(definition)


def test_the_judge_finds_the_state_machine(templates: dict[str, list[Template]]) -> None:
    (definition,) = state_machines(templates["one line"][0], templates["one line"])
    states = json.loads(definition)["States"]
    assert "arn:aws:states:::lambda:invoke" == states[json.loads(definition)["StartAt"]]["Resource"]


DEFECTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "a start that is no state": lambda machine: machine.update(StartAt="Nowhere"),
    "a transition to nowhere": lambda machine: _first_task(machine).update(Next="Nowhere"),
    "a state of an unknown type": lambda machine: _first_task(machine).update(Type="Chore"),
    "a state that nothing leads to": lambda machine: machine["States"].update(Lonely={"Type": "Succeed"}),
    "a path that is none": lambda machine: _first_task(machine).update(OutputPath="Payload["),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_fails_for_a_broken_definition(defect: str, templates: dict[str, list[Template]]) -> None:
    (definition,) = state_machines(templates["one line"][0], templates["one line"])
    machine = json.loads(definition)
    DEFECTS[defect](machine)
    assert "is invalid" in asl_validator(json.dumps(machine))


def test_fails_for_a_placeholder_without_a_substitution(templates: dict[str, list[Template]]) -> None:
    template = copy.deepcopy(templates["one line"][0])
    for resource in template.resources.values():
        resource.get("Properties", {}).pop("DefinitionSubstitutions", None)
    with pytest.raises(ValueError, match="the definition wants"):
        list(state_machines(template, [template]))


def _first_task(machine: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = machine["States"][machine["StartAt"]]
    return state
