"""Shows what an installation does: a spinner at a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Protocol, Self, TextIO


class Progress(Protocol):
    """What shows the steps of an installation, as a context manager."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def step(self, text: str) -> None:
        """Begin the next step."""

    def detail(self, text: str) -> None:
        """Say what the step is doing just now."""


class Lines:
    """One line for each step, without details: for logs."""

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``."""
        self._stream = stream

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def step(self, text: str) -> None:
        """Write the step."""
        self._stream.write(f"{text} ...\n")
        self._stream.flush()

    def detail(self, text: str) -> None:
        """Write nothing."""


class Spinner:
    """One line that changes, of rich."""

    def __init__(self, console: Any) -> None:  # noqa: ANN401 - rich is of the extra
        """Show on a console of rich."""
        self._status = console.status("")
        self._console = console
        self._step = ""

    def __enter__(self) -> Self:
        """Begin to turn."""
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the steps on the screen, and no spinner."""
        self._status.stop()

    def step(self, text: str) -> None:
        """Leave the step on the screen, and turn beside it."""
        self._step = text
        self._console.print(text, highlight=False, markup=False)
        self._status.update("")

    def detail(self, text: str) -> None:
        """Show the detail beside the spinner, cut to the width of the terminal."""
        from rich.text import Text  # noqa: PLC0415 - of the extra

        self._status.update(Text(text[: max(self._console.width - 4, 0)], style="dim"))


def progress_on_stderr() -> Progress:
    """Return a spinner where stderr is a terminal and rich is installed, and lines elsewhere."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console  # noqa: PLC0415 - of the extra
        except ModuleNotFoundError:
            return Lines(sys.stderr)
        return Spinner(Console(stderr=True))
    return Lines(sys.stderr)
