"""``healthimaging-cdk report``: the report of a bulk import, as a page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3
import botocore.exceptions
import click
from rich.console import Console

from healthimaging_cdk.cli._deployed import NoSuchStackError
from healthimaging_cdk.cli.bulk._bulk import BulkImport, NoBulkImportError
from healthimaging_cdk.cli.bulk._page import make_page
from healthimaging_cdk.cli.bulk.watch import facts_table

from healthimaging_import.contract import Verdict  # isort: skip
from healthimaging_import.errors import TerminalError  # isort: skip


@click.command
@click.argument("target")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("bulk-report.html"), show_default=True
)
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open the page in a browser.")
@click.option("--format", "style", type=click.Choice(["html", "json"]), default="html", show_default=True)
def command(target: str, output: Path, opens: bool, style: str) -> None:  # noqa: FBT001 - as click passes it
    """Write the last report of a bulk import as one HTML page: TARGET is an execution, a state machine or a stack.

    The page needs no network, and holds numbers only: no object key and nothing of a file. A run that goes on is
    reported as it is now.

    Needs grant_read_report.

    Exit codes: 0 the run ended within its tolerance, 1 it did not, or goes on, 2 wrong use or no run.
    """
    try:
        found = BulkImport.find(boto3.Session(), target)
        report = found.report()
    except (NoBulkImportError, NoSuchStackError, TerminalError, botocore.exceptions.BotoCoreError) as error:
        raise click.UsageError(str(error)) from None
    except botocore.exceptions.ClientError as error:
        raise click.UsageError(str(error)) from None
    if style == "json":
        click.echo(json.dumps(report, indent=2))
    else:
        output.write_text(make_page(report), encoding="utf-8")
        Console().print(facts_table(report, ""), f"written: {output}", sep="\n")
        if opens:
            click.launch(str(output))
    sys.exit(0 if report["verdict"] == Verdict.SUCCEEDED else 1)
