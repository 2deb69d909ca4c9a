"""The group of commands, and what they share."""

from __future__ import annotations

from typing import Any

import click

from healthimaging_local.cli import clouds, using
from healthimaging_local.errors import CloudError


class _Group(click.Group):
    """Says what went wrong in one message, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        try:
            return super().invoke(ctx)
        except CloudError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="healthimaging-cdk")
def commands() -> None:
    """Run AWS HealthImaging, and the AWS around it, on this machine."""


for command in (*clouds.COMMANDS, *using.COMMANDS):
    commands.add_command(command)
