"""``healthimaging-cdk plan``: what importing an archive would take, from a laptop."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from healthimaging_cdk.cli import _function  # noqa: F401 - the imports below need it

from healthimaging_import.bulk.listing import files_of, list_parameters  # isort: skip
from healthimaging_import.bulk.plan import Pace, PlanWriter, make_plan  # isort: skip
from healthimaging_import.bulk.planner import File, Limits, Planner  # isort: skip
from healthimaging_import.service_model import prefix_violations  # isort: skip

_GIB = 1024**3


@click.command
@click.argument("uri")
@click.option("--owner", metavar="ACCOUNT", help="The account that owns the bucket, where it is another one.")
@click.option("--files", default=Limits.files, show_default=True, help="Files in one job.")
@click.option("--gib", default=Limits.total_bytes / _GIB, show_default=True, help="GiB in one job.")
@click.option("--folders", default=Limits.folders, show_default=True, help="Nested folders in one job.")
@click.option("--starts-per-second", default=0.25, show_default=True, help="The account's rate of starts.")
@click.option("--concurrent-jobs", default=100, show_default=True, help="Jobs that the data store runs at once.")
@click.option("--prefixes-without-slash", is_flag=True, help="Let a job's prefix end anywhere.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="A folder to write the plan into.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(  # noqa: PLR0917 - click passes them by name
    uri: str,
    owner: str | None,
    files: int,
    gib: float,
    folders: int,
    starts_per_second: float,
    concurrent_jobs: int,
    prefixes_without_slash: bool,  # noqa: FBT001 - as click passes it
    output: Path | None,
    style: str,
) -> None:
    """Plan the import of URI (s3://bucket/prefix/): jobs, hours, cost, and what no prefix covers.

    It lists the prefix and starts nothing. It plans as BulkDicomImport does, with the same code. A plan written with
    --output holds object keys.

    Needs s3:ListBucket on the bucket.

    Exit codes: 0 every file is in a job, 1 some files are not, 2 wrong use or the bucket cannot be listed.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    problems = [] if uri.startswith("s3://") and bucket else ["URI must be s3://bucket/prefix/"]
    problems += prefix_violations("the prefix", prefix)
    if min(files, gib, folders, starts_per_second, concurrent_jobs) <= 0:
        problems.append("numbers must be more than 0")
    if problems:
        raise click.UsageError("; ".join(problems))
    limits = Limits(files=files, total_bytes=int(gib * _GIB), folders=folders, any_prefix=prefixes_without_slash)
    pages = boto3.Session().client("s3").get_paginator("list_objects_v2")
    console = Console(stderr=True)
    try:
        plan, written = _plan(
            (files_of(page) for page in pages.paginate(**list_parameters(bucket, prefix, owner, ""))),
            {"bucket": bucket, "prefix": prefix, "owner_account_id": owner},
            limits,
            Pace(starts_per_second, concurrent_jobs),
            console,
        )
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        raise click.UsageError(str(error)) from None
    if output is not None:
        for name, body in {**written, "plan.json": json.dumps(plan, indent=2, ensure_ascii=False).encode()}.items():
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_bytes(body)
    if style == "json":
        click.echo(json.dumps(plan, indent=2, ensure_ascii=False))
    else:
        _show(Console(soft_wrap=True, highlight=False), plan)
    sys.exit(1 if any(tally["files"] for tally in plan["uncovered"].values()) else 0)


def _plan(
    listed: Iterator[list[File]], source: dict[str, str | None], limits: Limits, pace: Pace, console: Console
) -> tuple[dict[str, Any], dict[str, bytes]]:
    place = str(source["bucket"]), str(source["prefix"])
    planner, writer = Planner(*place, limits), PlanWriter(place[0])
    written: dict[str, bytes] = {}
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} files listed, {task.fields[jobs]:,} jobs"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("listing", total=None, jobs=0)
        for files in listed:
            written |= dict(writer.add(planner.feed(files)))
            progress.update(task, completed=planner.listed.files, jobs=writer.jobs)
    written |= dict(writer.add(planner.finish()))
    written |= dict(writer.finish())
    return make_plan(planner, writer, source=source, limits=limits, pace=pace), written


def _show(console: Console, plan: dict[str, Any]) -> None:
    listed, jobs, bound, estimate = plan["listed"], plan["jobs"], plan["bound"], plan["estimate"]
    facts = [
        ("plan", plan["plan"]),
        ("listed", f"{listed['files']:,} files, {listed['bytes'] / _GIB:,.1f} GiB"),
        ("jobs", f"{jobs['count']:,} for {jobs['files']:,} files; full jobs would be {bound['jobs']:,}"),
        ("hours", f"{estimate['hours']:,.1f} at least, if a job takes {estimate['assumed_job_minutes']:g} minutes"),
        ("bound", f"{bound['hours']:,.1f} hours in full jobs"),
        ("cost", f"USD {estimate['usd']:,.2f} for requests, function and state machine; storage is not in it"),
    ]
    facts += [
        (f"not: {cause}", f"{tally['files']:,} files") for cause, tally in plan["uncovered"].items() if tally["files"]
    ]
    facts += [("advice", text) for text in plan["advice"]]
    for name, value in facts:
        console.print(f"{name:<16}", end="")
        console.print(value, markup=False)
