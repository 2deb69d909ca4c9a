"""Pages of the site in a real browser, where one is installed: nothing sticks out, no picture is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.site_build import load

WIDEST = ["index.html", "quotas-and-cost.html", "permissions.html", "judges.html", "constructs/DicomImport.html"]


LOOK = load("look")
pytestmark = [pytest.mark.site, pytest.mark.skipif(LOOK.CHROMIUM is None, reason="no Chromium is installed")]


@pytest.fixture(scope="module")
def pages(site: Path) -> list[str]:
    """The pages with a picture, those with the widest tables, and the first."""
    drawn = [
        path.relative_to(site).as_posix()
        for path in sorted(site.rglob("*.html"))
        if re.search(r"<img[^>]+pictures/", path.read_text(encoding="utf-8"))
    ]
    assert drawn
    return [*WIDEST, *drawn]


@pytest.mark.parametrize(("width", "scheme", "colours"), [("phone", "light", "default"), ("desktop", "dark", "slate")])
def test_pages_fit_the_screen_and_show_their_pictures(
    site: Path, pages: list[str], width: str, scheme: str, colours: str
) -> None:
    expected = {"sideways": 0, "scheme": colours, "broken": [], "clipped": []}
    found = LOOK.measure(site, pages, LOOK.WIDTHS[width], scheme)
    assert dict.fromkeys(pages, expected) == found


def test_fails_for_a_page_that_sticks_out_and_a_picture_that_is_not_there(tmp_path: Path) -> None:
    body = '<body data-md-color-scheme="default"><div class="md-content" style="width:900px"><img src="none.png"></div>'
    (tmp_path / "wide.html").write_text(f"<!doctype html>{body}", encoding="utf-8")
    (found,) = LOOK.measure(tmp_path, ["wide.html"], 390, "light").values()
    assert found["sideways"] > 400
    assert 1 == len(found["broken"])
