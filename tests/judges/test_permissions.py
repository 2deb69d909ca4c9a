"""What each role may do and must not be able to do (docs/permissions.md), decided by an IAM simulator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.judges.catalogue import CATALOGUE, Template
from tests.judges.permissions import DOCUMENT, Example, Row, decide, is_as_it_must_be, read

pytestmark = pytest.mark.judges

_TEXT = DOCUMENT.read_text(encoding="utf-8")
_ROWS = read(_TEXT)

Decisions = dict[str, list[tuple[Row, str]]]
"""By the example's name."""


@pytest.fixture(scope="session")
def decisions(templates: dict[str, list[Template]]) -> Decisions:
    asked = [
        (example, row, simulation)
        for example in CATALOGUE
        for row, simulation in Example(templates[example]).simulations(_ROWS)
    ]
    found: Decisions = {example: [] for example in CATALOGUE}
    answers = decide([simulation for _, _, simulation in asked])
    for (example, row, _), decision in zip(asked, answers, strict=True):
        found[example].append((row, decision))
    return found


@pytest.mark.parametrize("example", CATALOGUE)
def test_every_role_may_do_what_the_document_says_and_no_more(example: str, decisions: Decisions) -> None:
    assert [] == _wrong(decisions[example])


@pytest.mark.parametrize("row", _ROWS, ids=str)
def test_every_row_of_the_document_was_put_to_the_simulator(row: Row, decisions: Decisions) -> None:
    assert any(row == asked for example in CATALOGUE for asked, _ in decisions[example])


def test_every_row_is_read() -> None:
    assert len([line for line in _TEXT.splitlines() if line.startswith(("| allow", "| deny"))]) == len(_ROWS)


@pytest.mark.parametrize("example", CATALOGUE)
def test_every_role_is_in_the_document(example: str, templates: dict[str, list[Template]]) -> None:
    judged = Example(templates[example])
    simulations = [simulation for row, simulation in judged.simulations(_ROWS) if row.must == "allow"]
    assert set() == judged.roles - {simulation["request"]["principal"] for simulation in simulations}


def _statements(template: Template, description: str) -> Iterator[dict[str, Any]]:
    for role, resource in template.resources.items():
        if description in resource.get("Properties", {}).get("Description", ""):
            for policy in template.resources.values():
                if {"Ref": role} in policy.get("Properties", {}).get("Roles", []):
                    yield from policy["Properties"]["PolicyDocument"]["Statement"]
            yield from resource["Properties"]["AssumeRolePolicyDocument"]["Statement"]


def _all_objects(statement: dict[str, Any]) -> None:
    if statement["Action"] == "s3:GetObject":
        statement["Resource"] = "arn:aws:s3:::*"


def _one_action_more(statement: dict[str, Any]) -> None:
    if statement["Action"] == "s3:PutObject":
        statement["Action"] = ["s3:PutObject", "s3:DeleteObject"]


def _no_condition(statement: dict[str, Any]) -> None:
    statement.pop("Condition", None)


def _no_action(statement: dict[str, Any]) -> None:
    if statement["Action"] == "s3:ListBucket":
        statement["Action"] = "s3:ListBucketVersions"


_HEALTHIMAGING = "Lets HealthImaging read"
_REQUEST = "What the function of healthimaging-cdk may do"
DEFECTS: dict[str, tuple[str, Callable[[dict[str, Any]], None], set[str]]] = {
    "the objects of every bucket": (
        _HEALTHIMAGING,
        _all_objects,
        {
            "deny {data_access_role} s3:GetObject {beside_input}",
            "deny {data_access_role} s3:GetObject {other_bucket}/{input_prefix}image.dcm",
        },
    ),
    "the right to delete": (
        _REQUEST,
        _one_action_more,
        {"deny {import_role} s3:DeleteObject {output}/{output_prefix}.healthimaging-cdk/record.json"},
    ),
    "a role for any service, and events from anybody": (
        _REQUEST,
        _no_condition,
        {
            "deny {import_role} iam:PassRole {passed_role}",
            "deny {import_role} iam:PassRole {passed_role} `iam:PassedToService=lambda.amazonaws.com`",
            "deny {import_role} events:PutEvents {event_bus}",
            "deny {import_role} events:PutEvents {event_bus} `events:source=[healthimaging-cdk;aws.s3]`",
            "deny {import_role} events:PutEvents {event_bus} `events:source=[lambda]`",
        },
    ),
    "a right that is missing": (
        _REQUEST,
        _no_action,
        {"allow {import_role} s3:ListBucket {input}", "allow {import_role} s3:ListBucket {output}"},
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_fails_for(defect: str, templates: dict[str, list[Template]]) -> None:
    description, change, expected = DEFECTS[defect]
    template = copy.deepcopy(templates["one line"][0])
    for statement in _statements(template, description):
        change(statement)
    assert expected == set(_wrong(_decided(template)))


def test_fails_for_a_trust_in_any_account(templates: dict[str, list[Template]]) -> None:
    template = copy.deepcopy(templates["one line"][0])
    for statement in _statements(template, _HEALTHIMAGING):
        statement.pop("Condition", None)
    assume = "deny medical-imaging.amazonaws.com sts:AssumeRole"
    assert 4 == len([row for row in _wrong(_decided(template)) if row.startswith(assume)])


def test_fails_for_a_key_that_cloudwatch_logs_may_use_for_anybody(templates: dict[str, list[Template]]) -> None:
    template = copy.deepcopy(templates["one line"][0])
    for resource in template.resources.values():
        for statement in resource["Properties"].get("KeyPolicy", {}).get("Statement", []):
            statement.pop("Condition", None)
    wrong = _wrong(_decided(template))
    logs = "deny logs.{region}.amazonaws.com"
    assert all(row.startswith(logs) for row in wrong)
    assert {f"{logs} kms:{action} {{log_key}}" for action in ("Encrypt", "Decrypt", "DescribeKey")} == {
        row.partition(" `")[0] for row in wrong
    }


def test_fails_for_a_row_that_names_no_action_of_aws(templates: dict[str, list[Template]]) -> None:
    row = Row("deny", "{function_role}", "medical-imaging:StartImportJob", "{store}", "")
    assert [str(row)] == _wrong(_decided(templates["one line"][0], [row]))


def _decided(template: Template, rows: list[Row] = _ROWS) -> list[tuple[Row, str]]:
    asked = list(Example([template]).simulations(rows))
    return list(zip([row for row, _ in asked], decide([simulation for _, simulation in asked]), strict=True))


def _wrong(decided: list[tuple[Row, str]]) -> list[str]:
    return [str(row) for row, decision in decided if not is_as_it_must_be(row, decision)]
