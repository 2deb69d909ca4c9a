"""``healthimaging-cdk watch``: a run of a bulk import as it goes."""

from __future__ import annotations

import sys
import time
from typing import Any

import boto3
import botocore.exceptions
import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from healthimaging_cdk.cli._deployed import NoSuchStackError
from healthimaging_cdk.cli.bulk._bulk import BulkImport, NoBulkImportError

from healthimaging_import.errors import TerminalError  # isort: skip

_MOST_CAUSES = 8


@click.command
@click.argument("target")
@click.option("--every", default=10.0, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Look once and end.")
def command(target: str, every: float, once: bool) -> None:  # noqa: FBT001 - as click passes it
    """Show a run of a bulk import as it goes: TARGET is an execution, a state machine or a stack.

    Jobs, files, rate, hours left, and failures by cause. It changes nothing, and ends with the execution.

    Needs grant_read_report, and for an execution the right to describe it.

    Exit codes: 0 the execution succeeded or still runs, 1 it failed, 2 wrong use or nothing to watch.
    """
    try:
        found = BulkImport.find(boto3.Session(), target)
        with Live(console=Console(), auto_refresh=False) as live:
            while True:
                execution = found.execution()
                status = str(execution["status"]) if execution else "NOT STARTED"
                live.update(_page(found, status), refresh=True)
                if status != "RUNNING" or once:
                    sys.exit(1 if status in ("FAILED", "ABORTED", "TIMED_OUT") else 0)
                time.sleep(every)
    except KeyboardInterrupt:
        sys.exit(0)
    except (NoBulkImportError, NoSuchStackError, TerminalError, botocore.exceptions.BotoCoreError) as error:
        raise click.UsageError(str(error)) from None
    except botocore.exceptions.ClientError as error:
        raise click.UsageError(str(error)) from None


def _page(found: BulkImport, status: str) -> Group:
    try:
        report = found.report()
    except NoBulkImportError as error:
        return Group(f"{status}: {error}")
    return Group(_bars(report), facts_table(report, status))


def _bars(report: dict[str, Any]) -> Progress:
    bars = Progress(TextColumn("{task.description:<6}"), BarColumn(), MofNCompleteColumn())
    files, jobs = report["files"], report["jobs"]
    done = jobs["succeeded"] + jobs["failed"] + jobs["unknown"]
    bars.add_task("jobs", total=jobs["planned"], completed=done)
    bars.add_task("files", total=files["listed"], completed=files["listed"] - files["to_do"])
    return bars


def facts_table(report: dict[str, Any], status: str) -> Table:
    """What a person wants to know of a run, also of one that goes on."""
    files, jobs = report["files"], report["jobs"]
    hours = report["time"]["hours"]
    done = jobs["succeeded"] + jobs["failed"] + jobs["unknown"]
    left = hours / done * (jobs["planned"] - done) if done else report["time"]["bound_hours"]
    of_jobs = ("succeeded", "failed", "unknown", "running", "to_do")
    of_files = ("imported", "rejected", "not_judged", "uncovered", "to_do")
    rows = [
        ("execution", status),
        ("verdict", report["verdict"] if report["is_over"] else "the run goes on"),
        ("jobs", ", ".join(f"{jobs[name]} {name.replace('_', ' ')}" for name in of_jobs)),
        ("files", ", ".join(f"{files[name]} {name.replace('_', ' ')}" for name in of_files)),
        ("image sets", f"{report['image_sets']['generated']}, {report['image_sets']['non_primary']} not primary"),
        ("hours", f"{hours:.2f} so far, about {left:.2f} left" if not report["is_over"] else f"{hours:.2f}"),
        *(("problem", problem) for problem in report["problems"] if report["is_over"]),
    ]
    if hours:
        rate = f"{jobs['started'] / hours / 3600:.3f} starts per second, {files['imported'] / hours:.0f} files per hour"
        rows.insert(5, ("rate", rate))
    counted = {**report["rejected"]["causes"], **report["jobs"]["reasons"]}
    causes = sorted(counted.items(), key=lambda item: -item[1])[:_MOST_CAUSES]
    table = Table(show_header=False, box=None)
    for name, value in (*rows, *(("failed", f"{count} x {cause}") for cause, count in causes)):
        table.add_row(name, value)
    return table
