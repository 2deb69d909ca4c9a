"""Commands that use a cloud: environ, inject, run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from healthimaging_local.accounts import Account
from healthimaging_local.cli._options import (
    check_no_cloud_options,
    cloud_options,
    connection_to,
    name_option,
    running_record,
)
from healthimaging_local.cloud import Cloud
from healthimaging_local.connection import Connection
from healthimaging_local.errors import CloudError
from healthimaging_local.node import with_node
from healthimaging_local.registry import DEFAULT_NAME, running

CDK_CLI = "aws-cdk@2.1148.1"
"""npm's ``latest`` may refuse apps of current libraries."""


@click.command()
@name_option
@click.option("--account", help="Another account of twelve digits, as its root. Default: the cloud's own.")
@click.option("--unset", is_flag=True, help="Print what takes the variables away again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def environ(name: str, account: str | None, *, unset: bool, as_json: bool) -> None:
    """Print the variables that turn AWS's tools to a cloud: eval "$(healthimaging-local environ)"."""
    if unset:  # also when the cloud is gone
        click.echo(f"unset {' '.join(Connection(0, Path()).environ())}")
        return
    connection = connection_to(running_record(name))
    variables = Account(connection, account).environ() if account else connection.environ()
    if as_json:
        click.echo(json.dumps(variables, indent=1))
        return
    for variable, value in variables.items():
        click.echo(f"export {variable}={shlex.quote(value)}")


@click.command()
@click.argument("operation", required=False)
@click.argument("error", default="ThrottlingException")
@name_option
@click.option("--times", default=1, show_default=True, help="How many calls fail.")
@click.option("--service", default="medical-imaging", show_default=True, help="Whose operation it is, as in IAM.")
@click.option("--message", default="injected", show_default=True, help="The text of the error.")
@click.option("--status", default=0, help="The HTTP status. Default: the error's own.")
@click.option("--resource", default="", help="Only calls that name this text in path, query or body.")
@click.option("--list", "show", is_flag=True, help="Show which errors are still to come.")
@click.option("--clear", is_flag=True, help="Forget those that are still to come.")
def inject(
    *,
    operation: str | None,
    error: str,
    name: str,
    times: int,
    service: str,
    message: str,
    status: int,
    resource: str,
    show: bool,
    clear: bool,
) -> None:
    """Let the next calls of an OPERATION end with an ERROR."""
    if not (operation or show or clear):
        raise click.UsageError("name an operation such as StartDICOMImportJob, or --list, or --clear")
    connection = connection_to(running_record(name))
    if clear:
        connection.control("DELETE", "inject")
    if operation:
        connection.inject(
            operation, error, times=times, service=service, message=message, status=status, resource=resource
        )
    if show:
        click.echo(json.dumps(connection.control("GET", "inject"), indent=1))


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "-n", "--name", help=f"Which cloud. Default: {DEFAULT_NAME!r} if it runs, else one for this command alone."
)
@cloud_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(
    context: click.Context,
    command: tuple[str, ...],
    name: str | None,
    wait_scale: float,
    job_seconds: float,
    *,
    no_auth: bool,
    no_throttling: bool,
) -> None:
    """Run a COMMAND against a cloud: healthimaging-local run -- cdk deploy.

    A cloud that runs is used. Otherwise one is started for the command, bootstrapped, and stopped afterwards. Where no
    cdk is installed, npx brings it.
    """
    record = running_record(name) if name else running(DEFAULT_NAME)
    if record:
        check_no_cloud_options(context, record)
    with _terminations_as_exits():
        if record:
            code = _call(command, connection_to(record).child_environ())
        else:
            with Cloud(
                auth=not no_auth, throttling=not no_throttling, wait_scale=wait_scale, job_seconds=job_seconds
            ) as cloud:
                Account(cloud, cloud.account).bootstrap()
                code = _call(command, cloud.child_environ())
    raise SystemExit(code)


@contextmanager
def _terminations_as_exits() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that the cloud is stopped."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _call(command: tuple[str, ...], inherited: Mapping[str, str]) -> int:
    environ = with_node(inherited)
    path = environ.get("PATH", os.defpath)
    words = list(command)
    if words[0] == "cdk" and not shutil.which("cdk", path=path):
        words[:1] = ["npx", "--yes", CDK_CLI]
    program = shutil.which(words[0], path=path)
    if program is None:
        raise CloudError(f"{words[0]} is not on the PATH")
    try:
        started = subprocess.Popen([program, *words[1:]], env=environ)  # noqa: S603 - what the user asked for
    except OSError as error:
        # A script whose first line names an interpreter that is not there, for instance as its path has a space.
        message = f"{program} cannot be started, or the interpreter in its first line: {error.strerror}"
        raise CloudError(message) from None
    with started as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the command got it too, and may want to say something
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    return code if code >= 0 else 128 - code


COMMANDS = (environ, inject, run)
