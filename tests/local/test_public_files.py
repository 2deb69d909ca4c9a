"""What the local HealthImaging says to DICOM files that others published in packages; docs/local-cloud.md has it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.local.conftest import Imaging
from tests.public_files import PACKAGES, SOURCES, files

# In the emulator pydicom's warnings are no errors either.
pytestmark = [pytest.mark.cloud, pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]

PAGE = ROOT / "docs" / "local-cloud.md"
TABLE = re.compile(r"(<!-- public files -->\n\n).*?(\n\n<!-- end -->)", re.DOTALL)


class Result:
    """What became of the files of a source."""

    def __init__(self, source: Path) -> None:
        imaging = Imaging()
        self.files = 0
        self.contents: set[bytes] = set()
        for name, body in files(source):
            imaging.storage.put("source", f"in/{name}", body)
            self.files += 1
            self.contents.add(hashlib.sha256(body).digest())
        job = imaging.run(imaging.datastore())
        assert "COMPLETED" == job["jobStatus"], job
        self.summary = imaging.manifest(job)
        self.refused = Counter(line["exception"]["message"] for line in _lines(imaging, job, self.summary, "failure"))
        self.warned = Counter(
            str(warning.get("warning_reason_code"))
            for line in _lines(imaging, job, self.summary, "warning")
            for warning in line["importResponse"]["warnings"]
        )


def _lines(imaging: Imaging, job: dict[str, Any], summary: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    if f"{'warnings' if kind == 'warning' else kind}OutputS3Uri" not in summary or not any(
        key.endswith(f"/{kind}.ndjson") for _, key in imaging.storage.contents
    ):
        return []
    return [json.loads(line) for line in imaging.result(job, f"{kind.upper()}/{kind}.ndjson").splitlines()]


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    if not PACKAGES.is_dir():
        pytest.fail("the files are missing in .clients: run `make install-clients` first")
    return {name: Result(folder) for name, folder in SOURCES.items()}


def test_every_file_is_accepted_or_refused_by_itself(results: dict[str, Result]) -> None:
    for name, result in results.items():
        summary = result.summary
        assert result.files > 0, name
        assert result.files == summary["numberOfScannedFiles"], name
        assert 0 == summary["numberOfFilesWithServerError"], name
        assert result.files == summary["numberOfImportedFiles"] + sum(result.refused.values()), name


def test_five_hundred_different_files_were_tried(results: dict[str, Result]) -> None:
    assert len(distinct(results)) >= 500


def distinct(results: dict[str, Result]) -> set[bytes]:
    return set().union(*(result.contents for result in results.values()))


def table(results: dict[str, Result]) -> str:
    rows = ["| package | files | imported | with a warning | refused |", "|---|---|---|---|---|"]
    total = [0, 0, 0]
    for name, result in results.items():
        imported, refused = result.summary["numberOfImportedFiles"], sum(result.refused.values())
        warnings = ", ".join(f"{count} x {code}" for code, count in sorted(result.warned.items())) or "-"
        reasons = "; ".join(f"{count} x {reason}" for reason, count in sorted(result.refused.items()))
        rows.append(f"| {name} | {result.files} | {imported} | {warnings} | {reasons or '-'} |")
        total = [before + more for before, more in zip(total, (result.files, imported, refused), strict=True)]
    rows.append(f"| together ({len(distinct(results))} different ones) | {total[0]} | {total[1]} | | {total[2]} |")
    return "\n".join(rows)


def test_the_page_tells_what_was_accepted_and_refused(
    results: dict[str, Result], request: pytest.FixtureRequest
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = TABLE.search(page)
    assert found, "docs/local-cloud.md has no place for the table"
    expected = TABLE.sub(lambda match: match[1] + table(results) + match[2], page)
    if request.config.getoption("--write"):
        PAGE.write_text(expected, encoding="utf-8")
    assert expected == page, "write it with: pytest tests/local/test_public_files.py --write"
