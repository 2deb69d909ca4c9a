"""``python -m healthimaging_local start`` and ``stop``: the local cloud for a person at a terminal."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from healthimaging_local.cloud import LAUNCHER, ROOT, Cloud, CloudError
from healthimaging_local.processes import command_of, end_process_group

_FOLDER = ROOT / ".cloud" / "run"
_STATE = _FOLDER / "state.json"
_DEFAULT_PORT = 4566


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked."""
    parser = argparse.ArgumentParser(prog="python -m healthimaging_local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start the local cloud in the background")
    start.add_argument("--port", type=int, default=_DEFAULT_PORT)
    start.add_argument("--foreground", action="store_true", help="stay in the foreground until Ctrl-C")
    start.add_argument("--no-auth", action="store_true", help="do not enforce IAM")
    start.add_argument("--wait-scale", type=float, default=1.0, help="factor for the waits of Step Functions")
    commands.add_parser("stop", help="stop the local cloud")
    commands.add_parser("environ", help="print the export lines for a shell: eval $(... environ)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "start":
            return _start(options)
        return _stop() if options.command == "stop" else _environ()
    except CloudError as error:
        print(error, file=sys.stderr)
        return 1


def _start(options: argparse.Namespace) -> int:
    if _runs():
        raise CloudError(f"the local cloud already runs on port {_recorded()['port']}, stop it first")
    cloud = Cloud(
        port=options.port,
        auth=not options.no_auth,
        wait_scale=options.wait_scale,
        folder=_FOLDER,
        detached=not options.foreground,
    ).start()
    _STATE.write_text(json.dumps({"pid": cloud.pid, "port": cloud.port, "environ": cloud.environ()}), encoding="utf-8")
    print(f"the local cloud answers at {cloud.endpoint}, its log is {cloud.log.relative_to(ROOT)}")
    if options.foreground:
        try:
            signal.pause()
        except KeyboardInterrupt:
            cloud.stop()
    return 0


def _stop() -> int:
    runs = _runs()
    if runs:
        end_process_group(_recorded()["pid"], lambda: not _runs())
    shutil.rmtree(_FOLDER, ignore_errors=True)
    print("the local cloud is stopped" if runs else "the local cloud does not run")
    return 0


def _environ() -> int:
    if not _runs():
        raise CloudError("the local cloud does not run, start it first")
    for name, value in _recorded()["environ"].items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _runs() -> bool:
    """Whether the recorded process is still ours: process ids are used again."""
    return _STATE.exists() and LAUNCHER in command_of(_recorded()["pid"])


def _recorded() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(_STATE).read_text(encoding="utf-8"))
    return document


if __name__ == "__main__":
    sys.exit(main())
