"""Commands about clouds as a whole: install, start, stop, status, logs."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from healthimaging_local.accounts import Account
from healthimaging_local.cli._options import cloud_options, connection_to, name_option, running_record
from healthimaging_local.cloud import Cloud
from healthimaging_local.connection import HOST, Connection
from healthimaging_local.environments import installed_environment
from healthimaging_local.processes import end_process_group, is_free
from healthimaging_local.registry import DEFAULT_NAME, Record, all_running, record_file, running

_USUAL_PORT = 4566
_SECONDS_PER_HOUR = 3600


@click.command()
def install() -> None:
    """Install what the first start would install, and say where."""
    click.echo(installed_environment().venv.parent)


@click.command()
@name_option
@click.option("--port", type=int, help=f"Default: {_USUAL_PORT}, or a free port where that is taken.")
@cloud_options
@click.option("--idle-hours", default=12.0, show_default=True, help="End after so long without a request; 0 is never.")
@click.option("--foreground", is_flag=True, help="Stay in the foreground until Ctrl-C.")
@click.option("--no-bootstrap", is_flag=True, help="Do not bootstrap CDK in the cloud's own account.")
def start(
    name: str,
    port: int | None,
    idle_hours: float,
    wait_scale: float,
    job_seconds: float,
    *,
    no_auth: bool,
    no_throttling: bool,
    foreground: bool,
    no_bootstrap: bool,
) -> None:
    """Start a cloud in the background; its account is bootstrapped for CDK."""
    usual = _USUAL_PORT if name == DEFAULT_NAME and is_free(HOST, _USUAL_PORT) else 0
    cloud = Cloud(
        name=name,
        port=usual if port is None else port,
        auth=not no_auth,
        wait_scale=wait_scale,
        job_seconds=job_seconds,
        throttling=not no_throttling,
        folder=record_file(name).with_suffix(""),
        idle_seconds=idle_hours * _SECONDS_PER_HOUR,
        detached=not foreground,
    ).start()
    try:
        if not no_bootstrap:
            administrators_account(cloud).bootstrap()
        click.echo(f"the local cloud {name!r} answers at {cloud.endpoint}, account {cloud.account}; log: {cloud.log}")
        if foreground:
            wait_for_interrupt()
    except BaseException:
        cloud.stop()
        raise
    if foreground:
        cloud.stop()
    elif idle_hours:
        click.echo(f"it ends by itself after {idle_hours:g} hours without a request")


def administrators_account(connection: Connection) -> Account:
    """Return the account whose administrator ``environ`` names."""
    return Account(connection, connection.account)


def wait_for_interrupt() -> None:
    """Wait until Ctrl-C."""
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo()


@click.command()
@name_option
@click.option("--all", "every", is_flag=True, help="Every cloud of this user, those of tests included.")
def stop(name: str, *, every: bool) -> None:
    """Stop a cloud, and remove what it kept."""
    record = running(name)
    records = all_running() if every else [record] if record else []
    for it in records:
        end_record(it)
        click.echo(f"the local cloud {it.name!r} is stopped")
    if not records:
        click.echo("no local cloud runs" if every else f"the local cloud {name!r} does not run")


def end_record(record: Record) -> None:
    """End a cloud that another process started."""
    end_process_group(record.pid, lambda: not record.is_running)
    shutil.rmtree(record.folder, ignore_errors=True)
    record_file(record.name).unlink(missing_ok=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(*, as_json: bool) -> None:
    """List every cloud that runs: those in the background, and those of `run` and of tests."""
    records = all_running()
    if as_json:
        click.echo(json.dumps([asdict(record) for record in records], indent=1))
        return
    if not records:
        click.echo("no local cloud runs")
        return
    rows = [("NAME", "ENDPOINT", "SINCE", "STARTED BY", "ENDS WITH", "LOG")]
    for it in records:
        ends = f"process {it.parent}" if it.parent else "stop"
        rows.append((it.name, f"http://{HOST}:{it.port}", it.started_at, it.started_by, ends, it.log))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@click.command()
@name_option
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--functions", is_flag=True, help="What the Lambda functions of the cloud's own account logged.")
def logs(name: str, *, follow: bool, functions: bool) -> None:
    """Print the log of a cloud, or of the functions in it."""
    record = running_record(name)
    if functions:
        for line in _function_lines(connection_to(record)):
            click.echo(line)
        return
    with Path(record.log).open(encoding="utf-8", errors="replace") as log:
        while True:
            text = log.read()
            click.echo(text, nl=False)
            if not follow or not record.is_running:
                return
            time.sleep(0.5)


def _function_lines(connection: Connection) -> Iterator[str]:
    client = connection.client("logs")
    for page in client.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            for events in client.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
                yield from (event["message"].rstrip("\n") for event in events["events"])


COMMANDS = (install, start, stop, status, logs)
