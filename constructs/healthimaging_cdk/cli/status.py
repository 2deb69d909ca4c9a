"""``healthimaging-cdk status``: what became of the imports of a stack."""

from __future__ import annotations

import json
import sys

import boto3
import botocore.exceptions
import click
from rich.console import Console

from healthimaging_cdk.cli._deployed import NoSuchStackError
from healthimaging_cdk.cli._imports import ImportStatus, as_document, imports_of

_STYLES = {"SUCCEEDED": "green", "FAILED": "bold red", "UNKNOWN": "bold red", "REFUSED": "bold red", "RUNNING": "cyan"}
_BAD = ("FAILED", "REFUSED", "UNKNOWN")
_MOST_CAUSES = 10


@click.command
@click.argument("stack")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(stack: str, style: str) -> None:
    """Show what became of the imports of STACK, a name or an ARN, and whether a job runs now.

    It looks at the run that was started last for each import, also in nested stacks. It changes nothing.

    Needs the rights to describe the stack, to read the output bucket and to list the data store's import jobs.
    With AWS_ENDPOINT_URL it works on the local cloud.

    Exit codes: 0 nothing failed, 1 an import failed or cannot be told, 2 wrong use or no such stack.
    """
    try:
        found = list(imports_of(boto3.Session(), stack))
    except (NoSuchStackError, botocore.exceptions.BotoCoreError) as error:
        raise click.UsageError(str(error)) from None
    if style == "json":
        click.echo(json.dumps([as_document(item) for item in found], indent=2))
    else:
        console = Console(soft_wrap=True, highlight=False)
        for item in found:
            _show(console, item)
        if not found:
            console.print(f"stack {stack} has no import")
    sys.exit(1 if any(item.state in _BAD or item.problem for item in found) else 0)


def _show(console: Console, item: ImportStatus) -> None:
    console.print(f"[bold]{item.path}[/] [{_STYLES.get(item.state, 'yellow')}]{item.state}[/]")
    for name, value in _facts(item):
        console.print(f"  {name:<12}", end="")
        console.print(value, markup=False)


def _facts(item: ImportStatus) -> list[tuple[str, str]]:
    record, facts = item.record, [("data store", item.datastore_id)]
    if item.running_jobs:
        facts.append(("now", f"{item.running_jobs} import jobs of this data store have not ended"))
    if item.run_id:
        facts.append(("run", item.run_id))
    if record is not None:
        facts += [
            ("job", " ".join((record.job.get("jobId", ""), item.job_status or record.result.job_status))),
            ("submitted", record.job.get("submittedAt", "")),
            ("files", record.result.counts.sentence() if item.state in ("SUCCEEDED", "FAILED") else ""),
            ("reason", record.reason),
            ("manifest", record.result.manifest_uri),
        ]
    elif not item.problem:
        facts.append(("", "no job was started: the last deploy found nothing to import, or has not come so far"))
    facts += [("rejected", f"{count} x {cause}") for cause, count in item.causes.most_common(_MOST_CAUSES)]
    if item.failures_file:
        facts.append(("all of them", f"aws s3 cp {item.failures_file} -"))
    facts.append(("problem", item.problem))
    return [(name, value) for name, value in facts if value.strip()]
