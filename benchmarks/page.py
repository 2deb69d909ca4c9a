"""The page with the results: tables between two markers, and what stands around them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
_WIDTH = 120


@dataclass(frozen=True)
class Table:
    """A table with a title and a line that says what its numbers are."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [list(self.columns), ["---"] * len(self.columns), *map(list, self.rows)]
        note = textwrap.fill(self.note, _WIDTH)
        return "\n".join([f"### {self.title}", "", note, "", *(f"| {' | '.join(cells)} |" for cells in lines)])


def replace_results(page: Path, results: str) -> None:
    """Write results between the markers of a page.

    Raises:
        ValueError: the page does not have both markers.
    """
    head, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} must hold the markers {BEGIN} and {END}, got a page without: add them")
    page.write_text(f"{head}{BEGIN}\n{results}\n{END}{tail}", encoding="utf-8")


def replace_table(page: Path, table: Table) -> None:
    """Write one table over the one of the same title; a new one becomes the last.

    Raises:
        ValueError: the page does not have both markers.
    """
    results = page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    sections = re.split(r"\n+(?=### )", results)
    titles = [section.partition("\n")[0] for section in sections]
    title = f"### {table.title}"
    if title in titles:
        sections[titles.index(title)] = table.markdown()
    else:
        sections.append(table.markdown())
    replace_results(page, "\n\n".join(sections))


def times(ratio: float) -> str:
    """Write a ratio: ``1.35x``."""
    return f"{ratio:.2f}x"
