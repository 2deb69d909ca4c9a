"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from healthimaging_local.connection import Connection
from healthimaging_local.errors import CloudError
from healthimaging_local.registry import DEFAULT_NAME, Record, running

_Command = TypeVar("_Command", bound=Callable[..., Any])

CLOUD_OPTIONS = ("no_auth", "no_throttling", "wait_scale", "job_seconds")
name_option = click.option("-n", "--name", default=DEFAULT_NAME, show_default=True, help="Which cloud.")


def cloud_options(command: _Command) -> _Command:
    """Add the options that say how a cloud behaves."""
    for option in (
        click.option("--no-auth", is_flag=True, help="Do not enforce IAM."),
        click.option("--no-throttling", is_flag=True, help="No rates and bursts of HealthImaging's operations."),
        click.option("--wait-scale", default=1.0, show_default=True, help="Factor for the waits of Step Functions."),
        click.option("--job-seconds", default=0.3, show_default=True, help="How long an import job takes."),
    ):
        command = option(command)
    return command


def check_no_cloud_options(context: click.Context, record: Record) -> None:
    """Refuse options that a cloud which runs already cannot take any more.

    Raises:
        CloudError: At least one was given.
    """
    options = [name for name in CLOUD_OPTIONS if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if options:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in options)
        raise CloudError(f"the local cloud {record.name!r} runs already: {words} must be given to its start")


def running_record(name: str) -> Record:
    """Return the record of a cloud that runs.

    Raises:
        CloudError: None of this name runs.
    """
    record = running(name)
    if record is None:
        option = "" if name == DEFAULT_NAME else f" --name {name}"
        raise CloudError(f"the local cloud {name!r} does not run: start it with `healthimaging-local start{option}`")
    return record


def connection_to(record: Record) -> Connection:
    """Return a connection to a cloud that runs."""
    return Connection(record.port, Path(record.folder))
