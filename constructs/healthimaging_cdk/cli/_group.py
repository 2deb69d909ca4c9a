"""The group of commands. A command is imported when it is named."""

from __future__ import annotations

from importlib import import_module

import click

# The name of a command, and the module of this package whose function `command` it is.
_COMMANDS: dict[str, str] = {
    "plan": "bulk.plan",
    "report": "bulk.report",
    "retry": "bulk.retry",
    "review": "review",
    "status": "status",
    "verify-aws": "verify_aws",
    "watch": "bulk.watch",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        command = import_module(f"{__package__}.{_COMMANDS[cmd_name]}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"{_COMMANDS[cmd_name]}.command is no command: {command!r}")
        return command


@click.group(cls=_LazyGroup)
@click.version_option(package_name="healthimaging-cdk")
def commands() -> None:
    """Plan, watch and review imports of DICOM files into AWS HealthImaging."""
