"""The commands of bulk imports: plan from a laptop, and the page of a report. The rest is in tests/stacks."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError
from click.testing import CliRunner

from healthimaging_cdk.cli._group import commands
from healthimaging_cdk.cli.bulk._page import make_page
from healthimaging_import.bulk.report import make_report
from tests.handler.bulk.bulk_world import World, lognormal, make_settings, run_to_end, write_plan


class Listing:
    """Amazon S3 with one bucket."""

    def __init__(self, keys: dict[str, int]) -> None:
        self.keys = keys

    def client(self, name: str) -> Listing:
        assert name == "s3"
        return self

    def get_paginator(self, operation: str) -> Listing:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str, **more: Any) -> Any:  # noqa: N803
        assert ("images", "StartAfter") not in [(Bucket, it) for it in more]
        keys = sorted(key for key in self.keys if key.startswith(Prefix))
        for first in range(0, len(keys), 7):
            yield {"Contents": [{"Key": key, "Size": self.keys[key]} for key in keys[first : first + 7]]}


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Listing:
    listing = Listing({f"archive/study{n // 10:02}/{n:04}.dcm": 1000 for n in range(200)})
    monkeypatch.setattr(boto3, "Session", lambda: listing)
    return listing


def run(*arguments: str) -> Any:
    return CliRunner().invoke(commands, list(arguments))


@pytest.mark.usefixtures("archive")
def test_a_plan_is_printed_and_written(tmp_path):
    result = run("plan", "s3://images/archive/", "--files", "10", "--output", str(tmp_path))
    assert 0 == result.exit_code, result.output
    assert "20 for 200 files; full jobs would be 20" in result.stdout
    plan = json.loads((tmp_path / "plan.json").read_text())
    lines = (tmp_path / "plan" / "0001.jsonl").read_text().splitlines()
    assert (20, 200, 20) == (plan["jobs"]["count"], plan["listed"]["files"], len(lines))
    assert plan["plan"] in result.stdout


def test_the_exit_code_says_that_files_are_in_no_job(archive):
    archive.keys["archive/beside.dcm"] = 1000
    result = run("plan", "s3://images/archive/", "--files", "10", "--format", "json")
    assert 1 == result.exit_code
    assert {"files": 1, "bytes": 1000} == json.loads(result.stdout)["uncovered"]["direct"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["images/archive/"], "URI must be s3://bucket/prefix/"),
        (["s3://images/archive"], "must end with '/'"),
        (["s3://images/archive/", "--files", "0"], "numbers must be more than 0"),
    ],
)
def test_fails_for_wrong_use(arguments, words):
    result = run("plan", *arguments)
    assert 2 == result.exit_code
    assert words in " ".join(result.output.split())


def a_report(failing: float = 0.1) -> dict[str, Any]:
    world = World(lognormal(1, 300, failing), rate=1, slots=20)
    options = make_settings(world, attempts=1)
    plan = write_plan(world, options, [10] * 60)
    ended, _ = run_to_end(world, options, plan)
    return make_report(plan, ended.state, options, world.now)


@pytest.mark.slow
def test_the_page_is_whole_and_holds_every_number():
    report = a_report()
    page = make_page(report)
    assert report["jobs"]["failed"] > 0
    for name in ("imported", "not_judged", "listed"):
        assert f"<td class=n>{report['files'][name]:,}</td>" in page
    assert 3 == page.count("<svg")
    assert "<script" not in page
    for outside in ("src=", 'href="http', "url(http"):
        assert outside not in page
    assert "in/0000" not in page


@pytest.mark.slow
def test_names_in_the_page_are_escaped():
    page = make_page({**a_report(0), "import": "<b>Stack</b>"})
    assert "<b>Stack</b>" not in page
    assert "&lt;b&gt;Stack&lt;/b&gt;" in page


@pytest.mark.parametrize("name", ["watch", "report", "retry"])
def test_fails_for_a_target_that_there_is_not(monkeypatch, name):
    def no_network(*_: Any, **__: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://states.us-east-1.amazonaws.com")

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(BaseClient, "_make_api_call", no_network)
    result = run(name, "arn:aws:states:us-east-1:111122223333:execution:x:y")
    assert 2 == result.exit_code, result.output
