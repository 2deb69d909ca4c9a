"""What code scanning gets is SARIF: the schema of OASIS says so, not this project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from healthimaging_cdk.cli._group import commands
from healthimaging_cdk.review.formats import sarif
from healthimaging_cdk.review.reading.assembly import Assembly
from healthimaging_cdk.review.reading.template import Template
from healthimaging_cdk.review.report import review
from tests.review.rule_examples import EXAMPLES

_SCHEMA = "tools/node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json"


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft4Validator:
    path = Path(__file__).parents[2] / _SCHEMA
    return jsonschema.Draft4Validator(json.loads(path.read_text(encoding="utf-8")))


def violations(schema: jsonschema.Draft4Validator, log: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in schema.iter_errors(log)]


def assembly(document: dict[str, Any]) -> Assembly:
    return Assembly([Template("Images", document, file="Images.template.json")])


def log_of(document: dict[str, Any], against: dict[str, Any] | None = None) -> dict[str, Any]:
    return sarif(review(assembly(document), assembly(against) if against else None), "1.0.0")


@pytest.mark.parametrize("rule", EXAMPLES)
def test_the_findings_of_every_rule_are_valid_sarif(schema: jsonschema.Draft4Validator, rule: str) -> None:
    log = log_of(EXAMPLES[rule][1])
    assert rule in [result["ruleId"] for result in log["runs"][0]["results"]]
    assert [] == violations(schema, log)


def test_the_loss_of_data_is_valid_sarif(schema: jsonschema.Draft4Validator) -> None:
    log = log_of(EXAMPLES["HI102"][1], EXAMPLES["HI101"][0])
    assert "HI001" in [result["ruleId"] for result in log["runs"][0]["results"]]
    assert [] == violations(schema, log)


def test_no_finding_is_valid_sarif(schema: jsonschema.Draft4Validator) -> None:
    log = log_of({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    assert [] == log["runs"][0]["results"]
    assert [] == violations(schema, log)


def test_what_the_command_writes_is_valid_sarif(schema: jsonschema.Draft4Validator, tmp_path: Path) -> None:
    file, written = tmp_path / "ä b#c.template.json", tmp_path / "review.sarif"
    file.write_text(json.dumps(EXAMPLES["HI102"][1]), encoding="utf-8")
    arguments = ["review", str(file), "--format", "sarif", "--output", str(written)]
    assert 3 == CliRunner().invoke(commands, arguments).exit_code
    assert [] == violations(schema, json.loads(written.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), "2.0.0"),
        (("runs", 0, "tool", "driver", "name"), None),
        (("runs", 0, "results", 0, "level"), "critical"),
        (("runs", 0, "results", 0, "locations", 0, "physicalLocation", "region", "startLine"), 0),
        (("runs", 0, "results", 0, "place"), "Store"),
    ],
)
def test_fails_for_what_is_no_sarif(schema: jsonschema.Draft4Validator, path: tuple[Any, ...], value: object) -> None:
    log = json.loads(json.dumps(log_of(EXAMPLES["HI102"][1])))
    *parents, last = path
    place = log
    for key in parents:
        place = place[key]
    place[last] = value
    assert [] != violations(schema, log)
