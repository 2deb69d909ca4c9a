"""``healthimaging-cdk retry``: start the failed jobs of a bulk import again."""

from __future__ import annotations

import json

import boto3
import botocore.exceptions
import click

from healthimaging_cdk.cli._deployed import NoSuchStackError
from healthimaging_cdk.cli.bulk._bulk import BulkImport, NoBulkImportError

from healthimaging_import.errors import TerminalError  # isort: skip


@click.command
@click.argument("target")
def command(target: str) -> None:
    """Start the failed jobs of a bulk import again: TARGET is an execution, a state machine or a stack.

    Jobs that have succeeded are not started again. Whatever else is to do goes on as well.

    Needs grant_read_report and grant_start.

    Exit codes: 0 an execution was started, or there is nothing to retry, 2 wrong use, no run, or one that still runs.
    """
    try:
        found = BulkImport.find(boto3.Session(), target)
        state = found.state()
        running = found.states.list_executions(stateMachineArn=found.state_machine_arn, statusFilter="RUNNING")
        if running["executions"]:
            raise click.UsageError(f"{running['executions'][0]['executionArn']} runs: wait for it, or stop it first")
        if state is not None and not state.bad and state.to_do == 0:
            click.echo("nothing to retry: no job has failed and none is to do")
            return
        plan = str(found.plan["plan"])
        given = json.dumps({"plan": plan, "run_id": found.run_id, "retry": True})
        started = found.states.start_execution(stateMachineArn=found.state_machine_arn, input=given)
    except (NoBulkImportError, NoSuchStackError, TerminalError, botocore.exceptions.BotoCoreError) as error:
        raise click.UsageError(str(error)) from None
    except botocore.exceptions.ClientError as error:
        raise click.UsageError(str(error)) from None
    click.echo(started["executionArn"])
    click.echo(f"{len(state.bad) if state else 0} jobs are started again", err=True)
