"""The benchmarks run, and the page has every row that they write. Nothing here is about how fast anything is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.page import BEGIN, END, replace_results
from tests.judges.judging import ROOT

pytestmark = pytest.mark.judges

PAGE = ROOT / "benchmarks" / "README.md"


def rows(page: Path) -> list[str]:
    """The tables' titles and heads, and what each row is about."""
    results = page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    found = []
    for line in results.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        named = [cell for cell in cells if not re.fullmatch(r"[\d.,x /]*", cell)]
        if line.startswith("### "):
            found.append(line)
        elif line.startswith("|"):
            found.append(" | ".join(named))
    return found


@pytest.mark.long
def test_a_quick_run_writes_every_row_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    shutil.copyfile(PAGE, page)
    replace_results(page, "")
    assert [] == rows(page)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--page", page],
        env=os.environ | {"PYTHONPATH": str(ROOT / "local")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    assert rows(PAGE) == rows(page)
    before, after = (text.read_text(encoding="utf-8").partition(BEGIN)[0] for text in (PAGE, page))
    assert before == after


def test_fails_for_a_page_without_markers(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("# Benchmarks\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must hold the markers"):
        replace_results(page, "results")
