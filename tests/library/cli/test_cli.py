"""The command line as people call it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Template
from click.testing import CliRunner

from healthimaging_cdk import DicomImport, cli
from healthimaging_cdk.cli._group import commands
from healthimaging_cdk.cli._imports import construct_path

_ALL_NAMES = """
import sys, healthimaging_cdk
for name in healthimaging_cdk.__all__:
    getattr(healthimaging_cdk, name)
print({"boto3", "click", "rich"} & set(sys.modules))
"""


@pytest.mark.parametrize("name", commands.list_commands(None))
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(commands, [name, "--help"])
    assert 0 == result.exit_code, result.output
    assert "Usage:" in result.output


def test_fails_for_a_command_that_there_is_not() -> None:
    result = CliRunner().invoke(commands, ["no-such-command"])
    assert (2, True) == (result.exit_code, "No such command" in result.output)


def test_fails_with_the_way_to_install_it_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.delitem(sys.modules, "healthimaging_cdk.cli._group")
    with pytest.raises(SystemExit, match=r"pip install 'healthimaging-cdk\[cli\]'"):
        cli.main()


@pytest.mark.slow
def test_synth_loads_no_library_of_the_command_line() -> None:
    result = subprocess.run([sys.executable, "-c", _ALL_NAMES], capture_output=True, text=True, check=True)
    assert "set()\n" == result.stdout


def test_an_import_has_the_path_that_its_app_gives_it() -> None:
    app = App(context={"aws:cdk:enable-path-metadata": True}, analytics_reporting=False)
    stack = Stack(app, "Imaging")
    DicomImport(stack, "Import")
    resources = Template.from_stack(stack).find_resources("Custom::HealthImagingImport")
    assert ["Imaging/Import"] == [construct_path(*item) for item in resources.items()]
    assert "ImportJob1234" == construct_path("ImportJob1234", {})
