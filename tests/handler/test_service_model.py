"""What the packaged service model says of a value, and what is wrong with a prefix."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthimaging_import import service_model
from healthimaging_import.service_model import ServiceModel, overlap_violations, prefix_violations

MODEL = ServiceModel.load()
SMALL = ServiceModel(
    {
        "shapes": {
            "Text": {"type": "string", "min": 2, "max": 4, "pattern": "[a-z]+"},
            "Long": {"type": "string", "min": 2},
            "Color": {"type": "string", "enum": ["RED", "BLUE"]},
            "Count": {"type": "integer", "min": 1, "max": 9},
            "Most": {"type": "integer", "max": 9},
            "Ratio": {"type": "double"},
            "Flag": {"type": "boolean"},
            "Texts": {"type": "list", "member": {"shape": "Text"}, "min": 1, "max": 2},
            "Tags": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Long"}, "max": 1},
            "Either": {"type": "structure", "union": True, "members": {"a": {"shape": "Text"}, "b": {"shape": "Flag"}}},
            "Whole": {
                "type": "structure",
                "required": ["text"],
                "members": {"text": {"shape": "Text"}, "inner": {"shape": "Either"}, "texts": {"shape": "Texts"}},
            },
        }
    }
)
PATTERNED = sorted(name for name, shape in MODEL.shapes.items() if "pattern" in shape)
FILE_PATH = MODEL.shapes["MetadataFilePath"]["pattern"]


@pytest.mark.parametrize(
    ("shape", "value", "expected"),
    [
        ("Text", "a", "Text takes 2 to 4 characters, got 1"),
        ("Text", "abcde", "Text takes 2 to 4 characters, got 5"),
        ("Text", "ab1", "Text must match [a-z]+, got 'ab1'"),
        ("Text", "ab\n", "Text must match [a-z]+, got 'ab\\n'"),
        ("Text", 7, "Text must be a string, got int"),
        ("Long", "a", "Long takes at least 2 characters, got 1"),
        ("Color", "GREEN", "Color must be one of RED, BLUE, got 'GREEN'"),
        ("Count", 0, "Count takes 1 to 9, got 0"),
        ("Most", 10, "Most takes 0 to 9, got 10"),
        ("Count", True, "Count must be a integer, got bool"),
        ("Ratio", "1", "Ratio must be a double, got str"),
        ("Flag", 1, "Flag must be a boolean, got int"),
        ("Texts", [], "Texts takes 1 to 2 items, got 0"),
        ("Texts", ["ab", "b"], "Texts[1] takes 2 to 4 characters, got 1"),
        ("Texts", "ab", "Texts must be a list, got str"),
        ("Tags", {"ab": "value", "cd": "value"}, "Tags takes 0 to 1 entries, got 2"),
        ("Tags", {"A1": "value"}, "Tags key 'A1' must match [a-z]+, got 'A1'"),
        ("Tags", {"ab": "v"}, "Tags['ab'] takes at least 2 characters, got 1"),
        ("Whole", {}, "text is required"),
        ("Whole", {"text": None}, "text is required"),
        ("Whole", {"text": "ab", "txt": 1}, "txt is unknown, allowed are text, inner, texts"),
        ("Whole", {"text": "ab", "inner": {}}, "inner takes exactly one of a, b"),
        ("Whole", {"text": "ab", "inner": {"a": "ab", "b": True}}, "inner takes exactly one of a, b"),
        ("Whole", {"text": "ab", "inner": {"b": "yes"}}, "inner.b must be a boolean, got str"),
        ("Whole", {"text": "ab", "texts": ["ab", "A1"]}, "texts[1] must match [a-z]+, got 'A1'"),
    ],
)
def test_fails_with_one_sentence_for_each_kind_of_broken_rule(shape: str, value: Any, expected: str) -> None:
    assert [expected] == SMALL.violations(shape, value)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("Text", "abcd"),
        ("Color", "RED"),
        ("Count", 9),
        ("Ratio", 1),
        ("Flag", False),
        ("Texts", ("ab", "cd")),
        ("Tags", {"ab": "value"}),
        ("Whole", {"text": "ab", "inner": {"b": True}, "texts": ["ab"]}),
        ("Whole", {"text": "ab", "inner": None}),
    ],
)
def test_a_value_that_keeps_every_rule_has_no_violations(shape: str, value: Any) -> None:
    assert [] == SMALL.violations(shape, value)


def test_fails_with_every_broken_rule_at_once() -> None:
    violations = MODEL.violations("StartDICOMImportJobRequest", {"jobName": "a b", "datastoreId": "X", "x": 1})
    assert [
        "dataAccessRoleArn is required",
        "clientToken is required",
        "inputS3Uri is required",
        "outputS3Uri is required",
        "jobName must match [A-Za-z0-9._/#-]+, got 'a b'",
        "datastoreId must match [0-9a-z]{32}, got 'X'",
    ] == violations[:-1]
    assert violations[-1].startswith("x is unknown, allowed are jobName, dataAccessRoleArn")


@pytest.mark.parametrize(
    "account", ["", "12345678901", "1234567890123", "12345678901a", "\N{ARABIC-INDIC DIGIT ONE}" * 12]
)
def test_fails_for_an_owner_that_is_not_twelve_digits(account: str) -> None:
    assert len(MODEL.violations("AwsAccountId", account)) == 1


@pytest.mark.parametrize("name", PATTERNED)
def test_no_pattern_of_the_model_takes_long_on_hostile_input(name: str) -> None:
    length = MODEL.shapes[name].get("max", 1024)
    for hostile in ("a" * (length - 1) + "\n", "! " * (length // 2 - 1) + "\n", "arn:aws:" + "a:" * 500, "-" * length):
        MODEL.violations(name, hostile)
    # A pattern that backtracks would not come here in a lifetime; how long it took is no matter.


@given(st.text(alphabet="aZ0!~ -\x1f\x7f\n\té", max_size=9))
def test_the_quick_pattern_of_a_metadata_file_path_agrees_with_the_models_own(path: str) -> None:
    assert bool(re.fullmatch(FILE_PATH, path)) == bool(re.fullmatch(service_model._SAME_PATTERN[FILE_PATH], path))


@given(st.text(alphabet="\x00a~\x7f\x80é", max_size=9))
def test_the_pattern_of_a_next_token_accepts_ascii_alone(token: str) -> None:
    violations = MODEL.violations("NextToken", token)
    assert (token.isascii() and token != "") == (not violations)


def test_every_replaced_pattern_is_still_in_the_model() -> None:
    assert set(service_model._SAME_PATTERN) <= {MODEL.shapes[name]["pattern"] for name in PATTERNED}


@pytest.mark.parametrize("prefix", ["", "studies/", "studies/2026/", "a b/", "ü/"])
def test_a_prefix_is_the_whole_bucket_or_a_folder(prefix: str) -> None:
    assert [] == prefix_violations("input_prefix", prefix)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("studies", "input_prefix must end with '/', got 'studies': append a slash"),
        ("/studies/", "input_prefix must not begin with '/', got '/studies/': S3 keys have no leading slash"),
        (
            "s3://b/x/",
            "input_prefix must be a prefix, not a URI, got 's3://b/x/': give the bucket 'b' and the prefix 'x/'",
        ),
        ("a//b/", "input_prefix must not contain '//', got 'a//b/': remove one slash"),
        ("a*/", "input_prefix must not contain '*', '?' or '$', got 'a*/': IAM reads them as wildcards"),
        ("a?/", "input_prefix must not contain '*', '?' or '$', got 'a?/': IAM reads them as wildcards"),
        ("${a}/", "input_prefix must not contain '*', '?' or '$', got '${a}/': IAM reads them as wildcards"),
    ],
)
def test_fails_for_a_prefix_that_names_something_else_than_a_folder(prefix: str, expected: str) -> None:
    assert [expected] == prefix_violations("input_prefix", prefix)


def test_fails_with_all_that_is_wrong_with_a_prefix() -> None:
    assert 4 == len(prefix_violations("input_prefix", "/a//*"))


@pytest.mark.parametrize(("source", "results"), [("in/", "out/"), ("in/", "in-out/"), ("a/b/", "a/"), ("in/", "")])
def test_results_outside_of_the_source_are_fine(source: str, results: str) -> None:
    assert [] == overlap_violations(source, results)


@pytest.mark.parametrize(("source", "results"), [("in/", "in/"), ("in/", "in/out/"), ("", "out/"), ("", "")])
def test_fails_for_results_inside_of_the_source(source: str, results: str) -> None:
    (problem,) = overlap_violations(source, results)
    assert "the next import would scan its own results" in problem
