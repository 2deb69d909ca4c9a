"""``healthimaging-cdk verify-aws``: find out in an account what nobody could see without one."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import boto3
import click
from rich.console import Console
from rich.table import Table

from healthimaging_cdk._verify import report
from healthimaging_cdk._verify.catalogue import EXPERIMENTS
from healthimaging_cdk._verify.experiment import Agreement, Experiment, Finding, perform
from healthimaging_cdk._verify.lab import Lab, stacks_left

_STYLES = {
    Agreement.AS_GUESSED: "green",
    Agreement.DIFFERENT: "bold red",
    Agreement.NOTED: "cyan",
    Agreement.NOT_SEEN: "yellow",
}


@click.command("verify-aws")
@click.argument("names", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--list", "list_only", is_flag=True, help="Show the experiments, and create nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before something is created.")
@click.option("--clean-up", is_flag=True, help="Only remove what earlier runs left behind.")
@click.option("--keep-going/--stop-at-difference", default=True, help="Default: --keep-going.")
@click.option(
    "--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), default=Path("verify-aws.md"),
    show_default=True, help="Where the report goes; .json is JSON, everything else Markdown.",
)  # fmt: skip
@click.option(
    "--pause", type=click.FloatRange(min=0.05), default=5.0, show_default=True, help="Seconds between two looks."
)
def command(
    names: tuple[str, ...],
    *,
    list_only: bool,
    yes: bool,
    clean_up: bool,
    keep_going: bool,
    report_file: Path,
    pause: float,
) -> None:
    """Settle in your AWS account what this library has to guess.

    Creates stacks called healthimaging-verify-..., with sample files of nobody in them, and removes them again, also
    after an error. Run it with credentials of an account where that is allowed. Without names, all experiments run.

    Exit codes: 0 all is as guessed, 1 something is different or could not be seen, 2 wrong use, 3 something is left.
    """
    console = Console()
    chosen = _choose(names)
    if list_only:
        console.print(_overview(chosen))
        return
    session = boto3.Session()
    if session.region_name is None:
        raise click.UsageError("no Region: set AWS_REGION to one that has HealthImaging")
    if clean_up:
        sys.exit(3 if _remove(console, [Lab(session, left, pause=pause) for left in stacks_left(session)]) else 0)
    lab = Lab(session, secrets.token_hex(3), pause=pause)
    minutes, usd = sum(item.minutes for item in chosen) + 5, sum(item.usd for item in chosen)
    console.print(
        f"{len(chosen)} experiments in account {lab.account}, {lab.region}: {minutes:.0f} minutes, {usd:.2f} USD"
    )
    if not yes:
        click.confirm("Create stacks there, and remove them afterwards?", abort=True)
    findings: list[Finding] = []
    # An interrupt ends in the lines below by itself; this way a request to end does, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        for experiment in chosen:
            with console.status(f"{experiment.name}: {experiment.about}"):
                findings += _show(console, perform(experiment, lab))
            if not keep_going and findings[-1].agreement is Agreement.DIFFERENT:
                break
    finally:
        _write(report_file, findings, lab)
        left = _remove(console, [lab])
    console.print(f"report: {report_file}")
    if left:
        sys.exit(3)
    sys.exit(0 if all(item.agreement in (Agreement.AS_GUESSED, Agreement.NOTED) for item in findings) else 1)


def _choose(names: Sequence[str]) -> list[Experiment]:
    known = {experiment.name: experiment for experiment in EXPERIMENTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise click.UsageError(f"no experiment is called {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else list(EXPERIMENTS)


def _overview(experiments: Sequence[Experiment]) -> Table:
    table = Table("experiment", "what it finds out", "minutes", "USD")
    for item in experiments:
        table.add_row(item.name, item.about, f"{item.minutes:g}", f"{item.usd:.2f}")
    return table


def _show(console: Console, findings: list[Finding]) -> list[Finding]:
    for item in findings:
        style = _STYLES[item.agreement]
        console.print(f"[{style}]{item.agreement.value:>10}[/]  {item.experiment}: {item.question}: ", end="")
        console.print(item.seen, markup=False, highlight=False)
        if item.agreement is Agreement.DIFFERENT:
            console.print(f"            guessed: {item.guess}", markup=False, highlight=False)
    return findings


def _write(file: Path, findings: list[Finding], lab: Lab) -> None:
    write = report.document if file.suffix == ".json" else report.markdown
    text = write(
        findings,
        region=lab.region,
        version=version("healthimaging-cdk"),
        day=datetime.now(UTC).date().isoformat(),
        redact=[lab.account, lab.prefix],
    )
    file.write_text(text, encoding="utf-8")


def _remove(console: Console, labs: Sequence[Lab]) -> list[str]:
    with console.status("removing the stacks"):
        left = [sentence for lab in labs for sentence in lab.remove()]
    for sentence in left:
        console.print(f"left behind: {sentence}", markup=False)
    if left:
        console.print("remove it: healthimaging-cdk verify-aws --clean-up")
    return left
