"""``healthimaging-cdk review``: what a cloud assembly, and a change of it, does to HealthImaging."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from healthimaging_cdk.review.formats import headline, markdown, sarif, sections
from healthimaging_cdk.review.reading.assembly import UnreadableError, load_assembly
from healthimaging_cdk.review.report import ExitCode, Review, review

_FAIL_ON = {
    "warning": ExitCode.WARNING,
    "error": ExitCode.ERROR,
    "data": ExitCode.DATA,
    "never": None,
}


@click.command(epilog="Exit codes: 0 nothing, 1 warnings, 2 wrong arguments, 3 errors, 4 data would be lost.")
@click.argument("assembly", type=click.Path(path_type=Path), default="cdk.out")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="What was deployed: an older cdk.out, or templates (aws cloudformation get-template).",
)
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "markdown", "json", "sarif"]),
    default="text",
    show_default=True,
    help="Text is for people, Markdown for a pull request, JSON and SARIF for programs.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file to write to.")
@click.option("--region", help="The Region of templates that do not say theirs.")
@click.option(
    "--fail-on",
    type=click.Choice(list(_FAIL_ON)),
    default="error",
    show_default=True,
    help="From which severity on the command fails.",
)
def command(
    *, assembly: Path, against: Path | None, shape: str, output: Path | None, region: str | None, fail_on: str
) -> None:
    """Review what a synthesized app does to HealthImaging, and what a change of it does.

    ASSEMBLY is the folder that `cdk synth` writes, a folder of templates, or one template. With --against, the review
    says first which data would be replaced, renamed away or orphaned, what is imported again, and which rights are new.
    """
    try:
        found = review(load_assembly(assembly, region), load_assembly(against, region) if against is not None else None)
    except UnreadableError as error:
        raise click.UsageError(str(error)) from None
    try:
        _write(found, shape, output)
    except OSError as error:
        raise click.UsageError(f"--output {output} cannot be written: {error.strerror}") from None
    threshold = _FAIL_ON[fail_on]
    code = found.exit_code
    sys.exit(int(code) if threshold is not None and code >= threshold else 0)


def _write(found: Review, shape: str, output: Path | None) -> None:
    if shape == "text":
        _print(found, output)
    else:
        text = markdown(found) if shape == "markdown" else json.dumps(_document(found, shape), indent=2)
        if output is None:
            click.echo(text)
        else:
            output.write_text(text + "\n", encoding="utf-8")


def _document(found: Review, shape: str) -> object:
    if shape == "json":
        return found.as_json()
    try:
        version = version_of("healthimaging-cdk")
    except PackageNotFoundError:
        version = "0.0.0"
    return sarif(found, version)


def _print(found: Review, output: Path | None) -> None:
    """Print for a person; a template is input, so that nothing of it is taken for markup."""
    file = output.open("w", encoding="utf-8") if output is not None else None
    try:
        console = Console(file=file, soft_wrap=True, highlight=False)
        console.print(Text(headline(found), style="bold"))
        first = 4 if found.is_comparison else 1
        for index, (title, rows) in enumerate(sections(found)):
            if rows or index < first:
                console.print()
                console.print(Text(title, style="bold"))
                for row in rows or ["none"]:
                    console.print(Text(f"  {_printable(row)}"))
    finally:
        if file is not None:
            file.close()


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
