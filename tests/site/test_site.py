"""The site is built as `make docs` builds it, without a warning, and every link in it leads somewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import healthimaging_cdk
from tests.conftest import ROOT
from tests.site_build import build

pytestmark = pytest.mark.site


class Page(HTMLParser):
    """The links of a page, and what a link can lead to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        self.links += [value for name in ("href", "src") if (value := values.get(name)) and tag != "base"]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            if not target.exists() or (target in pages and parts.fragment and unquote(parts.fragment) not in anchors):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert [] == dead


def test_every_page_of_the_documentation_can_be_found_from_the_first(site: Path, pages: dict[Path, Page]) -> None:
    home = site / "index.html"
    reached = {(home.parent / urlsplit(link).path).resolve() for link in pages[home].links if not urlsplit(link).scheme}
    assert [] == [str(path.relative_to(site)) for path in pages if path != home and path.resolve() not in reached]


def test_the_site_loads_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    tags = re.compile(r"<(?:link|script|img)\b[^>]*?\b(?:href|src)=\"?(https?:[^\"\s>]+)")
    assert [] == [link for path in pages for link in tags.findall(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("name", healthimaging_cdk.__all__)
def test_every_public_class_is_described(pages: dict[Path, Page], name: str) -> None:
    described = [page for page in pages.values() if any(anchor.endswith(f".{name}") for anchor in page.anchors)]
    assert 1 == len(described)


def test_no_docstring_shows_the_markup_of_another_tool(site: Path) -> None:
    markup = re.compile(r":(class|meth|func):")
    assert [] == [path.name for path in (site / "constructs").glob("*.html") if markup.search(path.read_text())]


def test_fails_a_page_with_a_dead_link(tmp_path: Path) -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[nowhere](nowhere.md)\n", encoding="utf-8")
    before = settings.partition("\nhooks:")[0].partition("\nextra_css")[0]
    (tmp_path / "mkdocs.yml").write_text(f"{before}\nvalidation: {{not_found: warn}}\n", encoding="utf-8")
    done = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert 0 != done.returncode
    assert "nowhere.md" in done.stderr
