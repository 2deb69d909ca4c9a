"""The site is built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site_build import build


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert [] == [line for line in done.stderr.splitlines() if not line.startswith("INFO")]
    assert 0 == done.returncode
    return folder
