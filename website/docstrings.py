"""Docstrings as they read in a terminal, made into what reads well on a page: cross-references and links to pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

_DOCS = Path(__file__).parent.parent / "docs"
_ROLE = re.compile(r":(?:class|meth|func|attr):`~?\.?([\w.]+)`")
_EXAMPLE = re.compile(r"^ *Example:$", re.MULTILINE)
_PAGE = re.compile(r"(?<![\w/(`])docs/((?:decisions/)?[\w-]+)(?:\.md)?(?![\w/])")


def _link(match: re.Match[str]) -> str:
    page = match[1]
    return f"[{page}](../{page}.md)" if (_DOCS / f"{page}.md").is_file() else match[0]


class ReadableDocstrings(griffe.Extension):
    """Rewrites roles of Sphinx, names of sections and paths of pages in every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:  # noqa: ANN401 - griffe passes more than this needs
        """Rewrite the docstring of a module, a class, a function or an attribute."""
        if obj.docstring:
            text = _EXAMPLE.sub("Examples:", _ROLE.sub(r"`\1`", obj.docstring.value))
            obj.docstring.value = _PAGE.sub(_link, text)
