"""``healthimaging-cdk verify-aws`` on the local cloud, where every guess must come out as guessed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result

from healthimaging_cdk._verify.catalogue import EXPERIMENTS
from healthimaging_cdk._verify.experiment import Agreement, Experiment, perform
from healthimaging_cdk._verify.lab import STACK_PREFIX, Lab
from healthimaging_cdk.cli import verify_aws
from healthimaging_local import Cloud
from tests.conftest import ROOT
from tests.deployment import eventually

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def session(cloud: Cloud) -> Iterator[boto3.Session]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in cloud.environ().items():
            environment.setenv(name, value)
        yield boto3.Session()


@pytest.fixture(scope="module")
def lab(session: boto3.Session) -> Iterator[Lab]:
    lab = Lab(session, "test", pause=0.1, role_seconds=0.5)
    yield lab
    assert [] == lab.remove()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_guess_comes_out_as_guessed(experiment: Experiment, lab: Lab) -> None:
    findings = perform(experiment, lab)
    differing = [item for item in findings if item.agreement not in (Agreement.AS_GUESSED, Agreement.NOTED)]
    assert [] == differing


def verify(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(verify_aws.command, [*arguments, "--pause", "0.1"], input=answer)


def stacks(session: boto3.Session) -> list[str]:
    found = session.client("cloudformation").describe_stacks()["Stacks"]
    names = [stack["StackName"] for stack in found if stack["StackStatus"] != "DELETE_COMPLETE"]
    return [name for name in names if name.startswith(STACK_PREFIX) and not name.startswith(f"{STACK_PREFIX}test-")]


@pytest.mark.parametrize("name", ["verify.md", "verify.json"])
def test_a_report_says_what_was_seen_and_not_where(name: str, session: boto3.Session, tmp_path: Path) -> None:
    report = tmp_path / name
    result = verify("last-updated-time", "--yes", "--report", str(report))
    assert 0 == result.exit_code, result.output
    text = report.read_text(encoding="utf-8")
    assert ("as guessed" in text, "LastUpdatedTime after CreateStack" in text) == (True, True)
    assert session.client("sts").get_caller_identity()["Account"] not in text
    if report.suffix == ".json":
        assert ["missing", "missing", "there", "the same"] == [
            finding["seen"] for finding in json.loads(text)["findings"]
        ]
    assert [] == stacks(session)


def test_nothing_is_created_without_consent(session: boto3.Session, tmp_path: Path) -> None:
    report = tmp_path / "verify.md"
    result = verify("last-updated-time", "--report", str(report), answer="n\n")
    assert (1, False, []) == (result.exit_code, report.exists(), stacks(session))
    assert "1 experiments" in result.output
    assert "USD" in result.output


def test_the_list_creates_nothing_and_needs_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "Session", None)
    result = verify("--list")
    assert 0 == result.exit_code
    assert all(experiment.name in result.output for experiment in EXPERIMENTS)


def test_fails_for_an_experiment_that_there_is_not() -> None:
    result = verify("no-such-experiment", "--yes")
    assert 2 == result.exit_code
    assert "there are: " in result.output


def _answers(**answers: str) -> Experiment:
    def run(lab: Lab) -> Mapping[str, str]:
        lab.deploy("mine", {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
        return answers

    return Experiment("mine", "A question.", {"question": "yes"}, 1, 0, run)


def test_fails_where_aws_does_otherwise(
    session: boto3.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_aws, "EXPERIMENTS", (_answers(question="no"),))
    result = verify("--yes", "--report", str(tmp_path / "verify.md"))
    assert 1 == result.exit_code
    assert "| mine | question | yes | no | different |" in (tmp_path / "verify.md").read_text()
    assert [] == stacks(session)


def test_an_experiment_that_breaks_is_not_seen_and_its_stacks_go(
    session: boto3.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_aws, "EXPERIMENTS", (_answers(),))
    result = verify("--yes", "--report", str(tmp_path / "verify.md"))
    assert 1 == result.exit_code
    assert "not seen" in (tmp_path / "verify.md").read_text()
    assert [] == stacks(session)


def test_what_a_killed_run_left_is_removed_with_its_content(session: boto3.Session) -> None:
    killed = Lab(session, "killed", pause=0.1, role_seconds=0.5)
    killed.upload("in/", {"image.dcm": b"no DICOM file"})
    assert [killed.stack_name("bench")] == stacks(session)
    result = verify("--clean-up")
    assert (0, []) == (result.exit_code, stacks(session))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_killed_in_the_middle_leaves_nothing_that_is_not_removed(
    how: signal.Signals, session: boto3.Session, tmp_path: Path
) -> None:
    program = textwrap.dedent("""
        import pathlib, signal, time
        from healthimaging_cdk._verify.lab import Lab
        from healthimaging_cdk.cli import main

        # What is started in the background of a script ignores it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        deploy = Lab.deploy

        def deploy_and_wait_for_the_end(*arguments, **options):
            deploy(*arguments, **options)
            pathlib.Path("deployed").touch()
            time.sleep(3600)

        Lab.deploy = deploy_and_wait_for_the_end
        main()
    """)
    arguments = ["verify-aws", "empty-prefix", "client-token", "--yes", "--pause", "0.1", "--report", "report.md"]
    folders = os.pathsep.join(str(ROOT / name) for name in ("constructs", "lambda", "local"))
    environment = os.environ | {"PYTHONPATH": folders, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=tmp_path, env=environment) as process:
        assert eventually((tmp_path / "deployed").exists)
        assert [] != stacks(session)
        process.send_signal(how)
    assert 0 != process.returncode
    if how is signal.SIGKILL:
        assert [] != stacks(session)
        assert 0 == verify("--clean-up").exit_code
    else:
        assert (tmp_path / "report.md").exists()
    assert [] == stacks(session)


def test_fails_where_something_is_left(session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = Lab(session, "locked", pause=0.1, role_seconds=0.5)
    killed.deploy("mine", {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    with monkeypatch.context() as broken:
        broken.setattr(Lab, "_empty", lambda *_: (_ for _ in ()).throw(TimeoutError("locked")))
        result = verify("--clean-up")
    assert 3 == result.exit_code
    assert "verify-aws --clean-up" in result.output
    assert [] == killed.remove()
