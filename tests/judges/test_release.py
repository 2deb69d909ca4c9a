"""What the package says of itself, and the workflows: what `make release-check` asks beyond that takes the network."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import healthimaging_cdk
from tests.judges.judging import ROOT

pytestmark = pytest.mark.judges


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(path))


def dead_links(description: str) -> list[str]:
    return re.findall(r"\]\((?!https?:|mailto:|#)([^)]+)\)", description)


def test_the_wheel_has_the_version_of_the_library(wheel: Path) -> None:
    assert healthimaging_cdk.__version__ == metadata(wheel)["Version"]


@pytest.mark.parametrize("field", ["Author", "Summary", "License-Expression", "Project-URL", "Requires-Python"])
def test_the_wheel_says_where_it_comes_from(wheel: Path, field: str) -> None:
    assert metadata(wheel)[field]


def test_the_readme_on_pypi_has_no_dead_link(wheel: Path) -> None:
    description = str(metadata(wheel).get_payload())
    assert "Import medical images into [AWS HealthImaging](https://" in description
    assert [] == dead_links(description)
    assert [] != dead_links((ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_readme_on_pypi_leads_into_the_repository_where_that_is_known() -> None:
    program = "import hatch_build; print(hatch_build.linked('[a](docs/b.md#c)', 'https://host.example/o/r', '1.2.3'))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "[a](https://host.example/o/r/blob/v1.2.3/docs/b.md#c)" == done.stdout.strip()


def test_the_changelog_has_a_section_for_the_version() -> None:
    released = re.sub(r"(?<=\d)rc", "-rc", healthimaging_cdk.__version__)
    assert f"\n## {released} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_actions_of_others_are_pinned_to_a_commit() -> None:
    used = [
        line
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    ]
    assert used
    assert [] == [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)]
